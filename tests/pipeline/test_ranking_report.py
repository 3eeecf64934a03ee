"""The report of a run with a ranking student: verdict, table, page and pictures."""

import copy
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from rich.console import Console
from test_report import well_formed

from tfrs_distill.pipeline.report import html_page, terminal_table, verdict, write_report
from tfrs_distill.pipeline.report.charts import FRAME
from tfrs_distill.pipeline.report.paired_difference import interval_in_words
from tfrs_distill.pipeline.report.ranking_charts import confusion_table, reliability_chart
from tfrs_distill.pipeline.report.ranking_metrics import metric_of
from tfrs_distill.pipeline.report.ranking_table import ranking_columns, ranking_rows
from tfrs_distill.pipeline.report.ranking_verdict import (
    against_single_task,
    gain_outcome,
    ranking_outcome,
)


def of_like(auc, low, high, **others):
    return {"auc": auc, "auc_interval": [low, high], "log_loss": 0.6, **others}


def of_rating(rmse, low, high, **others):
    return {"rmse": rmse, "rmse_interval": [low, high], "mae": 0.7, **others}


def difference(metric, value, low, high, **others):
    return {"metric": metric, "difference": value, "interval": [low, high], **others}


REPORT = {
    "name": "films",
    "task": "ranking",
    "seed": 4,
    "protocol": "Ratings stand in order of time.",
    "recipe": {"name": "films", "evaluation": {"k": 10, "bootstrap_samples": 250}},
    "labels": {
        "like": {"metric": "auc", "what": "A rating of 4 or 5."},
        "rating": {"metric": "rmse", "what": "The rating, 1 to 5."},
    },
    "models": {
        "item_mean": {"metrics": {"like": of_like(0.7, 0.69, 0.71)}},
        "twin": {
            "metrics": {"like": of_like(0.75, 0.74, 0.76), "rating": of_rating(0.95, 0.94, 0.96)},
            "bytes": 40_000,
            "parameters": 9_000,
        },
        "teacher": {
            "metrics": {
                "like": of_like(0.8, 0.79, 0.81, expected_calibration_error=0.0123),
                "rating": of_rating(0.9, 0.89, 0.91),
            },
            "bytes": 2_000_000,
            "parameters": 400_000,
        },
        "student": {
            "metrics": {
                "like": of_like(0.79, 0.78, 0.8, expected_calibration_error=0.0345),
                "rating": of_rating(0.93, 0.92, 0.94),
            },
            "bytes": 40_000,
            "parameters": 9_000,
        },
        "student_int8": {
            "metrics": {"like": of_like(0.785, 0.775, 0.795)},
            "bytes": 12_500,
            "latency_ms_p50": 0.031,
            "latency_ms_p95": 0.05,
        },
        "twin_of_like": {"metrics": {"like": of_like(0.76, 0.75, 0.77)}, "bytes": 39_000},
    },
    "comparisons": {
        "student_vs_twin": {
            "like": difference("auc", 0.04, 0.03, 0.05),
            "rating": difference("rmse", -0.02, -0.03, -0.01),
        },
        "student_vs_teacher": {"like": difference("auc", -0.01, -0.02, -0.001, kept=0.9)},
    },
    "confusion": {"like": {"student": [[30, 10], [5, 155]]}},
    "reliability": {
        "like": {
            "teacher": [{"predicted": 0.5, "observed": 0.4, "rows": 7}],
            "student": [
                {"predicted": 0.25, "observed": 0.5, "rows": 1200},
                {"predicted": 1.0, "observed": 0.75, "rows": 4},
            ],
        }
    },
    "training": {
        "teacher": {"loss": [1.0, 0.9], "validation_score": [0.4, 0.5]},
        "student": {"loss": [1.0, 0.8, 0.7], "validation_score": [0.3, 0.45, 0.44]},
    },
    "data": {"users": 943, "items": 1682, "rows": 100_000},
    "stages": {"data": {"seconds": 2.0}, "teacher": {"seconds": 60.0}},
    "versions": {"tensorflow": "2.21.0"},
}


def with_twin(task, value, low, high):
    report = copy.deepcopy(REPORT)
    told = report["comparisons"]["student_vs_twin"][task]
    told |= {"difference": value, "interval": [low, high]}
    return report


def words_of(report):
    return re.sub(r"\s+", " ", " ".join(well_formed(html_page(report)).text))


# Verdict


def test_the_verdict_says_what_the_teacher_did_for_each_task():
    # of the teacher's bytes: 40,000 / 2,000,000 = 2 %
    assert verdict(REPORT) == (
        "The teacher helped: the student's AUC of like is 0.0400 above its twin's (95 % interval "
        "of the difference 0.0300 to 0.0500), which keeps 90.0 % of the teacher's gain on the item "
        "mean, at 2.0 % of the teacher's bytes. With rating it helped (the student's RMSE of "
        "rating is 0.0200 below its twin's (95 % interval of the difference -0.0300 to -0.0100))."
    )


@pytest.mark.parametrize(
    "task, low, high, outcome",
    [
        ("auc", 0.001, 0.02, "helped"),
        ("auc", -0.02, -0.001, "hurt"),
        ("auc", 0.0, 0.02, "not measurable"),
        ("auc", -0.02, 0.0, "not measurable"),
        ("rmse", 0.001, 0.02, "hurt"),  # more error is worse
        ("rmse", -0.02, -0.001, "helped"),
        ("rmse", -0.02, 0.001, "not measurable"),
        ("log_loss", 0.001, 0.02, "hurt"),
        ("mae", 0.001, 0.02, "hurt"),
        ("expected_calibration_error", 0.001, 0.02, "hurt"),
        ("gauc", 0.001, 0.02, "helped"),
        ("ndcg@10", 0.001, 0.02, "helped"),
    ],
)
def test_an_outcome_knows_which_way_is_better(task, low, high, outcome):
    assert gain_outcome(difference(task, (low + high) / 2, low, high)) == outcome


def test_a_missing_interval_measures_nothing():
    assert gain_outcome({}) == "not measurable"
    assert gain_outcome({"metric": "auc", "interval": [float("nan"), 0.1]}) == "not measurable"
    assert interval_in_words({"metric": "auc", "difference": 0.1}) == "(no interval was measured)"


def test_the_first_task_decides_the_outcome():
    assert ranking_outcome(REPORT) == "helped"
    assert ranking_outcome(with_twin("rating", 0.1, 0.05, 0.15)) == "helped"
    assert ranking_outcome(with_twin("like", -0.1, -0.15, -0.05)) == "hurt"
    assert verdict(with_twin("like", -0.1, -0.15, -0.05)).startswith(
        "The teacher hurt: the student's AUC of like is 0.1000 below its twin's"
    )
    assert verdict(with_twin("like", 0.01, -0.01, 0.03)).startswith(
        "The teacher did not help measurably: the student's AUC of like is 0.0100 above its twin's "
        "(the 95 % interval of the difference, -0.0100 to 0.0300, contains 0)"
    )
    assert "With rating it hurt (" in verdict(with_twin("rating", 0.1, 0.05, 0.15))
    assert "With rating it did not help measurably (" in verdict(
        with_twin("rating", 0.1, -0.05, 0.15)
    )


def many_tasks(rating_low, rating_high):
    report = copy.deepcopy(REPORT)
    report["task"] = "multitask"
    report["comparisons"]["student_vs_single_task_twin"] = {
        "like": difference("auc", 0.03, 0.02, 0.04),
        "rating": difference("rmse", (rating_low + rating_high) / 2, rating_low, rating_high),
    }
    return report


def test_a_task_is_worse_than_its_single_task_twin_only_beyond_its_interval():
    fine, worse = many_tasks(-0.01, 0.02), many_tasks(0.01, 0.03)
    assert against_single_task(fine) == ([], [])
    assert verdict(fine).endswith("No task is worse than its single-task twin beyond its interval.")
    assert against_single_task(worse) == (["rating"], [])
    assert verdict(worse).endswith(
        "Worse than its single-task twin: rating, whose RMSE is 0.0200 above that twin's (95 % "
        "interval of the difference 0.0100 to 0.0300)."
    )
    assert "No task is worse than its single-task twin beyond its interval." in words_of(fine)
    assert "Worse than its single-task twin beyond its interval: rating." in words_of(worse)
    assert "single-task" not in words_of(REPORT)


def stages():
    report = copy.deepcopy(REPORT)
    report["task"] = "two-stage"
    report["labels"] = {"relevance": {"metric": "ndcg@10", "what": "The best 10 of 100."}}
    report["models"] = {
        name: {
            "metrics": {"relevance": {"ndcg@10": value, "ndcg@10_interval": [value, value]}},
            "latency_ms_p50": milliseconds,
            "latency_ms_p95": milliseconds,
        }
        for name, value, milliseconds in (
            ("student", 0.22, 1.5),
            ("retrieval", 0.2, 0.5),
            ("teacher", 0.26, 910.0),
            ("cross_encoder", 0.25, 900.0),
            ("twin", 0.21, 1.5),
        )
    }
    report["comparisons"] = {
        "student_vs_twin": {"relevance": difference("ndcg@10", 0.01, 0.001, 0.02)},
        "student_vs_retrieval": {"relevance": difference("ndcg@10", 0.02, 0.01, 0.03, ratio=1.1)},
        "student_vs_teacher": {"relevance": difference("ndcg@10", -0.04, -0.06, -0.02, ratio=0.85)},
        "student_vs_cross_encoder": {
            "relevance": difference("ndcg@10", -0.03, -0.05, -0.01, ratio=0.88)
        },
    }
    del report["confusion"], report["reliability"]
    return report


def test_two_stages_are_held_against_retrieval_alone_and_the_cross_encoder():
    found = verdict(stages())
    assert found.startswith(
        "The teacher helped: the student's NDCG@10 of relevance is 0.0100 above"
    )
    assert (
        "Two stages: NDCG@10 0.0200 above retrieval alone, 110.0 % of it (95 % interval of the "
        "difference 0.0100 to 0.0300)." in found
    )
    assert (
        "Two stages: NDCG@10 0.0300 below the cross-encoder over the same candidates, 88.0 % of it "
        "(95 % interval of the difference -0.0500 to -0.0100)." in found
    )
    text = words_of(stages())
    assert "Cross-encoder" in text and "Retrieval alone" in text
    assert "Of the teacher's 85.0 % same candidates" in text
    assert "A query 1.50 ms" in text


# Table


def printed(report, width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    console.print(terminal_table(report, width))
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


def test_the_table_has_a_block_a_task_the_leading_metric_first():
    lines = printed(REPORT, 160)
    like = next(line for line in lines if line.strip().startswith("like"))
    rating = next(line for line in lines if line.strip().startswith("rating"))
    assert re.split(r"\s{2,}", like.strip())[:4] == ["like", "AUC", "95 % interval", "Log loss"]
    assert re.split(r"\s{2,}", rating.strip())[:4] == ["rating", "RMSE", "95 % interval", "MAE"]
    student = [line for line in lines if line.strip().startswith("Student ")]
    assert re.split(r"\s{2,}", student[0].strip())[:3] == ["Student", "0.7900", "0.7800 to 0.8000"]
    assert re.split(r"\s{2,}", student[1].strip())[:3] == ["Student", "0.9300", "0.9200 to 0.9400"]


@pytest.mark.parametrize("width", [46, 60, 72, 84, 100, 120, 160])
def test_a_line_a_model_whatever_the_width(width):
    lines = printed(REPORT, width)
    assert max(map(len, lines)) <= width
    assert len(lines) == 2 * 2 + 6 + 3  # two headings with rules; like has six models, rating three


def test_models_are_in_order_and_only_those_that_answered_the_task():
    names = [row.key for row in ranking_rows(REPORT, "like")]
    assert names == ["teacher", "student", "student_int8", "twin", "item_mean", "twin_of_like"]
    assert [row.key for row in ranking_rows(REPORT, "rating")] == ["teacher", "student", "twin"]
    assert ranking_rows(REPORT, "like")[-1].name == "Twin of like"


def test_a_metric_that_one_model_has_is_a_column():
    headings = [column.heading for column in ranking_columns(REPORT, "like")]
    assert headings[:4] == ["AUC", "95 % interval", "Log loss", "ECE"]
    assert headings[-4:] == ["Parameters", "Size", "p50", "p95"]


def test_metrics_have_names_for_people():
    assert metric_of("gauc").name == "GAUC" and metric_of("ndcg@10").name == "NDCG@10"
    assert metric_of("hit_rate@10").name == "Hit rate@10"
    assert not metric_of("f1").lower_is_better and metric_of("rmse").lower_is_better


# Pictures


def test_a_reliability_point_lies_where_it_was_said_and_was():
    svg = reliability_chart(REPORT["reliability"]["like"])
    tree = ElementTree.fromstring(svg)
    (student,) = [group for group in tree.iter("g") if group.get("class") == "student"]
    places = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in student.iter("circle")]
    width, height = FRAME.right - FRAME.left, FRAME.bottom - FRAME.top
    expected = [
        (FRAME.left + 0.25 * width, FRAME.bottom - 0.5 * height),
        (FRAME.right, FRAME.bottom - 0.75 * height),
    ]
    for place, wanted in zip(places, expected):
        assert place == pytest.approx(wanted, abs=0.06)  # printed to 0.1 px
    titles = [title.text for title in student.iter("title")]
    assert titles[0] == "Student: said 25.0 %, was 50.0 % of 1,200 rows"
    (diagonal,) = [
        line for line in tree.iter("line") if line.get("class") == "axis" and line.get("y1")
    ]
    ends = [float(diagonal.get(name)) for name in ("x1", "y1", "x2", "y2")]
    assert ends == pytest.approx([FRAME.left, FRAME.bottom, FRAME.right, FRAME.top], abs=0.06)


def test_a_confusion_matrix_has_the_true_class_in_its_rows():
    text = re.sub(r"<[^>]+>", " ", confusion_table([[30, 10], [5, 155]], "like"))
    assert re.sub(r"\s+", " ", text).strip() == (
        "truly said: not like said: like not like 30 75.0 % 10 25.0 % like 5 3.1 % 155 96.9 %"
    )


def test_a_class_without_rows_has_no_share():
    assert "nan" not in confusion_table([[0, 0], [1, 3]], "like")


# Page


def test_the_page_says_what_was_found():
    text = words_of(REPORT)
    for words in (
        "The teacher helped: the student's AUC of like is 0.0400 above its twin's",
        "943 users · 1,682 items · 100,000 rows · seed 4",
        "Student's AUC 0.7900 95 %: 0.7800 to 0.8000",
        "Of the teacher's 90.0 % gain on the item mean, same rows",
        "12.5 kB 160× smaller than the teacher",  # 2,000,000 / 12,500
        "A row 31.0 µs 95 % within 50.0 µs",
        "Like A rating of 4 or 5. AUC: more is better.",
        "Rating The rating, 1 to 5. RMSE: less is better.",
        "Student ECE 0.0345",
        "best 0.4500, epoch 2",
        "Confusion matrix of the student, at 0.5",
        "Ratings stand in order of time. What the run chose, it chose on validation.",
        "(250 resamples)",
        "with one seed (4): a claim needs three",
        "student - twin, rating RMSE -0.0200 (-0.0300 to -0.0100)",
        "together 1 min 2 s",
        "tensorflow 2.21.0",
        "bootstrap_samples = 250",
    ):
        assert words in text, words


def test_the_page_needs_nothing_from_elsewhere():
    page = html_page(REPORT)
    names = {name for name, _ in well_formed(page).attributes}
    assert not names & {"src", "href", "srcset", "xlink:href", "onload", "onclick"}
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<img|<iframe", page)


def without(*path):
    report = copy.deepcopy(REPORT)
    inner = report
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return report


@pytest.mark.parametrize(
    "report",
    [
        without("training"),
        without("confusion"),
        without("reliability"),
        without("comparisons"),
        without("comparisons", "student_vs_twin", "like", "interval"),
        without("models", "student_int8"),
        without("models", "teacher"),
        without("models", "student", "bytes"),
        without("data"),
        without("stages"),
        {"name": "n", "task": "ranking", "labels": {}, "models": {}},
        {"name": "n", "task": "ranking", "labels": {"like": {"metric": "auc"}}, "models": {}},
    ],
)
def test_a_report_with_gaps_is_still_a_page(report):
    page = html_page(report)
    assert "nan" not in page.lower() and "None" not in page
    well_formed(page)
    terminal_table(report)


def test_all_text_is_escaped():
    evil = '<script>alert("1")</script>&\'"'
    report = copy.deepcopy(REPORT)
    report["name"] = report["protocol"] = evil
    report["labels"]["like"]["what"] = evil
    report["labels"][evil] = {"metric": "auc", "what": evil}
    report["models"][evil] = {"metrics": {"like": of_like(0.5, 0.4, 0.6), evil: of_like(1, 0, 1)}}
    report["training"][evil] = {"validation_score": [0.1, 0.2]}
    report["comparisons"]["student_vs_twin"][evil] = difference("auc", 0.1, 0.0, 0.2)
    report["comparisons"]["student_vs_single_task_twin"] = {evil: difference("auc", 0.1, 0, 0.2)}
    report["reliability"][evil] = report["reliability"].pop("like")
    report["confusion"][evil] = report["confusion"].pop("like")
    page = html_page(report)
    assert "<script" not in page
    assert sum(evil in text for text in well_formed(page).text) >= 8


def test_the_files_are_written_for_a_ranking_report_too(tmp_path):
    json_path, html_path = write_report(REPORT, tmp_path)
    assert json.loads(json_path.read_text(encoding="utf-8")) == REPORT
    assert html_path.read_text(encoding="utf-8") == html_page(REPORT)
