"""Accuracy, precision, recall, F1 and the confusion matrix: by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as peer

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics

LABELS = [1, 1, 1, 0, 0, 0, 0, 0]
PROBABILITIES = [0.9, 0.5, 0.2, 0.7, 0.1, 0.3, 0.4, 0.0]  # 1/2 counts as positive


def test_by_hand():
    assert metrics.confusion_matrix(LABELS, PROBABILITIES).tolist() == [[4, 1], [1, 2]]
    assert metrics.accuracy(LABELS, PROBABILITIES) == 6 / 8
    assert metrics.precision_recall_f1(LABELS, PROBABILITIES) == pytest.approx(
        (2 / 3, 2 / 3, 2 / 3)
    )


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.8, [[5, 0], [2, 1]]), (0.2, [[2, 3], [0, 3]]), (0, [[0, 5], [0, 3]])],
)
def test_a_threshold_changes_the_decisions(threshold, expected):
    assert metrics.confusion_matrix(LABELS, PROBABILITIES, threshold).tolist() == expected
    (_, wrong), (missed, found) = expected
    precision, recall, f1 = metrics.precision_recall_f1(LABELS, PROBABILITIES, threshold)
    assert precision == pytest.approx(found / (found + wrong))
    assert recall == pytest.approx(found / 3)
    assert f1 == pytest.approx(2 * found / (2 * found + wrong + missed))
    right = np.trace(expected)
    assert metrics.accuracy(LABELS, PROBABILITIES, threshold) == pytest.approx(right / 8)


@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_scikit_learn(weighted):
    random = np.random.default_rng(0)
    labels, probabilities = random.integers(0, 2, 60), random.random(60)
    weights = random.random(60) if weighted else None
    decisions = probabilities >= 0.5
    np.testing.assert_allclose(
        metrics.confusion_matrix(labels, probabilities, weights=weights),
        peer.confusion_matrix(labels, decisions, sample_weight=weights),
        rtol=1e-12,
    )
    assert metrics.accuracy(labels, probabilities, weights=weights) == pytest.approx(
        peer.accuracy_score(labels, decisions, sample_weight=weights), rel=1e-12
    )
    expected = [
        score(labels, decisions, sample_weight=weights)
        for score in (peer.precision_score, peer.recall_score, peer.f1_score)
    ]
    assert metrics.precision_recall_f1(labels, probabilities, weights=weights) == pytest.approx(
        expected, rel=1e-12
    )


def test_without_a_positive_prediction_precision_is_0():
    assert metrics.precision_recall_f1([1, 0], [0.1, 0.1]) == (0.0, 0.0, 0.0)


def test_without_a_positive_label_recall_is_an_error():
    with pytest.raises(InputError, match="Recall needs rows whose label is 1. .* all 0"):
        metrics.precision_recall_f1([0, 0], [0.1, 0.9])
    with pytest.raises(InputError, match="or of weight 0"):
        metrics.precision_recall_f1([1, 0], [0.1, 0.9], weights=[0.0, 1.0])


def test_a_row_of_weights_for_each_resample():
    weights = np.random.default_rng(2).integers(0, 3, (5, 8)).astype(float)
    weights[:, 0] = 1.0
    counts = metrics.confusion_matrix(LABELS, PROBABILITIES, weights=weights)
    result = metrics.precision_recall_f1(LABELS, PROBABILITIES, weights=weights)
    accuracies = metrics.accuracy(LABELS, PROBABILITIES, weights=weights)
    for row in range(5):
        given = {"weights": weights[row]}
        np.testing.assert_array_equal(
            counts[row], metrics.confusion_matrix(LABELS, PROBABILITIES, **given)
        )
        assert accuracies[row] == metrics.accuracy(LABELS, PROBABILITIES, **given)
        expected = metrics.precision_recall_f1(LABELS, PROBABILITIES, **given)
        assert [values[row] for values in result] == list(expected)


def test_a_resample_without_a_label_is_nan_and_one_without_a_positive_is_0():
    weights = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    result = metrics.precision_recall_f1([1, 0], [0.1, 0.1], weights=weights)
    np.testing.assert_array_equal(result.precision, [np.nan, 0.0, 0.0])
    np.testing.assert_array_equal(result.recall, [np.nan, 0.0, 0.0])
    np.testing.assert_array_equal(result.f1, [np.nan, 0.0, 0.0])


def test_invalid_probabilities_are_refused():
    with pytest.raises(InputError, match="Probabilities must be within 0 and 1. Received: 3.0"):
        metrics.accuracy([1, 0], [3.0, 0.5])
    with pytest.raises(InputError, match="Labels must be 0 or 1"):
        metrics.confusion_matrix([5, 0], [0.5, 0.5])
