"""Gates: the weights of an item's modalities, also if one is missing."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.models import ItemTower
from tfrs_distill.models.gated_item_tower import GatedItemTower

NUM_ITEMS, DIM = 4, 3
RANDOM = np.random.default_rng(7)
TEXT = RANDOM.normal(size=(NUM_ITEMS, 5))
IMAGE = RANDOM.normal(size=(NUM_ITEMS, 2))
GRAPH = RANDOM.normal(size=(NUM_ITEMS, 4))
IMAGE[1] = 0.0  # item 2 has no image
IMAGE[3] = GRAPH[3] = TEXT[3] = 0.0  # item 4 has its id alone
VECTORS = {"text": TEXT, "image": IMAGE, "graph": GRAPH}


def planted(vectors=VECTORS, **kwargs):
    """A tower whose every trained weight is a known random number."""
    dims = {name: array.shape[1] for name, array in vectors.items()}
    tower = GatedItemTower(NUM_ITEMS, DIM, modalities=dims, **kwargs)
    tower(tf.constant([0]))
    random = np.random.default_rng(0)
    for weight in tower.trainable_weights:
        weight.assign(random.normal(size=weight.shape))
    for layer, array in zip(tower.modalities, vectors.values()):
        layer.set_vectors(array)
    return tower


def by_the_equation(tower, vectors):
    """`id_i + sum_m g_m h_m` and the gates, item by item in float64."""
    ids = tower.id_embeddings.numpy().astype(np.float64)[1:]
    gate_kernel, gate_bias = (w.astype(np.float64) for w in tower.gate.get_weights())
    embeddings, all_gates = [], []
    for item in range(NUM_ITEMS):
        output, present = [], []
        for layer, array in zip(tower.modalities, vectors.values()):
            kernel, bias = layer.projection.get_weights()
            there = bool(np.any(array[item] != 0))
            output.append((array[item] @ kernel + bias) if there else np.zeros(DIM))
            present.append(there)
        logits = np.concatenate([ids[item], *output]) @ gate_kernel + gate_bias
        weights = np.exp(logits) * present
        gates = sum(present) * weights / weights.sum() if any(present) else weights
        embeddings.append(ids[item] + sum(g * h for g, h in zip(gates, output)))
        all_gates.append(gates)
    return np.array(embeddings), np.array(all_gates)


def test_an_item_is_the_sum_of_id_and_gated_modalities():
    tower = planted()
    embeddings, gates = by_the_equation(tower, VECTORS)
    items = tf.range(1, NUM_ITEMS + 1)
    # float32 numbers of size up to 10 through two products.
    np.testing.assert_allclose(tower.embed(items), embeddings, atol=1e-5)
    np.testing.assert_allclose(tower.gates(items), gates, atol=1e-6)
    np.testing.assert_allclose(tower(items)[:, :DIM], embeddings, atol=1e-5)
    np.testing.assert_array_equal(tower(items)[:, DIM], tower.biases[1:])
    assert tower.modality_names == ("text", "image", "graph")


def test_gates_have_mean_1_over_an_items_modalities_and_0_for_missing_ones():
    gates = planted().gates(tf.range(NUM_ITEMS + 1)).numpy()
    np.testing.assert_allclose(gates.sum(axis=1), [0, 3, 2, 3, 0], atol=1e-6)
    assert gates[2, 1] == 0 and (gates[2, [0, 2]] > 0).all()
    assert len(np.unique(gates[1:4, 0])) == 3  # per item, not one for all


def test_untrained_it_is_the_plain_sum():
    tower = GatedItemTower(NUM_ITEMS, DIM, modalities={"text": 5, "image": 2}, seed=0)
    tower(tf.constant([0]))
    text, image = tower.modalities
    text.set_vectors(TEXT)
    image.set_vectors(IMAGE)
    items = tf.range(1, NUM_ITEMS + 1)
    expected = tower.id_embeddings.numpy()[1:]
    expected = expected + TEXT @ text.projection.kernel + IMAGE @ image.projection.kernel
    np.testing.assert_allclose(tower.embed(items), expected, atol=1e-6)
    np.testing.assert_array_equal(tower.gates(items), [[1, 1], [1, 0], [1, 1], [0, 0]])
    assert not tower.gate.kernel.numpy().any() and not tower.gate.bias.numpy().any()


def test_an_item_without_modalities_is_its_id_embedding():
    tower = planted()
    np.testing.assert_array_equal(
        tower.embed(tf.constant([4, 0])), tower.id_embeddings.numpy()[[4, 0]]
    )


def test_shapes_of_any_rank():
    tower = planted()
    flat = tower.embed(tf.constant([1, 2, 3, 4])).numpy()
    square = tower.embed(tf.constant([[1, 2], [3, 4]])).numpy()
    np.testing.assert_allclose(square.reshape(4, DIM), flat, atol=1e-6)
    assert tower.gates(tf.constant([[1, 2], [3, 4]])).shape == (2, 2, 3)


def test_one_modality_alone_is_an_item_tower_with_text():
    text = np.where(TEXT == 0, 1.0, TEXT)
    gated = planted({"text": text})
    plain = ItemTower(NUM_ITEMS, DIM, text_dim=5)
    plain(tf.constant([0]))
    plain.id_embeddings.assign(gated.id_embeddings)
    plain.projection.set_weights(gated.modalities[0].projection.get_weights())
    plain.set_text_vectors(text)
    items = tf.range(1, NUM_ITEMS + 1)
    np.testing.assert_allclose(gated.embed(items), plain.embed(items), atol=1e-6)


def test_everything_but_the_vectors_is_trained():
    tower = planted()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(tf.range(1, NUM_ITEMS + 1)) ** 2)
    gradients = tape.gradient(loss, tower.trainable_weights)
    assert len(gradients) == 2 + 3 * 2 + 2  # ids and biases, projections, the gate
    for gradient in gradients:
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0


def test_dropout_only_while_training():
    wide = {"text": np.ones((NUM_ITEMS, 64)), "image": np.ones((NUM_ITEMS, 64))}
    tower = planted(wide, dropout=0.5, seed=1)
    items = tf.ones([40], tf.int32)
    assert len(np.unique(tower.embed(items, training=False).numpy(), axis=0)) == 1
    assert len(np.unique(tower.embed(items, training=True).numpy(), axis=0)) > 30


def test_reduced_precision_keeps_the_gates_in_float32():
    tower = planted(dtype="mixed_bfloat16")
    items = tf.range(1, NUM_ITEMS + 1)
    assert tower.embed(items).dtype == tf.bfloat16
    assert tower.gates(items).dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(tower.gates(items), -1), [3, 2, 3, 0], atol=1e-6)


def test_seeds_differ_between_modalities_and_fix_them():
    def kernels(seed):
        tower = GatedItemTower(NUM_ITEMS, DIM, modalities={"a": 2, "b": 2}, seed=seed)
        tower(tf.constant([0]))
        return [layer.projection.kernel.numpy() for layer in tower.modalities]

    first, same, other = kernels(1), kernels(1), kernels(2)
    assert not np.array_equal(first[0], first[1])
    for a, b, c in zip(first, same, other):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_config_round_trip():
    tower = planted(dropout=0.25, seed=9, name="items")
    again = GatedItemTower.from_config(tower.get_config())
    assert (again.num_items, again.embedding_dim, again.seed) == (NUM_ITEMS, DIM, 9)
    assert (again.dropout_rate, again.name) == (0.25, "items")
    assert [(m.name, m.vector_dim, m.dropout_rate) for m in again.modalities] == [
        ("text", 5, 0.25),
        ("image", 2, 0.25),
        ("graph", 4, 0.25),
    ]
    again(tf.constant([0]))
    again.set_weights(tower.get_weights())
    np.testing.assert_array_equal(again(tf.range(5)), tower(tf.range(5)))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"name at least one\. Received: none\. .*`ItemTower\("):
        GatedItemTower(3, 2, modalities={})
    with pytest.raises(ValueError, match=r"letters, digits and `_\.-`.* Received: 'my text'"):
        GatedItemTower(3, 2, modalities={"my text": 3})
