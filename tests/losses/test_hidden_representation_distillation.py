"""The distance of hidden representations against float64 NumPy, and the projector."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses import HiddenRepresentationDistillation

STUDENT = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
TEACHER = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)


def mean_squared_error(projected, teacher):
    return ((np.float64(projected) - teacher) ** 2).mean(axis=-1)


def cosine(projected, teacher):
    lengths = np.linalg.norm(np.float64(projected), axis=-1) * np.linalg.norm(teacher, axis=-1)
    return 1 - (np.float64(projected) * teacher).sum(axis=-1) / lengths


DISTANCES = {"mean_squared_error": mean_squared_error, "cosine": cosine}


def call(layer, student=STUDENT, teacher=TEACHER):
    return layer((tf.constant(student), tf.constant(teacher)))


@pytest.mark.parametrize("loss", DISTANCES)
def test_the_projected_distance_is_that_of_numpy(loss):
    layer = HiddenRepresentationDistillation("a", "b", loss=loss)
    values = call(layer)
    kernel, bias = (np.float64(weight) for weight in layer.get_weights())
    assert kernel.shape == (4, 3)
    layer.projector.bias.assign([0.5, -1.0, 2.0])
    expected = DISTANCES[loss](STUDENT @ kernel + [0.5, -1.0, 2.0], TEACHER)
    np.testing.assert_allclose(call(layer), expected, rtol=1e-5)  # float32
    assert values.shape == (6,) and values.dtype == tf.float32


@pytest.mark.parametrize("loss", DISTANCES)
def test_more_axes_are_averaged(loss):
    """A row that is a sequence: the mean of its positions' distances."""
    random = np.random.default_rng(2)
    student, teacher = (random.normal(size=(6, 5, 4)).astype(np.float32) for _ in range(2))
    layer = HiddenRepresentationDistillation("a", "b", loss=loss, projector="identity")
    expected = DISTANCES[loss](student, teacher).mean(axis=1)
    np.testing.assert_allclose(call(layer, student, teacher), expected, rtol=1e-5)
    assert layer.weights == []


def test_cosine_by_hand():
    """Same direction, opposite, at right angles, and at 60 degrees."""
    layer = HiddenRepresentationDistillation("a", "b", loss="cosine", projector="identity")
    student = np.array([[1, 1], [1, 1], [1, 0], [1, 0]], np.float32)
    teacher = np.array([[3, 3], [-2, -2], [0, 7], [1, np.sqrt(3)]], np.float32)
    np.testing.assert_allclose(call(layer, student, teacher), [0, 2, 1, 0.5], atol=1e-6)


def test_reduced_precision_is_compared_in_float32():
    """60000 squared overflows float16."""
    layer = HiddenRepresentationDistillation("a", "b", projector="identity")
    values = call(layer, np.float16([[60000.0]]), np.float16([[0.0]]))
    np.testing.assert_allclose(values, [60000.0**2], rtol=1e-3)  # float16's own spacing


def test_a_custom_projector():
    projector = tf.keras.Sequential(
        [tf.keras.layers.Dense(8, activation="relu"), tf.keras.layers.Dense(3)]
    )
    layer = HiddenRepresentationDistillation("a", "b", projector=projector)
    values = call(layer)
    kernel, bias, out, out_bias = (np.float64(weight) for weight in projector.get_weights())
    projected = np.maximum(STUDENT @ kernel + bias, 0) @ out + out_bias
    np.testing.assert_allclose(values, mean_squared_error(projected, TEACHER), rtol=1e-5)
    assert [id(v) for v in layer.trainable_variables] == [id(v) for v in projector.weights]


def test_a_built_projector_keeps_its_weights():
    projector = tf.keras.layers.Dense(3, use_bias=False)
    projector.build([None, 4])
    kernel = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    projector.set_weights([kernel])
    values = call(HiddenRepresentationDistillation("a", "b", projector=projector))
    expected = mean_squared_error(np.float64(STUDENT) @ kernel, TEACHER)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("projector", "gives"),
    [("identity", r"\(6, 4\)"), (tf.keras.layers.Dense(2, name="two"), r"\(6, 2\)")],
)
def test_different_widths_after_the_projector_are_refused(projector, gives):
    layer = HiddenRepresentationDistillation("mine", "theirs", projector=projector, name="hint")
    words = rf"hint: the student's layer 'mine' has shape {gives} .*'theirs' has shape \(6, 3\)"
    with pytest.raises(ValueError, match=words):
        call(layer)


def test_other_different_axes_are_refused():
    """Broadcasting one position over five would compare unrelated values."""
    layer = HiddenRepresentationDistillation("mine", "theirs")
    with pytest.raises(ValueError, match=r"has shape \(6, 1, 3\) .* has shape \(6, 5, 3\)"):
        call(layer, np.ones([6, 1, 4], np.float32), np.ones([6, 5, 3], np.float32))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": "mse"}, "`loss` must be one of .* Received: loss='mse'"),
        ({"projector": "dense"}, "`projector` must be one of .* Received: projector='dense'"),
        ({"projector": None}, "Received: projector=None"),
    ],
)
def test_unknown_losses_and_projectors_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        HiddenRepresentationDistillation("a", "b", **arguments)


def test_both_sides_get_the_analytic_gradient():
    """`d mean_j (x K + b - t)_j**2 / d K = 2 x^T (x K + b - t) / width`, summed over rows."""
    layer = HiddenRepresentationDistillation("a", "b")
    student = tf.constant(STUDENT)
    layer.build([student.shape, TEACHER.shape])
    kernel, bias = layer.projector.weights
    with tf.GradientTape() as tape:
        tape.watch(student)
        total = tf.reduce_sum(layer((student, tf.constant(TEACHER))))
    to_student, to_kernel, to_bias = tape.gradient(total, [student, kernel, bias])
    residual = 2 * (STUDENT @ np.float64(kernel) + np.float64(bias) - TEACHER) / 3
    np.testing.assert_allclose(to_kernel, STUDENT.T @ residual, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_bias, residual.sum(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_student, residual @ np.float64(kernel).T, rtol=1e-4, atol=1e-5)


PROJECTORS = {
    "linear": lambda: "linear",
    "identity": lambda: "identity",
    "own": lambda: tf.keras.layers.Dense(3, activation="tanh", name="mine"),
}


@pytest.mark.parametrize("kind", PROJECTORS)
def test_get_config_builds_an_equal_layer(kind):
    layer = HiddenRepresentationDistillation(
        "a/b", "c", loss="cosine", projector=PROJECTORS[kind](), name="hint"
    )
    student = STUDENT[:, :3] if kind == "identity" else STUDENT
    values = call(layer, student)
    saved = tf.keras.utils.serialize_keras_object(layer)
    again = tf.keras.utils.deserialize_keras_object(saved)
    assert type(again) is HiddenRepresentationDistillation
    assert (again.student_layer, again.teacher_layer) == ("a/b", "c")
    assert (again.loss, again.name, again.kind) == ("cosine", "hint", layer.kind)
    assert again.get_config() == layer.get_config()
    if kind == "own":
        assert again.projector is not layer.projector
        assert again.projector.activation is tf.keras.activations.tanh
    # A loaded layer has its projector before its weights are read.
    assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]
    again.set_weights([weight + 1.0 for weight in layer.get_weights()])
    if layer.weights:
        assert np.abs(call(again, student) - values).max() > 1e-3
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(call(again, student), values)


def test_a_layer_that_was_never_called_can_be_built_from_its_config():
    layer = HiddenRepresentationDistillation("a", "b")
    again = HiddenRepresentationDistillation.from_config(layer.get_config())
    again.build_from_config(layer.get_build_config())
    assert again.weights == [] and not again.built
    call(again)
    assert [tuple(weight.shape) for weight in again.weights] == [(4, 3), (3,)]
