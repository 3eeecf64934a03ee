"""Limits of a split: data leakage, cuts inside one timestamp, users without a history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfrs_distill.data.cuts import user_time_cuts
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.errors import InputError


@dataclass(frozen=True)
class SplitFacts:
    """Limits of a split, as shares from 0 to 1.

    Args:
        train_after_test: share of all training interactions that are later than a user's first test
            interaction; median over the tested users.
        tests_cut_in_one_time: share of the tested users whose first test interaction has the same
            timestamp as the interaction before it, so that the file order decides which of them is
            tested.
        tests_without_history: share of the users with interactions in the test part who have none
            before it, so that they are not tested.
    """

    train_after_test: float
    tests_cut_in_one_time: float
    tests_without_history: float


def split_facts(interactions: Interactions, cuts: np.ndarray | None = None) -> SplitFacts:
    """Measure the limits of a split of these interactions.

    A split by user keeps the order in time for each user, but no date separates training from test:
    interactions of other users after the start of a user's test may be training data (data leakage,
    Ji et al.). `split_by_global_time` has no such leakage, but users who come late have no history.
    Timestamps may be integers, fractions or datetime64.

    Reference: [Ji et al., 2023](https://doi.org/10.1145/3569930).

    Args:
        interactions: the data set.
        cuts: cuts of each sequence, see `data.cuts`; None for those of `split_by_time`.

    Raises:
        InputError: no user has a test part with interactions before it, or training is empty.

    Example: after ann's test, at 5, come 4 of 8 training interactions; after bob's, at 14, none.
    >>> from tfrs_distill.data.catalogue import Catalogue
    >>> names = tuple("abcdefghij")
    >>> users, items = np.repeat([0, 1], 5), np.arange(1, 11)
    >>> times = np.array([1, 2, 3, 4, 5, 10, 11, 12, 13, 14])
    >>> data = Interactions("tiny", Catalogue(names, names, names), ("ann", "bob"), users, items,
    ...                     np.ones(10), times)
    >>> split_facts(data)
    SplitFacts(train_after_test=0.25, tests_cut_in_one_time=0.0, tests_without_history=0.0)
    """
    rows = interactions.rows_by_time()
    users, times = interactions.users[rows], interactions.timestamps[rows]
    lengths = np.bincount(users, minlength=interactions.num_users)
    firsts = np.cumsum(lengths) - lengths
    train_ends, test_starts = (user_time_cuts(interactions) if cuts is None else cuts).T
    places = np.arange(len(users)) - firsts[users]
    train_times = np.sort(times[places < train_ends[users]])
    has_test = test_starts < lengths
    is_tested = has_test & (test_starts > 0)
    if not is_tested.any() or not len(train_times):
        raise InputError(
            f"Data set {interactions.name!r}: no user has a test interaction after a training "
            f"interaction. The longest sequence has {lengths.max()} interactions; give data with "
            "more."
        )
    first_tests = (firsts + test_starts)[is_tested]
    later = len(train_times) - np.searchsorted(train_times, times[first_tests], side="right")
    return SplitFacts(
        float(np.median(later / len(train_times))),
        float((times[first_tests] == times[first_tests - 1]).mean()),
        float(1 - is_tested.sum() / has_test.sum()),
    )
