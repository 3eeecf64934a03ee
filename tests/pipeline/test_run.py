"""A complete run on planted data with a tiny BERT: results, reuse, and kills."""

import html
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import write_tiny_bert

from tfrs_distill import pipeline
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe import Recipe, RetrievalRecipe
from tfrs_distill.pipeline.report.lists import RecommendedLists
from tfrs_distill.progress import SilentProgress

CONTROLS = ["plain", "self_taught", "scrambled"]  # more than a recipe has by default
STAGES = ["data", "teacher", "knowledge", "generated", "twin", "self_knowledge", "student"]
STAGES += [*CONTROLS, "export", "evaluate"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_bert")
    write_tiny_bert(folder)
    return folder


@pytest.fixture(scope="module")
def recipe(encoder):
    small = Recipe.named("synthetic")
    return replace(
        small,
        name="small",
        data=replace(small.data, max_history=8),
        teacher=replace(small.teacher, embedding_dim=8, max_epochs=2),
        encoder=replace(small.encoder, name=str(encoder)),
        knowledge=replace(small.knowledge, folds=2, top_k=10, generated_per_window=1),
        student=replace(small.student, embedding_dim=4),
        training=replace(
            small.training, max_epochs=3, controls=("plain", "self-taught", "scrambled")
        ),
        evaluation=replace(small.evaluation, bootstrap_samples=100),
    )


class Recorder(SilentProgress):
    """Records which stages were reused, and the bars from other threads."""

    def __init__(self):
        self.reused, self.bars_of_workers = [], []

    def bar(self, description, total):
        if threading.current_thread() is not threading.main_thread():
            self.bars_of_workers.append(description)
        return super().bar(description, total)

    def done(self, line, seconds, reused):
        self.reused.append(reused)


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    progress = Recorder()
    report = pipeline.run(recipe, out, progress, processes=2)
    assert progress.reused == [False] * len(STAGES)
    assert progress.bars_of_workers
    return out / "small", report


def without_timings(report, path=""):
    """The report as {path: value}, without times."""
    if not isinstance(report, dict):
        return {path: report}
    flat = {}
    for key, value in report.items():
        if key not in ("stages", "cost", "latency_ms"):
            flat |= without_timings(value, f"{path}/{key}")
    return flat


def ndcg_of(row):
    return row["metrics"]["next_item"]["ndcg@10"]["value"]


def test_the_report_has_every_model_with_its_metrics(finished):
    home, report = finished
    assert json.loads((home / "report.json").read_text())["models"].keys() == {
        "teacher",
        "twin",
        *CONTROLS,
        "student",
        "saved_model",
        "student_tflite",
        "student_int8",
        "popularity",
        "ease",
    }
    for name, row in report["models"].items():
        low, high = row["metrics"]["next_item"]["ndcg@10"]["interval"]
        assert 0 <= low <= ndcg_of(row) <= high <= 1
        assert row["bytes"] > 0 and row["parameters"] > 0, name
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"]
    assert report["comparisons"]["tflite_vs_keras"]["next_item"]["identical_lists"] == 1.0
    ndcg = {name: ndcg_of(row) for name, row in report["models"].items()}
    assert ndcg["saved_model"] == pytest.approx(ndcg["student"], abs=1e-9)
    of_students = report["segments"]["models"]["student"]
    assert of_students["all"]["value"] == pytest.approx(ndcg["student"])
    (pair,) = report["segments"]["comparisons"]
    gain = report["comparisons"]["student_vs_twin"]["next_item"]["difference"]
    assert pair["segments"]["all"]["difference"] == pytest.approx(gain)
    page = re.sub(r"<[^>]+>", "", (home / "report.html").read_text(encoding="utf-8"))
    assert "Quality by segment" in page
    assert report["verdict"] in " ".join(html.unescape(page).split())


def test_the_run_keeps_the_lists_it_was_evaluated_by(finished, recipe):
    home, report = finished
    lists = RecommendedLists.read(home)
    with np.load(home / "stages" / "evaluate" / "ndcg.npz") as ndcg:
        assert lists.item_ids.keys() == {"teacher", "twin", *CONTROLS, "student"}
        for model in lists.item_ids:
            hit = [
                any(item["hit"] for item in lists.listed(model, row))
                for row in range(len(ndcg[model]))
            ]
            assert hit == (ndcg[model] > 0).tolist(), model
    data = synthetic(seed=recipe.seed)
    sequences = dict(zip(data.user_ids, data.sequences()))
    for user in report["lists"]["users"]:
        titles = [data.catalogue.titles[item - 1] for item in sequences[user["user"]]]
        assert titles[-len(user["history"] + user["next"]) :] == user["history"] + user["next"]


def test_the_report_has_a_map_of_teacher_and_student(finished):
    found = finished[1]["map"]
    assert [panel["model"] for panel in found["panels"]] == ["teacher", "student"]
    assert found["num_items"] == len(found["items"]) == len(found["panels"][0]["x"]) == 60


def test_the_controls_differ_as_their_names_say(finished, recipe):
    home, report = finished
    losses = {name: report["training"][name]["loss"] for name in (*CONTROLS, "twin", "student")}
    assert len({tuple(loss) for loss in losses.values()}) == 5
    plain = tf.keras.models.load_model(home / "stages" / "plain" / "student.keras")
    twin = tf.keras.models.load_model(home / "stages" / "twin" / "student.keras")
    assert (plain.label_smoothing, twin.label_smoothing) == (0.0, recipe.twin.label_smoothing)
    for name in CONTROLS:
        found = report["comparisons"][f"student_vs_{name}"]["next_item"]
        gain = ndcg_of(report["models"]["student"]) - ndcg_of(report["models"][name])
        assert found["difference"] == pytest.approx(gain, abs=1e-9)
    no_gain = "has no gain" in report["verdict"]
    learnt = "no gain" if no_gain else "scrambled soft targets explain"
    assert learnt in report["verdict"]
    assert report["models"]["twin"]["what"].endswith("; label smoothing 0.8")


def test_a_search_reuses_the_runs_trained_stages(finished, recipe, tmp_path):
    home, report = finished
    shutil.copytree(home, tmp_path / "small")
    progress = Recorder()
    found = pipeline.tune(recipe, tmp_path, num_trials=1, progress=progress)
    assert progress.reused == []  # nothing was created
    for name in ("student", "twin"):
        (trial,) = found["studies"][name]["trials"]
        assert trial["score"] == max(report["training"][name]["validation_ndcg@10"])
        assert trial["epoch"] == report["training"][name]["best_epoch"]
    assert Recipe.from_toml(tmp_path / "small" / "tune" / "best.toml") == recipe


@pytest.mark.nightly
def test_a_run_reuses_a_searchs_trained_stages(recipe, tmp_path):
    found = pipeline.tune(recipe, tmp_path, num_trials=3, space=["student.embedding_dim=2,6"])
    folder = tmp_path / "small" / "tune"
    best, progress = Recipe.from_toml(folder / "best.toml"), Recorder()
    report = pipeline.run(best, tmp_path, progress)
    made = dict(zip(STAGES, progress.reused))
    again = ("data", "teacher", "knowledge", "twin", "student")
    assert [name for name in STAGES if made[name]] == [name for name in STAGES if name in again]
    for name in ("student", "twin"):
        study = found["studies"][name]
        score = study["trials"][study["best"]]["score"]
        assert score == max(report["training"][name]["validation_ndcg@10"])
    assert "the best student has" in (folder / "tune.html").read_text()


def test_popularity_in_the_report_equals_counting(finished, recipe):
    """The same protocol by hand: last 10 % of each user, history excluded, most popular first."""
    data = synthetic(seed=recipe.seed)
    sequences = data.sequences()
    cut = [(int(0.8 * len(s) + 1e-9), int(0.9 * len(s) + 1e-9)) for s in sequences]
    counts = np.zeros(data.catalogue.num_items + 1)
    for sequence, (train, _) in zip(sequences, cut):
        counts[np.unique(sequence[:train])] += 1
    ndcg = []
    for sequence, (_, history) in zip(sequences, cut):
        seen, positives = set(sequence[:history]), set(sequence[history:])
        if not positives:
            continue
        ranked = [i for i in np.argsort(-counts[1:], kind="stable") + 1 if i not in seen][:10]
        gain = sum(1 / np.log2(rank + 2) for rank, item in enumerate(ranked) if item in positives)
        ideal = sum(1 / np.log2(rank + 2) for rank in range(min(10, len(sequence) - history)))
        ndcg.append(gain / ideal)
    found = ndcg_of(finished[1]["models"]["popularity"])
    assert found == pytest.approx(np.mean(ndcg), rel=1e-6)


def test_an_unchanged_run_is_not_run_again(finished, recipe, monkeypatch):
    home, report = finished
    monkeypatch.setattr("tf_keras.Model.fit", lambda *_, **__: pytest.fail("trained again"))
    progress = Recorder()
    again = pipeline.run(recipe, home.parent, progress)
    assert progress.reused == [True] * len(STAGES)
    assert again == report


@pytest.mark.nightly
def test_a_changed_setting_runs_only_its_stage_and_the_later_ones(finished, recipe):
    changed = replace(recipe, distillation=replace(recipe.distillation, student_loss_weight=0.6))
    progress = Recorder()
    report = pipeline.run(changed, finished[0].parent, progress)
    reused = dict(zip(STAGES, progress.reused))
    again = ["student", "self_taught", "scrambled", "export", "evaluate"]
    assert [name for name in STAGES if not reused[name]] == again
    assert ndcg_of(report["models"]["twin"]) == ndcg_of(finished[1]["models"]["twin"])
    assert report["training"]["student"] != finished[1]["training"]["student"]


@pytest.mark.nightly
def test_a_lost_file_runs_its_stage_again(finished, recipe):
    home, report = finished
    pipeline.run(recipe, home.parent)
    (home / "1" / "student.tflite").unlink()
    progress = Recorder()
    pipeline.run(recipe, home.parent, progress)
    assert progress.reused == [True] * 10 + [False, True]
    assert (home / "1" / "student.tflite").is_file()


def test_a_truncated_cache_is_named(finished, recipe):
    home, _ = finished
    pipeline.run(recipe, home.parent)
    (shard, *_) = sorted((home / "stages" / "knowledge").glob("cache/fold-*-teacher-*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    try:
        with pytest.raises(
            InputError, match=r"fold-00000-of-00002-teacher-.* is \d+ bytes long, but its"
        ):
            pipeline.run(recipe, home.parent)
    finally:
        shard.write_bytes(whole)


@pytest.mark.nightly
def test_killed_in_every_stage_it_ends_with_the_same_report(finished, recipe, tmp_path):
    """`kill -9` a moment into each stage in turn; the last start runs to its end."""
    recipe_file = tmp_path / "recipe.toml"
    recipe_file.write_text(recipe.to_toml(), encoding="utf-8")
    command = [sys.executable, "-u", "-m", "tfrs_distill", "run", "--recipe", str(recipe_file)]
    command += ["--out", str(tmp_path / "out")]
    for number in range(1, len(STAGES) + 1):
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        for line in process.stdout:
            if line.startswith(f"[{number}/{len(STAGES)}]"):
                break
        else:
            pytest.fail(f"stage {number} never began: {process.stderr.read()[-2000:]}")
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        process.stderr.close()
        assert not (tmp_path / "out" / "small" / "report.json").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    killed = without_timings(json.loads((tmp_path / "out/small/report.json").read_text()))
    undisturbed = without_timings(json.loads((finished[0] / "report.json").read_text()))
    path = "/models/saved_model/bytes"  # the size of TensorFlow's SavedModel varies by a few bytes
    assert killed.pop(path) == pytest.approx(undisturbed.pop(path), abs=100)
    assert killed.keys() == undisturbed.keys()
    assert [path for path in killed if killed[path] != undisturbed[path]] == []


def test_missing_data_folder_writes_nothing(tmp_path):
    bad = replace(
        Recipe.named("movielens-100k"),
        data=replace(RetrievalRecipe().data, folder=str(tmp_path / "nothing")),
    )
    with pytest.raises(InputError, match="nothing"):
        pipeline.run(bad, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_the_report_describes_the_limits_of_the_split(finished, recipe):
    home, report = finished
    data = synthetic(seed=recipe.seed)
    of_users = [np.sort(data.timestamps[data.users == user]) for user in range(data.num_users)]
    train = np.concatenate([times[: int(0.8 * len(times) + 1e-9)] for times in of_users])
    tests = [(times[cut - 1], times[cut]) for times in of_users for cut in [int(0.9 * len(times))]]
    later = np.median([np.mean(train > start) for _, start in tests])
    tied = np.mean([before == start for before, start in tests])
    assert report["data"]["split"] == {
        "kind": "user-time",
        "ties": "file-order",
        "tests_without_history": 0.0,
        "train_after_test": pytest.approx(later),
        "tests_cut_in_one_time": pytest.approx(tied),
    }
    page = html.unescape((home / "report.html").read_text(encoding="utf-8"))
    assert "The split is by user, not by date" in page
