"""Every sentence of a report, with a teacher that is worse, equal and better, and without metrics.

The expected sentences were written by hand from the values above them. Nothing is trained.
"""

import copy
import math
import re

import pytest
from made_reports import (
    RANKING,
    RETRIEVAL,
    TEACHERS,
    difference,
    figure,
    latency,
    many_tasks,
    stages,
)
from test_report import well_formed

from tfrs_distill.evaluation.metrics import METRICS
from tfrs_distill.pipeline.report import html_page, verdict
from tfrs_distill.pipeline.report.cautions import limits_of_split
from tfrs_distill.pipeline.report.paired_difference import gain_outcome, interval_in_words
from tfrs_distill.pipeline.report.verdict import outcome, worse_than_alone

ONE_SEED = (
    "One seed: the interval does not include the variation between trainings; compare at least "
    "three runs with `tfrs-distill compare`."
)
NAN, INF = math.nan, math.inf


def text_of(report):
    return re.sub(r"\s+", " ", " ".join(well_formed(html_page(report)).text))


def retrieval(teacher, twin, student, interval, users=943, **changes):
    """A report with these NDCGs, with ratios and differences as in a run."""

    def over(other):
        return student / other if other else INF if student else NAN

    def of(ndcg, half=None, **cost):
        return {"metrics": {"next_item": {"ndcg@10": figure(ndcg, half)}}, **cost}

    report = {
        "name": "films",
        "seed": 3,
        "seeds": [3, 4, 5],
        "rows_are": "query",
        "recipe": {"evaluation": {"bootstrap_samples": 250}},
        "data": {"users": users, "items": 60, "interactions": 1000},
        "tasks": {"next_item": {"metric": "ndcg@10", "what": "The items that come next."}},
        "models": {
            "teacher": of(teacher, bytes=1000),
            "student": of(student, 0.01, bytes=50),
            "student_int8": {"bytes": 25, **latency(0.5, 0.75)},
            "twin": of(twin, bytes=50),
        },
        "comparisons": {
            "student_vs_twin": {
                "next_item": {
                    "metric": "ndcg@10",
                    "seeds": [3],
                    "difference": student - twin,
                    "interval": interval,
                    "ratio": over(twin),
                }
            },
            "student_vs_teacher": {
                "next_item": {
                    "metric": "ndcg@10",
                    "difference": student - teacher,
                    "ratio": over(teacher),
                }
            },
        },
        "resampled": {"what": "test users", "number": users, "too_few": users < 100},
    }
    return report | changes


NARROW = "bootstrap intervals over so few are too narrow; this may be chance."
OF_RETRIEVAL = {
    "a better teacher helped": (
        retrieval(0.2, 0.18, 0.19, [0.004, 0.016]),  # 19/18 = 1.0556, 19/20 = 0.95
        "The teacher helped: the student's NDCG@10 is 5.6 % above its twin's (95 % interval of the "
        "difference 0.0040 to 0.0160) and 95.0 % of the teacher's, at 5.0 % of its bytes.",
    ),
    "a worse teacher helped": (
        retrieval(0.1, 0.18, 0.19, [0.004, 0.016]),
        "The teacher helped: the student's NDCG@10 is 5.6 % above its twin's (95 % interval of the "
        "difference 0.0040 to 0.0160) and 190.0 % of the teacher's, at 5.0 % of its bytes.",
    ),
    "a worse teacher hurt": (
        retrieval(0.1, 0.2, 0.19, [-0.016, -0.004]),
        "The teacher hurt: the student's NDCG@10 is 5.0 % below its twin's (95 % interval of the "
        "difference -0.0160 to -0.0040) and 190.0 % of the teacher's, at 5.0 % of its bytes.",
    ),
    "all equal": (
        retrieval(0.2, 0.2, 0.2, [0.0, 0.0]),
        "The teacher did not help measurably: the student's NDCG@10 is equal to its twin's (the "
        "95 % interval of the difference, 0.0000 to 0.0000, contains 0) and 100.0 % of the "
        "teacher's, at 5.0 % of its bytes.",
    ),
    "too small for four decimals": (
        retrieval(0.2, 0.2, 0.20001, [0.000002, 0.00002]),
        "The teacher helped: the student's NDCG@10 is 0.005 % above its twin's (95 % interval of "
        "the difference 0.0000020 to 0.000020) and 100.0 % of the teacher's, at 5.0 % of its "
        "bytes.",
    ),
    "a twin that finds nothing": (
        retrieval(0.2, 0.0, 0.05, [0.03, 0.07]),
        "The teacher helped: the student's NDCG@10 is 0.0500 above its twin's (95 % interval of "
        "the difference 0.0300 to 0.0700) and 25.0 % of the teacher's, at 5.0 % of its bytes.",
    ),
    "a teacher that finds nothing": (
        retrieval(0.0, 0.2, 0.1, [-0.2, -0.05]),
        "The teacher hurt: the student's NDCG@10 is 50.0 % below its twin's (95 % interval of the "
        "difference -0.2000 to -0.0500), at 5.0 % of the teacher's bytes.",
    ),
    "nobody finds anything": (
        retrieval(0.0, 0.0, 0.0, [0.0, 0.0]),
        "The teacher did not help measurably: the student's NDCG@10 is equal to its twin's (the "
        "95 % interval of the difference, 0.0000 to 0.0000, contains 0), at 5.0 % of the teacher's "
        "bytes.",
    ),
    "one bound is missing": (
        retrieval(0.2, 0.18, 0.19, [0.004, NAN]),
        "Whether the teacher helped was not measured: the student's NDCG@10 is 5.6 % above its "
        "twin's (no interval was measured) and 95.0 % of the teacher's, at 5.0 % of its bytes.",
    ),
    "one user": (
        retrieval(0.2, 0.18, 0.19, [0.01, 0.01], users=1),
        "Whether the teacher helped was not measured: the student's NDCG@10 is 5.6 % above its "
        "twin's (no interval was measured: all resamples are equal) and 95.0 % of the teacher's, "
        f"at 5.0 % of its bytes. Only 1 test user: {NARROW}",
    ),
    "99 users": (
        retrieval(0.2, 0.18, 0.19, [0.004, 0.016], users=99),
        "The teacher helped: the student's NDCG@10 is 5.6 % above its twin's (95 % interval of the "
        "difference 0.0040 to 0.0160) and 95.0 % of the teacher's, at 5.0 % of its bytes. Only 99 "
        f"test users: {NARROW}",
    ),
    "100 users": (
        retrieval(0.2, 0.18, 0.19, [-0.004, 0.016], users=100),
        "The teacher did not help measurably: the student's NDCG@10 is 5.6 % above its twin's (the "
        "95 % interval of the difference, -0.0040 to 0.0160, contains 0) and 95.0 % of the "
        "teacher's, at 5.0 % of its bytes.",
    ),
    "no twin": (
        retrieval(0.2, NAN, 0.19, [NAN, NAN]),
        "Whether the teacher helped was not measured: the student's NDCG@10 could not be compared "
        "with its twin's and is 95.0 % of the teacher's, at 5.0 % of its bytes.",
    ),
    "no figures": (
        {"name": "n", "tasks": {"next_item": {"metric": "ndcg@5"}}, "models": {}},
        "Whether the teacher helped was not measured: the student's NDCG@5 could not be compared "
        "with its twin's.",
    ),
    "no tasks": (
        {"name": "n", "tasks": {}, "models": {}},
        "Whether the teacher helped was not measured: the student could not be compared with its "
        "twin's.",
    ),
    "people come back": (
        retrieval(0.2, 0.18, 0.19, [0.004, 0.016], data={"repeats": "People may come back."}),
        "The teacher helped: the student's NDCG@10 is 5.6 % above its twin's (95 % interval of the "
        "difference 0.0040 to 0.0160) and 95.0 % of the teacher's, at 5.0 % of its bytes. People "
        "may come back.",
    ),
}


@pytest.mark.parametrize("report, sentence", OF_RETRIEVAL.values(), ids=OF_RETRIEVAL)
def test_the_verdict_of_a_retrieval_run(report, sentence):
    assert verdict(report) == sentence
    assert sentence in text_of(report).replace(": </strong>", ": ")
    assert not re.search(r"\b(nan|None|inf)\b", text_of(report))


def with_controls(report, **values):
    """The report with these controls too, each compared with the student."""
    report = copy.deepcopy(report)
    student = report["models"]["student"]["metrics"]["next_item"]["ndcg@10"]["value"]
    for name, value in values.items():
        report["models"][name] = {"metrics": {"next_item": {"ndcg@10": figure(value)}}, "bytes": 50}
        report["comparisons"][f"student_vs_{name}"] = {
            "next_item": {
                "metric": "ndcg@10",
                "difference": student - value,
                "interval": [student - value - 0.004, student - value + 0.004],
                "ratio": student / value,
            }
        }
    return report


def test_the_verdict_uses_the_best_control_and_lists_what_each_explains():
    report = retrieval(0.2, 0.18, 0.2, [0.016, 0.024])
    report = with_controls(report, plain=0.15, self_taught=0.19, scrambled=0.14)
    found = verdict(report)
    # gain .05: the twin .03, self-taught .04, scrambled below the plain student
    assert found == (
        "The teacher helped: the student's NDCG@10 is 5.3 % above that of its best control, the "
        "self-taught student (95 % interval of the difference 0.0060 to 0.0140) and 100.0 % of the "
        "teacher's, at 5.0 % of its bytes. Of its gain over the plain student (0.0500), label "
        "smoothing alone explains 60.0 %, self-teaching explains 80.0 %, scrambled soft targets "
        "explain none; 20.0 % is left for the teacher's knowledge."
    )
    assert "20.0 % is left for the teacher's knowledge." in text_of(report)
    assert text_of(report).index("Plain") > text_of(report).index("Twin")


@pytest.mark.parametrize(
    "values, words",
    [
        (
            {"self_taught": 0.198, "scrambled": 0.17},
            "The teacher did not help measurably: the student's NDCG@10 is 1.0 % above that of its "
            "best control, the self-taught student (the 95 % interval of the difference, -0.0020 "
            "to 0.0060, contains 0)",
        ),
        (
            {"plain": 0.17, "scrambled": 0.21},
            "A control without the teacher's knowledge is better: the student's NDCG@10 is 4.8 % "
            "below that of its best control, the scrambled student",
        ),
        (
            {"plain": 0.19, "scrambled": 0.17},
            "5.3 % above that of its best control, the plain student",
        ),
        (
            {"plain": 0.17, "scrambled": 0.21},
            "scrambled soft targets explain more than all of it; nothing is left",
        ),
        (
            {"self_taught": 0.19},
            "over the twin (0.0200), self-teaching explains 50.0 %; at most 50.0 % is left",
        ),
        (
            {"plain": 0.15, "scrambled": 0.1},
            "ge. How much self-teaching explains was not measured.",
        ),
        (
            {"plain": 0.2, "self_taught": 0.19},
            "It has no gain over the plain student that a control",
        ),
    ],
)
def test_the_part_of_the_gain_that_controls_leave(values, words):
    report = with_controls(retrieval(0.2, 0.18, 0.2, [0.016, 0.024]), **values)
    assert words in verdict(report)


def test_for_errors_the_lowest_is_the_best_control():
    report = ranking("rmse", 1.0, 0.9, 0.95, 0.94, [-0.02, -0.004])
    (task,) = report["tasks"]
    key = report["tasks"][task]["metric"]
    report["models"]["self_taught"] = {"metrics": {task: {key: figure(0.93)}}}
    report["models"]["scrambled"] = {"metrics": {task: {key: figure(0.97)}}}
    report["comparisons"]["student_vs_self_taught"] = {
        task: {"metric": key, "difference": 0.01, "interval": [0.004, 0.016]}
    }
    found = verdict(report)
    assert found.startswith(
        "A control without the teacher's knowledge is better: the student's RMSE is 0.0100 above "
        "that of"
    )
    # gain .01 of an error that falls: self-taught .02, scrambled -.02
    assert (
        "(0.0100), self-teaching explains more than all of it, scrambled soft targets explain none"
        in found
    )


def ranking(metric, item_mean, teacher, twin, student, interval, **changes):
    """A report of one task; a model whose value is None was not measured."""
    figures = {"item_mean": item_mean, "teacher": teacher, "twin": twin, "student": student}
    report = {
        "name": "films",
        "task": "ranking",
        "seed": 3,
        "seeds": [3, 4, 5],
        "protocol": {"split": "Ratings stand in order of time."},
        "rows_are": "row",
        "tasks": {"like": {"metric": metric, "what": "A rating of 4 or more."}},
        "models": {
            name: {"metrics": {"like": {metric: {"value": value}}}}
            for name, value in figures.items()
            if value is not None
        },
        "comparisons": {
            "student_vs_twin": {
                "like": {"metric": metric, "difference": student - twin, "interval": interval}
            }
        },
        "resampled": {"what": "test users", "number": 943, "too_few": False},
    }
    for name, size in (("teacher", 1000), ("student", 50)):
        report["models"].get(name, {})["bytes"] = size
    return report | changes


HELPED_AUC = (
    "The teacher helped: the student's AUC is 0.0100 above its twin's (95 % interval of the "
    "difference 0.0040 to 0.0160)"
)
HELPED_RMSE = (
    "The teacher helped: the student's RMSE is 0.0100 below its twin's (95 % interval of the "
    "difference -0.0160 to -0.0040)"
)
GAIN_OF_TEACHER = "the teacher's gain over the item mean"
OF_BYTES = ", at 5.0 % of the teacher's bytes"
UP, DOWN = [0.004, 0.016], [-0.016, -0.004]
LEVEL = "the teacher is equal to the item mean (AUC 0.7000 and 0.7000)"
WORSE_AUC = "the teacher is worse than the item mean (AUC 0.7000 and 0.8000)"
WORSE_RMSE = "the teacher is worse than the item mean (RMSE 1.0000 and 0.8000)"
GAIN = "gain over the item mean, same users"
OF_RANKING = {
    # (0.75 - 0.70) / (0.80 - 0.70) = 0.5
    "auc, a better teacher": (
        ranking("auc", 0.70, 0.80, 0.74, 0.75, UP),
        f"{HELPED_AUC}; the student keeps 50.0 % of {GAIN_OF_TEACHER}{OF_BYTES}.",
        f"Share of the teacher's 50.0 % {GAIN}",
    ),
    "auc, an equal teacher": (
        ranking("auc", 0.70, 0.70, 0.74, 0.75, UP),
        f"{HELPED_AUC}{OF_BYTES}; {LEVEL}.",
        f"Share of the teacher's - {LEVEL} Size",
    ),
    "auc, a worse teacher": (
        ranking("auc", 0.80, 0.70, 0.76, 0.77, UP),
        f"{HELPED_AUC}{OF_BYTES}; {WORSE_AUC}.",
        f"Share of the teacher's - {WORSE_AUC} Size",
    ),
    "rmse, a better teacher": (
        ranking("rmse", 1.0, 0.8, 0.91, 0.9, DOWN),
        f"{HELPED_RMSE}; the student keeps 50.0 % of {GAIN_OF_TEACHER}{OF_BYTES}.",
        f"Share of the teacher's 50.0 % {GAIN}",
    ),
    "rmse, a worse teacher": (
        ranking("rmse", 0.8, 1.0, 0.91, 0.9, DOWN),
        f"{HELPED_RMSE}{OF_BYTES}; {WORSE_RMSE}.",
        f"Share of the teacher's - {WORSE_RMSE} Size",
    ),
    "a student as good as the item mean": (
        ranking("auc", 0.75, 0.80, 0.74, 0.75, UP),
        f"{HELPED_AUC}; the student keeps 0.0 % of the teacher's gain over the item "
        f"mean{OF_BYTES}.",
        f"Share of the teacher's 0.0 % {GAIN}",
    ),
    "a student worse than the item mean": (
        ranking("auc", 0.76, 0.80, 0.74, 0.75, UP),
        f"{HELPED_AUC}{OF_BYTES}; the student is worse than the item mean (AUC 0.7500 and 0.7600).",
        f"Share of the teacher's -25.0 % {GAIN}",  # -0.01 / 0.04
    ),
    "a student better than its teacher": (
        ranking("auc", 0.70, 0.74, 0.74, 0.75, UP),
        f"{HELPED_AUC}; the student has 125.0 % of the teacher's gain over the item "
        f"mean{OF_BYTES}.",
        f"Share of the teacher's 125.0 % {GAIN}",
    ),
    "no item mean": (
        ranking("auc", None, 0.80, 0.74, 0.75, UP),
        f"{HELPED_AUC}{OF_BYTES}.",
        "Share of the teacher's - Size",
    ),
    "a teacher without a figure": (
        ranking("auc", 0.70, NAN, 0.74, 0.75, UP),
        f"{HELPED_AUC}{OF_BYTES}.",
        "Share of the teacher's - Size",
    ),
    "a level twin": (
        ranking("auc", 0.70, 0.80, 0.75, 0.75, [0.0, 0.0]),
        "The teacher did not help measurably: the student's AUC is equal to its twin's "
        "(the 95 % interval of the difference, 0.0000 to 0.0000, contains 0); the student keeps "
        "50.0 % "
        f"of the teacher's gain over the item mean{OF_BYTES}.",
        f"Share of the teacher's 50.0 % {GAIN}",
    ),
    "more error hurts": (
        ranking("rmse", 1.0, 0.8, 0.89, 0.9, UP),
        "The teacher hurt: the student's RMSE is 0.0100 above its twin's (95 % interval of "
        "the difference 0.0040 to 0.0160); the student keeps 50.0 % of the teacher's gain over "
        f"the item mean{OF_BYTES}.",
        f"Share of the teacher's 50.0 % {GAIN}",
    ),
    "no twin": (
        ranking("auc", 0.70, 0.80, NAN, 0.75, [NAN, NAN]),
        "Whether the teacher helped was not measured: the student's AUC could not be compared with "
        "its twin's; the student keeps 50.0 % of the teacher's gain over the item mean"
        f"{OF_BYTES}.",
        f"Share of the teacher's 50.0 % {GAIN}",
    ),
    "neither twin nor item mean": (
        ranking("auc", None, 0.80, NAN, 0.75, None),
        "Whether the teacher helped was not measured: the student's AUC could not be compared with "
        "its twin's.",
        "Share of the teacher's - Size",
    ),
    "one user": (
        ranking(
            *("auc", 0.70, 0.80, 0.74, 0.75, [0.01, 0.01]),
            resampled={"what": "test rows", "number": 1, "too_few": True},
        ),
        "Whether the teacher helped was not measured: the student's AUC is 0.0100 above "
        "its twin's (no interval was measured: all resamples are equal); the student keeps 50.0 "
        "% of the "
        f"teacher's gain over the item mean{OF_BYTES}. Only 1 test row: {NARROW}",
        "Share of the teacher's 50.0 % gain over the item mean, same rows",
    ),
}


@pytest.mark.parametrize("report, sentence, tile", OF_RANKING.values(), ids=OF_RANKING)
def test_the_verdict_of_a_ranking_run(report, sentence, tile):
    text = text_of(report)
    assert verdict(report) == sentence
    assert sentence in text and tile in text
    assert not re.search(r"\b(nan|None|inf)\b", text)


@pytest.mark.parametrize(
    "key, base, teacher, student, share",
    [
        ("auc", 0.5, 0.9, 0.8, 0.75),
        ("auc", 0.5, 0.9, 0.4, -0.25),
        ("auc", 0.5, 0.9, 1.0, 1.25),
        ("auc", 0.5, 0.5, 0.8, None),
        ("auc", 0.5, 0.4, 0.8, None),  # -0.1 of which 0.3 would be "kept -300 %"
        ("auc", 0.5, 0.4, 0.45, None),  # and this one "kept 50 %" without a gain
        ("rmse", 1.0, 0.8, 0.9, 0.5),
        ("rmse", 1.0, 1.2, 1.1, None),
        ("rmse", 1.0, NAN, 1.1, None),
        ("rmse", 1.0, 0.8, NAN, None),
        ("auc", None, 0.9, 0.8, None),
        ("auc", 0.5, None, 0.8, None),
        ("auc", 0.5, 0.9, None, None),
    ],
)
def test_only_a_gain_can_be_kept(key, base, teacher, student, share):
    found = METRICS[key].share_of_gain(base, teacher, student)
    assert found == (None if share is None else pytest.approx(share))


def other_task(gain, interval):
    """`like` helped; and this of `next_item`."""
    report = ranking("auc", None, 0.80, 0.74, 0.75, UP)
    report["tasks"]["next_item"] = {"metric": "ndcg@10", "what": "What comes next."}
    report["comparisons"]["student_vs_twin"]["next_item"] = {
        "metric": "ndcg@10",
        "difference": gain,
        "interval": interval,
    }
    return report


@pytest.mark.parametrize(
    "difference, interval, sentence",
    [
        (
            0.01,
            UP,
            "For next item, the teacher helped (the student's NDCG@10 of next item is 0.0100 "
            "above its "
            "twin's (95 % interval of the difference 0.0040 to 0.0160)).",
        ),
        (
            -0.01,
            DOWN,
            "For next item, the teacher hurt (the student's NDCG@10 of next item is 0.0100 below "
            "its twin's "
            "(95 % interval of the difference -0.0160 to -0.0040)).",
        ),
        (
            0.0,
            [-0.01, 0.01],
            "For next item, the teacher did not help measurably (the student's NDCG@10 of next "
            "item is "
            "equal to its twin's (the 95 % interval of the difference, -0.0100 to 0.0100, "
            "contains 0)).",
        ),
        (
            NAN,
            [NAN, NAN],
            "For next item, whether the teacher helped was not measured (the student's NDCG@10 "
            "of next item could not be "
            "compared with its twin's).",
        ),
    ],
)
def test_the_sentences_about_the_other_tasks(difference, interval, sentence):
    report = other_task(difference, interval)
    start = HELPED_AUC.replace("AUC is", "AUC of like is")
    assert verdict(report) == f"{start}{OF_BYTES}. {sentence}"
    assert sentence in text_of(report)


FINE = "No task is significantly worse than its single-task twin."


@pytest.mark.parametrize(
    "like, rating, sentence, on_page",
    [
        ((0.01, UP), (-0.01, DOWN), FINE, FINE),
        ((0.0, [0.0, 0.0]), (0.01, [-0.01, 0.03]), FINE, FINE),
        (
            (-0.01, DOWN),
            (0.01, UP),
            "Significantly worse than its single-task twin: like, whose AUC is 0.0100 below that "
            "twin's (95 % "
            "interval of the difference -0.0160 to -0.0040); rating, whose RMSE is 0.0100 above "
            "that twin's (95 % interval of the difference 0.0040 to 0.0160).",
            "Significantly worse than its single-task twin: like, rating.",
        ),
        ((0.01, UP), (NAN, None), f"{FINE} Not measured: rating.", f"{FINE} Not measured: rating."),
        (
            (0.01, [0.01, 0.01]),
            (NAN, None),
            "Whether a task is worse than its single-task twin was not measured (like, rating).",
            "Whether a task is worse than its single-task twin was not measured (like, rating).",
        ),
    ],
)
def test_the_sentences_about_single_task_twins(like, rating, sentence, on_page):
    report = ranking("auc", None, 0.80, 0.74, 0.75, UP, task="multitask")
    report["comparisons"]["student_vs_single_task_twin"] = {
        name: {"metric": metric, "difference": difference, "interval": interval}
        for name, metric, (difference, interval) in (
            ("like", "auc", like),
            ("rating", "rmse", rating),
        )
    }
    assert verdict(report) == f"{HELPED_AUC}{OF_BYTES}. {sentence}"
    text = text_of(report)
    assert on_page in text
    assert "Above is better, except for RMSE, MAE, Log loss and ECE." in text


@pytest.mark.parametrize(
    "difference, ratio, interval, sentence",
    [
        (
            0.02,
            1.1,
            [0.01, 0.03],
            "Two stages: NDCG@10 0.0200 above retrieval alone, 110.0 % of it (95 % interval of the "
            "difference 0.0100 to 0.0300).",
        ),
        (
            -0.02,
            0.9,
            [-0.03, 0.01],
            "Two stages: NDCG@10 0.0200 below retrieval alone, 90.0 % of it (the 95 % interval of "
            "the difference, -0.0300 to 0.0100, contains 0).",
        ),
        (
            0.0,
            1.0,
            [0.0, 0.0],
            "Two stages: NDCG@10 equal to retrieval alone, 100.0 % of it (the 95 % interval of "
            "the difference, 0.0000 to 0.0000, contains 0).",
        ),
        (
            0.1,
            None,  # retrieval alone found nothing
            [0.05, 0.15],
            "Two stages: NDCG@10 0.1000 above retrieval alone (95 % interval of the difference "
            "0.0500 to 0.1500).",
        ),
        (NAN, None, None, ""),
    ],
)
def test_the_sentences_about_two_stages(difference, ratio, interval, sentence):
    report = ranking("ndcg@10", None, 0.3, 0.2, 0.21, UP, task="two-stage")
    report["tasks"] = {"relevance": {"metric": "ndcg@10"}}
    for model in report["models"].values():
        model["metrics"]["relevance"] = model["metrics"].pop("like")
    found = report["comparisons"]
    found["student_vs_twin"]["relevance"] = found["student_vs_twin"].pop("like")
    result = {"metric": "ndcg@10", "difference": difference, "interval": interval, "ratio": ratio}
    found["student_vs_retrieval"] = {"relevance": result}
    found["student_vs_teacher"] = {"relevance": {"metric": "ndcg@10", "ratio": 0.7}}
    report["training"] = {"student": {"validation_score": [0.1, 0.2]}}
    report["protocol"] = {
        "models": "Every model recommended to the same test users.",
        "score": "The NDCG of both stages together",
    }
    start = (
        "The teacher helped: the student's NDCG@10 is 0.0100 above its twin's (95 % interval of "
        "the difference 0.0040 to 0.0160) and 70.0 % of the teacher's, at 5.0 % of its bytes."
    )
    assert verdict(report) == f"{start} {sentence}".strip()
    text = text_of(report)
    assert "Share of the teacher's 70.0 % NDCG@10, same users" in text
    assert "The NDCG of both stages together; the epoch with the highest value is kept." in text
    assert "Every model recommended to the same test users." in text
    assert "AUC" not in text and "test rows" not in text


def test_the_page_describes_the_transfer_and_the_amount_of_data():
    report = ranking("auc", None, 0.3, 0.2, 0.21, UP)
    output = "The two-tower teacher, and that of every fold, started from the run of films."
    report["protocol"] = {"split": "Ratings stand in order of time.", "transfer": output}
    report["data"] = {"train_share": 0.05, "train_interactions_left_out": 1234}
    text = text_of(report)
    assert f"Ratings stand in order of time. {output} All model choices" in text
    assert "train interactions left out" in text and "1,234" in text
    assert "train share" not in text  # the split's sentence contains it


# The rest of the page


@pytest.mark.parametrize(
    "of_teacher, of_int8, words",
    [
        (1000, 25, "40× smaller than the teacher"),
        (1000, 700, "1.4× smaller than the teacher"),
        (1000, 1000, "about as large as the teacher"),
        (1000, 990, "about as large as the teacher"),
        (1000, 1010, "about as large as the teacher"),
        (1000, 1500, "1.5× larger than the teacher"),
        (25, 1000, "40× larger than the teacher"),
        (None, 1000, ""),
        (1000, None, ""),
    ],
)
def test_the_size_compared_with_the_teachers(of_teacher, of_int8, words):
    report = retrieval(0.2, 0.18, 0.19, UP)
    report["models"]["teacher"]["bytes"] = of_teacher
    report["models"]["student_int8"]["bytes"] = of_int8
    text = text_of(report)
    assert words in text
    assert ("the teacher Latency per query, int8" in text) == bool(words)


def test_a_tile_has_no_text_about_unmeasured_values():
    report = retrieval(0.2, 0.18, 0.19, UP)
    assert "0.1900 95 %: 0.1800 to 0.2000 Share of the teacher's 95.0 % NDCG@10, same users" in (
        text_of(report)
    )
    assert "Latency per query, int8 500 µs p50; p95: 750 µs" in text_of(report)
    report["models"]["student_int8"] = {}
    report["models"]["student"]["metrics"]["next_item"]["ndcg@10"]["interval"] = [NAN, NAN]
    text = text_of(report)
    assert "0.1900 Share of the teacher's" in text and "Latency per query - The models" in text
    assert "p50; p95:" not in text and "95 %:" not in text


def test_singular_and_plural():
    report = retrieval(0.2, 0.18, 0.19, UP, data={"users": 1, "items": 1, "interactions": 1})
    assert "1 user · 1 item · 1 interaction · seeds 3, 4, 5" in text_of(report)
    report = ranking("auc", None, 0.8, 0.74, 0.75, UP, data={"users": 2, "items": 1, "rows": 1})
    assert "2 users · 1 item · 1 row · seeds 3, 4, 5" in text_of(report)


@pytest.mark.parametrize(
    "seeds, words",
    [
        ([4], "Student and twin were compared over one seed (4): a claim needs three."),
        ([4, 5], "Student and twin were compared over 2 seeds (4, 5): a claim needs three."),
        ([4, 5, 6], "Student and twin were compared over 3 seeds (4, 5, 6)."),
        ([], ""),
    ],
)
def test_fewer_than_three_seeds_are_not_a_claim(seeds, words):
    report = retrieval(0.2, 0.18, 0.19, UP)
    report["comparisons"]["student_vs_twin"]["next_item"]["seeds"] = seeds
    text = text_of(report)
    assert words in text
    assert ("a claim" in text) == (0 < len(seeds) < 3)
    assert ("were compared" in text) == bool(seeds)


SPLIT = {"train_after_test": 0.4039, "tests_cut_in_one_time": 0.5111}
LIMITS = (
    "The split is by user, not by date: for the median user, 40.4 % of the training rows are from "
    "other users and later than the start of that user's test part. In 51.1 % of the test parts "
    "the first row has the same timestamp as the row before it; there the order of the file "
    "decides."
)


@pytest.mark.parametrize(
    "report",
    [retrieval(0.2, 0.18, 0.19, UP), ranking("auc", 0.7, 0.8, 0.74, 0.75, UP)],
    ids=["retrieval", "ranking"],
)
def test_the_page_describes_the_limits_of_its_split(report):
    with_split = report | {"data": {"rows": 10, "split": SPLIT}}
    assert LIMITS in text_of(with_split)
    assert "train_after_test" not in text_of(with_split)  # a sentence says it, not a table
    assert "not by date" not in text_of(report)
    assert "not by date" not in text_of(report | {"data": {"split": {"train_after_test": None}}})


@pytest.mark.parametrize(
    "more, words, not_words",
    [
        ({"kind": "user-time", "ties": "file-order"}, LIMITS, "have no history"),
        (
            {"ties": "shuffled"},
            "as the row before it; there chance decides.",
            "order of the file",
        ),
        ({"kind": "leave-one-out"}, LIMITS, "have no history"),
        (
            {"kind": "leave-one-out", "tests_without_history": 0.25},
            LIMITS + " 25.0 % of the users in the test part have no history before it and are not "
            "tested.",
            "one time for all",
        ),
        (
            {"kind": "global-time", "tests_without_history": 0.458, "train_after_test": 0.0},
            "The split is at one time for all users: no training row is later than the start of "
            "the test part. 45.8 % of the users in the test part have no history before it and are "
            "not tested.",
            "by user",
        ),
        ({"kind": "random"}, "The split does not use time", "timestamp"),
    ],
)
def test_each_split_has_its_own_limits(more, words, not_words):
    limits = limits_of_split({"data": {"split": SPLIT | more}})
    assert words in limits and not_words not in limits


def test_a_random_split_is_mentioned_with_the_verdict():
    report = retrieval(0.2, 0.18, 0.19, UP)
    words = "The split does not use time: items of each user were held out at random"
    assert words not in verdict(report)
    report["data"]["split"] = {"kind": "random"}
    assert words in verdict(report)
    assert "do not compare these results" in text_of(report).lower()


def test_nothing_is_claimed_about_settings_that_a_recipe_can_change():
    for report in (retrieval(0.2, 0.18, 0.19, UP), ranking("auc", 0.7, 0.8, 0.74, 0.75, UP)):
        text = text_of(report)
        words = "the learning rate, dropout, label smoothing and weight decay that the recipe sets"
        assert f"each uses {words} for it" in text
        assert "All model choices were made on validation." in text


@pytest.mark.parametrize(
    "queries, candidates, words",
    [
        (1943, None, "On validation, ranking the whole catalogue. NDCG@10"),
        (1943, 12, "On validation, ranking 12 candidates. NDCG@10"),
        (99, None, f"On validation, ranking the whole catalogue. Only 99 queries: {NARROW}"),
        (1, 1, f"On validation, ranking 1 candidate. Only 1 query: {NARROW}"),
    ],
)
def test_the_sentence_about_the_teachers_report(queries, candidates, words):
    report = copy.deepcopy(TEACHERS) | {"queries": queries, "candidates": candidates}
    report["segments"]["tail"]["queries"] = 1
    section = text_of(RETRIEVAL | {"teachers": report})
    assert words in section
    among = words.removeprefix("On validation, ranking ").split(".")[0]
    assert f"Rank correlation, {among}" in section
    assert "(1 query)" in section and "(1,943 queries)" in section
    assert "on the diagonal both are equal" in section  # of a useless teacher too


# Outcomes


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (1e-9, 0.1, "helped"),
        (0.0, 0.1, "not measurable"),
        (-0.1, 0.0, "not measurable"),
        (-0.1, -1e-9, "hurt"),
        (NAN, NAN, "not measurable"),
        (None, None, "not measurable"),
    ],
)
def test_an_interval_that_touches_zero_is_not_significant(low, high, expected):
    assert outcome(retrieval(0.2, 0.18, 0.19, [low, high])) == expected


@pytest.mark.parametrize(
    "metric, low, high, expected",
    [
        ("auc", 0.001, 0.02, "helped"),
        ("auc", -0.02, -0.001, "hurt"),
        ("auc", 0.0, 0.02, "not measurable"),
        ("auc", -0.02, 0.0, "not measurable"),
        ("rmse", 0.001, 0.02, "hurt"),  # a higher error is worse
        ("rmse", -0.02, -0.001, "helped"),
        ("rmse", -0.02, 0.001, "not measurable"),
        ("log_loss", 0.001, 0.02, "hurt"),
        ("mae", 0.001, 0.02, "hurt"),
        ("expected_calibration_error", 0.001, 0.02, "hurt"),
        ("gauc", 0.001, 0.02, "helped"),
        ("ndcg@10", 0.001, 0.02, "helped"),
    ],
)
def test_an_outcome_depends_on_the_metrics_direction(metric, low, high, expected):
    assert gain_outcome(difference(metric, (low + high) / 2, low, high)) == expected


def test_a_missing_interval_is_not_significant():
    assert gain_outcome({}) == "not measurable"
    assert gain_outcome({"metric": "auc", "interval": [NAN, 0.1]}) == "not measurable"
    assert interval_in_words({"metric": "auc", "difference": 0.1}) == "(no interval was measured)"


def test_the_verdict_uses_the_exported_size_if_the_student_has_none():
    report = retrieval(0.2, 0.18, 0.19, UP)
    report["models"]["student_tflite"] = {"bytes": 100}
    del report["models"]["student"]["bytes"]
    assert verdict(report).endswith("at 10.0 % of its bytes.")


def with_twin(task, value, low, high):
    report = copy.deepcopy(RANKING)
    result = report["comparisons"]["student_vs_twin"][task]
    result |= {"difference": value, "interval": [low, high]}
    return report


def test_the_verdict_has_the_teachers_effect_for_each_task():
    # of the teacher's bytes: 40,000 / 2,000,000 = 2 %
    assert verdict(RANKING) == (
        "The teacher helped: the student's AUC of like is 0.0400 above its twin's (95 % interval "
        "of the difference 0.0300 to 0.0500); the student keeps 90.0 % of the teacher's gain over "
        "the item mean, at 2.0 % of the teacher's bytes. For rating, the teacher helped (the "
        "student's "
        "RMSE of rating is 0.0200 below its twin's (95 % interval of the difference -0.0300 to "
        f"-0.0100)). {ONE_SEED}"
    )


def test_the_first_task_determines_the_outcome():
    assert outcome(RANKING) == "helped"
    assert outcome(with_twin("rating", 0.1, 0.05, 0.15)) == "helped"
    assert outcome(with_twin("like", -0.1, -0.15, -0.05)) == "hurt"
    assert verdict(with_twin("like", -0.1, -0.15, -0.05)).startswith(
        "The teacher hurt: the student's AUC of like is 0.1000 below its twin's"
    )
    assert verdict(with_twin("like", 0.01, -0.01, 0.03)).startswith(
        "The teacher did not help measurably: the student's AUC of like is 0.0100 above its twin's "
        "(the 95 % interval of the difference, -0.0100 to 0.0300, contains 0)"
    )
    assert "For rating, the teacher hurt (" in verdict(with_twin("rating", 0.1, 0.05, 0.15))
    assert "For rating, the teacher did not help measurably (" in verdict(
        with_twin("rating", 0.1, -0.05, 0.15)
    )


def test_a_task_is_worse_than_its_single_task_twin_only_outside_its_interval():
    fine, worse = many_tasks(-0.01, 0.02), many_tasks(0.01, 0.03)
    assert worse_than_alone(fine) == []
    alone = "No task is significantly worse than its single-task twin."
    assert verdict(fine).endswith(f"{alone} {ONE_SEED}")
    assert worse_than_alone(worse) == ["rating"]
    assert verdict(worse).endswith(
        "Significantly worse than its single-task twin: rating, whose RMSE is 0.0200 above that "
        f"twin's (95 % interval of the difference 0.0100 to 0.0300). {ONE_SEED}"
    )
    assert FINE in text_of(fine)
    assert "Significantly worse than its single-task twin: rating." in text_of(worse)


def test_two_stages_are_compared_with_retrieval_alone_and_the_cross_encoder():
    assert verdict(stages()) == (
        "The teacher helped: the student's NDCG@10 is 5.0 % above its twin's (95 % interval of the "
        "difference 0.0010 to 0.0200) and 85.0 % of the teacher's. Two stages: NDCG@10 0.0200 "
        "above retrieval alone, 110.0 % of it (95 % interval of the difference 0.0100 to 0.0300). "
        "Two stages: NDCG@10 0.0300 below the cross-encoder over the same candidates, 88.0 % of it "
        f"(95 % interval of the difference -0.0500 to -0.0100). {ONE_SEED}"
    )
