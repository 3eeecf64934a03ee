"""The positions at which sequences are cut into training, validation and test."""

from __future__ import annotations

import numpy as np

from tfrs_distill.data.interactions import Interactions
from tfrs_distill.errors import InputError

ROUNDING = 1e-9  # so that 30 * (0.7 + 0.2), 26.999... in binary, floors to 27
MIN_FOR_LEAVE_ONE_OUT = 3  # interactions: one for test, one for validation, one before them


def user_time_cuts(
    interactions: Interactions,
    *,
    train_fraction: float = 0.8,
    validation_fraction: float = 0.1,
    whole_ties: bool = False,
) -> np.ndarray:
    """Cut each user's n interactions at `floor(n * fraction)` for the two fractions.

    Args:
        interactions: the data set.
        train_fraction: share of each user's interactions in training.
        validation_fraction: share of each user's interactions in validation.
        whole_ties: whether interactions of a user with equal timestamps stay together: a cut
            between them moves to the first.

    Returns:
        int64 [num_users, 2]: start of validation and start of test in each sequence.

    Raises:
        InputError: fractions outside (0, 1).
    """
    end = _validation_end(train_fraction, validation_fraction)
    lengths = np.bincount(interactions.users, minlength=interactions.num_users)
    shares = np.array([train_fraction, end])
    cuts: np.ndarray = np.floor(lengths[:, None] * shares + ROUNDING).astype(np.int64)
    if not whole_ties:
        return cuts
    rows = interactions.rows_by_time()
    times, users = interactions.timestamps[rows], interactions.users[rows]
    same = np.append(False, (times[1:] == times[:-1]) & (users[1:] == users[:-1]))
    of_tie = np.maximum.accumulate(np.where(same, 0, np.arange(len(rows))))  # its first row
    starts = (np.cumsum(lengths) - lengths)[:, None]
    inside = cuts < lengths[:, None]
    return np.where(inside, of_tie[np.where(inside, starts + cuts, 0)] - starts, cuts)


def leave_one_out_cuts(interactions: Interactions) -> np.ndarray:
    """Cut before each user's second-to-last and last interaction.

    Users with fewer than 3 interactions are only in training.

    Returns:
        int64 [num_users, 2]: start of validation and start of test in each sequence.
    """
    lengths = np.bincount(interactions.users, minlength=interactions.num_users)
    held_out = np.where(lengths[:, None] < MIN_FOR_LEAVE_ONE_OUT, 0, np.array([2, 1]))
    cuts: np.ndarray = lengths[:, None] - held_out
    return cuts


def global_time_cuts(
    interactions: Interactions, *, train_fraction: float = 0.8, validation_fraction: float = 0.1
) -> np.ndarray:
    """Cut every sequence at the same two times.

    They are the times of the interactions at `floor(num_interactions * fraction)` in order of time.
    Interactions exactly at such a time belong to the later part.

    Args:
        interactions: the data set.
        train_fraction: share of all interactions in training.
        validation_fraction: share of all interactions in validation.

    Returns:
        int64 [num_users, 2]: start of validation and start of test in each sequence.

    Raises:
        InputError: fractions outside (0, 1).
    """
    end = _validation_end(train_fraction, validation_fraction)
    times = np.sort(interactions.timestamps)
    places = [int(len(times) * share + ROUNDING) for share in (train_fraction, end)]
    return np.stack(
        [
            np.bincount(
                interactions.users[interactions.timestamps < times[place]],
                minlength=interactions.num_users,
            )
            for place in places
        ],
        axis=1,
    )


def _validation_end(train_fraction: float, validation_fraction: float) -> float:
    total = train_fraction + validation_fraction
    if not (0 < train_fraction < 1 and 0 < validation_fraction < 1 and total < 1):
        raise InputError(
            "`train_fraction` and `validation_fraction` must be above 0 and sum to less than 1. "
            f"Received: {train_fraction!r} and {validation_fraction!r}."
        )
    return total
