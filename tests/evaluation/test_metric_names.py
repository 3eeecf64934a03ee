"""Each metric's name, direction and format are stored together, and are found by its key."""

import numpy as np
import pytest

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.evaluation import evaluate_ranking
from tfrs_distill.evaluation.metrics import METRICS
from tfrs_distill.models.tasks import Binary, Regression


def test_the_metrics_for_which_lower_is_better():
    lower = [metric.name for metric in METRICS.values() if metric.lower_is_better]
    assert lower == [
        *("Gini", "Popularity lift", "Popularity"),
        *("RMSE", "MAE", "Log loss", "ECE"),
    ]
    shares = [key for key, metric in METRICS.items() if metric.is_share]
    assert shares == ["coverage", "overlap", "popularity_lift"]
    assert all(key == metric.key for key, metric in METRICS.items())


def test_every_metric_of_rows_has_a_name():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(5), 6)
    labels = {"like": np.tile([0.0, 1.0], 15), "rating": np.tile([2.0, 5.0], 15)}
    features = {columns.ITEM_ID: np.ones(30, np.int32)}
    examples = RankingExamples(features, labels, users=users, queries=users)
    predictions = {"like": rng.random(30), "rating": 5 * rng.random(30)}
    tasks = [Binary("like"), Regression("rating", low=1.0, high=5.0)]
    found = evaluate_ranking(lambda _: predictions, examples, tasks, num_samples=5).metrics
    keys = {key.partition("@")[0] for result in found.values() for key in result}
    assert keys >= {"auc", "gauc", "recall", "ndcg", "rmse", "mae"}
    assert keys <= METRICS.keys()


@pytest.mark.parametrize(
    "key, difference, gain", [("auc", 0.1, 0.1), ("rmse", 0.1, -0.1), ("log_loss", -0.2, 0.2)]
)
def test_a_gain_is_positive_if_the_first_is_better(key, difference, gain):
    assert METRICS[key].gain(difference) == gain
