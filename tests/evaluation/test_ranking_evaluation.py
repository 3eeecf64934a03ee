"""Metrics of ranking models: against scikit-learn, intervals, paired differences, bad input."""

import json

import numpy as np
import pytest
from sklearn import metrics as peer

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import compare, evaluate_ranking, metrics
from tfrs_distill.models.features import IdFeature, ItemFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RatingDistribution,
    Regression,
)

LIKE, RATING = Binary("like"), Regression("rating", low=1, high=5)
BINARY_METRICS = (
    "auc gauc log_loss accuracy precision recall f1 expected_calibration_error ndcg@10".split()
)


def rows_of(users, **labels):
    """Examples of these users and labels; the item ids are row numbers."""
    users = np.array(users)
    features = {"item_id": np.arange(1, len(users) + 1)}
    labels = {task: np.array(values, float) for task, values in labels.items()}
    return RankingExamples(features, labels, users=users, queries=np.zeros(len(users), int))


@pytest.fixture
def planted():
    """300 rows of 40 users; some rows have no label for a task."""
    random = np.random.default_rng(0)
    users, rating = random.integers(0, 40, 300), random.integers(1, 6, 300).astype(float)
    like = (rating >= 4).astype(float)
    rating[::7], like[::5] = np.nan, np.nan
    return rows_of(users, rating=rating, like=like)


def guesser(noise, seed):
    """A model that predicts the ratings approximately."""

    def predict(examples):
        random = np.random.default_rng(seed)
        rating = np.nan_to_num(examples.labels["rating"], nan=3.0)
        guess = np.clip(rating + noise * random.normal(size=len(examples)), 1, 5)
        return {"rating": guess, "like": (guess - 1) / 4}

    return predict


def by_user(score, labels, predictions, users):
    """A score of each user's rows with its row count, where both labels occur."""
    values, sizes = [], []
    for user in np.unique(users):
        rows = users == user
        if 0 < labels[rows].mean() < 1:
            values.append(score(labels[rows], predictions[rows]))
            sizes.append(rows.sum())
    return np.array(values), np.array(sizes)


def test_a_binary_task_equals_scikit_learn(planted):
    result = evaluate_ranking(guesser(1.0, 1), planted, [LIKE], num_samples=20)
    there = ~np.isnan(planted.labels["like"])
    labels, users = planted.labels["like"][there], planted.users[there]
    predictions = guesser(1.0, 1)(planted)["like"][there]
    decisions = predictions >= 0.5
    areas, sizes = by_user(peer.roc_auc_score, labels, predictions, users)
    gains, _ = by_user(
        lambda *pair: peer.ndcg_score([pair[0]], [pair[1]], k=10), labels, predictions, users
    )
    expected = {
        "auc": peer.roc_auc_score(labels, predictions),
        "gauc": np.average(areas, weights=sizes),
        "log_loss": peer.log_loss(labels, predictions),
        "accuracy": peer.accuracy_score(labels, decisions),
        "precision": peer.precision_score(labels, decisions),
        "recall": peer.recall_score(labels, decisions),
        "f1": peer.f1_score(labels, decisions),
        "expected_calibration_error": metrics.expected_calibration_error(labels, predictions),
        "ndcg@10": gains.mean(),
    }
    assert result.metrics["like"] == pytest.approx(expected, rel=1e-9)
    assert list(result.metrics["like"]) == BINARY_METRICS
    like = result.tasks["like"]
    np.testing.assert_array_equal(like.confusion_matrix, peer.confusion_matrix(labels, decisions))
    points = metrics.reliability(labels, predictions)
    for one, other in zip(like.reliability, points):
        np.testing.assert_array_equal(one, other)
    assert (like.num_rows, like.num_users) == (len(labels), len(np.unique(users)))
    assert like.num_users_skipped == like.num_users - len(areas) > 0


@pytest.mark.parametrize("task", [RATING, Ordinal("rating"), RatingDistribution("rating")])
@pytest.mark.parametrize(("threshold", "given"), [(4.0, {}), (3.0, {"rating_threshold": 3.0})])
def test_a_rating_task_equals_scikit_learn(planted, task, threshold, given):
    result = evaluate_ranking(guesser(1.0, 2), planted, [task], num_samples=20, **given)
    there = ~np.isnan(planted.labels["rating"])
    labels, users = planted.labels["rating"][there], planted.users[there]
    predictions = guesser(1.0, 2)(planted)["rating"][there]
    areas, sizes = by_user(peer.roc_auc_score, labels >= threshold, predictions, users)
    expected = {
        "rmse": peer.root_mean_squared_error(labels, predictions),
        "mae": peer.mean_absolute_error(labels, predictions),
        "auc": peer.roc_auc_score(labels >= threshold, predictions),
        "gauc": np.average(areas, weights=sizes),
    }
    assert result.metrics["rating"] == pytest.approx(expected, rel=1e-6)  # labels are float32
    assert result.tasks["rating"].confusion_matrix is None
    assert result.tasks["rating"].reliability is None
    assert result.tasks["rating"].num_users_skipped == result.tasks["rating"].num_users - len(areas)


def test_intervals_resample_whole_users(planted):
    result = evaluate_ranking(guesser(1.0, 1), planted, [RATING, LIKE], num_samples=200, seed=5)
    there = ~np.isnan(planted.labels["like"])
    labels, predictions = planted.labels["like"][there], guesser(1.0, 1)(planted)["like"][there]
    samples = metrics.cluster_bootstrap(
        lambda w: metrics.auc(labels, predictions, w[:, there]),
        planted.users,
        num_samples=200,
        seed=5,
    )
    assert result.intervals["like"]["auc"] == metrics.percentile_interval(samples)
    rating = ~np.isnan(planted.labels["rating"])
    errors = np.abs(guesser(1.0, 1)(planted)["rating"] - planted.labels["rating"])[rating]
    samples = metrics.cluster_bootstrap(
        lambda w: w[:, rating] @ errors / w[:, rating].sum(axis=1),
        planted.users,
        num_samples=200,
        seed=5,
    )
    assert result.intervals["rating"]["mae"] == pytest.approx(
        metrics.percentile_interval(samples), rel=1e-6
    )
    for task, values in result.metrics.items():
        for name, value in values.items():
            low, high = result.intervals[task][name]
            assert low < high, (task, name)
            if name != "expected_calibration_error":  # resampling adds to it
                assert low < value < high, (task, name)


def test_a_planted_difference_is_significant_and_no_difference_is_not(planted):
    tasks = [RATING, LIKE]
    good, bad, other = (
        evaluate_ranking(guesser(noise, seed), planted, tasks)
        for noise, seed in ((0.5, 1), (3.0, 1), (0.5, 2))
    )
    difference, low, high = compare(good, bad, "like", "gauc")
    assert difference == good.metrics["like"]["gauc"] - bad.metrics["like"]["gauc"]
    assert 0 < low < difference < high
    assert compare(bad, good, "like", "gauc") == pytest.approx((-difference, -high, -low))
    assert compare(good, bad, "rating", "rmse").high < 0
    assert compare(good, good, "rating", "mae") == (0.0, 0.0, 0.0)
    # Two models of equal quality: neither is better beyond its interval.
    assert (
        compare(good, other, "rating", "rmse").low < 0 < compare(good, other, "rating", "rmse").high
    )


def test_a_difference_is_paired(planted):
    def worse(examples):  # each error is larger by the same
        return {"rating": guesser(1.0, 1)(examples)["rating"]}

    def shifted(examples):
        labels = np.nan_to_num(examples.labels["rating"], nan=3.0)
        errors = worse(examples)["rating"] - labels
        return {"rating": labels + errors + 0.1 * np.where(errors < 0, -1, 1)}

    one, other = (evaluate_ranking(model, planted, [RATING]) for model in (shifted, worse))
    assert compare(one, other, "rating", "mae") == pytest.approx((0.1, 0.1, 0.1), rel=1e-3)
    low, high = one.intervals["rating"]["mae"]
    assert high - low > 0.05


def test_only_evaluations_of_the_same_rows_can_be_compared(planted):
    here = evaluate_ranking(guesser(1.0, 1), planted, [LIKE], num_samples=20)
    for others in (
        evaluate_ranking(guesser(1.0, 1), planted.subset(np.arange(200)), [LIKE], num_samples=20),
        evaluate_ranking(guesser(1.0, 1), planted, [LIKE], num_samples=20, seed=1),
        evaluate_ranking(guesser(1.0, 1), planted, [LIKE], num_samples=21),
    ):
        with pytest.raises(ValueError, match="same rows, labels and resamples"):
            compare(here, others, "like", "auc")
    with pytest.raises(ValueError, match="no metric 'rmse' of task 'like'.*'accuracy'"):
        compare(here, here, "like", "rmse")
    with pytest.raises(ValueError, match=r"no metric 'auc' of task 'click'. Tasks: \['like'\]"):
        compare(here, here, "click", "auc")


@pytest.mark.parametrize(
    "other", [rows_of([1, 1, 2, 2], like=[0, 1, 1, 0]), rows_of([1, 2, 2, 1], like=[1, 0, 1, 0])]
)
def test_other_labels_or_users_of_the_same_rows_cannot_be_compared(other):
    here = rows_of([1, 1, 2, 2], like=[1, 0, 1, 0])
    evaluations = [
        evaluate_ranking(lambda _: {"like": np.full(4, 0.5)}, examples, [LIKE], num_samples=20)
        for examples in (here, other)
    ]
    with pytest.raises(ValueError, match="same rows, labels and resamples"):
        compare(*evaluations, "like", "auc")


def test_a_model_predicts_batch_by_batch_in_order(planted):
    model = RankingModel(
        [IdFeature("user_id", 40, 4, "query", seed=0), ItemFeature(300, 4, seed=1)],
        [LIKE, RATING],
        hidden_units=(8,),
        seed=0,
    )
    output = model.predictions(next(iter(planted.batches(300))))
    expected = evaluate_ranking(
        lambda _: {task: values.numpy() for task, values in output.items()},
        planted,
        [LIKE, RATING],
        num_samples=20,
    )
    result = evaluate_ranking(model, planted, model.tasks.values(), num_samples=20, batch_size=64)
    for task in ("like", "rating"):
        # A product of float32 matrices may be summed in another order in another batch size.
        assert result.metrics[task] == pytest.approx(expected.metrics[task], rel=1e-4)


def test_without_a_user_with_both_classes_there_is_no_gauc():
    examples = rows_of([1, 2, 3, 4], like=[1, 0, 1, 0], rating=[5, 4, 5, 4])
    predict = {"like": np.array([0.9, 0.2, 0.4, 0.6]), "rating": np.full(4, 4.5)}
    result = evaluate_ranking(lambda _: predict, examples, [LIKE, RATING], num_samples=50)
    assert set(result.metrics["like"]) == set(BINARY_METRICS) - {"gauc", "ndcg@10"}
    assert result.metrics["rating"] == {"rmse": 0.5, "mae": 0.5}  # all are 4 or better
    assert result.tasks["like"].num_users_skipped == result.tasks["like"].num_users == 4
    # Some resamples of 4 users lack a class: the interval is of the others.
    assert np.isnan(result.tasks["like"].samples["auc"]).any()
    assert np.isfinite(result.intervals["like"]["auc"]).all()


def test_the_summary_is_json(planted):
    result = evaluate_ranking(guesser(1.0, 1), planted, [RATING, LIKE], num_samples=20)
    again = json.loads(json.dumps(result.summary()))
    assert again["like"]["auc"] == result.metrics["like"]["auc"]
    assert again["like"]["auc_interval"] == list(result.intervals["like"]["auc"])
    assert again["like"]["confusion_matrix"] == result.tasks["like"].confusion_matrix.tolist()
    assert sum(map(sum, again["like"]["confusion_matrix"])) == again["like"]["num_rows"] == 240
    assert sum(again["like"]["reliability"]["weight"]) == 240
    assert again["rating"]["num_users"] == result.tasks["rating"].num_users
    assert again["rating"]["num_users_skipped"] == result.tasks["rating"].num_users_skipped
    assert "confusion_matrix" not in again["rating"] and "reliability" not in again["rating"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({}, r"predicts nothing for task 'like'. It predicts: \[\]"),
        ({"click": np.zeros(3)}, r"nothing for task 'like'. It predicts: \['click'\]"),
        ({"like": np.zeros(4)}, r"one prediction per row for .*, \[3\]. Received: shape \(4,\)"),
        ({"like": np.zeros((3, 1))}, r"Received: shape \(3, 1\)"),
        (
            {"like": np.array([0, 0.5, 1.5])},
            "a probability for every row for task 'like'. Received: 1.5 for row 2",
        ),
        ({"like": np.array([0, -1, 0.5])}, "Received: -1.0 for row 1"),
        (
            {"like": np.array([np.nan, 0, 0])},
            "a probability for every row for .* Received: nan for row 0",
        ),
    ],
)
def test_invalid_predictions_are_refused(output, words):
    with pytest.raises(InputError, match=words):
        evaluate_ranking(lambda _: output, rows_of([1, 1, 2], like=[1, 0, 1]), [LIKE])


def test_a_predicted_rating_must_be_finite_only_if_there_is_a_label():
    examples = rows_of([1, 1, 2], rating=[1, np.nan, 5])
    with pytest.raises(
        InputError, match="a finite number for every row for task 'rating'. Received: inf"
    ):
        evaluate_ranking(lambda _: {"rating": np.array([1, 2, np.inf])}, examples, [RATING])
    result = evaluate_ranking(lambda _: {"rating": np.array([1, np.nan, 4])}, examples, [RATING])
    assert result.metrics["rating"]["mae"] == 0.5


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"click": [1, 0, 1]}, "no labels for the task 'like'. Tasks with labels: click"),
        ({"like": [np.nan] * 3}, "'like' has no label in any of 3 rows"),
        ({"like": [0, np.nan, 0]}, "no positives: every label is 0"),
        ({"like": [1, 3, 0]}, "Labels of task 'like' must be within 0 and 1.*Received: 3 in row 1"),
    ],
)
def test_invalid_labels_are_refused(labels, words):
    with pytest.raises(InputError, match=words):
        evaluate_ranking(lambda _: {"like": np.zeros(3)}, rows_of([1, 1, 2], **labels), [LIKE])


@pytest.mark.parametrize("tasks", [["like"], {"like": LIKE}, [NextItem("next_item", 5)]])
def test_a_task_without_labels_per_row_is_refused(tasks):
    with pytest.raises(TypeError, match=r"must be ranking tasks of a label.*Use `evaluate`"):
        evaluate_ranking(lambda _: {}, rows_of([1, 2], like=[1, 0]), tasks)


def test_no_task_is_refused():
    with pytest.raises(ValueError, match="at least one task. Received: none"):
        evaluate_ranking(lambda _: {}, rows_of([1, 2], like=[1, 0]), [])
