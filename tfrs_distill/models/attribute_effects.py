"""What each attribute of a user says of the user's queries, by ridge regression."""

from __future__ import annotations

import numpy as np

PENALTIES = np.geomspace(1.0, 1e6, 13)  # in users


def attribute_effects(attributes: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return by how much the queries of users with each attribute value differ from the mean.

    `effects = (X'X + penalty I)^-1 X'(queries - mean)`: a value that few users have is drawn to 0
    as by `penalty` users of the mean. The penalty is that of `PENALTIES` with the least squared
    error when each user's queries are predicted without the user, which has a closed form:
    `residual / (1 - leverage)`.

    Args:
        attributes: X, 0 or 1 [num_users, num_values], which values each user has.
        queries: [num_users, dim], the mean of each user's query embeddings.

    Returns:
        Float64 [num_values, dim].

    Example: without a penalty the first two users would be at -1 and the others at 1.
    >>> groups = np.repeat(np.eye(2), 2, axis=0)
    >>> attribute_effects(groups, np.array([[3.0], [3.0], [5.0], [5.0]])).round(3).tolist()
    [[-0.667], [0.667]]
    """
    deviations = queries - queries.mean(axis=0)
    variances, directions = np.linalg.eigh(attributes.T @ attributes)
    projected = attributes @ directions
    best, least = np.zeros([attributes.shape[1], queries.shape[1]]), np.inf
    for penalty in PENALTIES:
        shrunk = projected / (variances + penalty)
        coefficients = shrunk.T @ deviations
        leverage = (shrunk * projected).sum(axis=1, keepdims=True)
        error = np.square((deviations - projected @ coefficients) / (1.0 - leverage)).sum()
        if error < least:
            best, least = directions @ coefficients, error
    return best


class QueriesOfUsers:
    """Collects query embeddings a batch at a time, and gives their mean for each user."""

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, ...]] = []

    def add(self, users: np.ndarray, values: np.ndarray, queries: np.ndarray) -> None:
        """Take some rows in.

        Args:
            users: [num_rows].
            values: int [num_rows, num_attributes], which value of all attributes together each
                user has, from 1 on; 0 where one is not known.
            queries: [num_rows, dim].
        """
        counted = np.pad(np.asarray(queries, np.float64), [(0, 0), (0, 1)], constant_values=1.0)
        self.parts.append(_summed(users, values, counted))

    def means(self, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which values each user has, [num_users, num_rows], and the mean queries.

        Column 0, of what is not known, is 0 throughout.

        Args:
            num_rows: one more than there are values.
        """
        _, values, sums = _summed(*map(np.concatenate, zip(*self.parts)))
        has = np.zeros([len(values), num_rows])
        np.put_along_axis(has, values, 1.0, axis=1)
        has[:, 0] = 0.0
        return has, sums[:, :-1] / sums[:, -1:]


def _summed(users: np.ndarray, values: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each user once, with the values, and the sum of the numbers."""
    each, first, place = np.unique(users, return_index=True, return_inverse=True)
    sums = np.zeros([len(each), numbers.shape[1]])
    np.add.at(sums, place, numbers)
    return each, values[first], sums
