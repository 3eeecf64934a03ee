"""Calibration against sums by hand and planted data."""

import math

import numpy as np
import pytest

from tfrs_distill.evaluation.calibration_error import calibration


def draw(probabilities, seed=0):
    random = np.random.default_rng(seed)
    return np.array([random.choice(len(p), p=p) for p in probabilities])


def test_metrics_by_hand():
    # 3/4 on item 0 and 1/4 on item 1, for 8 queries of which item 0 came next in 4.
    logits = np.tile([math.log(3), 0.0], (8, 1)).astype(np.float32)
    result = calibration(logits, np.array([0, 1] * 4))
    expected = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    assert result["negative_log_likelihood"] == pytest.approx(expected, rel=1e-6)
    # It expects 6 and 2 next items; there were 4 and 4: 2 + 2 of 8.
    assert result["expected_calibration_error"] == pytest.approx(0.5, rel=1e-6)
    assert [
        (told_bin["expected_items"], told_bin["observed_items"]) for told_bin in result["bins"]
    ] == [pytest.approx((2.0, 4)), pytest.approx((6.0, 4))]
    assert [(b["predicted"], b["observed"]) for b in result["bins"]] == [
        pytest.approx((0.25, 0.5)),
        pytest.approx((0.75, 0.5)),
    ]
    # No prediction is better than a coin here, which is what an infinite temperature gives.
    assert result["temperature"] == pytest.approx(1e4, rel=1e-6)  # the highest temperature searched
    assert result["negative_log_likelihood_at_temperature"] == pytest.approx(math.log(2), abs=1e-4)
    # (ln 3) / 10,000 off a coin: p = .500027, of which 4 * .000027 * 4 / 8 is misplaced.
    assert result["expected_calibration_error_at_temperature"] == pytest.approx(5.5e-5, rel=0.01)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_planted_temperature_is_found(temperature):
    random = np.random.default_rng(1)
    true_logits = random.normal(size=(4000, 20)) * 2
    probabilities = np.exp(true_logits) / np.exp(true_logits).sum(axis=1, keepdims=True)
    labels = draw(probabilities)
    result = calibration((true_logits * temperature).astype(np.float32), labels)
    # 4,000 draws fix the temperature to about 1 / sqrt(4000 * variance of a logit, about 2).
    assert result["temperature"] == pytest.approx(temperature, rel=0.05)
    # Ten bins of 400 expected next items each, off by sqrt(2 * 400 / pi), 16, on average: .04 of
    # all; twice that is far from chance.
    assert result["expected_calibration_error_at_temperature"] < 0.08
    if temperature != 1:
        assert result["expected_calibration_error"] > 0.1
        assert result["negative_log_likelihood"] > result["negative_log_likelihood_at_temperature"]


def test_the_best_temperature_is_the_best_of_a_grid():
    random = np.random.default_rng(2)
    logits = random.normal(size=(60, 9)).astype(np.float32) * 3
    labels = draw(np.exp(logits / 2) / np.exp(logits / 2).sum(axis=1, keepdims=True), seed=3)

    def nll(temperature):
        scaled = logits.astype(np.float64) / temperature
        return (np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(60), labels]).mean()

    result = calibration(logits, labels)
    grid = np.geomspace(0.2, 20, 2001)
    best = grid[np.argmin([nll(t) for t in grid])]
    assert result["temperature"] == pytest.approx(best, rel=0.003)  # the grid's step
    assert result["negative_log_likelihood"] == pytest.approx(nll(1.0), rel=1e-6)
    assert result["negative_log_likelihood_at_temperature"] == pytest.approx(
        nll(result["temperature"]), rel=1e-6
    )


def test_bins_hold_a_tenth_of_the_probability_each_and_everything_once():
    logits = np.random.default_rng(4).normal(size=(300, 40)).astype(np.float32)
    labels = np.arange(300) % 40
    bins = calibration(logits, labels)["bins"]
    assert len(bins) == 10
    expected = np.array([result["expected_items"] for result in bins])
    # 30 of 300 each; an entry of at most exp(4) / 40 may fall on either side of an edge.
    np.testing.assert_allclose(expected, 30, atol=1.0)
    assert expected.sum() == pytest.approx(300)
    assert sum(result["observed_items"] for result in bins) == 300
    predicted = [result["predicted"] for result in bins]
    assert predicted == sorted(predicted)


def test_the_scale_of_logits_does_not_overflow():
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], np.float32)
    result = calibration(logits, np.array([0, 1]))
    assert result["negative_log_likelihood"] == pytest.approx(0.0, abs=1e-9)
    # Always correct: the temperature is low enough for loss 0, in float64 below 10,000 / 745.
    assert 0 < result["temperature"] < 14
    assert result["negative_log_likelihood_at_temperature"] == 0


def test_a_teacher_with_equal_probabilities_is_calibrated():
    result = calibration(np.zeros((50, 8), np.float32), np.arange(50) % 8)
    assert result["negative_log_likelihood"] == pytest.approx(math.log(8))
    assert result["expected_calibration_error"] == pytest.approx(0.0, abs=1e-9)
    assert len(result["bins"]) == 1  # equal probabilities stay together


def test_a_value_belongs_to_the_bin_of_the_middle_of_its_mass():
    # 5 % of the mass from 0 to .05, 7 % from .05 to .12: middles .025 and .085, both in the first
    # tenth; 88 % with the middle .56.
    logits = np.tile(np.log([5.0, 7.0, 88.0]), (100, 1))
    bins = calibration(logits, np.zeros(100, int))["bins"]
    assert [result["expected_items"] for result in bins] == pytest.approx([12, 88])
    assert [result["observed_items"] for result in bins] == [100, 0]
