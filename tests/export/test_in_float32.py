"""A student of mixed precision is exported as one that computes in float32."""

import numpy as np
import pytest
import tensorflow as tf
from planted_student import catalogue_of

from tfrs_distill.compress import compress
from tfrs_distill.export import export_artefact, to_tflite
from tfrs_distill.export.in_float32 import in_float32
from tfrs_distill.models import (
    Binary,
    HistoryFeature,
    ItemFeature,
    RankingStudent,
    RetrievalStudent,
)
from tfrs_distill.serving.ranker import Ranker
from tfrs_distill.serving.recommender import Recommender
from tfrs_distill.serving.word_pieces import WordPieces

NUM_ITEMS = 30
CATALOGUE = catalogue_of(NUM_ITEMS)
TEXTS = [f"word{item % 7} word{item % 5}" for item in range(NUM_ITEMS)]
POLICIES = ["mixed_float16", "mixed_bfloat16"]


@pytest.fixture
def under():
    """`under(policy, make)`: the result of `make` while the policy is active."""

    def make_under(policy, make):
        tf.keras.mixed_precision.set_global_policy(policy)
        try:
            return make()
        finally:
            tf.keras.mixed_precision.set_global_policy("float32")

    return make_under


def retrieval_student():
    return RetrievalStudent.from_history(
        num_items=NUM_ITEMS,
        max_history=4,
        embedding_dim=6,
        texts=TEXTS,
        word_pieces=WordPieces(tuple(f"word{number}" for number in range(7)), max_pieces=4),
        seed=0,
    )


def ranking_student():
    items = ItemFeature(NUM_ITEMS, 6, seed=0)
    features = [items, HistoryFeature(items, max_history=4, seed=0)]
    return RankingStudent(features, [Binary("like")], seed=0)


def test_a_retrieval_students_files_are_those_of_a_float32_student(tmp_path, under):
    policy = POLICIES[0]
    mixed, whole = under(policy, retrieval_student), retrieval_student()
    whole.set_weights(mixed.get_weights())
    under(policy, lambda: export_artefact(mixed, tmp_path / "1", CATALOGUE, k=5))
    assert mixed.query_tower.compute_dtype == policy[6:]
    query = whole.encode_histories(tf.constant([[3, 9]])).numpy()
    scores = (query @ whole.catalogue_embeddings().numpy().T)[0]
    for form in ("saved_model", "tflite"):
        recommender = Recommender.load(tmp_path / "1", format=form)
        found, items = recommender([[3, 9]], 5)
        # Float32's own rounding; one of float16 alone is 5e-4 of the value.
        np.testing.assert_allclose(found[0], scores[items[0]], rtol=1e-5)
        recommender.add_items([TEXTS[0]])


def test_a_compressed_student_of_mixed_precision_is_exported(tmp_path, under):
    mixed = under(POLICIES[1], retrieval_student)
    smaller = compress(mixed, ["int4"])
    assert smaller.query_tower.compute_dtype == "bfloat16"
    under(POLICIES[1], lambda: to_tflite(smaller, tmp_path / "student.tflite", CATALOGUE, k=30))
    scores, items = Recommender.load(tmp_path)([[3, 9]], 30)
    whole = in_float32(smaller)
    query = whole.encode_histories(tf.constant([[3, 9]])).numpy()
    expected = (query @ whole.catalogue_embeddings().numpy().T)[0]
    assert whole.query_tower.compute_dtype == "float32" and (items[0, :28] > 0).all()
    np.testing.assert_allclose(scores[0, :28], expected[items[0, :28]], rtol=1e-5, atol=1e-6)


def test_a_ranking_students_files_are_those_of_a_float32_student(tmp_path, under):
    mixed, whole = under(POLICIES[0], ranking_student), ranking_student()
    rows = {"item_id": [5, 6], "history": [[1, 2], [3, 0]], "history_ratings": [[5, 4], [1, 0]]}
    columns = {name: tf.constant(values) for name, values in rows.items()}
    expected = whole.predictions(columns)["like"].numpy()
    mixed.predictions(columns)
    mixed.set_weights(whole.get_weights())
    under(POLICIES[0], lambda: export_artefact(mixed, tmp_path / "1", CATALOGUE))
    for form in ("saved_model", "tflite"):
        found = Ranker.load(tmp_path / "1", format=form).score(rows)["like"]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_frozen_layer_changes_nothing(under, policy):
    """Keras lists the weights of frozen layers after all others."""
    student = under(policy, ranking_student)
    rng = np.random.default_rng(0)
    for weight in student.trainable_variables:
        weight.assign(rng.normal(size=weight.shape) * 0.3)
    rows = {
        "item_id": tf.constant([3, 7]),
        "history": tf.constant([[1, 2, 3, 4], [0, 0, 9, 8]]),
        "history_ratings": tf.constant([[1.0, 5.0, 2.0, 4.0], [0.0, 0.0, 3.0, 5.0]]),
    }
    expected = in_float32(student).predictions(rows)["like"]
    student.crosses[0].trainable = False
    np.testing.assert_array_equal(in_float32(student).predictions(rows)["like"], expected)
