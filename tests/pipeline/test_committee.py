"""Several list teachers combined, by hand."""

import numpy as np

from tfrs_distill.pipeline.list_teachers import Committee, standardised


class FixedTeacher:
    """A re-ranking teacher with fixed scores."""

    def __init__(self, *scores):
        self.values = np.array(scores, np.float32)

    def scores(self, histories, candidate_lists):
        assert self.values.shape == candidate_lists.shape and len(histories) == len(candidate_lists)
        return self.values


def test_scores_are_standardised_within_each_list_and_added():
    lists = np.array([[4, 7, 2], [3, 1, 0]])
    committee = Committee(
        [
            FixedTeacher([100.0, 200.0, 300.0], [5.0, 9.0, 777.0]),
            FixedTeacher([0.3, 0.1, 0.1], [4.0, 4.0, -777.0]),
        ]
    )
    scores = committee.scores(np.zeros([2, 5], np.int32), lists)
    step = 1.5**0.5  # 1 in deviations of (0, 1, 2), whose variance is 2/3
    third = 2**-0.5  # of (2/3, -1/3, -1/3), whose variance is 2/9, the last two are -1/sqrt(2)
    np.testing.assert_allclose(scores[0], [-step + 2 * third, -third, step - third], rtol=1e-5)
    np.testing.assert_allclose(scores[1, :2], [-1.0, 1.0], rtol=1e-6)  # the second has equal scores


def test_rows_of_a_query_need_not_be_adjacent():
    scores = standardised(np.array([1.0, 50.0, 5.0, 70.0]), np.array([8, 3, 8, 3]))
    assert scores.dtype == np.float32 and scores.tolist() == [-1.0, -1.0, 1.0, 1.0]


def test_differences_below_float32_precision_are_ignored():
    same = np.float32(1e4) + np.array([0.0, 0.001, 0.0], np.float32)
    assert standardised(same, np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
