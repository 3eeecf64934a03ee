"""A smaller student: in Keras, in a file, and after fine-tuning."""

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly
from planted_student import catalogue_of
from tiny_data import random_windows

from tfrs_distill import Distiller
from tfrs_distill.compress import compress, quantization_of
from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact, retrieval_module, to_tflite
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.serving import Recommender
from tfrs_distill.serving.word_pieces import WordPieces

NUM_ITEMS, DIM = 300, 11
WORDS = tuple(f"word{number}" for number in range(60))
HISTORIES = [np.array([5, 7, 300]), np.array([1]), np.array([20, 3, 20, 9, 8, 7, 6, 5, 4])]
LISTS = [
    [],
    nightly(["float16"]),
    ["int8"],
    ["int8:row"],
    ["int4"],
    ["int2:column"],
    nightly(["low-rank:5"]),
    ["low-rank:5", "int8"],
    ["product:3:32", "int8"],
    ["units:6", "product:4:32", "int4"],
    ["shared-rows:60", "int4"],
    ["hashed:60:2", "int8"],
    nightly(["quotient-remainder:20", "int4"]),
]


def student_of(texts=False, **changed):
    """A student whose weights are far from the initial ones."""
    arguments = {"num_items": NUM_ITEMS, "max_history": 6, "embedding_dim": DIM, "seed": 0}
    if texts:
        arguments |= {
            "texts": [f"word{i % 60} word{i % 7}" for i in range(NUM_ITEMS)],
            "word_pieces": WordPieces(WORDS, 4, True),
        }
    student = RetrievalStudent.from_history(**(arguments | changed))
    rng = np.random.default_rng(1)
    for weight in student.trainable_variables:
        weight.assign_add(rng.normal(size=weight.shape) * 0.3)
    student.query_tower.empty_query.assign(rng.normal(size=DIM))
    return student


def scores_of(student, histories=HISTORIES):
    table = student.catalogue_embeddings()
    queries = [student.encode_histories(tf.constant(h[None], tf.int32)) for h in histories]
    return np.concatenate([tf.matmul(query, table, transpose_b=True) for query in queries])


@pytest.fixture(scope="module")
def student():
    return student_of()


@pytest.mark.parametrize("methods", LISTS, ids="+".join)
def test_the_file_and_a_saved_student_return_the_same_as_the_student(student, tmp_path, methods):
    before = [weight.numpy() for weight in student.weights]
    smaller = compress(student, methods)
    for weight, value in zip(student.weights, before):
        np.testing.assert_array_equal(weight, value)
    scores = scores_of(smaller)
    smaller.save(tmp_path / "student.keras")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_allclose(scores_of(again), scores, rtol=1e-6)
    path = tmp_path / "file" / "student.tflite"
    quantization = quantization_of(methods)
    to_tflite(smaller, path, catalogue_of(NUM_ITEMS), quantization=quantization, k=20)
    found, items = Recommender.load(path.parent)(HISTORIES, 20)
    # 8-bit arithmetic in the matrix products is accurate to one in 127.
    allowed = {"float32": 1e-5, "float16": 2e-3, "int8": 2e-2}[quantization]
    expected = np.take_along_axis(scores, items, axis=1)
    assert np.abs(found - expected).max() < allowed * np.abs(scores).max()


def test_without_methods_it_is_the_student(student):
    np.testing.assert_allclose(scores_of(compress(student, [])), scores_of(student), rtol=1e-5)


@pytest.mark.parametrize(
    ("methods", "num_bytes"),
    [
        (["int8"], 301 * 12),
        (["int4"], 301 * (6 + 1)),
        nightly(["int4:tensor"], 301 * 6),
        nightly(["int2"], 301 * (3 + 1)),
        (
            ["product:3:32", "int8"],
            301 * 3 + 96 * 4 * 4,
        ),  # matrices below 1,024 numbers stay float32
        (["shared-rows:60", "int4"], 301 + 60 * 7),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_a_file_has_the_size_of_its_parts(student, tmp_path, methods, num_bytes):
    catalogue = catalogue_of(NUM_ITEMS)
    sizes = {}
    for name in (methods, ["units:6", *methods]):
        path = tmp_path / "+".join(name).replace(":", "-") / "student.tflite"
        to_tflite(compress(student, name), path, catalogue, quantization=quantization_of(methods))
        sizes[len(name)] = path.stat().st_size
    # Graph and network take less than 15 kB, for any form of the table.
    assert num_bytes < sizes[len(methods)] < num_bytes + 15_000
    # Of 22 units 16 are gone, each 11 numbers in and out and a bias.
    gone = sizes[len(methods)] - sizes[1 + len(methods)]
    assert abs(gone - 16 * (2 * 11 + 1) * 4) < 600


def test_a_file_is_as_small_while_functions_run_eagerly(student, tmp_path):
    smaller, sizes = compress(student, ["int4"]), []
    for eager in (False, True):
        tf.config.run_functions_eagerly(eager)
        try:
            path = tmp_path / f"{eager}" / "student.tflite"
            to_tflite(smaller, path, catalogue_of(NUM_ITEMS), quantization="int8")
            assert tf.config.functions_run_eagerly() == eager
        finally:
            tf.config.run_functions_eagerly(False)
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1]


def test_float_forms_hold_no_table_in_32_bits(student, tmp_path):
    artefact = export_artefact(compress(student, ["int4"]), tmp_path / "1", catalogue_of(NUM_ITEMS))
    whole = export_artefact(student, tmp_path / "2", catalogue_of(NUM_ITEMS))
    for name in ("student.tflite", "saved_model.pb"):
        gained = (whole.folder / name).stat().st_size - (artefact.folder / name).stat().st_size
        assert gained > 301 * 12 * 3 - (8_000 if name == "student.tflite" else 40_000)
    both = [Recommender.load(artefact.folder, format=f) for f in ("tflite", "saved_model")]
    np.testing.assert_array_equal(both[0](HISTORIES, 5)[1], both[1](HISTORIES, 5)[1])


@pytest.mark.parametrize("methods", [["int2"], ["product:3:32", "int4"]], ids="+".join)
def test_a_large_catalogue_is_scored_from_the_parts(student, tmp_path, monkeypatch, methods):
    smaller, found = compress(student, methods), []
    for large in (NUM_ITEMS + 1, NUM_ITEMS):
        monkeypatch.setattr(retrieval_module, "LARGE", large)
        path = tmp_path / str(large) / "student.tflite"
        to_tflite(smaller, path, catalogue_of(NUM_ITEMS), quantization=quantization_of(methods))
        found.append(Recommender.load(path)(HISTORIES, 5))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4)
    np.testing.assert_array_equal(found[0][1], found[1][1])
    sizes = {(tmp_path / str(large) / "student.tflite").stat().st_size for large in (300, 301)}
    assert len(sizes) == 2  # the operators differ


@pytest.mark.parametrize(
    "methods, large", [(["int8"], 4096), (["int4"], 1), (["product:3:32", "int2"], 4096)]
)
def test_a_compressed_student_can_add_new_items(tmp_path, monkeypatch, methods, large):
    monkeypatch.setattr(retrieval_module, "LARGE", large)
    student = student_of(texts=True)
    smaller = compress(student, methods)
    path = tmp_path / "student.tflite"
    to_tflite(smaller, path, catalogue_of(NUM_ITEMS), quantization=quantization_of(methods), k=300)
    recommender = Recommender.load(tmp_path)
    text = "word3 word5"
    recommender.add_items([text])
    pieces = tf.constant(student.candidate_tower.word_pieces.encode([text]))
    query = smaller.encode_histories(tf.constant([[5, 7, 9]]))
    expected = float(tf.reduce_sum(query * student.candidate_tower.embed_texts(pieces)))
    (scores, items) = recommender([[5, 7, 9]], 300)
    found = float(scores[0][items[0] == NUM_ITEMS + 1][0])
    allowed = {8: 0.05, 4: 0.2, 2: 0.8}[smaller.candidate_tower.methods.bits]
    assert abs(found - expected) < allowed * float(np.abs(scores_of(student)).max())


@pytest.mark.parametrize("methods", [["int8:row"], ["low-rank:5", "int4"]], ids="+".join)
def test_in_mixed_precision_the_table_is_still_that_of_the_file(methods):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        mixed = student_of()
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    smaller = compress(mixed, methods)
    assert smaller.candidate_tower.compute_dtype == smaller.query_tower.compute_dtype == "float16"
    table = smaller.catalogue_embeddings()
    stored = smaller.candidate_tower.stored.gather(tf.range(NUM_ITEMS + 1))
    np.testing.assert_allclose(table, tf.cast(stored, tf.float16), rtol=1e-3, atol=1e-6)


def test_ids_only_keeps_the_texts_part_of_embeddings_and_adds_no_new_items(tmp_path):
    student = student_of(texts=True)
    smaller = compress(student, ["ids-only", "int8"])
    near = np.abs(scores_of(smaller) - scores_of(student)).max()
    assert near < 0.03 * np.abs(scores_of(student)).max()
    to_tflite(smaller, tmp_path / "s.tflite", catalogue_of(NUM_ITEMS), quantization="int8")
    with pytest.raises(InputError, match="ids alone"):
        Recommender.load(tmp_path / "s.tflite").add_items(["word3"])


def test_distillation_reduces_the_loss_of_compression(student):
    windows = random_windows(num_items=NUM_ITEMS, max_history=6, num_users=64, seed=2)
    smaller = compress(student, ["units:6", "int2:tensor"])
    distiller = Distiller(
        smaller, student, SoftTargetKLDivergence(temperature=2.0), student_loss_weight=0.0
    )
    distiller.compile(tf.keras.optimizers.Adam(0.01))
    batches = windows.batches(16, seed=0)
    history = distiller.fit(batches, epochs=15, verbose=0).history["total_loss"]
    assert history[-1] < 0.7 * history[0]
    table = smaller.catalogue_embeddings().numpy()
    assert len(np.unique(np.abs(table).round(5))) <= 2  # 4 levels of one scale, of two signs


def test_training_does_not_change_a_text_tower():
    smaller = compress(student_of(texts=True), ["int4"])
    trained = {weight.name for weight in smaller.trainable_variables}
    assert trained and not any("text_tower" in name for name in trained)


def test_a_rank_is_chosen_by_the_share_of_squares(student):
    table = student.catalogue_embeddings().numpy()
    squares = np.square(np.linalg.svd(table, compute_uv=False))
    for share in (0.5, 0.8):
        found = compress(student, [f"low-rank:{100 * share:g}%"]).candidate_tower.methods.numbers
        rank = next(r for r in range(12) if squares[:r].sum() >= share * squares.sum())
        assert found == (rank,)


def diverged():
    student = student_of()
    student.query_tower.encoder.feed_forward.out.bias.assign(np.full(DIM, np.nan))
    return student


@pytest.mark.parametrize(
    ("make", "methods", "arguments", "words"),
    [
        (student_of, ["ids-only"], {}, "no text tower"),
        (student_of, ["low-rank:12"], {}, "rank must be from 1 to 11"),
        (student_of, ["units:22"], {}, "fewer than each block has, 22"),
        (student_of, [], {"item_weights": np.ones(3)}, "`item_weights` must be 300 numbers"),
        (student_of, [], {"item_weights": np.full(300, -1.0)}, "at least 0"),
        (
            student_of,
            ["units:3"],
            {"unit_importance": np.ones(3)},
            "must be 22 numbers in each of 1 ",
        ),
        (student_of, ["units:3"], {"unit_importance": np.full(22, np.nan)}, "with NaN"),
        (diverged, ["int4"], {}, "not all finite"),
        (lambda: compress(student_of(), ["int4"]), ["int2"], {}, "compressed already"),
        (lambda: tf.keras.Sequential(), ["int4"], {}, "two towers.*Sequential"),
    ],
)
def test_invalid_arguments_are_refused(make, methods, arguments, words):
    with pytest.raises(InputError, match=words):
        compress(make(), methods, **arguments)
