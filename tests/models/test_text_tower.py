"""The text tower against float64 NumPy."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.models.encoders.text_tower import TextTower


def planted(**kwargs):
    """A tower whose every weight is a known random number."""
    random = np.random.default_rng(0)
    tower = TextTower(num_pieces=6, dim=3, piece_dim=4, hidden_dim=5, **kwargs)
    tower(tf.constant([[1]]))
    tower.set_weights([random.normal(size=w.shape) for w in tower.get_weights()])
    return tower


def expected(tower, pieces):
    """By definition, one text at a time."""
    table, log_weights = (np.float64(w.numpy()) for w in (tower.embeddings, tower.log_weights))
    dense = {name: np.float64(getattr(tower, name).get_weights()[0]) for name in ("hidden", "out")}
    inner_bias = np.float64(tower.hidden.get_weights()[1])
    kernel, bias = (np.float64(w) for w in tower.linear.get_weights())
    rows = []
    for text in pieces:
        known = [piece for piece in text if piece]
        weights = np.exp(log_weights[known])
        average = weights @ table[known] / weights.sum() if known else np.zeros(4)
        inner = average @ dense["hidden"] + inner_bias
        gelu = np.array([x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in inner])
        rows.append(gelu @ dense["out"] + average @ kernel + bias)
    return np.array(rows)


def test_a_text_is_a_perceptron_of_the_weighted_mean_of_its_pieces():
    tower, pieces = planted(), [[1, 2, 0, 0], [6, 6, 3, 0], [5, 4, 2, 1]]
    np.testing.assert_allclose(tower(tf.constant(pieces)), expected(tower, pieces), atol=1e-5)


def test_an_empty_text_equals_one_without_pieces():
    tower = planted()
    (row,) = tower(tf.constant([[0, 0]])).numpy()
    np.testing.assert_allclose(row, expected(tower, [[0, 0]])[0], atol=1e-6)


def test_padding_anywhere_changes_nothing():
    tower = planted()
    np.testing.assert_allclose(
        tower(tf.constant([[0, 3, 0, 2]])), tower(tf.constant([[3, 2, 0, 0]])), atol=1e-6
    )


def test_pieces_are_dropped_only_in_training():
    tower, pieces = planted(dropout=0.5, seed=1), tf.tile([[1, 2, 3, 4, 5, 6]], [30, 1])
    trained = np.unique(tower(pieces, training=True).numpy().round(5), axis=0)
    assert len(trained) > 5
    assert len(np.unique(tower(pieces).numpy().round(5), axis=0)) == 1


def test_weights_start_at_one_and_a_seed_fixes_the_rest():
    one, other = (TextTower(6, 3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.log_weights, np.zeros(7))
    pieces = tf.constant([[3, 1]])
    np.testing.assert_array_equal(one(pieces), other(pieces))
    copy = TextTower.from_config(one.get_config())
    np.testing.assert_array_equal(copy(pieces), one(pieces))


def test_given_piece_vectors_are_not_trained():
    tower = TextTower(6, 3, piece_dim=4, trains_pieces=False)
    vectors = np.random.default_rng(2).normal(size=(7, 4)).astype(np.float32)
    tower.set_piece_vectors(vectors)
    np.testing.assert_array_equal(tower.embeddings, vectors)
    assert not any("embeddings" in weight.name for weight in tower.trainable_weights)
    assert any("log_weights" in weight.name for weight in tower.trainable_weights)
    assert TextTower.from_config(tower.get_config()).trains_pieces is False


@pytest.mark.parametrize("vectors", [np.zeros((6, 4)), np.full((7, 4), np.nan)])
def test_piece_vectors_of_another_shape_or_not_finite_are_refused(vectors):
    with pytest.raises(ValueError, match=r"must be finite, of shape \(7, 4\)"):
        TextTower(6, 3, piece_dim=4).set_piece_vectors(vectors)
