"""The multimodal teacher: its scores, gates, ablations, round trips, and learning."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, random_windows, windows_from

from tfrs_distill.knowledge import cross_fit
from tfrs_distill.teachers import BertTwoTower
from tfrs_distill.teachers.multimodal_two_tower import MultimodalTwoTower

NUM_ITEMS = 9


def vectors(seed=0):
    random = np.random.default_rng(seed)
    image = random.normal(size=(NUM_ITEMS, 3)).astype(np.float32)
    image[[2, 5]] = 0.0  # items 3 and 6 have no image
    return {"text": random.normal(size=(NUM_ITEMS, 6)).astype(np.float32), "image": image}


def teacher_of(*, modalities=None, random_weights=True, **changed):
    arguments = {"max_history": 4, "embedding_dim": 8, "dropout": 0.0, "seed": 0, **changed}
    teacher = MultimodalTwoTower(vectors() if modalities is None else modalities, **arguments)
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


def test_logits_are_dot_products_with_the_fused_items(windows):
    teacher = teacher_of()
    some = np.array([7, 2, 7])
    logits = teacher.logits(batch_of(windows), tf.constant(some)).numpy()
    rows = next_item_rows(windows)
    assert logits.shape == (len(rows), 3)
    table = teacher.catalogue_embeddings().numpy().astype(np.float64)
    np.testing.assert_allclose(
        table[:, :8], teacher.candidate_tower.embed(tf.range(NUM_ITEMS + 1)), atol=1e-6
    )
    for row, (history, _) in zip(logits, rows):
        query = teacher.encode_histories(tf.constant([history]))[0].numpy()
        np.testing.assert_allclose(row, table[some] @ query, atol=1e-4)


def test_gates_are_those_of_the_items_in_catalogue_order():
    gates = teacher_of().gates()
    assert gates.shape == (NUM_ITEMS, 2) and gates.dtype == np.float32
    np.testing.assert_allclose(gates.sum(axis=1), [2, 2, 1, 2, 2, 1, 2, 2, 2], atol=1e-6)
    assert np.flatnonzero(gates[:, 1] == 0).tolist() == [2, 5]


def test_text_alone_is_a_bert_two_tower():
    text = vectors()["text"]
    multimodal = teacher_of(modalities={"text": text})
    bert = BertTwoTower(text, max_history=4, embedding_dim=8, seed=0)
    bert.query_tower.encoder.set_weights(multimodal.query_tower.encoder.get_weights())
    items = bert.candidate_tower
    items.id_embeddings.assign(multimodal.candidate_tower.id_embeddings)
    items.biases.assign(multimodal.candidate_tower.biases)
    (layer,) = multimodal.candidate_tower.modalities
    items.projection.set_weights(layer.projection.get_weights())
    histories = tf.constant([[1, 2, 3], [0, 0, 9]])
    np.testing.assert_allclose(
        multimodal.encode_histories(histories), bert.encode_histories(histories), atol=1e-5
    )
    np.testing.assert_allclose(
        multimodal.catalogue_embeddings()[1:], bert.catalogue_embeddings()[1:], atol=1e-5
    )


def test_without_a_modality_equals_no_item_having_it():
    teacher = teacher_of()
    before = teacher.fingerprint()
    ablated = teacher.without("image")
    as_if = teacher_of(modalities=vectors() | {"image": np.zeros((NUM_ITEMS, 3), np.float32)})
    histories = tf.constant([[1, 2, 4], [0, 0, 9]])
    assert ablated.modality_names == ("text", "image")
    np.testing.assert_array_equal(
        ablated.encode_histories(histories), as_if.encode_histories(histories)
    )
    np.testing.assert_array_equal(ablated.catalogue_embeddings(), as_if.catalogue_embeddings())
    np.testing.assert_allclose(ablated.gates(), np.tile([1.0, 0.0], (NUM_ITEMS, 1)), atol=1e-6)
    assert teacher.fingerprint() == before  # the teacher itself is not changed
    there = teacher.catalogue_embeddings() - ablated.catalogue_embeddings()
    changed = np.abs(there).max(axis=1) > 1e-6
    assert changed.tolist() == [False, True, True, False, True, True, False, True, True, True]


def test_without_every_modality_an_item_is_its_id():
    teacher = teacher_of()
    ids = teacher.without("text", "image").candidate_tower
    np.testing.assert_array_equal(ids.embed(tf.range(10)), teacher.candidate_tower.id_embeddings)


def test_fitting_changes_everything_but_the_vectors(windows):
    teacher = teacher_of(random_weights=False)
    layers = teacher.candidate_tower.modalities
    before = [weight.numpy() for weight in teacher.trainable_weights]
    teacher.compile(optimizer=tf.keras.optimizers.Adam(0.01), run_eagerly=True)
    teacher.fit(windows.batches(64), epochs=2, verbose=0)
    for layer, array in zip(layers, vectors().values()):
        np.testing.assert_array_equal(layer.item_vectors(), array)
    for weight, old in zip(teacher.trainable_weights, before):
        assert np.abs(weight.numpy() - old).max() > 1e-4, weight.name


@pytest.mark.nightly
def test_seed_fixes_the_training(windows):
    def curve(seed):
        teacher = teacher_of(random_weights=False, dropout=0.3, seed=seed)
        teacher.compile(optimizer=tf.keras.optimizers.Adam(0.05))
        return teacher.fit(windows.batches(5, seed=1), epochs=2, verbose=0).history["loss"]

    first = curve(1)
    np.testing.assert_allclose(curve(1), first, rtol=1e-6)
    assert abs(np.subtract(curve(2), first)).max() > 1e-3


def test_fingerprint_depends_on_vectors_weights_and_arguments():
    same = teacher_of().fingerprint()
    assert teacher_of().fingerprint() == same
    assert teacher_of(modalities=vectors(seed=1)).fingerprint() != same
    assert teacher_of(dropout=0.1).fingerprint() != same
    renamed = dict(zip(("text", "poster"), vectors().values()))
    assert teacher_of(modalities=renamed).fingerprint() != same
    changed = teacher_of()
    changed.candidate_tower.gate.bias[0].assign(5.0)
    assert changed.fingerprint() != same
    assert teacher_of().without("image").fingerprint() != same


def test_config_round_trip():
    teacher = teacher_of(
        num_blocks=2, num_heads=4, dropout=0.25, label_smoothing=0.5, seed=7, name="my_teacher"
    )
    again = MultimodalTwoTower.from_config(teacher.get_config())
    assert again.get_config() == teacher.get_config()
    encoder, items = again.query_tower.encoder, again.candidate_tower
    assert (encoder.num_blocks, encoder.num_heads, encoder.dropout_rate) == (2, 4, 0.25)
    assert (again.name, again.num_items, again.max_history) == ("my_teacher", 9, 4)
    assert again.label_smoothing == 0.5
    assert (items.dropout_rate, items.embedding_dim, items.seed) == (0.25, 8, 7)
    assert [(layer.name, layer.vector_dim) for layer in items.modalities] == [
        ("text", 6),
        ("image", 3),
    ]


def test_save_and_load(tmp_path, windows):
    teacher = teacher_of(num_blocks=2, dropout=0.25)
    teacher.save(tmp_path / "teacher.keras")
    again = tf.keras.models.load_model(tmp_path / "teacher.keras")
    assert type(again) is MultimodalTwoTower
    assert again.fingerprint() == teacher.fingerprint()
    np.testing.assert_array_equal(again.gates(), teacher.gates())
    batch, items = batch_of(windows), tf.range(1, NUM_ITEMS + 1)
    np.testing.assert_array_equal(again.logits(batch, items), teacher.logits(batch, items))
    np.testing.assert_array_equal(
        again.without("text").logits(batch, items), teacher.without("text").logits(batch, items)
    )


@pytest.mark.nightly
def test_a_cache_can_be_cross_fitted_from_it(tmp_path, windows):
    def train(others, fold):
        teacher = teacher_of(random_weights=False, seed=fold)
        teacher.compile(optimizer=tf.keras.optimizers.Adam(0.01))
        teacher.fit(others.batches(8), verbose=0)
        trained[fold] = teacher
        return teacher

    trained = {}
    cached = cross_fit(train, windows, tmp_path, fingerprint="f", num_folds=2, top_k=3)
    joined = cached.join(windows)
    items = tf.range(1, NUM_ITEMS + 1)
    for fold, teacher in trained.items():
        mine = joined.subset(joined.knowledge["teacher_fold"][:] == fold)
        batch = batch_of(cached.join(mine))
        # One dot product in another order, of float32 numbers of size 1.
        np.testing.assert_allclose(
            cached.logits(batch, items), teacher.logits(batch, items), atol=1e-5
        )


def test_each_modality_gives_the_group_of_a_cold_start_item():
    """Even items follow even ones; items 9 to 12 have no interactions.

    9 and 10 have texts, 11 and 12 have images alone.
    """
    num_items = 12
    parity = np.eye(2, dtype=np.float32)[np.arange(num_items) % 2]
    text, image = parity.copy(), parity.copy()
    text[10:] = 0.0
    image[8:10] = 0.0
    odd, even = [1, 3, 5, 7], [2, 4, 6, 8]
    sequences = [np.roll(block, shift).tolist() for block in (odd, even) for shift in range(4)]
    teacher = MultimodalTwoTower(
        {"text": text, "image": image}, max_history=4, embedding_dim=8, dropout=0.0, seed=0
    )
    teacher.compile(optimizer=tf.keras.optimizers.Adam(0.02))
    windows = windows_from(sequences, num_items=num_items, max_history=4)
    teacher.fit(windows.batches(8), epochs=40, verbose=0)

    def scores(model):
        queries = model.encode_histories(tf.constant([[1, 3, 5], [2, 4, 6]])).numpy()
        return queries @ model.catalogue_embeddings().numpy().T

    full = scores(teacher)
    for first in (9, 11):
        assert full[0, first] > full[0, first + 1] + 1
        assert full[1, first + 1] > full[1, first] + 1
    no_image = scores(teacher.without("image"))
    assert no_image[0, 9] > no_image[0, 10] + 1
    # Only the image distinguishes them; what is left are their ids, which training moved against
    # it.
    assert full[0, 11] - full[0, 12] > no_image[0, 11] - no_image[0, 12] + 1


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"name at least one\. Received: none"):
        MultimodalTwoTower({}, max_history=4)
    with pytest.raises(ValueError, match=r"\[num_items, dim\].*'b': \(4, 2\)"):
        MultimodalTwoTower({"a": np.ones((3, 2)), "b": np.ones((4, 2))}, max_history=4)
    with pytest.raises(ValueError, match=r"\[num_items, dim\].*'a': \(3,\)"):
        MultimodalTwoTower({"a": np.ones(3)}, max_history=4)
    wrong = vectors()
    wrong["image"][3, 1] = np.inf
    with pytest.raises(ValueError, match=r"'image' must be finite.*Row 3 is not"):
        teacher_of(modalities=wrong)
    with pytest.raises(ValueError, match=r"\['text', 'image'\]\. Received: 'sound'"):
        teacher_of().without("text", "sound")
