"""The overall score of a ranking student, by hand."""

import numpy as np
import pytest

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.row_score import next_item_ndcg, row_score
from tfrs_distill.models import Regression

NAN = np.nan


@pytest.mark.parametrize(
    ("scores", "rank"),
    [
        ([9.0, 1.0, 2.0, 3.0], 1),
        ([2.0, 3.0, 1.0, 0.0], 2),
        ([1.0, 1.0, 0.0, 1.0], 3),  # equal scores do not rank the row's item
        ([0.0, 0.0, 0.0, 0.0], 4),
        ([NAN, 1.0, 2.0, 3.0], 4),
        ([NAN, NAN, NAN, NAN], 4),
    ],
)
def test_ndcg_of_an_item_uses_its_worst_rank(scores, rank):
    found = [next_item_ndcg(np.array([scores]), np.array([1]), k)[0] for k in (3, 4)]
    expected = 1 / np.log2(1 + rank)
    np.testing.assert_allclose(found, [expected if rank <= 3 else 0.0, expected])


def test_a_row_without_an_item_has_ndcg_0():
    assert next_item_ndcg(np.array([[3.0, 2.0]]), np.array([0]), 2)[0] == 0.0


def rated(labels):
    rows = np.arange(len(labels), dtype=np.int32)
    return RankingExamples(
        users=rows, queries=rows, features={"item_id": rows}, labels={"rating": labels}
    )


def test_a_rating_score_is_the_error_in_standard_deviations():
    examples = rated(np.float32([1, 2, 3, 4]))  # deviation sqrt(5) / 2
    tasks = {"rating": Regression("rating", low=1, high=5)}
    found = row_score(tasks, {"rating": np.array([2.0, 3.0, 4.0, 5.0])}, examples, 10)
    assert found == pytest.approx(1 - 2 / np.sqrt(5))


def test_equal_ratings_are_refused():
    tasks = {"rating": Regression("rating", low=1, high=5)}
    with pytest.raises(
        InputError, match="Labels of 'rating' must differ.* 3 labels, all of them 3"
    ):
        row_score(tasks, {"rating": np.ones(3)}, rated(np.float32([3, 3, 3])), 10)
