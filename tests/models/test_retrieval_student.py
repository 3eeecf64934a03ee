"""The student: its size, its exact untrained loss, its training, and its round trip."""

import itertools
import math
import re
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import random_windows, windows_from

from tfrs_distill.distiller import Distiller
from tfrs_distill.errors import InputError
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import (
    Candidates,
    DecayedAverage,
    HistoryTower,
    ItemTower,
    RecencyAttention,
    RetrievalStudent,
)

NUM_ITEMS = 9


def student_of(**changed):
    arguments = {"num_items": NUM_ITEMS, "max_history": 4, "embedding_dim": 4, "seed": 0, **changed}
    return RetrievalStudent.from_history(**arguments)


@pytest.fixture
def windows():
    return random_windows(num_items=NUM_ITEMS, max_history=4)


def test_from_history_is_an_item_table_and_a_decayed_average():
    student = student_of(dropout=0.25, name="pupil")
    assert isinstance(student.query_tower.encoder, DecayedAverage)
    assert student.query_tower.item_tower is student.candidate_tower
    assert student.query_tower.encoder.dropout_rate == 0.25
    assert (student.num_items, student.max_history, student.name) == (NUM_ITEMS, 4, "pupil")
    # Embeddings and biases of 10 ids, 4 distances, normalisation, two dense layers 4 - 8 - 4, and
    # the empty query.
    assert student.num_parameters == 10 * 5 + 4 + 8 + (4 * 8 + 8) + (8 * 4 + 4) + 4


def test_with_heads_the_history_is_read_by_one_block_of_attention():
    student = student_of(num_heads=2, dropout=0.25)
    encoder = student.query_tower.encoder
    assert isinstance(encoder, RecencyAttention)
    assert (encoder.num_heads, encoder.num_blocks, encoder.dropout_rate) == (2, 1, 0.25)
    # Besides the above, for 2 heads a bias for each of 4 distances, a normalisation, and the dense
    # layers of query and key, of the value, and of the projection.
    attention = 2 * 4 + 8 + (4 * 8 + 8) + (4 * 4 + 4) + (4 * 4 + 4)
    assert student.num_parameters == student_of().num_parameters - 4 + attention
    with pytest.raises(ValueError, match="`embedding_dim` must be a multiple of `num_heads`"):
        student_of(num_heads=3)


@pytest.mark.parametrize("max_history", [4, 6])
def test_it_works_before_and_after_fitting(windows, max_history):
    windows = random_windows(num_items=NUM_ITEMS, max_history=max_history)
    student = student_of(max_history=max_history)
    history = tf.constant([[0, 3, 0, 1, 99, 2, 7]])
    assert student.encode_histories(history).shape == (1, 5)
    assert student.catalogue_embeddings().shape == (NUM_ITEMS + 1, 5)
    student.compile(optimizer="adam", run_eagerly=True)
    student.fit(windows.batches(4), verbose=0)
    assert student.encode_histories(history).shape == (1, 5)
    assert np.isfinite(student.encode_histories(history)).all()


def test_predict_returns_the_logits_of_all_rows(windows):
    student = student_of()
    student.compile(optimizer="adam")
    table, expected = np.float64(student.catalogue_embeddings()), []
    for batch in windows.batches(4):
        history, labels = batch["history"].numpy(), batch["labels"].numpy()
        for row, place in np.argwhere(labels > 0):
            query = student.encode_histories(history[row : row + 1, : place + 1])
            expected.append(np.float64(query[0]) @ table[1:].T)
    found = student.predict(windows.batches(4), verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["folder", "student.h5"])
def test_a_model_is_saved_as_a_keras_file_only(tmp_path, windows, name):
    student = student_of()
    distiller = Distiller(student, student_of(seed=1), SoftTargetKLDivergence(temperature=2.0))
    for model in (student, distiller):
        with pytest.raises(InputError, match=rf"ends in .keras. Received: .*{name}"):
            model.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_classes_have_no_weights(windows):
    student = student_of()
    student.compile(optimizer="adam")
    before = student.get_weights()
    with pytest.raises(InputError, match="by the column 'sample_weight'. Received: .*{1: 2.0}"):
        student.fit(windows.batches(4), class_weight={1: 2.0}, verbose=0)
    for one, other in zip(before, student.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_untrained_without_embeddings_its_loss_is_ln_num_items(windows, batch_size):
    student = student_of()
    student.candidate_tower.id_embeddings.assign(tf.zeros([NUM_ITEMS + 1, 4]))
    student.compile(run_eagerly=True)
    loss = student.evaluate(windows.batches(batch_size), verbose=0)
    np.testing.assert_allclose(loss, math.log(NUM_ITEMS), rtol=1e-6)


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_label_smoothing_equals_a_teacher_of_uniform_probabilities(windows, exclude_seen):
    candidates = Candidates(exclude_seen=exclude_seen)
    plain, smoothed = (
        student_of(candidates=candidates, label_smoothing=share) for share in (0.0, 0.6)
    )
    batch = next(iter(windows.batches(5)))
    outputs = plain(batch)
    logits = np.float64(outputs.logits)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    counts = logits > -1e6
    assert exclude_seen != counts.all()
    even = -np.where(counts, log_softmax, 0).sum(axis=1) / counts.sum(axis=1)
    expected = 0.4 * plain.hard_loss(batch, outputs).numpy() + 0.6 * even
    np.testing.assert_allclose(smoothed.hard_loss(batch, smoothed(batch)), expected, rtol=1e-5)


def test_seed_fixes_the_training(windows):
    def curve(seed):
        student = student_of(dropout=0.3, seed=seed)
        student.compile(optimizer=tf.keras.optimizers.Adam(0.1))
        batches = windows.batches(5, seed=1)
        return student.fit(batches, epochs=3, verbose=0).history["loss"]

    first = curve(1)
    np.testing.assert_allclose(curve(1), first, rtol=1e-6)
    assert abs(np.subtract(curve(2), first)).max() > 1e-3


def test_it_learns_which_items_follow():
    """Even items follow even ones: every unseen item of the same block is ranked above the rest."""
    random = np.random.default_rng(0)
    sequences = [2 * random.permutation(8)[:6] + 1 + user % 2 for user in range(40)]
    windows = windows_from(sequences, num_items=16, max_history=6)
    student = student_of(num_items=16, max_history=6)
    student.compile(optimizer=tf.keras.optimizers.Adam(0.05))
    curve = student.fit(windows.batches(16, seed=0), epochs=15, verbose=0).history["loss"]
    # ln 16 before; with the block of 8 known, ln 8.
    assert curve[-1] < math.log(8) + 0.1 < curve[0]
    histories = [[2, 4, 6], [16], [1, 3, 5], [15]]
    for history in histories:
        query = student.encode_histories(tf.constant([history]))[0].numpy()
        scores = student.catalogue_embeddings().numpy()[1:] @ query
        unseen = np.setdiff1d(np.arange(1, 17), history)
        own = unseen[unseen % 2 == history[0] % 2]
        best = unseen[np.argsort(-scores[unseen - 1])]
        assert set(best[: len(own)]) == set(own)


@pytest.mark.parametrize("reads_order", [True, False])
@pytest.mark.parametrize("encoder", [DecayedAverage, RecencyAttention])
def test_save_and_load(tmp_path, windows, encoder, reads_order):
    items = ItemTower(NUM_ITEMS, 4, text_dim=3, text_dropout=0.25, seed=2)
    student = RetrievalStudent(
        HistoryTower(items, encoder(4, 4, dropout=0.25, reads_order=reads_order, seed=2)),
        items,
        label_smoothing=0.3,
        name="pupil",
    )
    student.build_towers()
    random = np.random.default_rng(0)
    weights = student.query_tower.get_weights()
    student.query_tower.set_weights([random.normal(size=w.shape) for w in weights])
    student.save(tmp_path / "student.keras")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    assert type(again) is RetrievalStudent
    assert type(again.query_tower.encoder) is encoder
    assert (again.name, again.label_smoothing) == ("pupil", 0.3)
    assert (again.query_tower.encoder.dropout_rate, again.query_tower.encoder.seed) == (0.25, 2)
    assert (again.candidate_tower.text_dim, again.candidate_tower.text_dropout) == (3, 0.25)
    assert again.query_tower.encoder.reads_order == reads_order
    assert again.query_tower.item_tower is again.candidate_tower
    assert again.num_parameters == student.num_parameters
    history = tf.constant([[0, 3, 0, 1, 99, 2, 7], [0] * 7])
    np.testing.assert_array_equal(
        again.encode_histories(history), student.encode_histories(history)
    )
    np.testing.assert_array_equal(again.catalogue_embeddings(), student.catalogue_embeddings())
    batch = next(iter(windows.batches(64)))
    np.testing.assert_array_equal(again(batch).logits, student(batch).logits)


def test_without_order_any_order_of_a_history_gives_the_same():
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=5, embedding_dim=4, reads_order=False, seed=1
    )
    history = np.array([[3, 1, 4, 2, 5]])
    expected = student.encode_histories(tf.constant(history)).numpy()
    for order in itertools.permutations(range(5)):
        found = student.encode_histories(tf.constant(history[:, order]))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    embeddings = student.candidate_tower.embed(tf.constant([1, 2, 3, 4, 5])).numpy()
    read = student.query_tower.encoder.feed_forward(embeddings.mean(axis=0, keepdims=True))
    np.testing.assert_allclose(expected[:, :-1], read, rtol=1e-5, atol=1e-6)
    longer = np.array([[1, 1, 3, 1, 4, 2, 5]])  # the last five are read
    np.testing.assert_allclose(student.encode_histories(tf.constant(longer)), expected, rtol=1e-5)
    reading = RetrievalStudent.from_history(num_items=NUM_ITEMS, max_history=5, seed=1)
    one, other = (reading.encode_histories(tf.constant(h)) for h in (history, history[:, ::-1]))
    assert np.abs(one - other).max() > 1e-4


def test_a_file_is_read_by_registered_names_after_classes_are_moved(tmp_path):
    student = student_of()
    student.save(tmp_path / "student.keras")
    with (
        zipfile.ZipFile(tmp_path / "student.keras") as now,
        zipfile.ZipFile(tmp_path / "then.keras", "w") as then,
    ):
        for name in now.namelist():
            content = now.read(name)
            if name == "config.json":
                content = re.sub(rb'"tfrs_distill[.][a-z_.]+"', b'"tfrs_distill.moved"', content)
                assert content.count(b"tfrs_distill.moved") >= 4
            then.writestr(name, content)
    again = tf.keras.models.load_model(tmp_path / "then.keras")
    assert type(again) is RetrievalStudent
    np.testing.assert_array_equal(again.catalogue_embeddings(), student.catalogue_embeddings())


def test_training_after_loading_changes_both_towers(tmp_path, windows):
    student = student_of()
    student.save(tmp_path / "student.keras")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    history, items = tf.constant([[1, 2, 3]]), tf.range(1, NUM_ITEMS + 1)
    query = again.encode_histories(history).numpy()
    again.compile(optimizer=tf.keras.optimizers.SGD(2.0), run_eagerly=True)
    again.fit(windows.batches(64), epochs=2, verbose=0)
    read = again.query_tower.item_tower.embed(items)
    np.testing.assert_array_equal(read, again.candidate_tower.embed(items))
    assert abs(read - student.candidate_tower.embed(items)).numpy().max() > 1e-4
    assert abs(again.encode_histories(history).numpy() - query).max() > 1e-4
    # The saved student has not changed.
    np.testing.assert_array_equal(student.encode_histories(history), query)


def test_twins_of_one_seed_start_equal_and_of_others_do_not():
    first, same, other = (student_of(seed=seed).get_weights() for seed in (1, 1, 2))
    for a, b in zip(first, same):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(first, other))
