"""A model's weights after training: the moving average, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.pipeline.fit_until_best import AveragedWeights, fit_for, fit_until_best
from tfrs_distill.progress import SilentProgress

STEPS = 4  # of an epoch


def line(start=0.0):
    """A model of one weight, w, from which each step of SGD at rate .5 subtracts (w - 1) / 2."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, use_bias=False)])
    model.build([None, 1])
    model.set_weights([np.full((1, 1), start, np.float32)])
    return model


def batches():
    return tf.data.Dataset.from_tensors(([[1.0]], [[1.0]])).repeat(STEPS)


def by_hand(start, steps):
    """The weight and its average after each step, from half of the mean squared error's slope."""
    weight = average = start
    found = []
    for step in range(1, steps + 1):
        weight += (1 - weight) / 2
        keep = min(0.999, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * weight
        found.append((weight, average))
    return found


class Watch(tf.keras.callbacks.Callback):
    """Records the weight at the end of every epoch, and returns scores given in advance."""

    log_name = "val_score"

    def __init__(self, scores=(0.0, 0.0)):
        super().__init__()
        self.scores, self.weights = scores, []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(float(self.model.get_weights()[0][0, 0]))
        logs[self.log_name] = self.scores[epoch]


def test_an_epoch_is_scored_by_the_average_and_training_continues_from_the_weights():
    model, judge = line(), Watch()
    model.compile(tf.keras.optimizers.SGD(0.25), "mse")
    model.fit(batches(), epochs=2, verbose=0, callbacks=[AveragedWeights([judge])])
    expected = [average for _, average in by_hand(0.0, 2 * STEPS)]
    assert judge.weights == pytest.approx([expected[STEPS - 1], expected[-1]], rel=1e-5)
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(expected[-1], rel=1e-5)


def test_the_best_epochs_average_is_kept(monkeypatch):
    monkeypatch.setattr(
        "tfrs_distill.pipeline.fit_until_best.adam", lambda *_: tf.keras.optimizers.SGD(0.25)
    )
    model, judge = line(), Watch((0.2, 0.3, 0.1, 0.0))
    compiled = model.compile
    monkeypatch.setattr(model, "compile", lambda optimizer: compiled(optimizer, "mse"))
    curves = fit_until_best(
        model,
        batches(),
        judge,
        learning_rate=0.25,
        max_epochs=4,
        patience=2,
        progress=SilentProgress(),
        description="line",
    )
    assert curves["best_epoch"] == 2 and curves["validation_score"] == [0.2, 0.3, 0.1, 0.0]
    (_, average) = by_hand(0.0, 2 * STEPS)[-1]
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(average, rel=1e-5)
    other = line()
    compiled_other = other.compile
    monkeypatch.setattr(other, "compile", lambda optimizer: compiled_other(optimizer, "mse"))
    fit_for(other, batches(), learning_rate=0.25, epochs=curves["best_epoch"])
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])
