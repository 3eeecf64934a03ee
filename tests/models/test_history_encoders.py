"""The contract of every history encoder: see `tfrs_distill.models`."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.models import DecayedAverage, RecencyAttention

ENCODERS = {
    "decayed_average": lambda **kwargs: DecayedAverage(6, 4, **kwargs),
    "recency_attention": lambda **kwargs: RecencyAttention(6, 4, num_heads=2, **kwargs),
    "average": lambda **kwargs: DecayedAverage(6, 4, reads_order=False, **kwargs),
    "set_attention": lambda **kwargs: RecencyAttention(
        6, 4, num_blocks=2, num_heads=2, reads_order=False, **kwargs
    ),
    "two_blocks": lambda **kwargs: RecencyAttention(6, 4, num_blocks=2, num_heads=2, **kwargs),
}
MASK = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]], bool)


@pytest.fixture(params=ENCODERS)
def encoder(request):
    """An encoder with random weights: zeros would hide a leak."""
    layer = ENCODERS[request.param]()
    layer(tf.zeros([1, 6, 4]), tf.ones([1, 6], tf.bool))
    random = np.random.default_rng(0)
    layer.set_weights([random.normal(size=w.shape, scale=0.5) for w in layer.get_weights()])
    return layer


def embeddings_of(seed=1):
    return np.random.default_rng(seed).normal(size=(3, 6, 4)).astype(np.float32)


def run(encoder, embeddings, mask=MASK):
    return encoder(tf.constant(embeddings), tf.constant(mask), training=False).numpy()


def test_a_later_item_never_changes_an_earlier_position(encoder):
    embeddings = embeddings_of()
    before = run(encoder, embeddings)
    for position in range(6):
        changed = embeddings.copy()
        changed[:, position] = np.random.default_rng(position).normal(size=(3, 4))
        after = run(encoder, changed)
        np.testing.assert_allclose(after[:, :position], before[:, :position], atol=1e-6)
        if position >= 2:  # where row 0 has an item, the change must have an effect
            assert abs(after[0, position:] - before[0, position:]).max(axis=1).min() > 1e-6


def test_padding_has_no_influence(encoder):
    embeddings = embeddings_of()
    changed = np.where(MASK[..., None], embeddings, 1e3 * embeddings_of(seed=2))
    there = MASK[..., None]
    np.testing.assert_allclose(
        run(encoder, changed) * there, run(encoder, embeddings) * there, atol=1e-6
    )


def test_an_empty_history_returns_zeros(encoder):
    nobody = np.zeros_like(MASK)
    outputs = run(encoder, embeddings_of(), nobody)
    other = run(encoder, 100 * embeddings_of(seed=2), nobody)
    np.testing.assert_allclose(other, outputs, atol=1e-6)
    np.testing.assert_allclose(outputs, np.broadcast_to(outputs[0, 0], outputs.shape), atol=1e-6)


def test_last_is_the_last_position(encoder):
    mask = np.concatenate([MASK, [[0] * 6, [1, 1, 0, 1, 0, 1]]]).astype(bool)
    embeddings = np.random.default_rng(5).normal(size=(5, 6, 4)).astype(np.float32)
    last = encoder.last(tf.constant(embeddings), tf.constant(mask))
    assert last.shape == (5, 4)
    np.testing.assert_allclose(last, run(encoder, embeddings, mask)[:, -1], atol=1e-5)


def test_rows_of_a_batch_are_independent(encoder):
    embeddings = embeddings_of()
    together = run(encoder, embeddings)
    for row in range(3):
        alone = run(encoder, embeddings[row : row + 1], MASK[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


def test_only_the_distance_matters_not_the_position_in_the_window(encoder):
    embeddings = embeddings_of()
    shifted, mask = np.roll(embeddings, -1, axis=1), np.roll(MASK, -1, axis=1)
    mask[:, -1] = False
    # Row 0 starts with padding, so its 4 items are moved one position to the front.
    np.testing.assert_allclose(
        run(encoder, shifted, mask)[0, 1:5], run(encoder, embeddings)[0, 2:6], atol=1e-5
    )


def test_order_matters(encoder):
    embeddings = embeddings_of()
    swapped = embeddings[:, [0, 1, 3, 2, 4, 5]]
    assert abs(run(encoder, swapped)[0, -1] - run(encoder, embeddings)[0, -1]).max() > 1e-3


@pytest.mark.parametrize("name", ENCODERS)
def test_dropout_only_while_training(name):
    encoder = ENCODERS[name](dropout=0.5, seed=0)
    inputs, mask = tf.constant(embeddings_of()), tf.constant(MASK)
    np.testing.assert_array_equal(encoder(inputs, mask), encoder(inputs, mask, training=False))
    first, second = (encoder(inputs, mask, training=True).numpy() for _ in range(2))
    assert abs(first - second)[MASK].max() > 1e-3


@pytest.mark.parametrize("name", ENCODERS)
def test_seed_fixes_initial_weights_and_dropout(name):
    inputs, mask = tf.constant(embeddings_of()), tf.constant(MASK)

    def outputs_of(seed, training):
        # In a graph, as in `fit`: there a seeded dropout restarts; run eagerly, it continues.
        encoder = tf.function(ENCODERS[name](dropout=0.5, seed=seed))
        return encoder(inputs, mask, training=training).numpy()[MASK]

    for training in (True, False):
        first, same, other = (outputs_of(seed, training) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, same)
        assert abs(first - other).max() > 1e-3


def test_config_round_trip_of_decayed_average():
    layer = DecayedAverage(6, 4, dropout=0.25, seed=3, name="encoder")
    again = DecayedAverage.from_config(layer.get_config())
    assert (again.max_history, again.embedding_dim, again.name) == (6, 4, "encoder")
    assert (again.dropout_rate, again.seed) == (0.25, 3)
    assert again.dropout.rate == 0.25
    np.testing.assert_array_equal(run(again, embeddings_of()), run(layer, embeddings_of()))


def test_config_round_trip_of_recency_attention():
    layer = RecencyAttention(6, 4, num_blocks=2, num_heads=4, dropout=0.25, seed=3, name="encoder")
    again = RecencyAttention.from_config(layer.get_config())
    assert (again.max_history, again.embedding_dim, again.name) == (6, 4, "encoder")
    assert (again.num_blocks, again.num_heads, again.dropout_rate, again.seed) == (2, 4, 0.25, 3)
    np.testing.assert_array_equal(run(again, embeddings_of()), run(layer, embeddings_of()))
