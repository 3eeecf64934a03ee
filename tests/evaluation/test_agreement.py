"""Overlap of lists and rank correlation, against SciPy's definition in NumPy."""

import numpy as np
import pytest

from tfrs_distill.evaluation.agreement import (
    centred_ranks,
    overlap_matrix,
    rank_correlation_matrix,
)
from tfrs_distill.evaluation.top_k import top_k_unseen

NUM_ITEMS = 7


def spearman(one, other):
    """Pearson's correlation of mean ranks, by counting, in float64."""

    def ranks(scores):
        return np.array([(scores < s).sum() + (scores == s).sum() / 2 for s in scores])

    return np.corrcoef(ranks(one), ranks(other))[0, 1]


def ranked(scores, histories):
    best, items = top_k_unseen(scores, histories, NUM_ITEMS)
    return centred_ranks(best, items, histories, NUM_ITEMS)


def test_overlap_by_hand():
    one = np.array([[1, 2, 3, 4], [5, 6, 7, 1]])
    other = np.array([[4, 9, 8, 1], [1, 7, 6, 5]])
    assert overlap_matrix([one, other]) == [[1.0, 0.75], [0.75, 1.0]]


def test_rank_correlation_is_spearmans_over_unseen_items():
    random = np.random.default_rng(0)
    # Whole numbers, so that some are tied.
    one, other, third = random.integers(0, 4, (3, 5, NUM_ITEMS + 1)).astype(np.float32)
    histories = [np.array(h, np.int32) for h in ([], [1], [3, 7], [2], [4, 5, 6])]
    expected = np.eye(3)
    for a, first in enumerate((one, other, third)):
        for b, second in enumerate((one, other, third)):
            rhos = []
            for row, history in enumerate(histories):
                left = np.setdiff1d(np.arange(1, NUM_ITEMS + 1), history)
                rhos.append(spearman(first[row, left], second[row, left]))
            expected[a, b] = np.nanmean(rhos)
    matrix = rank_correlation_matrix([ranked(s, histories) for s in (one, other, third)])
    np.testing.assert_allclose(matrix, expected, atol=1e-6)


def test_opposite_orders_correlate_by_minus_1():
    scores = np.arange(16.0).reshape(2, 8)
    histories = [np.array([2], np.int32), np.array([], np.int32)]
    matrix = rank_correlation_matrix([ranked(scores, histories), ranked(-scores, histories)])
    np.testing.assert_allclose(matrix, [[1, -1], [-1, 1]], atol=1e-6)


def test_without_a_preferred_item_there_is_no_correlation():
    scores = np.arange(16.0).reshape(2, 8)
    histories = [np.array([], np.int32)] * 2
    flat = np.ones_like(scores)
    matrix = rank_correlation_matrix([ranked(scores, histories), ranked(flat, histories)])
    assert matrix == [[pytest.approx(1), None], [None, None]]
    sometimes = np.stack([scores[0], flat[1]])
    matrix = rank_correlation_matrix([ranked(scores, histories), ranked(sometimes, histories)])
    assert matrix[0][1] == pytest.approx(1)  # of the query for which it does


def test_items_missing_in_a_list_share_the_last_rank():
    # 5 items can be ranked; 2 and 6 are listed, 1, 3 and 5 share ranks 2, 3, 4; 4 and 7 are
    # excluded.
    ranks = centred_ranks(
        np.array([[9.0, 8.0, 7.0, -np.inf]]), np.array([[2, 7, 6, 0]]), [np.array([4, 7])], 7
    )
    assert ranks.tolist() == [[0, 1, -2, 1, 0, 1, -1, 0]]


def test_without_any_list_all_ranks_are_equal():
    ranks = centred_ranks(np.array([[-np.inf]]), np.array([[0]]), [np.array([3])], 4)
    np.testing.assert_array_equal(ranks, np.zeros((1, 5)))
