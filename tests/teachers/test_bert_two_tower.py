"""The default teacher: its scores, its fingerprint, its round trips, and learning from text."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, random_windows, windows_from

from tfrs_distill.teachers import BertTwoTower

NUM_ITEMS, TEXT_DIM = 9, 6


def text_vectors(seed=0):
    return np.random.default_rng(seed).normal(size=(NUM_ITEMS, TEXT_DIM)).astype(np.float32)


def teacher_of(*, vectors=None, random_weights=True, **changed):
    arguments = {"max_history": 4, "embedding_dim": 8, "dropout": 0.0, "seed": 0, **changed}
    teacher = BertTwoTower(text_vectors() if vectors is None else vectors, **arguments)
    if random_weights:
        random = np.random.default_rng(1)
        for weight in teacher.trainable_weights:
            weight.assign(random.normal(size=weight.shape, scale=0.5))
    return teacher


def batch_of(windows):
    return next(iter(windows.batches(64)))


@pytest.fixture
def windows():
    return random_windows(num_items=NUM_ITEMS, max_history=4)


def test_an_item_is_the_sum_of_id_text_and_bias():
    teacher = teacher_of()
    items = teacher.candidate_tower
    kernel, offset = items.projection.get_weights()
    expected = items.id_embeddings.numpy()[1:] + text_vectors() @ kernel + offset
    embeddings = teacher.catalogue_embeddings().numpy()[1:]
    np.testing.assert_allclose(embeddings[:, :8], expected, atol=1e-5)
    np.testing.assert_array_equal(embeddings[:, 8], items.biases.numpy()[1:])


def test_logits_are_dot_products_at_the_labelled_positions(windows):
    teacher = teacher_of()
    some = np.array([7, 2, 7])
    logits = teacher.logits(batch_of(windows), tf.constant(some)).numpy()
    rows = next_item_rows(windows)
    assert logits.shape == (len(rows), 3) and logits.dtype == np.float32
    table = teacher.catalogue_embeddings().numpy().astype(np.float64)
    for row, (history, _) in zip(logits, rows):
        query = teacher.encode_histories(tf.constant([history]))[0].numpy()
        np.testing.assert_allclose(row, table[some] @ query, atol=1e-4)


def test_logits_have_no_dropout(windows):
    teacher = teacher_of(dropout=0.5)
    first, second = (teacher.logits(batch_of(windows), tf.constant([1, 2])) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_only_the_text_vectors_are_frozen():
    teacher = teacher_of()
    weights = teacher.query_tower.non_trainable_weights
    (frozen,) = [weight for weight in weights if "empty_query" not in weight.name]
    assert frozen is teacher.candidate_tower.text_vectors


def test_fitting_does_not_change_the_text_vectors_and_changes_the_rest(windows):
    teacher = teacher_of(random_weights=False)
    before = teacher.fingerprint()
    ids = teacher.candidate_tower.id_embeddings.numpy()
    teacher.compile(optimizer=tf.keras.optimizers.Adam(0.01), run_eagerly=True)
    teacher.fit(windows.batches(64), verbose=0)
    np.testing.assert_array_equal(teacher.candidate_tower.item_text_vectors(), text_vectors())
    assert abs(teacher.candidate_tower.id_embeddings.numpy() - ids).max() > 1e-4
    assert teacher.fingerprint() != before


def test_untrained_without_embeddings_its_loss_is_ln_num_items(windows):
    teacher = teacher_of(vectors=np.zeros((NUM_ITEMS, TEXT_DIM)), random_weights=False)
    teacher.candidate_tower.id_embeddings.assign(tf.zeros([NUM_ITEMS + 1, 8]))
    teacher.compile(run_eagerly=True)
    for batch_size in (1, 3, 64):
        loss = teacher.evaluate(windows.batches(batch_size), verbose=0)
        np.testing.assert_allclose(loss, math.log(NUM_ITEMS), rtol=1e-6)


def test_fingerprint_depends_on_every_weight_and_argument():
    same = teacher_of().fingerprint()
    assert teacher_of().fingerprint() == same
    assert len(same) == 64
    assert teacher_of(vectors=text_vectors(seed=1)).fingerprint() != same
    assert teacher_of(dropout=0.1).fingerprint() != same
    changed = teacher_of()
    changed.query_tower.encoder.distance_bias[0, 0, 0].assign(5.0)
    assert changed.fingerprint() != same


@pytest.mark.nightly
def test_seed_fixes_the_training(windows):
    def curve(seed):
        teacher = teacher_of(random_weights=False, dropout=0.3, seed=seed)
        teacher.compile(optimizer=tf.keras.optimizers.Adam(0.05))
        batches = windows.batches(5, seed=1)
        return teacher.fit(batches, epochs=2, verbose=0).history["loss"]

    first = curve(1)
    np.testing.assert_allclose(curve(1), first, rtol=1e-6)
    assert abs(np.subtract(curve(2), first)).max() > 1e-3


def test_config_round_trip():
    teacher = teacher_of(
        num_blocks=2, num_heads=4, dropout=0.25, label_smoothing=0.5, seed=7, name="my_teacher"
    )
    again = BertTwoTower.from_config(teacher.get_config())
    assert again.get_config() == teacher.get_config()
    assert again.name == "my_teacher"
    assert again.label_smoothing == 0.5
    encoder = again.query_tower.encoder
    assert (encoder.num_blocks, encoder.num_heads, encoder.dropout_rate) == (2, 4, 0.25)
    assert again.candidate_tower.text_dropout == 0.25
    assert (again.num_items, again.max_history, again.candidate_tower.text_dim) == (9, 4, 6)


@pytest.mark.parametrize("num_blocks", [1, 2])
def test_save_and_load(tmp_path, windows, num_blocks):
    teacher = teacher_of(num_blocks=num_blocks, dropout=0.25)
    teacher.save(tmp_path / "teacher.keras")
    again = tf.keras.models.load_model(tmp_path / "teacher.keras")
    assert type(again) is BertTwoTower
    assert again.fingerprint() == teacher.fingerprint()
    assert again.query_tower.item_tower is again.candidate_tower
    np.testing.assert_array_equal(again.candidate_tower.item_text_vectors(), text_vectors())
    batch, items = batch_of(windows), tf.range(1, NUM_ITEMS + 1)
    np.testing.assert_array_equal(again.logits(batch, items), teacher.logits(batch, items))


def test_training_after_loading_changes_both_towers(tmp_path, windows):
    teacher = teacher_of()
    teacher.save(tmp_path / "teacher.keras")
    again = tf.keras.models.load_model(tmp_path / "teacher.keras")
    again.compile(optimizer=tf.keras.optimizers.SGD(0.5), run_eagerly=True)
    again.fit(windows.batches(64), verbose=0)
    items = tf.range(1, NUM_ITEMS + 1)
    read = again.query_tower.item_tower.embed(items)
    np.testing.assert_array_equal(read, again.candidate_tower.embed(items))
    assert abs(read - teacher.candidate_tower.embed(items)).numpy().max() > 1e-3


def test_text_gives_the_group_of_a_cold_start_item():
    """Even items follow even ones; items 9 and 10 have only their texts."""
    num_items = 10
    vectors = np.zeros((num_items, 2), np.float32)
    vectors[np.arange(num_items), np.arange(num_items) % 2] = 1.0
    odd, even = [1, 3, 5, 7], [2, 4, 6, 8]
    sequences = [np.roll(block, shift).tolist() for block in (odd, even) for shift in range(4)]
    windows = windows_from(sequences, num_items=num_items, max_history=4)
    teacher = BertTwoTower(vectors, max_history=4, embedding_dim=8, dropout=0.0, seed=0)
    teacher.compile(optimizer=tf.keras.optimizers.Adam(0.02))
    teacher.fit(windows.batches(8), epochs=40, verbose=0)
    queries = teacher.encode_histories(tf.constant([[1, 3, 5], [2, 4, 6]])).numpy()
    scores = queries @ teacher.catalogue_embeddings().numpy().T
    assert scores[0, 9] > scores[0, 10] + 1
    assert scores[1, 10] > scores[1, 9] + 1


def test_bad_arguments():
    vectors = text_vectors()
    vectors[3, 1] = np.inf
    with pytest.raises(ValueError, match=r"`text_vectors` must be finite\. Row 3 is not"):
        teacher_of(vectors=vectors)
    with pytest.raises(
        ValueError, match=r"multiple of `num_heads`\. Received: embedding_dim=8, num"
    ):
        teacher_of(num_heads=3)
