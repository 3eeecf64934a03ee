"""The last stage's part of a report: metrics, paired differences, and when it runs again."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from made_reports import REPORTS
from tiny_data import tiny_catalogue

from tfrs_distill.data.splits import Queries, split_by_time
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.evaluation.baselines import popularity
from tfrs_distill.evaluation.retrieval import Evaluation
from tfrs_distill.models import (
    Binary,
    HistoryFeature,
    ItemFeature,
    RankingStudent,
    RetrievalStudent,
    TwoStageStudent,
)
from tfrs_distill.pipeline.recipe import Recipe, RetrievalRecipe
from tfrs_distill.pipeline.report.models import metric_of
from tfrs_distill.pipeline.report.verdict import verdict
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.run_report import write_run_report
from tfrs_distill.pipeline.stages import evaluate_lists, report_rows
from tfrs_distill.pipeline.stages.evaluate_lists import compare_ndcg, report_figures
from tfrs_distill.pipeline.stages.report_rows import resampled
from tfrs_distill.progress import SilentProgress


def evaluation(ndcg):
    ndcg = np.array(ndcg, float)
    of_all = [np.array([1], np.int32)] * len(ndcg)
    queries = Queries(tiny_catalogue(4), np.arange(len(ndcg)), of_all, of_all)
    item_ids = np.ones([len(ndcg), 10], np.int32)
    hit_rate = (ndcg > 0).astype(float)
    values = {"ndcg": ndcg, "recall": ndcg / 2, "mrr": ndcg, "hit_rate": hit_rate}
    return Evaluation(10, 4, 0, queries, item_ids, values)


def test_metrics_are_values_with_their_intervals():
    found = report_figures(RetrievalRecipe(), evaluation([0.0, 0.5, 1.0, 0.5]))
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
    found = compare_ndcg(RetrievalRecipe(), evaluation([0.2, 0.6]), evaluation([0.1, 0.3]))
    assert found["metric"] == "ndcg@10" and found["seeds"] == [0]
    assert found["difference"] == pytest.approx(0.2)  # 0.4 - 0.2
    assert found["ratio"] == pytest.approx(2.0)
    assert found["interval"] == pytest.approx([0.1, 0.3])


@pytest.mark.filterwarnings("error")
def test_a_twin_with_metric_0_has_no_ratio():
    found = compare_ndcg(RetrievalRecipe(), evaluation([0.2, 0.6]), evaluation([0.0, 0.0]))
    assert found["ratio"] is None and found["difference"] == pytest.approx(0.4)
    report = {
        "tasks": {"next_item": {"metric": "ndcg@10"}},
        "models": {},
        "comparisons": {"student_vs_twin": {"next_item": found}},
    }
    assert verdict(report).startswith(
        "The teacher helped: the student's NDCG@10 is 0.4000 above its twin's"
    )


def test_few_queries_are_reported():
    recipe = Recipe.named("ranking")
    assert resampled(recipe, "test rows", 99, 943) == {
        "what": "test rows",
        "number": 99,
        "too_few": True,
        "drawn_by_seed": False,
    }
    assert resampled(recipe, "test rows", 100, 943)["too_few"] is False


@pytest.mark.parametrize("name", ["reviews", "synthetic", "ranking", "two-stage"])
def test_whether_the_seed_draws_the_test_rows(name):
    recipe = Recipe.named(name)
    drawn = name in ("reviews", "synthetic")
    assert resampled(recipe, "test rows", 900, 943)["drawn_by_seed"] is drawn
    quick = recipe.quick()
    number = getattr(quick.evaluation, "max_lists", 200)
    users = min(quick.data.max_users, 943)
    assert resampled(quick, "test rows", number, users)["drawn_by_seed"] is True


def test_a_limit_above_all_users_draws_nothing():
    quick = Recipe.named("movielens-100k").quick()
    assert quick.data.max_users == 1000
    assert resampled(quick, "test users", 900, 943)["drawn_by_seed"] is False
    assert resampled(quick, "test users", 950, 1000)["drawn_by_seed"] is True


def test_randomly_ordered_ties_give_each_seed_other_test_rows():
    recipe = Recipe.named("movielens-1m")
    shuffled = replace(recipe, data=replace(recipe.data, ties="shuffled"))
    assert resampled(recipe, "test users", 9, 9)["drawn_by_seed"] is False
    assert resampled(shuffled, "test users", 9, 9)["drawn_by_seed"] is True


MEASURED = ("models", "comparisons", "resampled")


@pytest.mark.parametrize(
    "named, made, task, words",
    [
        (
            "movielens-100k",
            "retrieval",
            {"next_item": "ndcg@10"},
            "Every model got the same history and ranked the whole catalogue, with the items of "
            "the history. Intervals",
        ),
        (
            "ranking",
            "reviews",
            {"like": "auc"},
            "same seed (the student also has unlabelled rows, 3 for each labelled one); each uses",
        ),
        (
            "two-stage",
            "two-stage",
            {"relevance": "ndcg@10"},
            "Every model recommended to the same test users, with the items of the history. "
            "Intervals",
        ),
    ],
)
def test_the_protocol_in_the_report_of_each_task(named, made, task, words, tmp_path):
    recipe = Recipe.named(named)
    if named == "ranking":
        knowledge = replace(recipe.knowledge, unlabelled_per_row=3)
        recipe = replace(recipe, knowledge=knowledge)
    else:
        recipe = replace(recipe, data=replace(recipe.data, exclude_seen=False))
    controls = ("plain", "self-taught", "scrambled")
    recipe = replace(recipe, training=replace(recipe.training, controls=controls))
    run = Run(recipe, tmp_path, SilentProgress())
    run.home = tmp_path
    run.tasks = [Binary("like")] if named == "ranking" else []
    run.data = SimpleNamespace(protocol="Rows were dealt.")
    curves = REPORTS[made]["training"]
    run.stages.results = {
        "data": REPORTS[made]["data"] | {"fingerprint": "abc"},
        "teacher": {"curves": curves["teacher"]} if "teacher" in curves else {},
        **{
            name: {"curves": curves.get(name, curves["student"])}
            for name in (*run.compared_stages, "student")
        },
        "evaluate": {key: REPORTS[made][key] for key in MEASURED},
    }
    run.stages.seconds = {"data": 2.0}
    report = write_run_report(run)
    assert {name: of_task["metric"] for name, of_task in report["tasks"].items()} == task
    assert report["task"] == recipe.task and report["k"] == 10
    assert report["rows_are"] == ("row" if named == "ranking" else "query")
    assert ("teacher" in report["training"]) == (named != "two-stage" and "teacher" in curves)
    assert "fingerprint" not in report["data"] and report["stages"] == {"data": {"seconds": 2.0}}
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written | {"recipe": None} == report | {"recipe": None}
    page = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    assert words in page
    assert "The self-taught student is trained like the student" in page
    assert ("The plain student is the twin" in page) == (named == "movielens-100k")
    assert "EASE was not evaluated" not in page
    run.stages.results["data"] = run.stages.results["data"] | {"items": 15_001}
    models = write_run_report(run)["protocol"]["models"]
    assert ("EASE was not evaluated" in models) == (recipe.task == "retrieval")


class Zeros:
    """A cross-encoder and a ranking student that do not change the order of lists."""

    num_parameters = 3

    def scores(self, histories, candidates):
        return np.zeros(candidates.shape, np.float32)


def two_stages_of(num_items):
    """Students with initial weights."""
    item = ItemFeature(num_items, 4, seed=0)
    features = [item, HistoryFeature(item, 8, reads_ratings=False)]
    return TwoStageStudent(
        RetrievalStudent.from_history(num_items=num_items, max_history=8, embedding_dim=4, seed=0),
        RankingStudent(features, [Binary("relevance")], hidden_units=(4,), seed=0),
    )


@pytest.mark.parametrize("methods", [(), ("int8",)])
def test_two_stages_are_reported_in_the_same_shape(monkeypatch, tmp_path, methods):
    data = synthetic(seed=0)
    splits = split_by_time(data, max_history=8)
    known, zeros = popularity(splits.train), Zeros()
    recipe = Recipe.named("two-stage")
    recipe = replace(recipe, export=replace(recipe.export, compress=methods))
    run = Run(recipe, tmp_path, SilentProgress())
    groups = {"gender": ["F", "M"] * 500}
    run.data = SimpleNamespace(
        splits=splits,
        catalogue=splits.catalogue,
        user_groups=groups,
        item_groups={},
        interactions=data,
    )
    run.first_stage = run.item_item = zeros
    monkeypatch.setattr(run, "first_stage_scorer", lambda: known)
    monkeypatch.setattr(run, "student", lambda _: zeros)
    (tmp_path / "student.keras").write_bytes(b"four")
    for file in ("student_file", "retrieval_file"):
        monkeypatch.setattr(run, file, lambda _: tmp_path / "student.keras")
    smaller = two_stages_of(splits.catalogue.num_items)
    monkeypatch.setattr(run, "whole_student", lambda _: smaller)
    run.stages.fingerprints = {"evaluate": ""}
    run.stages.results = {
        "cross-encoder": {"parameters": 100, "bytes": 400},
        **{name: {"retrieval_weight": 0.0} for name in (*run.compared_stages, "student")},
    }
    forms = ["saved_model", "student_tflite", "student_int8"]
    made = {
        key: SimpleNamespace(
            key=key,
            title=key,
            what="",
            format="",
            path=str,
            load=lambda *_: known,
            num_bytes=lambda _: 4,
        )
        for key in forms
    }
    for module in (evaluate_lists, report_rows):
        monkeypatch.setattr(module, "FORMS", made)
    monkeypatch.setattr(evaluate_lists, "open_cross_encoder", lambda _: zeros)
    monkeypatch.setattr(evaluate_lists, "ranking_scores", lambda *_: zeros.scores)
    times = {"p50": 1.0, "p95": 2.0}
    monkeypatch.setattr(
        evaluate_lists,
        "in_fresh_process",
        lambda _, request: dict.fromkeys([*request["keras"], *forms], times),
    )
    (tmp_path / "evaluate").mkdir()
    found, line = evaluate_lists.evaluate_two_stages(run, tmp_path / "evaluate")
    controls = ["twin", "self_taught"]
    names = ["retrieval", *controls, "student", "cross_encoder", "teacher", *forms]
    compressed = ["compressed"] if methods else []
    assert found["models"].keys() == {*names, *compressed}
    for name in compressed:
        result = found["models"][name]
        assert (result["parameters"], result["bytes"]) == (smaller.num_parameters, 4 + 4)
        ndcg = {
            n: m["metrics"]["relevance"]["ndcg@10"]["value"] for n, m in found["models"].items()
        }
        for pair, other in (
            ("compressed_vs_student", "student"),
            ("tflite_vs_keras", "compressed"),
        ):
            one = "compressed" if other == "student" else "student_tflite"
            compared = found["comparisons"].pop(pair)["relevance"]
            assert compared["difference"] == pytest.approx(ndcg[one] - ndcg[other], abs=1e-9)
    student = found["models"]["student"]
    assert student["name"] == "Two stages" and "name" not in found["models"]["cross_encoder"]
    value = student["metrics"]["relevance"]["ndcg@10"]["value"]
    assert 0 < value < 1 and f"student {value:.4f}" in line
    assert (student["parameters"], student["bytes"]) == (3 + 3, 4 + 4)  # of both stages
    teacher = found["models"]["teacher"]  # with the first stage, and 4 bytes per weight
    assert (teacher["parameters"], teacher["bytes"]) == (3 + 100 + 3, 4 + 400 + 4 * 3)
    int8 = found["models"]["student_int8"]
    assert int8["latency_ms"] == times and int8["form_of"] == "student"
    assert int8["name"] == f"{'Compressed' if methods else 'Two stages'}, student_int8"
    assert int8["parameters"] == (smaller.num_parameters if methods else 3 + 3)
    assert list(found["models"])[-3:] == forms[::-1]  # the smallest first
    for compared in found["comparisons"].values():
        assert compared["relevance"]["difference"] == 0.0
        assert compared["relevance"]["ratio"] == 1.0
    parts = found["segments"]
    assert list(parts["models"]) == ["teacher", "twin", "student"]
    assert parts["models"]["student"]["all"]["value"] == pytest.approx(value)
    (pair,) = parts["comparisons"]
    assert pair["models"] == ["student", "twin"] and pair["segments"]["all"]["difference"] == 0.0
    women, men = (parts["models"]["student"][f"gender: {name}"] for name in "FM")
    assert women["against_others"]["difference"] == pytest.approx(women["value"] - men["value"])
    with np.load(tmp_path / "evaluate" / "ndcg.npz") as kept:
        assert kept["segments/gender: F/student"].mean() == pytest.approx(women["value"])
    (user,) = found["lists"]["users"]  # all are equal
    columns = [column["of"] for column in user["lists"]]
    assert columns == ["Teachers", "Two stages", "Two stages, twin", "Retrieval alone"]
    with np.load(tmp_path / "evaluate" / "lists.npz") as kept:
        found = {name for name in kept.files if name.startswith("lists/")}
    assert found == {f"lists/{name}" for name in ("teacher", "retrieval", *controls, "student")}
