"""The weights that a model copies from an earlier one."""

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.models import ItemTower, RetrievalStudent, warm_start
from tfrs_distill.serving.word_pieces import WordPieces
from tfrs_distill.teachers import AttentionTwoTower, BertTwoTower

PLACES = [2, 0, 3, 1, 0]  # of five items in a model of three


def student_of(num_items, seed, texts=False, dim=4):
    reads = {}
    if texts:
        pieces = WordPieces(("a", "b", "c"), max_pieces=2)
        reads = {
            "texts": ["a b", "c", "b", "a", "c c"][:num_items],
            "word_pieces": pieces,
            "piece_vectors": np.random.default_rng(seed).normal(size=(pieces.num_pieces + 1, 3)),
        }
    student = RetrievalStudent.from_history(
        num_items=num_items, max_history=4, embedding_dim=dim, seed=seed, **reads
    )
    for number, weight in enumerate(student.trainable_variables):
        random = np.random.default_rng(100 * seed + number)
        weight.assign(random.normal(size=weight.shape))
    return student


def test_items_get_the_rows_of_the_same_items_and_all_else_is_copied():
    new, old = student_of(5, seed=1), student_of(3, seed=2)
    before = new.candidate_tower.id_embeddings.numpy()
    found = warm_start(new, old, PLACES)
    ids, biases = (getattr(new.candidate_tower, name) for name in ("id_embeddings", "biases"))
    of_old = old.candidate_tower.id_embeddings.numpy()
    np.testing.assert_array_equal(ids.numpy()[[1, 3, 4]], of_old[[2, 3, 1]])
    np.testing.assert_array_equal(ids.numpy()[[2, 5]], before[[2, 5]])
    old_biases = old.candidate_tower.biases.numpy()
    np.testing.assert_array_equal(biases.numpy()[[1, 3, 4]], old_biases[[2, 3, 1]])
    np.testing.assert_allclose(biases.numpy()[[2, 5]], old_biases[1:].mean(), rtol=1e-6)
    for mine, other in zip(new.query_tower.encoder.weights, old.query_tower.encoder.weights):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
    assert (found.num_items, found.num_new) == (3, 2)
    assert len(found.copied) == len(new.query_tower.weights)


def test_with_hidden_ids_a_new_item_is_its_text():
    new, old = student_of(5, seed=1, texts=True), student_of(3, seed=2, texts=True)
    pieces = new.candidate_tower.pieces.numpy()
    warm_start(new, old, PLACES)
    items = new.candidate_tower
    np.testing.assert_array_equal(items.pieces.numpy(), pieces)
    for mine, other in zip(items.text_tower.weights, old.candidate_tower.text_tower.weights):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
    of_text = old.candidate_tower.embed_texts(pieces[[2, 5]])
    np.testing.assert_allclose(items(np.array([2, 5])), of_text, rtol=1e-6)


def test_a_teacher_keeps_the_text_vectors_of_its_own_items():
    new, old = (
        BertTwoTower(np.random.default_rng(n).normal(size=(n, 3)), max_history=4, embedding_dim=4)
        for n in (5, 3)
    )
    own = new.candidate_tower.item_text_vectors()
    warm_start(new, old, PLACES)
    np.testing.assert_array_equal(new.candidate_tower.item_text_vectors(), own)
    new.candidate_tower.set_text_vectors(np.zeros([5, 3]))
    old.candidate_tower.set_text_vectors(np.zeros([3, 3]))
    histories = np.array([[0, 1, 3], [4, 4, 1]])
    same = np.array([[0, 2, 3], [1, 1, 2]])
    np.testing.assert_allclose(
        new.encode_histories(histories), old.encode_histories(same), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("new", "old", "words"),
    [
        (lambda: student_of(5, 0), lambda: student_of(3, 0, dim=6), "class and widths"),
        (lambda: student_of(5, 0), lambda: student_of(3, 0, texts=True), "class and widths"),
        (
            lambda: student_of(5, 0),
            lambda: AttentionTwoTower(ItemTower(3, 4), max_history=4),
            "class and widths",
        ),
    ],
    ids=["width", "texts", "class"],
)
def test_other_architectures_are_refused_before_copying(new, old, words):
    new, old = new(), old()
    before = [weight.numpy() for weight in new.query_tower.weights]
    with pytest.raises(ValueError, match=words):
        warm_start(new, old, PLACES)
    for weight, values in zip(new.query_tower.weights, before):
        np.testing.assert_array_equal(weight.numpy(), values)


def test_invalid_positions_are_refused():
    new, old = student_of(5, 0), student_of(3, 0)
    with pytest.raises(ValueError, match="each of the model's 5 items"):
        warm_start(new, old, [1, 2, 3])
    with pytest.raises(InputError, match="items"):
        warm_start(new, old, [1, 2, 4, 0, 0])
