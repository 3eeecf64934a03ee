"""Whether the teacher helped a ranking student, task by task, in a few sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrs_distill.report.numbers import MISSING, metric, percent
from tfrs_distill.report.ranking_metrics import metric_of
from tfrs_distill.report.verdict import HELPED, HURT, NOT_MEASURABLE

Told = Mapping[str, Any]


def ranking_outcome(report: Told) -> str:
    """`HELPED`, `HURT` or `NOT_MEASURABLE`, by the first task's gain on the twin."""
    leading = next(iter(report["labels"]), "")
    return gain_outcome(comparison(report, "student_vs_twin", leading))


def gain_outcome(told: Told) -> str:
    """What the interval of a paired difference says; one that touches 0 measures nothing."""
    bounds = gain_bounds(told)
    if bounds is not None and bounds[0] > 0:
        return HELPED
    if bounds is not None and bounds[1] < 0:
        return HURT
    return NOT_MEASURABLE


def gain_bounds(told: Told) -> tuple[float, float] | None:
    """The interval of the gain, lower bound first; None where none was measured."""
    interval = told.get("interval")
    if not interval or MISSING in (metric(interval[0]), metric(interval[1])):
        return None
    low, high = sorted(metric_of(told["metric"]).gain(bound) for bound in interval)
    return low, high


def ranking_verdict(report: Told) -> str:
    """What the teacher did for each task, the first one first; then what else was asked.

    Example:
    >>> gain = {"metric": "auc", "difference": 0.01, "interval": [0.004, 0.016]}
    >>> ranking_verdict({
    ...     "labels": {"like": {"metric": "auc"}},
    ...     "models": {"teacher": {"bytes": 1000}, "student": {"bytes": 50}},
    ...     "comparisons": {
    ...         "student_vs_twin": {"like": gain},
    ...         "student_vs_teacher": {"like": {"metric": "auc", "kept": 0.98}},
    ...     },
    ... })  # doctest: +NORMALIZE_WHITESPACE
    "The teacher helped: the student's AUC of like is 0.0100 above its twin's (95 % interval of the
    difference 0.0040 to 0.0160), which keeps 98.0 % of the teacher's gain on the item mean, at
    5.0 % of its bytes."
    """
    finding = {
        HELPED: "The teacher helped",
        HURT: "The teacher hurt",
        NOT_MEASURABLE: "The teacher did not help measurably",
    }[ranking_outcome(report)]
    leading, *others = list(report["labels"]) or [""]
    sentences = [f"{finding}: {_against_twin(report, leading)}{_against_teacher(report, leading)}."]
    for name in others:
        outcome = gain_outcome(comparison(report, "student_vs_twin", name))
        words = {HELPED: "helped", HURT: "hurt", NOT_MEASURABLE: "did not help measurably"}[outcome]
        sentences.append(f"With {name} it {words} ({_against_twin(report, name)}).")
    return " ".join([*sentences, *_single_tasks(report), *_two_stages(report)])


def comparison(report: Told, name: str, task: str) -> Told:
    """One task's paired difference of two models; empty where it was not measured."""
    found: Told = report.get("comparisons", {}).get(name, {}).get(task) or {}
    return found


def difference_in_words(told: Told) -> str:
    """A difference as "0.0100 above", with its interval.

    Example:
    >>> difference_in_words({"metric": "rmse", "difference": -0.02, "interval": [-0.03, -0.01]})
    '0.0200 below (95 % interval of the difference -0.0300 to -0.0100)'
    """
    side = "above" if told["difference"] >= 0 else "below"
    text = f"{metric(abs(told['difference']))} {side}"
    interval = told.get("interval")
    if gain_bounds(told) is None or interval is None:
        return f"{text} (no interval was measured)"
    low, high = metric(interval[0]), metric(interval[1])
    if gain_outcome(told) == NOT_MEASURABLE:
        return f"{text} (the 95 % interval of the difference, {low} to {high}, contains 0)"
    return f"{text} (95 % interval of the difference {low} to {high})"


def worse_than_single_task(report: Told) -> list[str]:
    """The tasks whose whole interval lies on the worse side of their single-task twin."""
    compared = report.get("comparisons", {}).get("student_vs_single_task_twin", {})
    return [name for name, told in compared.items() if gain_outcome(told) == HURT]


def _against_twin(report: Told, task: str) -> str:
    told = comparison(report, "student_vs_twin", task)
    if metric(told.get("difference")) == MISSING:
        return f"the student and its twin could not be compared{_of(task)}"
    subject = f"the student's {metric_of(told['metric']).name}{_of(task)}"
    words = difference_in_words(told)
    amount, _, rest = words.partition(" (")
    return f"{subject} is {amount} its twin's ({rest}"


def _against_teacher(report: Told, task: str) -> str:
    models = report.get("models", {})
    kept = percent(comparison(report, "student_vs_teacher", task).get("kept"))
    teacher_bytes = models.get("teacher", {}).get("bytes")
    student_bytes = models.get("student", {}).get("bytes")
    text = "" if kept == MISSING else f", which keeps {kept} of the teacher's gain on the item mean"
    if teacher_bytes and student_bytes is not None:
        text += f", at {percent(student_bytes / teacher_bytes)} of its bytes"
    return text


def _of(task: str) -> str:
    return f" of {task.replace('_', ' ')}" if task else ""


def _single_tasks(report: Told) -> list[str]:
    compared = report.get("comparisons", {}).get("student_vs_single_task_twin", {})
    if not compared:
        return []
    worse = worse_than_single_task(report)
    if not worse:
        return ["No task is worse than its single-task twin beyond its interval."]
    told = "; ".join(
        f"{name}, whose {metric_of(compared[name]['metric']).name} is "
        f"{difference_in_words(compared[name])}"
        for name in worse
    )
    return [f"Worse than its single-task twin: {told}."]


def _two_stages(report: Told) -> list[str]:
    """Retrieve then rank, against retrieval alone and against the cross-encoder."""
    sentences = []
    for name, other in (
        ("student_vs_retrieval", "retrieval alone"),
        ("student_vs_cross_encoder", "the cross-encoder over the same candidates"),
    ):
        told = report.get("comparisons", {}).get(name, {}).get("relevance", {})
        if report.get("task") != "two-stage" or metric(told.get("difference")) == MISSING:
            continue
        amount, _, rest = difference_in_words(told).partition(" (")
        share = percent(told.get("ratio"))
        of = "" if share == MISSING else f", {share} of it"
        name_of_metric = metric_of(told["metric"]).name
        sentences.append(f"Two stages: {name_of_metric} {amount} {other}{of} ({rest}.")
    return sentences
