"""The map of item vectors and their neighbours, against plain NumPy and planted rotations."""

import numpy as np
import pytest

from tfrs_distill.evaluation.item_space import (
    neighbour_overlap,
    principal_components,
    turned_to,
)


def vectors(seed=0, num_items=40, dim=6):
    random = np.random.default_rng(seed)
    return random.normal(size=[num_items, dim]) * np.arange(1, dim + 1)


def test_the_coordinates_are_those_of_a_singular_value_decomposition():
    rows = vectors()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    found, share = principal_components(rows)
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :2] * sizes[:2]), atol=1e-12)
    assert share == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum(), rel=1e-12)
    for axis in range(2):  # the entry of the largest size is positive
        of_axis = centred.T @ found[:, axis]
        assert of_axis[np.abs(of_axis).argmax()] > 0


def test_the_map_uses_directions_alone_and_has_fixed_signs():
    rows = vectors()
    found, share = principal_components(rows)
    scaled = principal_components(rows * np.linspace(0.1, 9, len(rows))[:, None])
    np.testing.assert_allclose(scaled[0], found, atol=1e-12)
    assert scaled[1] == pytest.approx(share)
    in_other_order = principal_components(rows[::-1])[0][::-1]
    np.testing.assert_allclose(in_other_order, found, atol=1e-12)


def test_vectors_that_do_not_vary_have_a_map_without_a_share():
    found, share = principal_components(np.zeros([3, 4]))
    assert not found.any() and share == 0.0
    assert principal_components(np.array([[2.0], [-3.0]]))[0].tolist() == [[1, 0], [-1, 0]]


@pytest.mark.parametrize("mirror", [[1, 1], [1, -1]])
def test_a_rotated_or_mirrored_map_is_aligned(mirror):
    one = principal_components(vectors())[0]
    angle = 0.7
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = 3.0 * one @ turn * mirror
    np.testing.assert_allclose(turned_to(turned, one), 3.0 * one, atol=1e-12)


def test_the_overlap_is_that_of_sorted_cosines():
    one, other, rows, k = vectors(0), vectors(1, dim=3), np.array([0, 7, 39]), 4
    shares = []
    for row in rows:
        nearest = []
        for model in (one, other):
            cosines = model @ model[row] / np.linalg.norm(model, axis=1)
            nearest.append({item for item in np.argsort(-cosines)[: k + 1] if item != row})
        shares.append(len(nearest[0] & nearest[1]) / k)
    assert neighbour_overlap(one, other, rows, k) == pytest.approx(np.mean(shares))
    assert neighbour_overlap(one, one * 2.0, rows, k) == 1.0
