"""The recipe `cold-items`: its data, what its students read, and a whole run on planted data."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_bert import write_tiny_bert
from tiny_checkpoints import write_tiny_checkpoint

from tfrs_distill import cli, pipeline
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.encoders import word_pieces_of
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import PLANTED
from tfrs_distill.progress import SilentProgress
from tfrs_distill.serving.recommender import Recommender
from tfrs_distill.teachers.bert.checkpoint import word_piece_vocabulary


def recipe_of(encoder=""):
    cold = Recipe.named("cold-items")
    return replace(
        cold,
        name="small",
        data=replace(cold.data, source=PLANTED, max_history=8),
        teacher=replace(cold.teacher, embedding_dim=8, max_epochs=6),
        encoder=replace(cold.encoder, name=str(encoder)),
        knowledge=replace(cold.knowledge, folds=2, top_k=10),
        student=replace(cold.student, embedding_dim=8),
        training=replace(cold.training, max_epochs=8, patience=8, controls=()),
        evaluation=replace(cold.evaluation, bootstrap_samples=100),
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_bert")
    write_tiny_bert(folder)
    return folder


def test_the_data_hide_a_quarter_of_the_items_and_half_of_their_texts(tmp_path):
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


def test_people_who_come_back_are_asked_about_cold_items_too():
    recipe = recipe_of()
    recipe = replace(recipe, data=replace(recipe.data, exclude_seen=False))
    splits = RetrievalData.of(synthetic(), recipe).splits
    catalogues = {part.catalogue.exclude_seen for part in (splits, splits.validation, splits.test)}
    assert catalogues == {False}


def test_the_student_reads_the_encoders_word_pieces(encoder):
    vocabulary, lowercase = word_piece_vocabulary(encoder)
    assert lowercase and vocabulary[:2] == ("[PAD]", "[UNK]")
    texts = ["the film", "the story", "a film"]
    pieces = word_pieces_of(recipe_of(encoder), texts, min_count=2, max_pieces=5)
    assert set(pieces.pieces) <= set(vocabulary)
    assert pieces.max_pieces == 5


def test_an_encoder_with_another_tokenizer_is_refused(tmp_path):
    write_tiny_checkpoint(tmp_path, "roberta")
    with pytest.raises(InputError, match=r"reads word pieces as BERT's tokenizer makes them"):
        word_pieces_of(recipe_of(tmp_path), ["a film"] * 2, min_count=2, max_pieces=5)


def test_an_encoder_of_tf_hub_is_refused():
    with pytest.raises(InputError, match=r"from TF-Hub has none to read"):
        word_pieces_of(recipe_of("https://tfhub.dev/x"), ["a"], min_count=1, max_pieces=5)


@pytest.mark.nightly
def test_a_planted_new_item_is_recommended_to_those_who_like_its_kind(encoder, tmp_path, capsys):
    report = pipeline.run(recipe_of(encoder), tmp_path, SilentProgress())
    ndcg = {
        name: row["metrics"]["next_item"]["ndcg@10"]["value"]
        for name, row in report["models"].items()
    }
    assert ndcg["student"] > ndcg["popularity"] + 0.1  # nobody has met the items
    assert ndcg["student_tflite"] == pytest.approx(ndcg["student"], abs=1e-6)
    parts = report["segments"]["segments"]
    assert parts["described"]["queries"] and parts["undescribed"]["queries"]
    assert report["data"]["cold_items"]["described"] > 0

    recommender = Recommender.load(tmp_path / "small" / "1")
    titles, texts = recommender.artefact.titles, synthetic(seed=0).catalogue.texts
    kinds = sorted({title.split()[0] for title in titles})
    like = {kind: next(text for text in texts if text.startswith(kind)) for kind in kinds}
    own, other = kinds[:2]
    history = [title for title in titles if title.startswith(own)][:5]
    new = {kind: f"New {like[kind].split('. ')[1]}" for kind in (own, other)}
    recommender.add_items(list(new.values()))
    scores = {item.title: item.score for item in recommender.recommend(history, k=len(titles))}
    assert scores[new[own]] > scores.get(new[other], -np.inf)
    options = ["--history", history[0], "--add-item", new[own], "-k", "10", "--json"]
    assert cli.main(["recommend", str(tmp_path / "small" / "1"), *options]) == 0
    assert new[own] in [item["title"] for item in json.loads(capsys.readouterr().out)]
