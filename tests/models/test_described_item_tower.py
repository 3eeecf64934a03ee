"""The candidate tower of ids and texts: the sum, hidden ids, texts alone, saving."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.models import RetrievalStudent
from tfrs_distill.models.described_item_tower import DescribedItemTower
from tfrs_distill.models.encoders.text_tower import TextTower
from tfrs_distill.serving.word_pieces import WordPieces

PIECES = WordPieces(("heat", "toy", "story", "war"), max_pieces=3)
TEXTS = ["Toy Story", "Heat", "War War Heat", "Story"]


def planted(**kwargs):
    """A tower of 4 items whose every weight is a known random number."""
    random = np.random.default_rng(0)
    text_tower = TextTower(PIECES.num_pieces, 3, piece_dim=2, hidden_dim=2)
    tower = DescribedItemTower(4, text_tower, PIECES, **kwargs)
    tower(tf.constant([0]))
    tower.set_weights(
        [w if w.dtype == np.int32 else random.normal(size=w.shape) for w in tower.get_weights()]
    )
    tower.set_texts(TEXTS)
    return tower


def test_an_item_is_the_sum_of_id_and_text():
    tower = planted()
    texts = tower.text_tower(tf.constant(PIECES.encode(TEXTS))).numpy()
    ids = np.concatenate([tower.id_embeddings, tower.biases[:, None]], axis=1)[1:]
    np.testing.assert_allclose(tower(tf.range(1, 5)), ids + texts, atol=1e-6)
    np.testing.assert_allclose(
        tower.embed(tf.constant([[2, 4], [4, 4]])), (ids + texts)[[[1, 3], [3, 3]], :2], atol=1e-6
    )


def test_a_text_alone_is_embedded_without_any_id():
    tower = planted()
    pieces = tf.constant(PIECES.encode(["War Story"]))
    np.testing.assert_allclose(tower.embed_texts(pieces), tower.text_tower(pieces), atol=0)


def test_ids_are_hidden_in_training_for_all_uses_of_an_item():
    tower = planted(id_dropout=0.5, seed=3)
    texts = tower.text_tower(tf.constant(PIECES.encode(TEXTS))).numpy()
    whole = tower(tf.range(1, 5)).numpy()
    hidden = 0
    for _ in range(20):
        for item, row in enumerate(tower(tf.range(1, 5), training=True).numpy()):
            alone = np.allclose(row, texts[item], atol=1e-6)
            assert alone or np.allclose(row, whole[item], atol=1e-6)
            hidden += alone
    assert 25 <= hidden <= 55  # of 80


def test_one_draw_per_call_hides_an_item_everywhere():
    tower = planted(id_dropout=0.5, seed=3)
    for _ in range(10):
        rows = tower.embed(tf.fill([6], 2), training=True).numpy()
        assert len(np.unique(rows.round(6), axis=0)) == 1


def test_word_pieces_are_constants_of_the_model():
    assert not any("pieces:0" in weight.name for weight in planted().trainable_weights)


@pytest.mark.parametrize("id_dropout", [-0.1, 1.0])
def test_a_share_outside_0_and_1_is_refused(id_dropout):
    with pytest.raises(ValueError, match=r"`id_dropout` must be at least 0 and below 1"):
        planted(id_dropout=id_dropout)


def test_another_number_of_texts_is_refused():
    with pytest.raises(ValueError, match=r"one entry per item, 4\. Received: 3"):
        planted().set_texts(TEXTS[:3])


def test_a_student_with_texts_is_saved_completely(tmp_path):
    student = RetrievalStudent.from_history(
        num_items=4, max_history=3, embedding_dim=2, texts=TEXTS, word_pieces=PIECES,
        cold_items=[2, 4], seed=0,
    )  # fmt: skip
    student.save(tmp_path / "student.keras")
    loaded = tf.keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(loaded.catalogue_embeddings(), student.catalogue_embeddings())
    assert loaded.candidate_tower.word_pieces == PIECES
    assert loaded.task_names == ("next_item", "cold_items")


@pytest.mark.parametrize("given", [{"texts": TEXTS}, {"word_pieces": PIECES}])
def test_texts_and_word_pieces_belong_together(given):
    with pytest.raises(ValueError, match=r"`texts` and `word_pieces` belong together"):
        RetrievalStudent.from_history(num_items=4, max_history=3, **given)
