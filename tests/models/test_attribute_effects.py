"""Effects of attributes on queries, against ridge regressions that hold out each user in turn."""

import numpy as np
import pytest

from tfrs_distill.models.attribute_effects import (
    PENALTIES,
    QueriesOfUsers,
    attribute_effects,
)


def planted(noise, seed=0):
    """Users with two attributes, of 2 and 3 values, some missing, and their mean queries."""
    random = np.random.default_rng(seed)
    of_each = [random.integers(0, size + 1, 40) for size in (2, 3)]
    has = np.concatenate([np.eye(size + 1)[of][:, 1:] for size, of in zip((2, 3), of_each)], 1)
    queries = has @ random.normal(size=[5, 4]) + noise * random.normal(size=[40, 4])
    values = np.stack([of_each[0], np.where(of_each[1] > 0, of_each[1] + 2, 0)], axis=1)
    return values, has, queries


def ridge(has, deviations, penalty):
    return np.linalg.solve(has.T @ has + penalty * np.eye(has.shape[1]), has.T @ deviations)


@pytest.mark.parametrize("noise", [0.01, 1.0, 30.0])
def test_it_is_the_ridge_regression_with_the_lowest_held_out_error(noise):
    values, has, queries = planted(noise)
    deviations = queries - queries.mean(axis=0)
    errors = []
    for penalty in PENALTIES:
        left_out = [
            deviations[user]
            - has[user] @ ridge(np.delete(has, user, 0), np.delete(deviations, user, 0), penalty)
            for user in range(len(has))
        ]
        errors.append(np.square(left_out).sum())
    best = PENALTIES[int(np.argmin(errors))]
    found = attribute_effects(values, 6, queries)
    np.testing.assert_allclose(found[1:], ridge(has, deviations, best), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(found[0], np.zeros(4))


def test_uninformative_attributes_have_almost_no_influence():
    random = np.random.default_rng(1)
    groups = random.integers(1, 3, [200, 1])
    queries = random.normal(size=[200, 8])
    assert np.abs(attribute_effects(groups, 3, queries)).max() < 0.05 * queries.std()


def test_the_means_of_users_over_several_batches_by_hand():
    collected = QueriesOfUsers()
    collected.add(np.array([7, 4, 7]), np.array([[1, 0], [2, 3], [1, 0]]), [[1.0], [5.0], [3.0]])
    collected.add(np.array([7]), np.array([[1, 0]]), [[8.0]])
    values, means = collected.means()
    assert values.tolist() == [[2, 3], [1, 0]]  # users 4 and 7
    assert means.tolist() == [[5.0], [4.0]]
