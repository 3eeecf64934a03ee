"""A student that reads user attributes as an artefact: the same function in every file."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import tiny_catalogue

from tfrs_distill.compress import compress
from tfrs_distill.data import AttributeVocabulary, WordPieces
from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact, to_tflite
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.serving.interpreter import TFLiteModel
from tfrs_distill.serving.recommender import Recommender

KNOWN = AttributeVocabulary({"age": (18.0, 30.0), "gender": ("F", "M")})
NUM_ITEMS, DIM, K = 12, 4, 12
CATALOGUE = tiny_catalogue(NUM_ITEMS)
PIECES = WordPieces(("film", *map(str, range(1, 13))), max_pieces=3)


def student_of(**texts):
    """A student with random weights, so that nothing is 0 by chance."""
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS,
        max_history=5,
        embedding_dim=DIM,
        user_attributes=KNOWN,
        seed=0,
        **texts,
    )
    random = np.random.default_rng(1)
    tower = student.query_tower
    tower.empty_query.assign(random.normal(size=[DIM]))
    tower.attribute_embeddings.assign(random.normal(size=[5, DIM]) * (np.arange(5) > 0)[:, None])
    tower.prior_items.assign(3.0)
    return student


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    student = student_of(texts=CATALOGUE.texts, word_pieces=PIECES)
    folder = tmp_path_factory.mktemp("saved_models") / "known" / "1"
    return student, export_artefact(student, folder, CATALOGUE, k=K)


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The artefact of a student that reads histories alone."""
    plain = RetrievalStudent.from_history(num_items=NUM_ITEMS, max_history=5, embedding_dim=DIM)
    return to_tflite(plain, tmp_path_factory.mktemp("plain") / "student.tflite", CATALOGUE)


def scores_of(student, history, indices):
    """The scores of all items as the student computes them, without seen items."""
    query = student.encode_histories(tf.constant([history or [0]]), None, indices)
    scores = tf.matmul(query, student.catalogue_embeddings(), transpose_b=True).numpy()[0]
    scores[[0, *history]] = -np.inf
    return scores


@pytest.mark.parametrize("format", ["tflite", "saved_model"])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_every_file_returns_the_students_scores(exported, format, batch_size):
    student, artefact = exported
    random = np.random.default_rng(2)
    lengths = [0, 0, 1, 2, 5, 6, 7][:batch_size]
    histories = [random.permutation(NUM_ITEMS)[:length] + 1 for length in lengths]
    indices = random.integers(0, 4, [batch_size, 2]).astype(np.int32)  # 3 is not a valid index
    scores, items = Recommender.load(artefact.folder, format=format)(histories, 4, indices)
    for history, row, found, best in zip(histories, indices, scores, items):
        expected = scores_of(student, history.tolist(), tf.constant([row]))
        np.testing.assert_array_equal(best, np.argsort(-expected)[:4])
        np.testing.assert_allclose(found, np.sort(expected)[::-1][:4], atol=1e-5)


@pytest.mark.parametrize("format", ["tflite", "saved_model"])
def test_recommends_to_a_user_with_attributes_alone(exported, format):
    student, artefact = exported
    recommender = Recommender.load(artefact.folder, format=format)
    for attributes, indices in (
        ({"age": 44, "gender": "F"}, [2, 1]),
        ({"gender": "M"}, [0, 2]),
        ({"age": "19", "gender": "other"}, [1, 0]),
        ({}, [0, 0]),
        (None, [0, 0]),
    ):
        found = recommender.recommend([], k=3, attributes=attributes)
        expected = np.argsort(-scores_of(student, [], tf.constant([indices])))[:3]
        assert [item.item_id for item in found] == [str(item) for item in expected]


def test_added_items_are_scored_for_the_same_user(exported):
    student, artefact = exported
    recommender = Recommender.load(artefact.folder)
    recommender.add_items(["film 3 7"], item_ids=["new"])
    found = recommender.recommend(["2"], k=12, attributes={"age": 20})
    query = student.encode_histories(tf.constant([[2]]), None, tf.constant([[1, 0]]))
    embedding = student.candidate_tower.embed_texts(tf.constant(PIECES.encode(["film 3 7"])))
    (score,) = [item.score for item in found if item.item_id == "new"]
    np.testing.assert_allclose(score, np.sum(query * embedding), atol=1e-5)


def test_the_signature_lists_the_attributes(exported, without):
    _, artefact = exported
    signature = json.loads((artefact.folder / "signature.json").read_text())
    assert signature["inputs"]["user_attributes"] == {"dtype": "int32", "shape": [-1, 2]}
    assert signature["user_attributes"] == [
        {"name": "age", "starts": [18.0, 30.0]},
        {"name": "gender", "values": ["F", "M"]},
    ]
    assert artefact.user_attributes == KNOWN
    assert without.signature["inputs"].keys() == {"history"}
    assert "user_attributes" not in without.signature and without.user_attributes is None


def test_a_student_of_histories_alone_refuses_attributes(without):
    recommender = Recommender.load(without.folder)
    for call in (
        lambda: recommender.recommend([], attributes={"age": 3}),
        lambda: recommender([[1]], 3, np.zeros([1, 1], np.int32)),
    ):
        with pytest.raises(InputError, match="reads histories alone. Received: user attribute"):
            call()


def test_bad_attributes_are_named(exported):
    recommender = Recommender.load(exported[1].folder)
    for attributes, words in (
        ({"sex": "F"}, r"no user attribute 'sex'\. Expected: age, gender"),
        ({"age": "old"}, r"'age' must be a number"),
    ):
        with pytest.raises(InputError, match=words):
            recommender.recommend([], attributes=attributes)
    with pytest.raises(TypeError, match=r"must be a dict of values by name.*\['age'\]"):
        recommender.recommend([], attributes=["age"])
    with pytest.raises(InputError, match=r"of shape \[2, 2\] .* Received: shape \[2, 1\]"):
        recommender([[1], [2]], 3, np.zeros([2, 1], np.int32))
    for indices, words in (
        ([[0.5, 1]], r"Received: 0\.5"),
        ([[1 << 40, 1]], r"at most 2147483647"),
    ):
        with pytest.raises(InputError, match=words):
            recommender([[1]], 3, indices)
    np.testing.assert_array_equal(
        recommender([[1]], 3, [[2, np.nan]])[0], recommender([[1]], 3, np.array([[2, 0]]))[0]
    )


@pytest.mark.parametrize("methods", [["int4"], ["low-rank:3"], ["ids-only", "float16"]])
def test_a_compressed_student_reads_the_same_attributes(tmp_path, exported, methods):
    student = exported[0]
    smaller = compress(student, methods)
    to_tflite(smaller, tmp_path / "student.tflite", CATALOGUE, quantization="float32", k=K)
    tower, before = smaller.query_tower, student.query_tower
    np.testing.assert_array_equal(tower.attribute_embeddings, before.attribute_embeddings)
    assert float(tower.prior_items) == 3.0
    run = TFLiteModel(tmp_path / "student.tflite").run
    inputs = {"history": [[0]], "user_attributes": [[2, 1]]}
    found = run("serving_default", {name: np.array(x, np.int32) for name, x in inputs.items()})
    expected = scores_of(smaller, [], tf.constant([[2, 1]]))
    np.testing.assert_array_equal(found["item_ids"][0], np.argsort(-expected)[:K])
