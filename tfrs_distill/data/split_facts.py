"""What a split by time for each user leaves open: later knowledge, and cuts inside one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.splits import time_cuts
from tfrs_distill.errors import InputError


@dataclass(frozen=True)
class SplitFacts:
    """Two limits of a split, as shares from 0 to 1.

    Args:
        train_after_test: of all training interactions, how many are later than the first test
            interaction of a user; the median over the users who have a test part.
        tests_cut_in_one_time: of these users, how many have a test part whose first interaction has
            the same time stamp as the interaction before it, so that file order decides which of
            them is tested.
    """

    train_after_test: float
    tests_cut_in_one_time: float


def split_facts(
    interactions: Interactions,
    *,
    train_fraction: float = 0.8,
    validation_fraction: float = 0.1,
) -> SplitFacts:
    """Measure two limits of `split_by_time` of these interactions.

    The order in time is kept for each user, but no date parts training from test: what other users
    did after a user's test began may train the model that is tested on that user (Ji et al. call it
    data leakage). The time stamps may be whole numbers, fractions or datetime64.

    Reference: [Ji et al., 2023](https://doi.org/10.1145/3569930).

    Args:
        interactions: the data set.
        train_fraction: as given to `split_by_time`.
        validation_fraction: as given to `split_by_time`.

    Raises:
        InputError: no user has a test part with something before it, or nothing trains.

    Example: after ann's test, at 5, come 4 of 8 training interactions; after bob's, at 14, none.
    >>> from tfrs_distill.data.catalogue import Catalogue
    >>> names = tuple("abcdefghij")
    >>> users, items = np.repeat([0, 1], 5), np.arange(1, 11)
    >>> times = np.array([1, 2, 3, 4, 5, 10, 11, 12, 13, 14])
    >>> data = Interactions("tiny", Catalogue(names, names, names), ("ann", "bob"), users, items,
    ...                     np.ones(10), times)
    >>> split_facts(data)
    SplitFacts(train_after_test=0.25, tests_cut_in_one_time=0.0)
    """
    order = np.lexsort((np.arange(len(interactions)), interactions.timestamps, interactions.users))
    users, times = interactions.users[order], interactions.timestamps[order]
    firsts = np.searchsorted(users, np.arange(interactions.num_users))
    of_users = np.split(times, firsts[1:])
    cuts = np.array(time_cuts(of_users, train_fraction, train_fraction + validation_fraction))
    train_ends, test_starts = cuts[:, 0], cuts[:, 1]
    lengths = np.array([len(times_of_user) for times_of_user in of_users])
    places = np.arange(len(users)) - firsts[users]
    train_times = np.sort(times[places < train_ends[users]])
    has_test = (test_starts > 0) & (test_starts < lengths)
    if not has_test.any() or not len(train_times):
        raise InputError(
            f"Data set {interactions.name!r}: no user has something to test after something that "
            f"trains. The longest sequence has {lengths.max()} interactions; give data with more."
        )
    first_tests = (firsts + test_starts)[has_test]
    later = len(train_times) - np.searchsorted(train_times, times[first_tests], side="right")
    return SplitFacts(
        float(np.median(later / len(train_times))),
        float((times[first_tests] == times[first_tests - 1]).mean()),
    )
