"""What the last stage gives a report: figures, paired differences, and when it is run again."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from made_reports import REPORTS

from tfrs_distill.data.splits import split_by_time
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.evaluation.baselines import popularity
from tfrs_distill.evaluation.retrieval import Evaluation
from tfrs_distill.models.tasks import Binary
from tfrs_distill.pipeline.measure import compare_ndcg, report_figures, resampled
from tfrs_distill.pipeline.ranking import two_stage_measure
from tfrs_distill.pipeline.ranking.run import RankingRun
from tfrs_distill.pipeline.ranking.two_stage_run import TwoStageRun
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.report.models import metric_of
from tfrs_distill.pipeline.report.verdict import verdict
from tfrs_distill.pipeline.retrieval_run import RetrievalRun
from tfrs_distill.progress import SilentProgress


def evaluation(ndcg):
    ndcg = np.array(ndcg, float)
    users = np.arange(len(ndcg), dtype=np.int32)
    item_ids = np.ones([len(ndcg), 10], np.int32)
    hit_rate = (ndcg > 0).astype(float)
    values = {"ndcg": ndcg, "recall": ndcg / 2, "mrr": ndcg, "hit_rate": hit_rate}
    return Evaluation(10, 4, 0, users, item_ids, values)


def test_figures_are_values_with_their_intervals():
    found = report_figures(Recipe(), evaluation([0.0, 0.5, 1.0, 0.5]))
    assert found["ndcg@10"]["value"] == 0.5
    low, high = found["ndcg@10"]["interval"]
    assert 0.0 < low < 0.5 < high < 1.0
    assert found["recall@10"] == {"value": 0.25, "interval": None}
    assert found["coverage@10"]["value"] == 0.25  # one of four items
    assert list(found) == ["ndcg@10", "recall@10", "mrr@10", "hit_rate@10", "coverage@10"]
    assert [metric_of(key).name for key in found] == [
        *("NDCG@10", "Recall@10", "MRR@10", "Hit rate@10", "Coverage@10")
    ]


def test_a_difference_is_paired_by_user():
    found = compare_ndcg(Recipe(), evaluation([0.2, 0.6]), evaluation([0.1, 0.3]))
    assert found["metric"] == "ndcg@10" and found["seeds"] == [0]
    assert found["difference"] == pytest.approx(0.2)  # 0.4 - 0.2
    assert found["ratio"] == pytest.approx(2.0)
    assert found["interval"] == pytest.approx([0.1, 0.3])


@pytest.mark.filterwarnings("error")
def test_a_twin_that_finds_nothing_has_no_ratio():
    found = compare_ndcg(Recipe(), evaluation([0.2, 0.6]), evaluation([0.0, 0.0]))
    assert found["ratio"] is None and found["difference"] == pytest.approx(0.4)
    report = {
        "tasks": {"next_item": {"metric": "ndcg@10"}},
        "models": {},
        "comparisons": {"student_vs_twin": {"next_item": found}},
    }
    assert verdict(report).startswith(
        "The teacher helped: the student's NDCG@10 is 0.4000 above its twin's"
    )


def test_few_are_called_so():
    assert resampled("test rows", 99) == {"what": "test rows", "number": 99, "too_few": True}
    assert resampled("test rows", 100)["too_few"] is False


class Asked:
    """Stages that only say what the last one's key is made of."""

    folder = Path("stages")
    fingerprints = {"evaluate": ""}
    seconds = {"data": 2.0}

    def run(self, name, settings, work, **_):
        return name, settings


@pytest.mark.parametrize(
    "kind, recipe, measure",
    [
        (RetrievalRun, "movielens-100k", lambda run: run._measure({})),
        (RankingRun, "ranking", lambda run: run._measure({})),
        (TwoStageRun, "two-stage", lambda run: run._measure_both({}, {})),
    ],
)
def test_a_stage_of_the_earlier_shape_is_measured_again(kind, recipe, measure):
    """Its key holds the shape of what it gives: a finished run of before has another."""
    run = kind.__new__(kind)
    run.recipe, run.stages, run.alone = Recipe.named(recipe), Asked(), ()
    name, settings = measure(run)
    assert name == "evaluate" and "metrics by task" in settings


@pytest.mark.parametrize(
    "kind, named, made, write, task, words",
    [
        (
            RetrievalRun,
            "movielens-100k",
            "retrieval",
            "_report",
            {"next_item": "ndcg@10"},
            "Every model got the same history and ranked the whole catalogue, with the items of "
            "the history. Intervals",
        ),
        (
            RankingRun,
            "ranking",
            "reviews",
            "_report",
            {"like": "auc"},
            "same seed (the student also has unlabelled rows, 3 for each labelled one); each "
            "learns",
        ),
        (
            TwoStageRun,
            "two-stage",
            "two-stage",
            "_report_both",
            {"relevance": "ndcg@10"},
            "Every model recommended to the same test users, with the items of the history. "
            "Intervals",
        ),
    ],
)
def test_what_a_run_says_of_itself(kind, named, made, write, task, words, tmp_path):
    recipe = Recipe.named(named)
    if kind is RankingRun:
        recipe = replace(recipe, ranking=replace(recipe.ranking, unlabelled_per_row=3))
    else:
        recipe = replace(recipe, data=replace(recipe.data, exclude_seen=False))
    run = kind.__new__(kind)
    run.recipe, run.stages, run.home, run.k = recipe, Asked(), tmp_path, 10
    run.tasks, run.data = [Binary("like")], SimpleNamespace(protocol="Rows were dealt.")
    given = {key: REPORTS[made][key] for key in ("models", "comparisons", "resampled")}
    data = REPORTS[made]["data"] | {"fingerprint": "abc"}
    report = getattr(run, write)(data, REPORTS[made]["training"], given)
    assert {name: told["metric"] for name, told in report["tasks"].items()} == task
    assert report["task"] == recipe.task and report["k"] == 10
    assert report["rows_are"] == ("row" if kind is RankingRun else "query")
    assert "fingerprint" not in report["data"] and report["stages"] == {"data": {"seconds": 2.0}}
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written | {"recipe": None} == report | {"recipe": None}
    page = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    assert words in page


def test_two_stages_are_reported_in_the_same_shape(monkeypatch, tmp_path):
    splits = split_by_time(synthetic(seed=0), max_history=8)
    names = ["retrieval", "twin", "student", "cross_encoder", "teacher"]
    names += ["student_tflite", "student_int8", "saved_model"]
    known = popularity(splits.train)
    monkeypatch.setattr(tf.keras.models, "load_model", lambda _: None)
    monkeypatch.setattr(two_stage_measure, "ModelScorer", lambda *_, **__: known)
    for part, told in (
        ("_scorers", known),
        ("_sizes", {"parameters": 3, "bytes": 4}),
        ("_latencies", {"p50": 1.0, "p95": 2.0}),
    ):
        answers = dict.fromkeys(names, told)
        monkeypatch.setattr(two_stage_measure, part, lambda *_, answers=answers: answers)
    recipe = Recipe.named("two-stage")
    models = two_stage_measure.TwoStageModels({}, {}, {"retrieval": tmp_path}, tmp_path, {})
    found, line = two_stage_measure.measure_two_stages(
        recipe, splits, models, tmp_path, SilentProgress()
    )
    assert found["models"].keys() == set(names)
    student = found["models"]["student"]
    assert student["name"] == "Two stages" and "name" not in found["models"]["cross_encoder"]
    value = student["metrics"]["relevance"]["ndcg@10"]["value"]
    assert 0 < value < 1 and f"student {value:.4f}" in line
    assert student["bytes"] == 4 and student["latency_ms"] == {"p50": 1.0, "p95": 2.0}
    for told in found["comparisons"].values():
        assert told["relevance"]["difference"] == 0.0 and told["relevance"]["ratio"] == 1.0
