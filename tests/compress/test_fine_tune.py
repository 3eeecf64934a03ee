"""Fine-tuning never makes a compressed student worse."""

import numpy as np
import pytest
from planted_student import catalogue_of

from tfrs_distill.compress.fine_tune import fine_tune_unless_worse
from tfrs_distill.compress.measures import ListMeasure
from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.models import RetrievalStudent


@pytest.mark.parametrize("gets_worse", [True, False])
def test_the_better_weights_are_kept(gets_worse):
    student = RetrievalStudent.from_history(num_items=40, max_history=3, embedding_dim=4, seed=0)
    histories = tuple(np.array([item, item + 1]) for item in range(1, 31))
    _, best = ModelScorer(student)(histories, 1)  # so these weights have an NDCG of 1
    queries = Queries(catalogue_of(40), np.arange(30), histories, tuple(best))
    good = student.get_weights()
    bad = [-values for values in good]

    student.set_weights(good if gets_worse else bad)

    def fine_tune(student):
        student.set_weights(bad if gets_worse else good)
        return "curves"

    before, after, returned = fine_tune_unless_worse(
        student, fine_tune, ListMeasure(student, queries, 5, 40).of_student
    )
    assert (after, returned) == (pytest.approx(1.0), "curves")
    assert (before == after) == gets_worse
    assert all(np.array_equal(a, b) for a, b in zip(good, student.get_weights()))
