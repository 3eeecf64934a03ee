"""What each attribute of a user says of the user's queries, by ridge regression."""

from __future__ import annotations

import numpy as np

PENALTIES = np.geomspace(1.0, 1e6, 13)  # in users


def attribute_effects(values: np.ndarray, num_rows: int, queries: np.ndarray) -> np.ndarray:
    """Return by how much the queries of users with each attribute value differ from the mean.

    `effects = (X'X + penalty I)^-1 X'(queries - mean)`, X being 1 where a user has a value: one
    that few users have is drawn to 0 as by `penalty` users of the mean. The penalty is that of
    `PENALTIES` with the least squared error when each user's queries are predicted without the
    user, which has a closed form: `residual / (1 - leverage)`. X is never made: of a million users
    and a thousand values it would take 8 GB.

    Args:
        values: int [num_users, num_attributes], which values each user has, each attribute's from
            other numbers; 0 where one is not known.
        num_rows: one more than there are values.
        queries: [num_users, dim], the mean of each user's query embeddings.

    Returns:
        Float64 [num_rows, dim]; row 0 is 0.

    Example: without a penalty the first two users would be at -1 and the others at 1.
    >>> queries = np.array([[3.0], [3.0], [5.0], [5.0]])
    >>> attribute_effects(np.array([[1], [1], [2], [2]]), 3, queries).round(3).tolist()
    [[0.0], [-0.667], [0.667]]
    """
    deviations = queries - queries.mean(axis=0)
    together, sums = np.zeros([num_rows, num_rows]), np.zeros([num_rows, queries.shape[1]])
    for one in values.T:
        np.add.at(sums, one, deviations)
        for other in values.T:
            np.add.at(together, (one, other), 1.0)
    together[0] = together[:, 0] = sums[0] = 0.0
    variances, directions = np.linalg.eigh(together)
    best, least = np.zeros_like(sums), np.inf
    for penalty in PENALTIES:
        inverse = directions / (variances + penalty) @ directions.T
        inverse[0] = inverse[:, 0] = 0.0
        effects = inverse @ sums
        leverage = np.zeros(len(values))
        residuals = deviations.copy()
        for one in values.T:
            residuals -= effects[one]
            for other in values.T:
                leverage += inverse[one, other]
        error = np.square(residuals / (1.0 - leverage[:, None])).sum()
        if error < least:
            best, least = effects, error
    return best


class QueriesOfUsers:
    """Collects query embeddings batch by batch, and computes their mean for each user."""

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

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each user's values, [num_users, num_attributes], and mean queries."""
        _, values, sums = _summed(*map(np.concatenate, zip(*self.parts)))
        return values, sums[:, :-1] / sums[:, -1:]


def _summed(users: np.ndarray, values: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each user once, with the values, and the sum of the numbers."""
    each, first, place = np.unique(users, return_index=True, return_inverse=True)
    sums = np.zeros([len(each), numbers.shape[1]])
    np.add.at(sums, place, numbers)
    return each, values[first], sums
