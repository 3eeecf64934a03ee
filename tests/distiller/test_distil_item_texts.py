"""A text tower that learns a catalogue's texts from a teacher's vectors."""

import numpy as np
import pytest

from tfrs_distill.distiller import distil_item_texts
from tfrs_distill.losses import HiddenRepresentationDistillation, RelationDistillation
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.serving.word_pieces import WordPieces

WORDS = tuple("abcdefgh")
TEXTS = [f"{one} {other}" for one in WORDS for other in WORDS if one < other]
KINDS = np.random.default_rng(0).normal(size=(len(WORDS), 6))
VECTORS = np.array([KINDS[[WORDS.index(word) for word in text.split()]].mean(0) for text in TEXTS])


def student_of(**reads):
    reads = reads or {"texts": TEXTS, "word_pieces": WordPieces(WORDS, max_pieces=2)}
    return RetrievalStudent.from_history(
        num_items=len(TEXTS), max_history=4, embedding_dim=6, seed=0, piece_dropout=0.0, **reads
    )


def similarities(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize(
    "loss",
    [
        HiddenRepresentationDistillation("texts", "texts", loss="cosine"),
        RelationDistillation("texts", "texts"),
    ],
    ids=["features", "relations"],
)
def test_similarities_of_held_out_texts_approach_the_teachers(loss):
    student, held_out = student_of(), np.arange(0, len(TEXTS), 4)
    tower = student.candidate_tower
    before = {weight.name: weight.numpy() for weight in student.query_tower.weights}
    known = np.setdiff1d(np.arange(len(TEXTS)), held_out) + 1
    losses = distil_item_texts(
        student, VECTORS, [loss], items=known, num_epochs=150, learning_rate=0.02, seed=0
    )
    assert losses[-1] < 0.2 * losses[0]
    found = tower.embed_texts(tower.pieces.numpy()[held_out + 1]).numpy()[:, :-1]
    expected = similarities(VECTORS[held_out])
    apart = ~np.eye(len(held_out), dtype=bool)
    assert np.corrcoef(similarities(found)[apart], expected[apart])[0, 1] > 0.8
    of_texts = {weight.name for weight in tower.text_tower.weights}
    for weight in student.query_tower.weights:
        if weight.name not in of_texts:
            np.testing.assert_array_equal(weight.numpy(), before[weight.name])


def test_invalid_input_is_refused():
    loss = RelationDistillation("texts", "texts")
    ids_only = RetrievalStudent.from_history(num_items=len(TEXTS), max_history=4)
    with pytest.raises(ValueError, match="no text tower"):
        distil_item_texts(ids_only, VECTORS, [loss])
    with pytest.raises(ValueError, match="one row per item"):
        distil_item_texts(student_of(), VECTORS[1:], [loss])
    with pytest.raises(ValueError, match="finite"):
        distil_item_texts(student_of(), np.full_like(VECTORS, np.nan), [loss])
