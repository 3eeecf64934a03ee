"""Scarce data: keep a share of each user's training interactions, drop the others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrs_distill.data.interactions import Interactions
from tfrs_distill.errors import InputError

ROUNDING = 1e-9  # so that 100 * 0.07, 7.000000000000001 in binary, rounds up to 7


class Subsampled(NamedTuple):
    """A data set in which some training interactions are dropped.

    Args:
        interactions: the kept interactions, with the same users and items.
        cuts: start of validation and of test in each remaining sequence.
        num_left_out: number of dropped training interactions.
    """

    interactions: Interactions
    cuts: np.ndarray
    num_left_out: int


def keep_train_share(
    interactions: Interactions, cuts: np.ndarray, share: float, seed: int
) -> Subsampled:
    """Keep a random share of each user's training interactions, in their order.

    Of a user's n training interactions `ceil(n * share)` are kept, so at least one. The others are
    in no training row and no history. Validation and test do not change. With `exclude_seen`, a
    repeated interaction is relevant if its first occurrence is dropped. Appending later
    interactions does not change the draw for users who have none of them.

    Args:
        interactions: the data set.
        cuts: int64 [num_users, 2], start of validation and of test in each sequence.
        share: above 0, at most 1.
        seed: seed of the draw.

    Raises:
        InputError: `share` is not above 0 and at most 1.

    Example: of ann's 4 training interactions 2 are kept, and bob's only one.
    >>> from tfrs_distill.data.catalogue import Catalogue
    >>> names = tuple("abcdefgh")
    >>> data = Interactions("tiny", Catalogue(names, names, names), ("ann", "bob"),
    ...                     [0] * 6 + [1] * 2, [1, 2, 3, 4, 5, 6, 7, 8], [1.0] * 8, range(8))
    >>> kept = keep_train_share(data, np.array([[4, 5], [1, 1]]), 0.5, seed=0)
    >>> kept.cuts.tolist(), kept.num_left_out, kept.interactions.sequences()[1].tolist()
    ([[2, 3], [1, 1]], 2, [7, 8])
    """
    if not 0 < share <= 1:
        raise InputError(f"`share` must be above 0 and at most 1. Received: share={share!r}.")
    draws = np.random.default_rng(seed).random(len(interactions))
    rows = interactions.rows_by_time()
    users = interactions.users[rows]
    lengths = np.bincount(users, minlength=interactions.num_users)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    trains = places < cuts[users, 0]
    # A user's training interactions come first, with the kept ones in front.
    order = np.lexsort((draws[rows], ~trains, users))
    numbers = np.empty(len(rows), np.int64)
    numbers[order] = places
    num_kept = np.ceil(cuts[:, 0] * share - ROUNDING).astype(np.int64)
    kept = ~trains | (numbers < num_kept[users])
    there = np.zeros(len(interactions), bool)
    there[rows[kept]] = True
    num_out = cuts[:, 0] - num_kept
    return Subsampled(interactions.subset(there), cuts - num_out[:, None], int(num_out.sum()))
