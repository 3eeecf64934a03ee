"""RMSE, MAE and log loss: by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as peer

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics


@pytest.fixture
def ratings():
    random = np.random.default_rng(0)
    return random.integers(1, 6, 40).astype(float), random.uniform(1, 5, 40), random.random(40)


@pytest.fixture
def clicks():
    random = np.random.default_rng(1)
    return random.integers(0, 2, 40), random.random(40), random.random(40)


def test_by_hand():
    labels, predictions = [5.0, 1.0, 3.0], [4.0, 3.0, 3.0]
    assert metrics.rmse(labels, predictions) == pytest.approx(math.sqrt(5 / 3))
    assert metrics.mae(labels, predictions) == pytest.approx(1.0)
    assert metrics.rmse(labels, predictions, [4, 0, 1]) == pytest.approx(math.sqrt(4 / 5))
    assert metrics.mae(labels, predictions, [4, 0, 1]) == pytest.approx(4 / 5)
    assert metrics.log_loss([1, 0], [0.25, 0.25]) == pytest.approx(math.log(16 / 3) / 2)
    assert metrics.log_loss([1, 0], [0.25, 0.25], [3, 1]) == pytest.approx(
        (3 * math.log(4) + math.log(4 / 3)) / 4
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_scikit_learn(ratings, clicks, weighted):
    labels, predictions, weights = ratings
    weights = weights if weighted else None
    assert metrics.rmse(labels, predictions, weights) == pytest.approx(
        peer.root_mean_squared_error(labels, predictions, sample_weight=weights), rel=1e-12
    )
    assert metrics.mae(labels, predictions, weights) == pytest.approx(
        peer.mean_absolute_error(labels, predictions, sample_weight=weights), rel=1e-12
    )
    labels, probabilities, _ = clicks
    assert metrics.log_loss(labels, probabilities, weights) == pytest.approx(
        peer.log_loss(labels, probabilities, sample_weight=weights), rel=1e-12
    )
    assert metrics.rmse(labels, probabilities, weights) ** 2 == pytest.approx(
        peer.brier_score_loss(labels, probabilities, sample_weight=weights), rel=1e-12
    )


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_certain_wrong_prediction_costs_as_in_scikit_learn(kind):
    labels, probabilities = [1, 0, 1, 0], np.array([0.0, 1.0, 1.0, 0.0], kind)
    expected = peer.log_loss(labels, probabilities)
    # 1 - eps is not 1 in the one and exactly 1 in the other: float32's eps is 1.2e-7.
    assert metrics.log_loss(labels, probabilities) == pytest.approx(expected, rel=2e-7)
    assert metrics.log_loss([1, 0], [0, 1]) == pytest.approx(-math.log(2.0**-52))  # whole numbers


def test_a_row_of_weights_for_each_resample(ratings, clicks):
    weights = np.random.default_rng(2).integers(0, 3, (5, 40)).astype(float)
    for metric, (labels, predictions, _) in (
        (metrics.rmse, ratings),
        (metrics.mae, ratings),
        (metrics.log_loss, clicks),
    ):
        values = metric(labels, predictions, weights)
        assert values.shape == (5,)
        expected = [metric(labels, predictions, row) for row in weights]
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_a_resample_without_a_row_is_nan():
    values = metrics.mae([1.0, 2.0], [0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(values, [1.0, np.nan])
    assert np.isnan(metrics.mae([1.0, 2.0], [0.0, 0.0], [[0.0, 0.0]])).tolist() == [True]


@pytest.mark.parametrize(
    ("metric", "labels", "predictions", "weights", "words"),
    [
        (metrics.rmse, [1.0], [1.0, 2.0], None, r"labels of shape \(1,\), predictions of shape"),
        (metrics.rmse, [[1.0]], [[1.0]], None, r"must both be \[num_rows\]"),
        (metrics.mae, [], [], None, "at least one row. Received: none"),
        (metrics.mae, [1.0, math.nan], [1.0, 1.0], None, "Labels must be finite.*nan in row 1"),
        (metrics.mae, [1.0, 1.0], [1.0, math.inf], None, "Predictions must be.*inf in row 1"),
        (metrics.log_loss, [1, 2], [0.5, 0.5], None, "Labels must be 0 or 1. Received: 2.0 in row"),
        (metrics.log_loss, [1, 0], [0.5, 1.5], None, "within 0 and 1. Received: 1.5 in row 1"),
        (metrics.log_loss, [1, 0], [-0.5, 0.5], None, "within 0 and 1. Received: -0.5 in row 0"),
        (metrics.log_loss, [1, 0], [0.5, math.nan], None, "within 0 and 1. Received: nan in row 1"),
        (metrics.rmse, [1.0], [1.0], [1.0, 2.0], r"Weights must be \[1\], one per row"),
        (metrics.rmse, [1.0, 2.0], [1.0, 2.0], [1.0, -1.0], "finite, at least 0, and not all 0"),
        (metrics.rmse, [1.0, 2.0], [1.0, 2.0], [1.0, math.nan], "finite, at least 0"),
        (metrics.rmse, [1.0, 2.0], [1.0, 2.0], [1.0, math.inf], "finite, at least 0"),
        (metrics.rmse, [1.0, 2.0], [1.0, 2.0], [0.0, 0.0], "not all 0"),
    ],
)
def test_invalid_rows_are_refused(metric, labels, predictions, weights, words):
    with pytest.raises(InputError, match=words):
        metric(labels, predictions, weights)
