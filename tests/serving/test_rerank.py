"""Combining the scores of two stages, by hand."""

import numpy as np

from tfrs_distill.serving.rerank import rerank

ITEMS = np.array([[5, 8, 2, 0], [9, 3, 0, 0]])
FIRST = np.array([[3.0, 2.0, 1.0, -np.inf], [0.5, 0.25, -np.inf, -np.inf]], np.float32)
SECOND = np.array([[0.1, 0.7, 0.7, 99.0], [1.0, 1.0, np.nan, 7.0]], np.float32)


def test_scores_are_added_and_ties_keep_the_order_of_the_list():
    scores, items = rerank(SECOND, FIRST, ITEMS)
    assert items.tolist() == [[8, 2, 5, 0], [9, 3, 0, 0]]
    assert scores.dtype == np.float32 and items.dtype == np.int32
    np.testing.assert_array_equal(
        scores, np.float32([[0.7, 0.7, 0.1, -np.inf], [1.0, 1.0, -np.inf, -np.inf]])
    )
    scores, items = rerank(SECOND, FIRST, ITEMS, weight=0.5, k=2)
    assert items.tolist() == [[8, 5], [9, 3]]
    np.testing.assert_allclose(scores, [[1.7, 1.6], [1.25, 1.125]], rtol=1e-6)
