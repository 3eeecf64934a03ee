"""One modality: a projection of constant vectors, and 0 for an item without one."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.models.modality import Modality

VECTORS = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, -3.0, 0.0]])  # item 2 has none


def planted(**kwargs):
    layer = Modality(3, 3, 2, name="image", **kwargs)
    layer(tf.constant([0]))
    random = np.random.default_rng(0)
    layer.projection.set_weights([random.normal(size=(3, 2)), random.normal(size=2)])
    layer.set_vectors(VECTORS)
    return layer


def test_a_vector_is_projected_and_a_missing_one_is_0():
    layer = planted()
    kernel, bias = (w.astype(np.float64) for w in layer.projection.get_weights())
    items = np.array([[1, 3], [2, 0]])
    output = layer(tf.constant(items)).numpy()
    np.testing.assert_allclose(output[0, 0], kernel[0] + 2 * kernel[2] + bias, rtol=1e-6)
    np.testing.assert_allclose(output[0, 1], -3 * kernel[1] + bias, rtol=1e-6)
    np.testing.assert_array_equal(output[1], np.zeros((2, 2)))  # absent, and padding
    present = layer.present(tf.constant(items)).numpy()
    assert present.tolist() == [[True, True], [False, False]]


def test_replacing_vectors_also_replaces_which_are_missing():
    layer = planted()
    layer.set_vectors(np.flip(VECTORS, axis=0))
    np.testing.assert_array_equal(layer.item_vectors(), np.flip(VECTORS, axis=0))
    assert layer.present(tf.range(4)).numpy().tolist() == [False, True, False, True]
    layer.set_vectors(np.eye(3))
    assert layer.present(tf.range(4)).numpy().tolist() == [False, True, True, True]


def test_vectors_are_constants_of_the_model():
    layer = planted()
    assert len(layer.trainable_weights) == 2  # kernel and bias
    assert {w.name.split(":")[0] for w in layer.non_trainable_weights} == {"vectors", "presence"}


def test_dropout_is_per_entry_and_only_while_training():
    layer = Modality(2, 64, 3, dropout=0.5, seed=1)
    layer.set_vectors(np.ones((2, 64)))
    items = tf.ones([40], tf.int32)
    assert len(np.unique(layer(items, training=False).numpy(), axis=0)) == 1
    assert len(np.unique(layer(items, training=True).numpy(), axis=0)) > 30


def test_items_without_a_vector_have_no_gradient():
    layer = planted()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant([2])))
    assert all(
        not tf.reduce_any(gradient != 0)
        for gradient in tape.gradient(loss, layer.trainable_weights)
        if gradient is not None
    )


def test_reduced_precision_is_kept():
    layer = planted(dtype="mixed_bfloat16")
    assert layer(tf.constant([1])).dtype == tf.bfloat16
    exact = planted()(tf.range(1, 4)).numpy()
    # bfloat16 has 8 bits: half a unit of 2**-8 per rounding, a few of them on numbers up to 6.
    np.testing.assert_allclose(tf.cast(layer(tf.range(1, 4)), tf.float32), exact, atol=0.1)


def test_wrong_vectors_are_refused():
    layer = planted()
    with pytest.raises(ValueError, match=r"'image' must have .* \(3, 3\)\. Received: .*\(4, 3\)"):
        layer.set_vectors(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"'image' must be finite\. Row 1 is not"):
        layer.set_vectors(np.array([[0, 0, 1], [0, np.nan, 0], [np.inf, 0, 0]]))


def test_config_round_trip():
    layer = planted(dropout=0.25, seed=9)
    again = Modality.from_config(layer.get_config())
    assert (again.num_items, again.vector_dim, again.embedding_dim) == (3, 3, 2)
    assert (again.dropout_rate, again.seed, again.name) == (0.25, 9, "image")
    again(tf.constant([0]))
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(tf.range(4)), layer(tf.range(4)))


def test_seed_fixes_the_projection():
    def kernel(seed):
        layer = Modality(3, 3, 2, seed=seed)
        layer(tf.constant([0]))
        return layer.projection.kernel.numpy()

    np.testing.assert_array_equal(kernel(1), kernel(1))
    assert not np.array_equal(kernel(1), kernel(2))
