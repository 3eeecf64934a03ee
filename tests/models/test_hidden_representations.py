"""Outputs of layers anywhere in a model; recording does not change the model."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.models.hidden_representations import find, layers_by_path, recorded

INPUTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def nested():
    """A functional model of two layers inside another, next to a layer of the same name."""
    inner_inputs = tf.keras.Input([3])
    hidden = tf.keras.layers.Dense(5, activation="relu", name="hidden")(inner_inputs)
    block = tf.keras.Model(inner_inputs, tf.keras.layers.Dense(4, name="out")(hidden), name="block")
    inputs = tf.keras.Input([3])
    outputs = tf.keras.layers.Dense(2, name="hidden")(block(inputs))
    return tf.keras.Model(inputs, outputs, name="whole")


class Leaf(tf.keras.layers.Layer):
    """Doubles a dense layer's output."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside = tf.keras.layers.Dense(3, name="inside")

    def call(self, inputs):
        return 2.0 * self.inside(inputs)


class Subclassed(tf.keras.Model):
    """A layer in an attribute, one in a list, one in a dict; one of them runs twice."""

    def __init__(self):
        super().__init__(name="whole")
        self.first = Leaf(name="leaf")
        self.more = [tf.keras.layers.Dense(3, name="listed")]
        self.named = {"last": tf.keras.layers.Dense(2, name="kept")}
        self.counted = tf.keras.metrics.Mean(name="counted")

    def call(self, inputs):
        once = self.more[0](self.first(inputs))
        return self.named["last"](self.more[0](once))


def dense(layer, inputs):
    kernel, bias = (np.float64(weight) for weight in layer.get_weights())
    return inputs @ kernel + bias


def test_paths_are_the_names_of_the_parents():
    paths = {
        path: type(layer).__name__
        for path, layer in layers_by_path(nested()).items()
        if not isinstance(layer, tf.keras.layers.InputLayer)
    }
    assert paths == {
        "block": "Functional",
        "block/hidden": "Dense",
        "block/out": "Dense",
        "hidden": "Dense",
    }
    assert sorted(layers_by_path(Subclassed())) == ["kept", "leaf", "leaf/inside", "listed"]
    deep = tf.keras.Sequential([Leaf(name="leaf"), tf.keras.layers.Flatten(name="flat")], "a")
    outer = tf.keras.Sequential([tf.keras.Sequential([deep], name="b")])
    assert sorted(layers_by_path(outer)) == ["b", "b/a", "b/a/flat", "b/a/leaf", "b/a/leaf/inside"]


def test_layers_of_one_path_are_numbered():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, name="same")])
    outer = Subclassed()
    outer.more = [tf.keras.layers.Dense(3, name="same") for _ in range(3)]
    assert list(layers_by_path(model)) == ["same"]
    assert {"same", "same#2", "same#3"} < set(layers_by_path(outer))


@pytest.mark.parametrize("in_graph", [False, True])
def test_outputs_of_nested_layers_are_recorded(in_graph):
    model = nested()

    def run(inputs):
        with recorded(model) as hidden:
            outputs = model(inputs)
        return dict(hidden), outputs

    hidden, outputs = (tf.function(run) if in_graph else run)(tf.constant(INPUTS))
    block = model.get_layer("block")
    inside = np.maximum(dense(block.get_layer("hidden"), INPUTS), 0)
    out = dense(block.get_layer("out"), inside)
    np.testing.assert_allclose(hidden["block/hidden"], inside, rtol=1e-5, atol=1e-6)  # float32
    np.testing.assert_allclose(hidden["block/out"], out, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(hidden["block"], hidden["block/out"])
    np.testing.assert_allclose(outputs, dense(model.get_layer("hidden"), out), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(hidden["hidden"], outputs)


def test_a_layer_that_runs_twice_has_its_last_output():
    model = Subclassed()
    with recorded(model) as hidden:
        model(tf.constant(INPUTS))
    doubled = 2.0 * dense(model.first.inside, INPUTS)
    np.testing.assert_allclose(hidden["leaf/inside"], doubled / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(hidden["leaf"], doubled, rtol=1e-5, atol=1e-6)
    twice = dense(model.more[0], dense(model.more[0], doubled))
    np.testing.assert_allclose(hidden["listed"], twice, rtol=1e-5, atol=1e-6)


def attributes(model):
    return [sorted(vars(part)) for part in (model, *model.submodules)]


@pytest.mark.parametrize("make", [nested, Subclassed])
def test_the_model_is_unchanged_afterwards(make):
    model = make()
    plain = model(tf.constant(INPUTS)).numpy()
    before = attributes(model)
    with recorded(model) as hidden:
        np.testing.assert_array_equal(model(tf.constant(INPUTS)), plain)
    assert attributes(model) == before
    kept = {path: value for path, value in hidden.items()}
    model(tf.constant(INPUTS) + 1.0)
    assert all(hidden[path] is value for path, value in kept.items())  # no longer recording


def test_the_model_is_unchanged_also_after_an_error():
    model = Subclassed()
    model(tf.constant(INPUTS))
    before = attributes(model)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        with recorded(model):
            model(tf.zeros([4, 9]))  # it was built for 3 columns
    assert attributes(model) == before


def test_a_replaced_call_of_a_layer_is_recorded_and_restored():
    """Other code may have wrapped a layer before, as this module does."""
    model = Subclassed()
    model(tf.constant(INPUTS))
    forward = model.first.inside.call

    def negated(inputs):
        return -forward(inputs)

    model.first.inside.call = negated
    with recorded(model) as hidden:
        model(tf.constant(INPUTS))
    expected = -dense(model.first.inside, INPUTS)
    np.testing.assert_allclose(hidden["leaf/inside"], expected, rtol=1e-5, atol=1e-6)
    assert model.first.inside.call is negated


HIDDEN = {"a/x": 1, "b/x": 2, "b/y": 3, "x2": 4, "y": 5, "a/b/z": 6}


@pytest.mark.parametrize(
    ("name", "value"), [("a/x", 1), ("b/x", 2), ("x2", 4), ("z", 6), ("b/z", 6), ("y", 5)]
)
def test_a_full_path_or_a_unique_end_is_found(name, value):
    assert find(HIDDEN, name, "student") == value


def test_an_ambiguous_name_lists_its_matches():
    words = r"student has several hidden .* 'x'. Use one of \['a/x', 'b/x'\]"
    with pytest.raises(ValueError, match=words):
        find(HIDDEN, "x", "student")


@pytest.mark.parametrize("name", ["w", "", "/x", "a", "2"])
def test_an_unknown_name_lists_all_names(name):
    words = r"teacher has no hidden .* It has: \['a/b/z', 'a/x', 'b/x', 'b/y', 'x2', 'y'\]"
    with pytest.raises(ValueError, match=words):
        find(HIDDEN, name, "teacher")
