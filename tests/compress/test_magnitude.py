"""Zeros of the smallest weights, by the schedule's equation, in `fit` and in a `Distiller`."""

import logging
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny_data

from tfrs_distill.compress.magnitude import MagnitudePruning
from tfrs_distill.distiller import Distiller
from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

KERNEL = np.random.default_rng(0).permutation(np.arange(1.0, 49.0)).reshape(8, 6).astype("f4")
INPUTS, LABELS = np.ones([8, 8], "f4"), np.ones([8, 6], "f4")  # a batch is one row


def model_of(kernel, learning_rate=0.0):
    """One dense layer with a given kernel; a learning rate of 0 does not change it."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(kernel.shape[1], use_bias=False)])
    model.build([None, kernel.shape[0]])
    model.set_weights([kernel])
    model.compile(tf.keras.optimizers.SGD(learning_rate), "mse")
    return model


def fit(model, pruning, num_steps=8, **arguments):
    rows = slice(num_steps)
    return model.fit(
        *(INPUTS[rows, : model.input_shape[1]], LABELS[rows, : model.output_shape[1]]),
        **({"batch_size": 1, "verbose": 0, "callbacks": [pruning]} | arguments),
    )


class Zeros(tf.keras.callbacks.Callback):
    """Counts a model's zeros after every batch; runs after the pruning."""

    def on_train_begin(self, logs=None):
        self.counts = []

    def on_train_batch_end(self, batch, logs=None):
        self.counts.append(int((self.model.get_weights()[0] == 0).sum()))


def zeros_of(step, begin=2, end=7, power=3, final=0.75, initial=0.0):
    """Of 48 weights, by the equation; the toolkit keeps round(48 * (1 - s)) of them."""
    if step < begin:
        return 0
    left = (1 - (min(step, end) - begin) / (end - begin)) ** power
    return 48 - round(48 * (1 - (final + (initial - final) * left)))


def test_zeros_follow_the_schedule_and_the_end_is_reached_between_two_prunings():
    counts = Zeros()
    pruning = MagnitudePruning(model := model_of(KERNEL), 0.75, 2, 7, frequency=2)
    fit(model, pruning, callbacks=[pruning, counts])
    due = [0, 2, 2, 4, 4, 6, 7, 7]  # after steps 1 to 8
    assert counts.counts == [zeros_of(step) for step in due]
    assert counts.counts[-1] == 36
    expected = np.where(KERNEL > 36, KERNEL, 0)  # of 1 to 48
    np.testing.assert_array_equal(model.get_weights()[0], expected)


def test_the_target_is_the_polynomial():
    pruning = MagnitudePruning(model_of(KERNEL), 0.8, 10, 30, initial_sparsity=0.2, power=2)
    shares = [pruning.target(step) for step in (9, 10, 20, 30, 99)]
    assert shares == pytest.approx([0, 0.2, 0.8 - 0.6 / 4, 0.8, 0.8], abs=1e-6)


def test_pruned_weights_stay_zero_while_the_others_learn():
    model = model_of(KERNEL, learning_rate=0.01)
    history = fit(model, MagnitudePruning(model, 0.5, 0, 1), epochs=2)
    (after,) = model.get_weights()
    assert ((after == 0) == (KERNEL <= 24)).all()  # of 1 to 48: the larger stay larger here
    assert (after != KERNEL)[KERNEL > 24].all()
    assert history.history["sparsity"] == [0.5, 0.5]


def test_blocks_are_pruned_completely_by_their_mean_magnitude():
    pruning = MagnitudePruning(model := model_of(KERNEL), 0.5, 0, 1, block_size=(4, 1))
    fit(model, pruning)
    means = np.abs(KERNEL).reshape(2, 4, 6).mean(axis=1)
    kept = np.repeat(means > np.sort(means, axis=None)[5], 4, axis=0)
    np.testing.assert_array_equal(model.get_weights()[0], np.where(kept, KERNEL, 0))


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_pruned_weights_stay_zero_for_any_size_of_steps(steps_per_execution):
    """Training diverges: a step makes it larger than the others, and a new `fit` has no masks."""
    model, whole = model_of(KERNEL / 100), model_of(KERNEL / 100)
    for each in (model, whole):
        each.compile(tf.keras.optimizers.SGD(1.0), "mse", steps_per_execution=steps_per_execution)
    settings = {"final_sparsity": 0.75, "begin_step": 1, "end_step": 12, "frequency": 4}
    counts = Zeros()
    callbacks = [MagnitudePruning(whole, **settings), counts]
    fit(whole, None, num_steps=6, epochs=3, callbacks=callbacks)
    for _ in range(3):
        before = model.get_weights()[0]
        fit(model, MagnitudePruning(model, **settings), num_steps=6)
        assert (model.get_weights()[0] == 0)[before == 0].all()
    np.testing.assert_array_equal(model.get_weights()[0], whole.get_weights()[0])
    schedule = {"begin": 1, "end": 12}
    due = [1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9, 12, 12, 12, 12, 12, 12, 12]
    expected = [zeros_of(step, **schedule) for step in due]
    assert counts.counts == expected[steps_per_execution - 1 :: steps_per_execution]


def test_averaged_weights_are_pruned_too():
    model = model_of(KERNEL)
    model.compile(tf.keras.optimizers.SGD(0.01, use_ema=True, ema_momentum=0.5), "mse")
    fit(model, MagnitudePruning(model, 0.5, 0, 1))
    assert (model.get_weights()[0] == 0).sum() == 24


def test_all_dense_kernels_of_a_student_in_a_distiller_are_pruned_and_nothing_else():
    windows = tiny_data.random_windows(num_users=16, num_items=12, max_history=5)
    student = RetrievalStudent.from_history(num_items=12, max_history=5, embedding_dim=8, seed=1)
    teacher = tf.random.stateless_normal([12], [1, 2])

    def logits(batch, candidate_ids):
        rows = tf.size(tf.where(batch["labels"] > 0)) // 2
        return tf.tile(tf.gather(teacher, candidate_ids - 1)[None], [rows, 1])

    distiller = Distiller(student, logits, SoftTargetKLDivergence())
    distiller.compile("adam", run_eagerly=True)  # faster than tracing it
    pruning = MagnitudePruning(student, 0.75, 0, 2, frequency=1)
    distiller.fit(windows.batches(8), callbacks=[pruning], verbose=0)
    dense = [m.kernel for m in student.submodules if isinstance(m, tf.keras.layers.Dense)]
    wide = [kernel for kernel in dense if min(kernel.shape) > 1]
    assert len(wide) > 1
    for kernel in wide:
        assert (kernel.numpy() == 0).sum() == kernel.numpy().size * 3 // 4
    others = [v for v in student.trainable_variables if not any(v is kernel for kernel in wide)]
    assert sum((v.numpy() != 0).sum() for v in others if "embedding" in v.name) > 0
    assert pruning.sparsity() == 0.75


def test_training_that_ends_too_early_is_reported(caplog):
    model = model_of(KERNEL)
    with caplog.at_level(logging.WARNING, "tfrs_distill"):
        fit(model, MagnitudePruning(model, 0.5, 0, 100))
    assert "has not reached `end_step`: training stopped at step 8 of 100" in caplog.text


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({"final_sparsity": 1.0}, "`final_sparsity` must be at least 0 and below 1. Received: fi"),
        ({"final_sparsity": float("nan")}, "`final_sparsity` must be at least 0 and below 1."),
        ({"initial_sparsity": -0.1}, "Received: initial_sparsity=-0.1."),
        ({"begin_step": -1}, "`begin_step` must be at least 0 and `end_step` above it. Received: "),
        ({"begin_step": 9}, "Received: begin_step=9, end_step=9."),
        ({"frequency": 0}, "`frequency` must be at least 1. Received: frequency=0."),
        ({"power": 0}, "`power` must be above 0. Received: power=0."),
        ({"block_size": (4, 0)}, "`block_size` must be two numbers of at least 1"),
        ({"block_size": (4,)}, "Received: block_size=(4,)."),
    ],
)
def test_arguments_out_of_range(arguments, expected):
    settings = {"final_sparsity": 0.5, "begin_step": 0, "end_step": 9} | arguments
    with pytest.raises(InputError, match=re.escape(expected)):
        MagnitudePruning(tf.keras.Sequential(), **settings)


def test_a_model_without_dense_layers_is_refused_after_one_batch():
    model = model_of(np.ones([8, 1], "f4"))  # one unit: nothing to prune
    with pytest.raises(InputError, match="must have a tf.keras.layers.Dense.*Received: Sequential"):
        fit(model, MagnitudePruning(model, 0.5, 5, 9))


def test_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    for name in [name for name in sys.modules if name.startswith("tensorflow_model_optimization.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r'pip install "tfrs-distill\[prune\]"'):
        MagnitudePruning(tf.keras.Sequential(), 0.5, 0, 1)
