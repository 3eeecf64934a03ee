"""Combining several tasks' losses: fixed weights, learned weights, gradient norms."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.models.task_balance import (
    FixedWeights,
    GradientNormWeights,
    UncertaintyWeights,
)

LOSSES = {"rating": 1.5, "like": 0.25}


def prepared(balance, tasks=("rating", "like")):
    balance.prepare(list(tasks))
    return balance


def constants(losses):
    return {task: tf.constant(loss) for task, loss in losses.items()}


# ---- fixed


@pytest.mark.parametrize(
    "weights, total", [(None, 1.75), ({"like": 4.0}, 2.5), ({"rating": 0.0, "like": 2.0}, 0.5)]
)
def test_fixed_weights_are_1_by_default(weights, total):
    assert float(prepared(FixedWeights(weights)).combine(constants(LOSSES))) == total


def test_fixed_weights_have_nothing_to_train():
    assert prepared(FixedWeights()).variables == []


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_invalid_weights_are_refused(weight):
    with pytest.raises(ValueError, match="finite and at least 0. Received: .* for task 'like'"):
        FixedWeights({"like": weight})


def test_a_weight_of_an_unknown_task_is_refused():
    with pytest.raises(
        ValueError, match=r"weighs \['click'\], but the tasks are \['rating', 'like"
    ):
        prepared(FixedWeights({"click": 1.0}))


# ---- uncertainty


def test_uncertainty_weights_follow_the_equation_of_kendall():
    balance = prepared(UncertaintyWeights())
    assert float(balance.combine(constants(LOSSES))) == 1.75  # s = 0
    s = np.array([0.7, -1.2])
    balance.log_variances.assign(s)
    expected = np.exp(-s) @ [1.5, 0.25] + s.sum() / 2
    np.testing.assert_allclose(balance.combine(constants(LOSSES)), expected, rtol=1e-6)


def test_the_log_variances_learn_the_best_weights_of_constant_losses():
    """The minimum of exp(-s) L + s / 2 is at exp(-s) = 1 / (2 L)."""
    balance = prepared(UncertaintyWeights())
    optimizer = tf.keras.optimizers.SGD(0.5)
    for _ in range(200):
        with tf.GradientTape() as tape:
            total = balance.combine(constants(LOSSES))
        optimizer.minimize(total, balance.trainable_variables, tape)
    np.testing.assert_allclose(np.exp(-balance.log_variances), [1 / 3, 2.0], rtol=1e-3)


def test_a_task_without_a_labelled_row_does_not_change_its_log_variance():
    balance = prepared(UncertaintyWeights())
    balance.log_variances.assign([0.5, 0.5])
    with tf.GradientTape() as tape:
        total = balance.combine(constants({"rating": 1.5, "like": 0.0}))
    np.testing.assert_allclose(total, 1.5 * math.exp(-0.5) + 0.25, rtol=1e-6)
    gradient = tape.gradient(total, balance.log_variances)
    np.testing.assert_allclose(gradient, [0.5 - 1.5 * math.exp(-0.5), 0.0], rtol=1e-6)


# ---- gradient norms

SLOPES = {"rating": np.array([3.0, 4.0]), "like": np.array([0.6, 0.8])}  # norms 5 and 1


def step(balance, shared, scale=None, values=None):
    """A step on losses that are linear in the shared weights: their gradients are `SLOPES`."""
    scale, values = scale or {}, values or {}
    with tf.GradientTape(persistent=True) as tape:
        losses = {}
        for task, slope in SLOPES.items():
            line = tf.reduce_sum(shared * tf.constant(slope * scale.get(task, 1.0), tf.float32))
            at = tf.stop_gradient(line)
            losses[task] = line - at + values.get(task, 1.0)
        total = balance.combine(losses, tape, [shared])
    return total, tape


def moved_by_hand(weights, values, first, norms, alpha, learning_rate):
    """Float64: one step of algorithm 1, its gradient written out."""
    ratios = values / first
    rates = ratios / ratios.mean()
    lengths = weights * norms
    mean = lengths.mean()
    slopes = np.sign(lengths - mean * rates**alpha) * norms
    weights = weights - learning_rate * slopes / mean
    return weights * len(weights) / weights.sum()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_gradient_norm_weights_move_as_algorithm_1_says(alpha):
    """In the second step "rating" lags so far behind that alpha determines its direction."""
    balance = prepared(GradientNormWeights(alpha, learning_rate=0.05))
    shared, norms = tf.Variable([0.0, 0.0]), np.array([5.0, 1.0])
    expected, first = np.ones(2), np.array([1.0, 1.0])
    for values in ([1.0, 1.0], [0.9, 0.1], [0.3, 0.9], [0.25, 0.2]):
        before = expected
        total, _ = step(balance, shared, values=dict(zip(SLOPES, values)))
        np.testing.assert_allclose(total, before @ values, rtol=1e-5)  # this step's weights
        expected = moved_by_hand(before, np.array(values), first, norms, alpha, 0.05)
        np.testing.assert_allclose(balance.task_weights, expected, rtol=1e-5)
    np.testing.assert_array_equal(balance.first_losses, first)


def test_with_alpha_0_the_gradient_norms_become_equal():
    balance = prepared(GradientNormWeights(alpha=0.0, learning_rate=0.02))
    shared = tf.Variable([0.0, 0.0])
    for _ in range(100):
        step(balance, shared)
    lengths = balance.task_weights.numpy() * [5, 1]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.15)  # steps of 2 % around the point
    np.testing.assert_allclose(np.sum(balance.task_weights), 2.0, rtol=1e-6)


def test_a_task_that_lags_behind_gets_more_weight():
    """Equal gradients; "like" stays at its start while "rating" has learned."""
    balance = prepared(GradientNormWeights(alpha=1.0))
    shared = tf.Variable([0.0, 0.0])
    for value in (1.0, 0.5, 0.25, 0.125):
        step(balance, shared, scale={"like": 5.0}, values={"rating": value, "like": 1.0})
    assert balance.task_weights[1] > 1 > balance.task_weights[0]


def test_the_loss_weights_get_no_gradient_and_the_shared_weights_the_weighted_one():
    balance = prepared(GradientNormWeights())
    balance.task_weights.assign([0.5, 1.5])
    shared = tf.Variable([0.0, 0.0])
    total, tape = step(balance, shared)
    expected = 0.5 * SLOPES["rating"] + 1.5 * SLOPES["like"]
    np.testing.assert_allclose(tape.gradient(total, shared), expected, rtol=1e-6)
    assert balance.trainable_variables == []


def test_nothing_changes_in_evaluation():
    balance = prepared(GradientNormWeights())
    balance.task_weights.assign([0.5, 1.5])
    assert float(balance.combine(constants(LOSSES))) == 0.5 * 1.5 + 1.5 * 0.25
    np.testing.assert_array_equal(balance.task_weights, [0.5, 1.5])
    np.testing.assert_array_equal(balance.first_losses, [0, 0])


def test_a_task_without_a_labelled_row_is_excluded_from_the_update():
    balance = prepared(GradientNormWeights(alpha=1.0))
    shared = tf.Variable([0.0, 0.0])
    step(balance, shared, values={"rating": 1.0, "like": 0.0}, scale={"like": 0.0})
    np.testing.assert_allclose(balance.task_weights, [1.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(balance.first_losses, [1.0, 0.0])
    step(balance, shared, values={"rating": 1.0, "like": 4.0})
    np.testing.assert_array_equal(balance.first_losses, [1.0, 4.0])  # its first labelled rows
    assert np.isfinite(balance.task_weights).all()


def test_a_task_without_shared_weights_is_excluded_from_the_update():
    balance = prepared(GradientNormWeights())
    shared, own = tf.Variable([1.0]), tf.Variable([1.0])
    with tf.GradientTape(persistent=True) as tape:
        losses = {"rating": shared[0] ** 2, "like": own[0] ** 2}
        balance.combine(losses, tape, [shared])
    assert np.isfinite(balance.task_weights).all()


def test_rows_of_a_table_that_are_read_twice_count_as_one_gradient():
    """The gradient of an embedding lists a row once for every read."""
    balance = prepared(GradientNormWeights(alpha=0.0, learning_rate=0.05))
    table = tf.Variable([[1.0], [1.0]])
    with tf.GradientTape(persistent=True) as tape:
        read = tf.reduce_sum(tf.gather(table, [0, 0]))  # gradient 2, not sqrt(1 + 1)
        other = tf.reduce_sum(3.0 * tf.gather(table, [1]))
        balance.combine({"rating": read, "like": other}, tape, [table])
    expected = moved_by_hand(
        np.ones(2), np.ones(2), np.ones(2), np.array([2.0, 3.0]), alpha=0.0, learning_rate=0.05
    )
    np.testing.assert_allclose(balance.task_weights, expected, rtol=1e-6)


def test_no_weight_becomes_0():
    balance = prepared(GradientNormWeights(alpha=0.0, learning_rate=10.0))
    shared = tf.Variable([0.0, 0.0])
    for _ in range(5):
        step(balance, shared)
        assert (balance.task_weights.numpy() > 0).all()


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_alpha_is_at_least_0(alpha):
    with pytest.raises(ValueError, match="`alpha` must be finite and at least 0. Received: alpha="):
        GradientNormWeights(alpha)


@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan")])
def test_its_learning_rate_is_above_0(rate):
    with pytest.raises(ValueError, match="`learning_rate` must be finite and above 0. Received: "):
        GradientNormWeights(learning_rate=rate)


@pytest.mark.parametrize(
    "balance",
    [
        FixedWeights({"like": 2.0}, name="own"),
        UncertaintyWeights(name="own"),
        GradientNormWeights(0.5, learning_rate=0.01, name="own"),
    ],
    ids=lambda balance: type(balance).__name__,
)
def test_a_balance_is_rebuilt_from_its_configuration(balance):
    config = tf.keras.utils.serialize_keras_object(balance)
    again = tf.keras.utils.deserialize_keras_object(config)
    assert type(again) is type(balance) and again.get_config() == balance.get_config()
    assert again.name == "own"
