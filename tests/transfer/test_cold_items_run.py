"""The recipe `cold-items`: its data, its students' texts, and a complete run on planted data."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import write_tiny_bert
from tiny_checkpoints import write_tiny_checkpoint

from tfrs_distill import cli, pipeline
from tfrs_distill.data import split_by_time
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate
from tfrs_distill.export import export_artefact
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.pipeline.cold_validation import ColdValidationNDCG
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.encoders import words_of
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import PLANTED
from tfrs_distill.progress import SilentProgress
from tfrs_distill.serving.recommender import Recommender
from tfrs_distill.serving.word_pieces import WordPieces
from tfrs_distill.teachers import TextEncoder


def recipe_of(encoder=""):
    cold = Recipe.named("cold-items")
    return replace(
        cold,
        name="small",
        data=replace(cold.data, source=PLANTED, max_history=8),
        teacher=replace(cold.teacher, embedding_dim=8, max_epochs=2),
        encoder=replace(cold.encoder, name=str(encoder)),
        knowledge=replace(cold.knowledge, folds=2, top_k=10),
        item_texts=replace(cold.item_texts, piece_dim=2, num_common=50),
        training=replace(cold.training, max_epochs=2, controls=()),
        evaluation=replace(cold.evaluation, k=3, bootstrap_samples=100),
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_bert")
    write_tiny_bert(folder)
    return folder


def test_the_data_hold_out_a_quarter_of_the_items_and_half_of_their_texts(tmp_path):
    data = RetrievalData.of(synthetic(), recipe_of())
    cold, splits = data.cold, data.splits
    assert len(cold.all) == data.catalogue.num_items // 4
    assert not np.isin(splits.train.history, cold.all).any()
    assert not splits.train.candidates[cold.all - 1].any()
    assert splits.train.candidates.sum() == data.catalogue.num_items - len(cold.all)
    np.testing.assert_array_equal(np.sort(splits.test.candidates), cold.all)
    np.testing.assert_array_equal(np.sort(splits.validation.candidates), cold.described)
    hidden = [data.catalogue.texts[item - 1] for item in cold.undescribed]
    assert sorted(data.known_texts + hidden) == sorted(data.catalogue.texts)
    facts, line = data.facts()
    assert facts["cold_items"] == {
        "described": len(cold.described),
        "undescribed": len(cold.undescribed),
    }
    assert f"{len(cold.all)} cold items" in line
    data.save(tmp_path)
    again = RetrievalData.load(tmp_path, recipe_of())
    np.testing.assert_array_equal(again.cold.all, cold.all)
    assert again.splits.train.fingerprint() == splits.train.fingerprint()


def test_validation_has_all_items_and_cold_items_by_their_texts_alone():
    data = RetrievalData.of(synthetic(), recipe_of())
    pieces = WordPieces.for_texts("abcdefghijklmnopqrstuvwxyz", ["a b"] * 2)
    student = RetrievalStudent.from_history(
        num_items=data.catalogue.num_items,
        max_history=8,
        embedding_dim=4,
        texts=data.catalogue.texts,
        word_pieces=pieces,
        seed=0,
    )
    items, random = student.candidate_tower, np.random.default_rng(0)
    items.id_embeddings.assign(random.normal(size=items.id_embeddings.shape))
    validation, logs = data.splits.validation, {}
    judge = ColdValidationNDCG(validation, data.cold, k=3, student=student)
    judge.on_epoch_end(0, logs)
    known = evaluate(student, validation, k=3).ndcg.mean()
    of_others = items.id_embeddings.numpy().copy()
    of_others[data.cold.described] = 0.0  # like items without an id
    items.id_embeddings.assign(of_others)
    by_texts = evaluate(student, validation, k=3).ndcg.mean()
    assert known != pytest.approx(by_texts)
    assert logs["val_ndcg@3"] == pytest.approx((known + by_texts) / 2)


def test_with_repeated_interactions_cold_items_are_evaluated_too():
    recipe = recipe_of()
    recipe = replace(recipe, data=replace(recipe.data, exclude_seen=False))
    splits = RetrievalData.of(synthetic(), recipe).splits
    catalogues = {part.catalogue.exclude_seen for part in (splits, splits.validation, splits.test)}
    assert catalogues == {False}


def test_the_student_reads_the_encoders_word_pieces(encoder):
    texts = ["the film", "the story", "a film"]
    recipe = recipe_of(encoder)
    recipe = replace(recipe, item_texts=replace(recipe.item_texts, num_common=3, max_pieces=5))
    pieces, vectors = words_of(recipe, texts)
    vocabulary = TextEncoder(encoder).vocabulary
    assert vocabulary[:2] == ("[PAD]", "[UNK]") and set(pieces.pieces) <= set(vocabulary)
    assert (pieces.max_pieces, pieces.lowercase) == (5, True)
    assert vectors.shape == (pieces.num_pieces + 1, 2)


def test_an_encoder_with_another_tokenizer_is_refused(tmp_path):
    write_tiny_checkpoint(tmp_path, "roberta")
    with pytest.raises(InputError, match=r"reads word pieces as BERT's tokenizer makes them"):
        words_of(recipe_of(tmp_path), ["a film"] * 3)


def test_an_encoder_of_tf_hub_is_refused():
    with pytest.raises(InputError, match=r"from TF-Hub has none to read"):
        words_of(recipe_of("https://tfhub.dev/x"), ["a"])


def test_a_planted_new_item_is_recommended_to_users_of_its_kind(tmp_path):
    """Kinds differ only in their words: each user likes one, and two new items differ in kind."""
    data = synthetic(num_users=400, seed=0)
    splits = split_by_time(data, max_history=8)
    texts = splits.catalogue.texts
    words = sorted({word for text in texts for word in re.findall(r"[a-z]+", text.lower())})
    student = RetrievalStudent.from_history(
        num_items=splits.catalogue.num_items,
        max_history=8,
        texts=texts,
        word_pieces=WordPieces.for_texts(words, texts),
        id_dropout=0.5,
        seed=0,
    )
    student.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    student.fit(splits.train.batches(32, seed=0), epochs=15, verbose=0)
    export_artefact(student, tmp_path / "1", splits.catalogue)
    recommender = Recommender.load(tmp_path / "1")
    kinds = {text.split()[0]: text.split(". ")[1] for text in texts}
    first, second = sorted(kinds)[:2]
    recommender.add_items([kinds[first], kinds[second]], item_ids=["first", "second"])
    num_items = splits.catalogue.num_items
    of_kind = [
        [
            int(splits.catalogue.texts[items[0] - 1].startswith(kind))
            for items in splits.test.histories
        ]
        for kind in (first, second)
    ]
    scores, found = recommender(splits.test.histories, num_items)
    right = []
    for row, (likes_first, likes_second) in enumerate(zip(*of_kind)):
        if likes_first != likes_second:
            place = {item: rank for rank, item in enumerate(found[row])}
            one, other = (place.get(num_items + 1 + n, num_items) for n in range(2))
            right.append((one < other) == bool(likes_first))
    assert len(right) > 150
    assert np.mean(right) > 0.9


@pytest.mark.nightly
def test_a_complete_run_evaluates_cold_items_alone(encoder, tmp_path, capsys):
    report = pipeline.run(recipe_of(encoder), tmp_path, SilentProgress())
    ndcg = {
        name: row["metrics"]["next_item"]["ndcg@3"]["value"]
        for name, row in report["models"].items()
    }
    assert ndcg["student_tflite"] == pytest.approx(ndcg["student"], abs=1e-6)
    assert ndcg["saved_model"] == pytest.approx(ndcg["student"], abs=1e-6)
    parts = report["segments"]["segments"]
    assert parts["described"]["queries"] and parts["undescribed"]["queries"]
    assert not parts["head"]["queries"] and not parts["middle"]["queries"]
    assert report["data"]["cold_items"]["described"] > 0
    assert report["resampled"]["drawn_by_seed"]
    folder = tmp_path / "small" / "1"
    (title, *_) = Recommender.load(folder).artefact.titles
    options = ["--history", title, "--add-item", "sheriff, horse", "-k", "61", "--json"]
    assert cli.main(["recommend", str(folder), *options]) == 2  # of more than were exported
    options[-2] = "60"
    capsys.readouterr()
    assert cli.main(["recommend", str(folder), *options]) == 0
    assert "sheriff, horse" in [item["title"] for item in json.loads(capsys.readouterr().out)]
