"""Tasks: losses and predictions against float64 NumPy, invalid labels, metrics."""

import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill.errors import InputError
from tfrs_distill.losses import (
    LogitMeanSquaredError,
    SoftTargetBinaryCrossEntropy,
    SoftTargetKLDivergence,
)
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RankingTask,
    RatingDistribution,
    Regression,
)

NAN = float("nan")
LEVELS = (1.0, 2.0, 3.0, 4.5)
TASKS = {
    "binary": (Binary("like"), [0.0, 1.0, 0.25, 1.0]),
    "regression": (Regression("rating", low=1, high=5), [1.0, 5.0, 2.5, 4.0]),
    "ordinal": (Ordinal("stars", LEVELS), [1.0, 4.5, 2.0, 3.0]),
    "distribution": (RatingDistribution("dist", LEVELS), [1.0, 4.5, 2.0, 3.0]),
    "next item": (NextItem("next", 5), [1.0, 5.0, 2.0, 3.0]),
}
every_task = pytest.mark.parametrize("task, labels", TASKS.values(), ids=TASKS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    shares = np.exp(x - x.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def logits_of(task, size=2.0, num_rows=4):
    return np.random.default_rng(task.width).normal(scale=size, size=(num_rows, task.width))


def loss_by_hand(task, labels, logits):
    """Float64, by the equations in the docstrings."""
    labels = np.asarray(labels, np.float64)
    if isinstance(task, Binary):
        p = sigmoid(logits[:, 0])
        return -labels * np.log(p) - (1 - labels) * np.log(1 - p)
    if isinstance(task, Regression):
        return (labels - logits[:, 0]) ** 2
    if isinstance(task, Ordinal):
        above = labels[:, None] > np.array(task.levels[:-1])
        p = sigmoid(logits)
        return -np.where(above, np.log(p), np.log(1 - p)).mean(axis=1)
    if isinstance(task, RatingDistribution):
        column = [task.levels.index(label) for label in labels]
    else:
        column = labels.astype(int) - 1
    return -np.log(softmax(logits)[np.arange(len(labels)), column])


def prediction_by_hand(task, logits):
    if isinstance(task, Binary):
        return sigmoid(logits[:, 0])
    if isinstance(task, Regression):
        return np.clip(logits[:, 0], task.low, task.high)
    if isinstance(task, Ordinal):
        above = np.pad(sigmoid(logits), [(0, 0), (1, 1)], constant_values=(1, 0))
        above[:, 0], above[:, -1] = 1, 0
        return (above[:, :-1] - above[:, 1:]) @ np.array(task.levels)  # P(y = level), level
    if isinstance(task, RatingDistribution):
        return softmax(logits) @ np.array(task.levels)
    return np.argmax(logits, axis=1) + 1


@pytest.mark.parametrize("name", ["binary", "ordinal", "distribution", "next item"])
def test_label_smoothing_mixes_labels_with_uniform_ones(name):
    plain, labels = TASKS[name]
    task = type(plain).from_config(plain.get_config() | {"label_smoothing": 0.3})
    logits = logits_of(task)
    if task.activation == "sigmoid":
        even = -(np.log(sigmoid(logits)) + np.log(sigmoid(-logits))).mean(axis=1) / 2
    else:
        even = -np.log(softmax(logits)).mean(axis=1)
    expected = 0.7 * loss_by_hand(task, labels, logits) + 0.3 * even
    loss = task.loss(tf.constant(labels), tf.constant(logits, tf.float32))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    again = tf.keras.utils.deserialize_keras_object(tf.keras.utils.serialize_keras_object(task))
    assert again == task != plain


@pytest.mark.parametrize("share", [-0.1, 1, NAN])
def test_label_smoothing_is_a_share_below_1(share):
    with pytest.raises(ValueError, match="`label_smoothing` must be at least 0 and below 1"):
        Binary("like", label_smoothing=share)


@every_task
@pytest.mark.parametrize("size", [0.01, 2.0, 30.0])
def test_the_loss_is_the_equation_in_every_row(task, labels, size):
    logits = logits_of(task, size)
    with np.errstate(divide="ignore"):
        expected = loss_by_hand(task, labels, logits)
    fine = np.isfinite(expected) & (expected < 30)  # where float64 probabilities are accurate
    output = task.loss(tf.constant(labels), tf.constant(logits, tf.float32))
    assert output.shape == (4,) and output.dtype == tf.float32 and np.isfinite(output).all()
    # float32; logits of size 30 cancel to a loss
    np.testing.assert_allclose(output.numpy()[fine], expected[fine], rtol=1e-4, atol=1e-5)


@every_task
def test_the_task_of_tfrs_computes_the_same_loss_with_weights(task, labels):
    logits = logits_of(task)
    ranking = task.as_tfrs()
    assert isinstance(ranking, tfrs.tasks.Ranking)
    weights = np.array([0.0, 1.0, 2.0, 0.5])
    expected = loss_by_hand(task, labels, logits)
    arguments = tf.constant(labels), tf.constant(logits, tf.float32)
    np.testing.assert_allclose(ranking(*arguments, compute_metrics=False), expected, rtol=1e-4)
    output = ranking(*arguments, sample_weight=tf.constant(weights, tf.float32))
    np.testing.assert_allclose(output, weights * expected, rtol=1e-4)


def test_the_default_loss_of_the_tfrs_ranking_task_takes_logits_for_probabilities():
    """The numbers of the docstring: why no task runs with the default."""
    labels, logits = tf.constant([[1.0], [0.0]]), tf.constant([[3.0], [-3.0]])
    assert float(tfrs.tasks.Ranking()(labels, logits)) == pytest.approx(0.0, abs=1e-6)
    output = Binary("like").as_tfrs()(labels[:, 0], logits)
    np.testing.assert_allclose(output, [np.log1p(np.exp(-3))] * 2, rtol=1e-5)
    assert np.log1p(np.exp(-3)) == pytest.approx(0.049, abs=5e-4)
    wrong = tf.constant([[-3.0], [3.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(wrong)
        default = tfrs.tasks.Ranking()(labels, wrong)
        own = Binary("like").as_tfrs()(labels[:, 0], wrong)
    np.testing.assert_array_equal(tape.gradient(default, wrong), [[0.0], [0.0]])
    assert np.abs(tape.gradient(own, wrong)).min() > 0.9


@every_task
def test_predictions_are_in_label_units(task, labels):
    logits = logits_of(task)
    output = task.predict(tf.constant(logits, tf.float32))
    assert output.dtype == tf.float32
    np.testing.assert_allclose(output, prediction_by_hand(task, logits), rtol=1e-5)
    reduced = task.predict(tf.cast(tf.constant(logits), tf.bfloat16))
    assert reduced.dtype == tf.float32


def test_large_logits_predict_the_ends():
    assert Binary("like").predict(tf.constant([[99.0]])) == 1.0
    assert Regression("rating", 1, 5).predict(tf.constant([[-9.0]])) == 1.0
    assert Ordinal("stars", LEVELS).predict(tf.constant([[99.0, 99.0, 99.0]])) == 4.5
    assert RatingDistribution("dist", LEVELS).predict(tf.constant([[99.0, 0.0, 0.0, 0.0]])) == 1.0


@every_task
def test_the_gradient_is_that_of_the_equation(task, labels):
    logits = logits_of(task)
    variable = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        loss = tf.reduce_sum(task.loss(tf.constant(labels), variable))
    slopes, step = np.zeros_like(logits), 1e-5
    for place in np.ndindex(*logits.shape):
        for sign in (1, -1):
            moved = logits.copy()
            moved[place] += sign * step
            slopes[place] += sign * loss_by_hand(task, labels, moved).sum() / (2 * step)
    # float32 against a difference quotient
    np.testing.assert_allclose(tape.gradient(loss, variable), slopes, rtol=1e-3, atol=1e-5)


# ---- next item


def test_the_probability_of_the_rows_own_item_is_its_share_of_the_softmax():
    task = NextItem("next", 3)
    logits = tf.math.log(tf.constant([[0.2, 0.5, 0.3]] * 5))
    output = task.probability(logits, tf.constant([1, 2, 3, 0, 4]))
    np.testing.assert_allclose(output, [0.2, 0.5, 0.3, 0.0, 0.0], rtol=1e-6)


# ---- labels


@every_task
def test_valid_labels_pass(task, labels):
    task.check(np.array([*labels, NAN]))
    task.check(np.array(labels, np.float32))
    assert np.asarray(task.are_labels(np.array(labels))).all()
    assert task.are_labels(tf.constant(labels)).numpy().all()


@pytest.mark.parametrize(
    "task, wrong, expected",
    [
        (Binary("like"), 1.5, "within 0 and 1"),
        (Binary("like"), -0.1, "within 0 and 1"),
        (Regression("rating", 1, 5), 0.5, "within 1 and 5"),
        (Regression("rating", 1, 5), 5.5, "within 1 and 5"),
        (Regression("rating", 1, 5), float("inf"), "within 1 and 5"),
        (Ordinal("stars", LEVELS), 2.5, "one of 1, 2, 3, 4.5"),
        (RatingDistribution("dist", LEVELS), 4.0, "one of 1, 2, 3, 4.5"),
        (NextItem("next", 5), 6.0, "a whole number within 1 and 5"),
        (NextItem("next", 5), 0.0, "a whole number within 1 and 5"),
        (NextItem("next", 5), 1.5, "a whole number within 1 and 5"),
    ],
)
def test_a_label_out_of_range_is_named_with_its_row(task, wrong, expected):
    labels = next(labels for other, labels in TASKS.values() if type(other) is type(task))
    given = np.array([NAN, *labels, wrong])
    words = f"Labels of task {task.name!r} must be {expected}, or NaN for none. Received: "
    words += f"{wrong:g} in row 5."
    with pytest.raises(InputError, match=re.escape(words) + "$"):
        task.check(given)
    with pytest.raises(InputError, match="in row 0, and 2 more"):
        task.check(np.array([wrong, *labels, wrong, wrong]))


@every_task
def test_a_task_without_any_label_is_refused(task, labels):
    with pytest.raises(InputError, match=f"Task {task.name!r} has no labels: all 2 rows are NaN"):
        task.check(np.array([NAN, NAN]))
    with pytest.raises(InputError, match=f"Task {task.name!r} has no labels: all 0 rows"):
        task.check(np.array([]))


@every_task
def test_labels_of_another_shape_are_refused(task, labels):
    with pytest.raises(
        InputError, match=r"one label per row, \[num_rows\]. Received: shape \(4, 1\)"
    ):
        task.check(np.array(labels)[:, None])


@pytest.mark.parametrize("only, missing", [(0, "positives"), (1, "negatives")])
def test_a_binary_task_of_one_class_is_refused(only, missing):
    words = f"Task 'like' has no {missing}: every label is {only}. The classes cannot be learned"
    with pytest.raises(InputError, match=words):
        Binary("like").check(np.array([only, NAN, only], np.float64))
    Binary("like").check(np.array([only, NAN, 0.9]))
    Binary("like").check(np.array([0.3, 0.3]))  # soft labels of one value are informative


# ---- heads


@pytest.mark.parametrize(
    "task, expected",
    [
        (Binary("like"), 0.5),
        (Binary("like", initial_prediction=0.8), 0.8),
        (Regression("rating", 1, 5), 3.0),
        (Regression("rating", 1, 5, initial_prediction=3.6), 3.6),
        (Ordinal("stars", LEVELS), (1 + 2 + 3 + 4.5) / 4),  # all levels equally likely
        (RatingDistribution("dist", LEVELS), (1 + 2 + 3 + 4.5) / 4),
    ],
)
def test_an_untrained_head_returns_the_initial_prediction(task, expected):
    head = task.head(seed=0, dtype="float32")
    logits = head(tf.zeros([2, 7]))
    assert logits.shape == (2, task.width) and head.name == task.name
    np.testing.assert_allclose(task.predict(logits), [expected] * 2, rtol=1e-5)
    assert np.abs(head(tf.ones([2, 7])) - logits).max() > 1e-3  # and reads its inputs


def test_thresholds_are_ordered_for_any_weights():
    head = Ordinal("stars", range(6)).head(seed=0, dtype="float32")
    head(tf.zeros([1, 3]))
    for seed in range(5):
        random = np.random.default_rng(seed)
        head.set_weights([random.normal(scale=5, size=w.shape) for w in head.get_weights()])
        logits = head(tf.constant(random.normal(size=(20, 3)), tf.float32))
        assert (np.diff(logits, axis=1) < 0).all()


def test_the_thresholds_are_subtracted_from_one_score():
    head = Ordinal("stars", LEVELS).head(seed=0, dtype="float32")
    inputs = tf.constant(np.random.default_rng(0).normal(size=(4, 3)), tf.float32)
    logits = head(inputs).numpy()
    score = inputs.numpy() @ head.score.kernel.numpy()
    # P(y > level_k) = 3/4, 2/4, 1/4 at score 0
    np.testing.assert_allclose(score - logits, [[-np.log(3), 0.0, np.log(3)]] * 4, atol=1e-5)


def test_an_ordinal_task_of_two_levels_equals_a_binary_one():
    task = Ordinal("like", (0, 1))
    labels, logits = tf.constant([0.0, 1.0]), tf.constant([[0.3], [-2.0]])
    np.testing.assert_allclose(
        task.loss(labels, logits), Binary("like").loss(labels, logits), rtol=1e-6
    )
    assert task.head(seed=0, dtype="float32")(tf.zeros([1, 2])).shape == (1, 1)


@pytest.mark.parametrize("name", ["ordinal", "distribution", "binary"])
def test_a_seed_fixes_the_heads_weights(name):
    task, _ = TASKS[name]
    heads = [task.head(seed=seed, dtype="float32") for seed in (1, 1, 2)]
    first, same, other = (head(tf.ones([1, 6])).numpy() for head in heads)
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


# ---- metrics


def fed(task, labels, logits, weights=None):
    """Metrics after two batches of two rows, through tfrs' own task."""
    ranking = task.as_tfrs()
    weights = np.ones(4) if weights is None else weights
    for rows in (slice(0, 2), slice(2, 4)):
        ranking(
            tf.constant(labels[rows], tf.float32),
            tf.constant(logits[rows], tf.float32),
            sample_weight=tf.constant(weights[rows], tf.float32),
        )
    return {metric.name: float(metric.result()) for metric in ranking.metrics}


@pytest.mark.parametrize("name", ["regression", "ordinal", "distribution"])
@pytest.mark.parametrize("weights", [None, np.array([0.0, 1.0, 3.0, 2.0])], ids=["", "weighted"])
def test_a_ratings_metrics_are_the_errors_of_its_predictions(name, weights):
    task, labels = TASKS[name]
    logits = logits_of(task)
    error = prediction_by_hand(task, logits) - labels
    rmse = np.sqrt(np.average(error**2, weights=weights))
    mae = np.average(np.abs(error), weights=weights)
    output = fed(task, labels, logits, weights)
    assert output == pytest.approx(
        {f"{task.name}_root_mean_squared_error": rmse, f"{task.name}_mean_absolute_error": mae},
        rel=1e-5,
    )


def test_binary_metrics_are_auc_and_accuracy_also_for_soft_labels():
    labels = [1.0, 0.0, 0.9, 0.2]
    logits = np.array([[2.0], [1.0], [0.5], [-1.0]])
    output = fed(Binary("like"), labels, logits)
    # positive: 2.0 and 0.5; negative: 1.0 and -1.0; three of four pairs are in order
    assert output == pytest.approx({"like_auc": 3 / 4, "like_accuracy": 3 / 4}, abs=1e-3)
    output = fed(Binary("like"), labels, logits, np.array([1.0, 0.0, 1.0, 1.0]))
    assert output == pytest.approx({"like_auc": 1.0, "like_accuracy": 1.0}, abs=1e-3)


def test_the_next_items_metric_is_the_share_in_the_top_10():
    task = NextItem("next", 30)
    logits = np.tile(np.arange(30.0, 0, -1), (4, 1))
    labels = [1.0, 10.0, 11.0, 30.0]
    assert fed(task, labels, logits) == {"next_hit_rate@10": 0.5}
    assert fed(task, labels, logits, np.array([1.0, 1.0, 1.0, 0.0])) == pytest.approx(
        {"next_hit_rate@10": 2 / 3}
    )


# ---- configuration


@pytest.mark.parametrize(
    "task",
    [
        Binary("like", initial_prediction=0.7),
        Regression("rating", 0, 10, initial_prediction=7),
        Ordinal("stars", LEVELS),
        RatingDistribution("dist", LEVELS),
        NextItem("next", 5),
    ],
    ids=lambda task: type(task).__name__,
)
def test_a_task_is_rebuilt_from_its_configuration(task):
    config = tf.keras.utils.serialize_keras_object(task)
    again = tf.keras.utils.deserialize_keras_object(config)
    assert again == task and hash(again) == hash(task) and again.get_config() == task.get_config()
    assert (again.name, again.width, again.valid_label) == (task.name, task.width, task.valid_label)


def test_tasks_of_other_arguments_differ():
    assert Ordinal("stars", (1, 2)) != Ordinal("stars", (1, 3))
    assert Ordinal("stars", (1, 2)) != RatingDistribution("stars", (1, 2))
    assert Binary("like") != Binary("click")


@every_task
def test_the_replacement_of_a_missing_label_is_valid(task, labels):
    assert task.are_labels(np.array([task.valid_label]))[0]


@pytest.mark.parametrize("name", ["", "a/b", "a b", "_a"])
def test_names_that_are_not_a_column_are_refused(name):
    with pytest.raises(ValueError, match="A task's name must be of letters.*Received: "):
        Binary(name)


@pytest.mark.parametrize("share", [0, 1, -0.5, NAN])
def test_an_initial_probability_is_within_0_and_1(share):
    with pytest.raises(ValueError, match="above 0 and below 1. Received: initial_prediction="):
        Binary("like", initial_prediction=share)


def test_invalid_ranges_and_levels_are_refused():
    with pytest.raises(ValueError, match="`low` must be below `high`. Received: low=5, high=1"):
        Regression("rating", 5, 1)
    with pytest.raises(ValueError, match="must be within low=1 and high=5. Received: .*=6"):
        Regression("rating", 1, 5, initial_prediction=6)
    for levels in [(1,), (2, 1), (1, 1), (1, NAN), (1, float("inf"))]:
        for kind in (Ordinal, RatingDistribution):
            with pytest.raises(
                ValueError, match="at least 2 finite, ascending numbers. Received: "
            ):
                kind("rating", levels)


def test_the_base_class_is_abstract():
    task = RankingTask("any", 1)
    with pytest.raises(NotImplementedError):
        task.predict(tf.zeros([1, 1]))


def test_for_equal_logits_the_top_10_are_the_catalogues_first():
    task, labels = NextItem("next", 30), [1.0, 10.0, 11.0, 30.0]
    assert fed(task, labels, np.zeros((4, 30))) == {"next_hit_rate@10": 0.5}
    logits = np.zeros((4, 30))
    logits[:, :9] = -1.0  # 10 to 19 are the top 10
    assert fed(task, labels, logits) == {"next_hit_rate@10": 0.5}


def test_a_catalogue_of_fewer_than_ten_items_always_hits():
    logits = np.random.default_rng(0).normal(size=(4, 5))
    assert fed(NextItem("next", 5), [1.0, 5.0, 2.0, 3.0], logits) == {"next_hit_rate@10": 1.0}


TENTHS = (0.1, 0.2, 0.3, 0.7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "task",
    [
        Ordinal("rating", TENTHS),
        RatingDistribution("rating", TENTHS),
        Regression("rating", low=0.1, high=0.7),
        Regression("rating", low=0.7, high=1.1),
        Regression("rating", low=-1.0, high=0.1),
    ],
    ids=lambda task: type(task).__name__,
)
def test_labels_that_float32_rounds_are_valid_for_any_type(task, dtype):
    """0.1 and 0.3 are rounded up in float32, 0.7 down."""
    ends = [task.low, task.high] if isinstance(task, Regression) else TENTHS
    task.check(np.array([*ends, NAN], dtype))
    assert tf.reduce_all(task.are_labels(tf.constant(ends, tf.float32)))
    with pytest.raises(InputError, match="Labels of task 'rating' must be .* Received: 0.71 in"):
        Regression("rating", low=0.1, high=0.7).check(np.array([0.71], dtype))
    with pytest.raises(InputError, match="must be one of 0.1, 0.2, .* Received: 0.15 in row 0"):
        Ordinal("rating", TENTHS).check(np.array([0.15], dtype))


def test_a_mean_of_float32_labels_may_be_the_initial_prediction():
    mean = float(np.float32([0.7, 0.7]).mean())
    assert mean < 0.7
    assert Regression("rating", 0.7, 1.1, initial_prediction=mean).initial_prediction == mean


def test_levels_that_are_equal_in_float32_are_refused():
    with pytest.raises(ValueError, match="must be at least 2 finite, ascending numbers"):
        Ordinal("rating", (1.0, 1.0 + 1e-9))


@pytest.mark.parametrize(
    "task, loss",
    [
        (Binary("like"), SoftTargetBinaryCrossEntropy),
        (Ordinal("stars", levels=(1, 2, 3)), SoftTargetBinaryCrossEntropy),
        (RatingDistribution("stars", levels=(1, 2, 3)), SoftTargetKLDivergence),
        (NextItem("next_item", 3), SoftTargetKLDivergence),
        (Regression("stars", low=1.0, high=3.0), LogitMeanSquaredError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, RankingTask) else None,
)
def test_the_activation_of_a_task_determines_its_distillation_loss(task, loss):
    made = task.distillation_loss(3.0)
    assert type(made) is loss
    assert getattr(made, "temperature", 3.0) == 3.0
    classes = {"Ordinal": 3, "RatingDistribution": 3, "NextItem": 3}
    assert task.num_classes == classes.get(type(task).__name__)
