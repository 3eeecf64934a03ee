"""Reliability bins and the expected calibration error: by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics

# Bins of a quarter: [0, .25] has 3 rows, (.25, .5] one, (.5, .75] none, (.75, 1] two.
LABELS = [0, 0, 1, 0, 1, 1]
PROBABILITIES = [0.0, 0.1, 0.25, 0.5, 0.8, 1.0]


def test_by_hand():
    points = metrics.reliability(LABELS, PROBABILITIES, num_bins=4)
    np.testing.assert_allclose(points.predicted, [0.35 / 3, 0.5, 0.9])
    np.testing.assert_allclose(points.observed, [1 / 3, 0.0, 1.0])
    np.testing.assert_array_equal(points.weight, [3, 1, 2])
    error = metrics.expected_calibration_error(LABELS, PROBABILITIES, num_bins=4)
    assert error == pytest.approx((0.65 + 0.5 + 0.2) / 6)


def test_by_hand_with_weights():
    weights = [1, 1, 2, 0, 1, 3]
    points = metrics.reliability(LABELS, PROBABILITIES, num_bins=4, weights=weights)
    np.testing.assert_allclose(points.predicted, [0.6 / 4, 3.8 / 4])
    np.testing.assert_allclose(points.observed, [2 / 4, 1.0])
    np.testing.assert_array_equal(points.weight, [4, 4])
    error = metrics.expected_calibration_error(LABELS, PROBABILITIES, num_bins=4, weights=weights)
    assert error == pytest.approx((1.4 + 0.2) / 8)


@pytest.mark.parametrize("num_bins", [1, 7, 10])
def test_equal_to_scikit_learn(num_bins):
    random = np.random.default_rng(0)
    probabilities = np.append(random.random(200), np.linspace(0, 1, num_bins + 1))  # edges, too
    labels = random.random(len(probabilities)) < probabilities**2
    points = metrics.reliability(labels, probabilities, num_bins=num_bins)
    observed, predicted = calibration_curve(labels, probabilities, n_bins=num_bins)
    np.testing.assert_allclose(points.observed, observed, rtol=1e-12)
    np.testing.assert_allclose(points.predicted, predicted, rtol=1e-12)
    expected = np.average(np.abs(observed - predicted), weights=points.weight)
    error = metrics.expected_calibration_error(labels, probabilities, num_bins=num_bins)
    assert error == pytest.approx(expected, rel=1e-12)


def test_ten_bins_by_default():
    middles = np.arange(10) / 10 + 0.05
    points = metrics.reliability(np.ones(10), middles)
    np.testing.assert_allclose(points.predicted, middles)
    assert metrics.expected_calibration_error(np.ones(10), middles) == pytest.approx(0.5)


def test_planted_calibration_is_found():
    random = np.random.default_rng(1)
    probabilities = random.random(20000)
    labels = random.random(20000) < probabilities
    # Each bin's mean of 2000 rows is off by at most about 2 * sqrt(.25 / 2000) = .02.
    assert metrics.expected_calibration_error(labels, probabilities) < 0.02
    assert metrics.expected_calibration_error(labels, 1 - probabilities) == pytest.approx(
        0.5, abs=0.02
    )


def test_a_row_of_weights_for_each_resample():
    random = np.random.default_rng(2)
    labels, probabilities = random.integers(0, 2, 30), random.random(30)
    weights = random.integers(0, 3, (5, 30)).astype(float)
    np.testing.assert_allclose(
        metrics.expected_calibration_error(labels, probabilities, weights=weights),
        [metrics.expected_calibration_error(labels, probabilities, weights=row) for row in weights],
        rtol=1e-12,
    )


def test_invalid_input_is_refused():
    with pytest.raises(InputError, match="within 0 and 1. Received: 1.2 in row 0"):
        metrics.reliability([1], [1.2])
    with pytest.raises(InputError, match="Labels must be 0 or 1"):
        metrics.expected_calibration_error([0.5], [0.5])
    with pytest.raises(ValueError, match="`num_bins` must be at least 1. Received: num_bins=0"):
        metrics.reliability([1], [0.2], num_bins=0)
