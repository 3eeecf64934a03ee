"""Any Keras model as a teacher: its inputs, and that it is not changed."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.teachers.keras_teacher import KerasTeacher

INPUTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def model_with_state():
    """Dropout and batch normalisation would both change its outputs in training mode."""
    inputs = tf.keras.Input([3])
    inner = tf.keras.layers.BatchNormalization(name="norm")(inputs)
    inner = tf.keras.layers.Dropout(0.9, name="dropout")(inner)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(2, name="classes")(inner))
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.5, 2.0, weight.shape) for weight in model.get_weights()])
    return model


def in_inference(model, inputs):
    """Its outputs with its moving statistics and without dropout, in float64."""
    gamma, beta, mean, variance, kernel, bias = (np.float64(w) for w in model.get_weights())
    return ((inputs - mean) / np.sqrt(variance + 1e-3) * gamma + beta) @ kernel + bias


@pytest.mark.parametrize("in_graph", [False, True])
def test_it_is_called_in_inference_mode_and_not_changed(in_graph):
    model = model_with_state()
    before = model.get_weights()
    teacher = KerasTeacher(model)
    predict = tf.function(teacher.logits) if in_graph else teacher.logits
    logits = predict({columns.INPUTS: tf.constant(INPUTS)}, tf.range(2))
    np.testing.assert_allclose(logits, in_inference(model, INPUTS), rtol=1e-5)  # float32
    for weight, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


def test_hidden_representations_are_those_of_inference_mode_by_path():
    model = model_with_state()
    before = model.get_weights()
    hidden = KerasTeacher(model).hidden_representations({columns.INPUTS: tf.constant(INPUTS)})
    assert {"norm", "dropout", "classes"} <= set(hidden)
    np.testing.assert_allclose(hidden["classes"], in_inference(model, INPUTS), rtol=1e-5)
    np.testing.assert_array_equal(hidden["dropout"], hidden["norm"])
    for weight, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


def test_without_a_column_for_an_input_it_reads_the_complete_batch():
    class Reader(tf.keras.Model):
        def call(self, batch):
            return batch["left"] - batch["right"]

    batch = {"left": tf.constant([[5.0, 3.0]]), "right": tf.constant([[1.0, 1.0]])}
    logits = KerasTeacher(Reader()).logits(batch, tf.range(2))
    np.testing.assert_array_equal(logits, [[4.0, 2.0]])


def test_logits_are_float32_for_any_precision_of_the_model():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, dtype="float16")])
    logits = KerasTeacher(model).logits({columns.INPUTS: tf.constant(INPUTS)}, tf.range(2))
    assert logits.dtype == tf.float32


def test_the_fingerprint_depends_on_weights_and_configuration(tmp_path):
    model = model_with_state()
    first = KerasTeacher(model).fingerprint()
    assert KerasTeacher(model).fingerprint() == first
    model.save(tmp_path / "model.keras")
    saved = tf.keras.models.load_model(tmp_path / "model.keras")
    assert KerasTeacher(saved).fingerprint() == first
    moving = next(weight for weight in saved.weights if "moving_mean" in weight.name)
    moving.assign_add(tf.ones_like(moving))
    config = model.get_config()
    config["layers"][2]["config"]["rate"] = 0.5
    changed = tf.keras.Model.from_config(config)
    changed.set_weights(model.get_weights())
    prints = {first, KerasTeacher(saved).fingerprint(), KerasTeacher(changed).fingerprint()}
    assert len(prints) == 3


def test_layers_of_a_subclass_are_in_the_fingerprint_for_any_arguments():
    class Scaled(tf.keras.Model):
        def __init__(self, activation, scale):
            super().__init__(name="scaled")
            self.dense = tf.keras.layers.Dense(2, activation, kernel_initializer="ones", name="d")
            self.scale = scale  # a function: Keras cannot serialize it

        def call(self, inputs):
            return self.scale(self.dense(inputs))

    prints = []
    for activation in ("relu", "tanh", "relu"):
        model = Scaled(activation, lambda values: 2 * values)
        model(tf.constant(INPUTS))
        prints.append(KerasTeacher(model).fingerprint())
    assert prints[0] == prints[2] != prints[1]


def test_without_weights_a_model_has_no_fingerprint():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2)], name="empty")
    with pytest.raises(ValueError, match="'empty' has no weights yet.*Call it once"):
        KerasTeacher(model).fingerprint()
