"""The teacher of any item tower: ids alone, and additions of a subclass."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import random_windows, windows_from

from tfrs_distill import columns
from tfrs_distill.models import ItemTower
from tfrs_distill.teachers.attention_two_tower import AttentionTwoTower

NUM_ITEMS = 9


def teacher_of(*, random_weights=True, item_seed=0, **changed):
    items = ItemTower(NUM_ITEMS, 8, seed=item_seed, name="item_tower")
    arguments = {"max_history": 4, "dropout": 0.0, "seed": 0, **changed}
    teacher = AttentionTwoTower(items, **arguments)
    if random_weights:
        random = np.random.default_rng(1)
        for weight in teacher.trainable_weights:
            weight.assign(random.normal(size=weight.shape, scale=0.5))
    return teacher


def batch():
    return next(iter(random_windows(num_items=NUM_ITEMS, max_history=4).batches(64)))


def test_it_is_built_with_and_uses_the_given_item_tower():
    items = ItemTower(NUM_ITEMS, 8)
    teacher = AttentionTwoTower(items, max_history=4, num_heads=4)
    assert teacher.built and teacher.candidate_tower is items
    assert teacher.query_tower.item_tower is items
    assert (teacher.max_history, teacher.num_items) == (4, NUM_ITEMS)


def test_ids_alone_learn_which_items_follow():
    """All users follow 1, 3, 5, 7 or 2, 4, 6, 8, as a ring from a random start."""
    odd, even = [1, 3, 5, 7], [2, 4, 6, 8]
    sequences = [np.roll(block, shift).tolist() for block in (odd, even) for shift in range(4)]
    windows = windows_from(sequences, num_items=8, max_history=4)
    teacher = AttentionTwoTower(ItemTower(8, 8, seed=0), max_history=4, dropout=0.0, seed=0)
    teacher.compile(optimizer=tf.keras.optimizers.Adam(0.02))
    teacher.fit(windows.batches(8), epochs=40, verbose=0)
    queries = teacher.encode_histories(tf.constant([[1, 3], [2, 4]])).numpy()
    scores = queries @ teacher.catalogue_embeddings().numpy().T
    assert scores[:, 1:].argmax(axis=1).tolist() == [5 - 1, 6 - 1]


@pytest.mark.parametrize("num_blocks", [1, 2])
def test_without_order_any_order_of_a_history_gives_the_same(num_blocks):
    """Also at every position of a window: its query depends on the set of items up to it."""
    teacher = teacher_of(reads_order=False, num_blocks=num_blocks)
    history = np.array([[3, 1, 4, 2]])
    items = tf.range(1, NUM_ITEMS + 1)

    def at_positions(history):
        windows = {columns.HISTORY: tf.constant(history), columns.LABELS: tf.ones([1, 4], tf.int32)}
        return teacher.logits(windows, items).numpy()

    expected = at_positions(history)
    assert np.abs(expected[0] - expected[3]).max() > 1e-2  # of other sets
    for order in itertools.permutations(range(4)):
        found = at_positions(history[:, order])
        np.testing.assert_allclose(found[3], expected[3], rtol=1e-4, atol=1e-5)
        for end in (1, 2, 3):
            if set(order[:end]) == set(range(end)):
                np.testing.assert_allclose(found[end - 1], expected[end - 1], rtol=1e-4, atol=1e-5)
    reading = teacher_of(num_blocks=num_blocks)
    one, other = (reading.encode_histories(tf.constant(h)) for h in (history, history[:, ::-1]))
    assert np.abs(one - other).max() > 1e-2


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_its_labels_are_smoothed_over_the_catalogue(smoothing):
    teacher, windows = teacher_of(label_smoothing=smoothing), batch()
    outputs = teacher(windows)
    logits = outputs.logits.numpy().astype(np.float64)
    columns = outputs.candidates.label_columns.numpy()
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    of_labels = log_softmax[np.arange(len(logits)), columns]
    expected = -(1 - smoothing) * of_labels - smoothing * log_softmax.mean(axis=1)
    np.testing.assert_allclose(teacher.hard_loss(windows, outputs), expected, rtol=1e-5, atol=1e-6)


def test_fingerprint_depends_on_every_weight_and_argument():
    same = teacher_of().fingerprint()
    assert len(same) == 64 and teacher_of().fingerprint() == same
    assert teacher_of(dropout=0.1).fingerprint() != same
    assert teacher_of(item_seed=1).fingerprint() != same  # part of the configuration
    assert teacher_of(name="other").fingerprint() != same
    changed = teacher_of()
    changed.candidate_tower.biases[0].assign(5.0)
    assert changed.fingerprint() != same


def test_config_round_trip():
    teacher = teacher_of(
        num_blocks=2,
        num_heads=4,
        dropout=0.25,
        label_smoothing=0.5,
        reads_order=False,
        seed=7,
        name="my_teacher",
    )
    again = AttentionTwoTower.from_config(teacher.get_config())
    assert again.get_config() == teacher.get_config()
    encoder = again.query_tower.encoder
    assert (encoder.num_blocks, encoder.num_heads, encoder.dropout_rate) == (2, 4, 0.25)
    assert again.label_smoothing == 0.5 and not encoder.reads_order
    assert (again.name, again.max_history, encoder.seed) == ("my_teacher", 4, 7)
    assert type(again.candidate_tower) is ItemTower and again.num_items == NUM_ITEMS
    assert again.candidate_tower is not teacher.candidate_tower


def test_save_and_load(tmp_path):
    teacher = teacher_of(num_blocks=2)
    teacher.save(tmp_path / "teacher.keras")
    again = tf.keras.models.load_model(tmp_path / "teacher.keras")
    assert type(again) is AttentionTwoTower
    assert again.fingerprint() == teacher.fingerprint()
    assert again.query_tower.item_tower is again.candidate_tower
    items = tf.range(1, NUM_ITEMS + 1)
    np.testing.assert_array_equal(again.logits(batch(), items), teacher.logits(batch(), items))


def test_heads_must_divide_the_item_towers_width():
    with pytest.raises(ValueError, match=r"multiple of `num_heads`\. Received: embedding_dim=8, n"):
        teacher_of(num_heads=3)
