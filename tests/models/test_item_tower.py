"""The candidate tower: embeddings, text, and the bias in the dot product."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.models import ItemTower


def planted(text_dim=0, **kwargs):
    """A tower of 3 items whose every weight is a known random number."""
    random = np.random.default_rng(0)
    tower = ItemTower(3, 2, text_dim=text_dim, **kwargs)
    tower(tf.constant([0]))
    tower.set_weights([random.normal(size=w.shape) for w in tower.get_weights()])
    return tower


def test_a_query_that_ends_in_1_adds_the_bias():
    tower = ItemTower(3, 2)
    tower.id_embeddings.assign([[9, 9], [1, 2], [3, 4], [5, 6]])
    tower.biases.assign([99, 0.5, -0.25, 8])
    candidates = tower(tf.range(1, 4)).numpy()
    scores = candidates @ np.array([10.0, 1.0, 1.0])
    np.testing.assert_array_equal(scores, [12.5, 33.75, 64.0])  # 10 a + b + bias
    np.testing.assert_array_equal(tower.embed(tf.constant([[2, 3]])), [[[3, 4], [5, 6]]])


def test_text_is_projected_and_added():
    tower = planted(text_dim=4)
    text = np.random.default_rng(1).normal(size=(3, 4))
    tower.set_text_vectors(text)
    kernel, bias = tower.projection.get_weights()
    expected = tower.id_embeddings.numpy()[1:] + text @ kernel + bias
    np.testing.assert_allclose(tower.embed(tf.range(1, 4)), expected, atol=1e-6)
    np.testing.assert_allclose(tower(tf.range(1, 4))[:, :2], expected, atol=1e-6)
    np.testing.assert_array_equal(tower(tf.range(1, 4))[:, 2], tower.biases[1:])
    np.testing.assert_allclose(tower.item_text_vectors(), text, atol=1e-7)
    np.testing.assert_array_equal(tower.text_vectors[0], np.zeros(4))


def test_text_vectors_are_constants_of_the_model():
    tower = planted(text_dim=4)
    trained = [weight.name for weight in tower.trainable_weights]
    assert not any("text_vectors" in name for name in trained)
    assert len(trained) == 4  # id embeddings, biases, kernel, bias


def test_without_text_there_is_no_projection():
    assert len(planted().weights) == 2


def test_untrained_biases_are_0():
    np.testing.assert_array_equal(ItemTower(3, 2).biases, np.zeros(4))


def test_text_dropout_only_while_training():
    tower = planted(text_dim=64, text_dropout=0.5, seed=1)
    tower.set_text_vectors(np.ones((3, 64)))
    items = tf.ones([40], tf.int32)
    assert len(np.unique(tower.embed(items, training=False).numpy(), axis=0)) == 1
    assert len(np.unique(tower.embed(items, training=True).numpy(), axis=0)) > 30


def test_wrong_text_vectors_are_refused():
    tower = planted(text_dim=2)
    with pytest.raises(
        ValueError, match=r"one row per item, shape \(3, 2\)\. Received: .*\(4, 2\)"
    ):
        tower.set_text_vectors(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"`text_vectors` must be finite\. Row 1 is not"):
        tower.set_text_vectors(np.array([[0, 0], [0, np.nan], [np.inf, 0]]))


def test_seed_fixes_the_initial_weights():
    first, same, other = (ItemTower(5, 3, seed=seed).id_embeddings.numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_config_round_trip():
    tower = planted(text_dim=4, text_dropout=0.25, seed=9, name="items")
    again = ItemTower.from_config(tower.get_config())
    assert (again.num_items, again.embedding_dim, again.text_dim) == (3, 2, 4)
    assert (again.text_dropout, again.seed, again.name) == (0.25, 9, "items")
    again(tf.constant([0]))
    again.set_weights(tower.get_weights())
    np.testing.assert_array_equal(again(tf.range(4)), tower(tf.range(4)))


def test_embedding_and_bias_are_hidden_together_in_training():
    tower = planted(text_dim=4, id_dropout=0.5, seed=2)
    tower.set_text_vectors(np.random.default_rng(1).normal(size=(3, 4)))
    whole, items = tower(tf.range(1, 4)).numpy(), tf.tile(tf.range(1, 4), [40])
    texts = whole - np.concatenate([tower.id_embeddings, tower.biases[:, None]], axis=1)[1:]
    hidden = 0
    for place, row in enumerate(tower(items, training=True).numpy()):
        alone = np.allclose(row, texts[place % 3], atol=1e-6)
        assert alone or np.allclose(row, whole[place % 3], atol=1e-6)
        hidden += alone
    assert 40 <= hidden <= 80  # of 120
    np.testing.assert_array_equal(tower(items), tower(items))


@pytest.mark.parametrize("id_dropout", [-0.1, 1.0])
def test_a_share_of_ids_outside_0_and_1_is_refused(id_dropout):
    with pytest.raises(ValueError, match=r"`id_dropout` must be at least 0 and below 1"):
        ItemTower(3, 2, id_dropout=id_dropout)
