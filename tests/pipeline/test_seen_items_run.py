"""A complete run on music with repeated interactions, with and without items of the history."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tfrs_distill import pipeline
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.serving.recommender import Recommender

NUM_ITEMS, NUM_USERS = 24, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Each user repeats 4 tracks in a cycle; the third last and the last are new."""
    folder = tmp_path_factory.mktemp("music")
    random, rows = np.random.default_rng(0), []
    for user in range(NUM_USERS):
        *tracks, first, second = random.permutation(NUM_ITEMS)[:6] + 1
        interacted = [*(tracks * 5)[:17], first, tracks[0], second]
        rows += [f"u{user}\ti{item}\t{100 * user + n}" for n, item in enumerate(interacted)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "music.inter").write_text("\n".join([header, *rows]) + "\n")
    items = [f"i{item}\tTrack {item}" for item in range(1, NUM_ITEMS + 1)]
    (folder / "music.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *items]))
    return folder


@pytest.mark.nightly
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_the_setting_applies_to_every_model_and_file(folder, tmp_path, exclude_seen):
    small = Recipe.named("synthetic")
    recipe = replace(
        small,
        name="music",
        data=replace(
            small.data,
            source="movielens-100k",
            folder=str(folder),
            max_history=8,
            exclude_seen=exclude_seen,
        ),
        teacher=replace(small.teacher, kind="item-item"),
        knowledge=replace(small.knowledge, folds=2, top_k=10),
        student=replace(small.student, embedding_dim=8),
        training=replace(small.training, max_epochs=8),
        evaluation=replace(small.evaluation, k=2, bootstrap_samples=100),
    )
    report = pipeline.run(recipe, tmp_path)
    data, models = report["data"], report["models"]
    assert data["test_positives"] == 2 * NUM_USERS
    assert ("exclude_seen = false" in data.get("repeats", "")) == exclude_seen
    assert data["test_positives_left_out"] == NUM_USERS * exclude_seen
    assert report["resampled"]["number"] == data["test_queries"]
    assert report["resampled"]["too_few"] is True
    assert report["comparisons"]["tflite_vs_keras"]["next_item"]["identical_lists"] == 1.0
    ndcg = {name: row["metrics"]["next_item"]["ndcg@2"]["value"] for name, row in models.items()}
    for name in ("saved_model", "student_tflite"):
        assert ndcg[name] == pytest.approx(ndcg["student"])
    without = "without" if exclude_seen else "with"
    sentence = f"ranked the whole catalogue, {without} the items of the history."
    assert sentence in report["protocol"]["models"]
    assert sentence in (tmp_path / "music" / "report.html").read_text(encoding="utf-8")
    version = tmp_path / "music" / "1"
    assert json.loads((version / "signature.json").read_text())["exclude_seen"] is exclude_seen
    answers = Recommender.load(version)([np.array([1, 2, 3], np.int32)], NUM_ITEMS)[1][0]
    assert ({1, 2, 3} <= set(answers.tolist())) == (not exclude_seen)
