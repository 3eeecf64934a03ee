"""Whether the teacher helped a ranking student, task by task, in a few sentences."""

from __future__ import annotations

from tfrs_distill.pipeline.report.cautions import cautions
from tfrs_distill.pipeline.report.numbers import MISSING, NOISE, metric, percent
from tfrs_distill.pipeline.report.paired_difference import (
    HELPED,
    HURT,
    NOT_MEASURABLE,
    Bounds,
    Told,
    bounds_of,
    difference_side,
    interval_in_words,
    outcome_of,
)
from tfrs_distill.pipeline.report.ranking_metrics import metric_of
from tfrs_distill.pipeline.report.verdict import FINDINGS, NOT_MEASURED

SHORT_FINDINGS = {HELPED: "helped", HURT: "hurt", NOT_MEASURABLE: "did not help measurably"}


def ranking_outcome(report: Told) -> str:
    """`HELPED`, `HURT` or `NOT_MEASURABLE`, by the first task's gain on the twin."""
    leading = next(iter(report["labels"]), "")
    return gain_outcome(comparison(report, "student_vs_twin", leading))


def gain_outcome(told: Told) -> str:
    """What the interval of a paired difference says; one that touches 0 measures nothing."""
    return outcome_of(gain_bounds(told))


def gain_bounds(told: Told) -> Bounds | None:
    """The interval of the gain, lower bound first; None where none was measured."""
    bounds = bounds_of(told)
    if bounds is None:
        return None
    low, high = sorted(metric_of(told["metric"]).gain(bound) for bound in bounds)
    return low, high


def ranking_verdict(report: Told) -> str:
    """What the teacher did for each task, the first one first; what else was asked; the cautions.

    Example:
    >>> gain = {"metric": "auc", "difference": 0.01, "interval": [0.004, 0.016]}
    >>> ranking_verdict({
    ...     "labels": {"like": {"metric": "auc"}},
    ...     "models": {
    ...         "item_mean": {"metrics": {"like": {"auc": 0.70}}},
    ...         "teacher": {"metrics": {"like": {"auc": 0.80}}, "bytes": 1000},
    ...         "student": {"metrics": {"like": {"auc": 0.79}}, "bytes": 50},
    ...     },
    ...     "comparisons": {"student_vs_twin": {"like": gain}},
    ... })  # doctest: +NORMALIZE_WHITESPACE
    "The teacher helped: the student's AUC of like is 0.0100 above its twin's (95 % interval of the
    difference 0.0040 to 0.0160), which keeps 90.0 % of the teacher's gain on the item mean, at
    5.0 % of the teacher's bytes."
    """
    leading, *others = list(report["labels"]) or [""]
    first = comparison(report, "student_vs_twin", leading)
    finding = NOT_MEASURED if gain_bounds(first) is None else FINDINGS[gain_outcome(first)]
    beside_teacher = _against_teacher(report, leading)
    sentences = [f"{finding}: {_against_twin(report, leading)}{beside_teacher}."]
    for name in others:
        told = comparison(report, "student_vs_twin", name)
        measured = gain_bounds(told) is not None
        words = SHORT_FINDINGS[gain_outcome(told)] if measured else "was not measured"
        sentences.append(f"With {_shown(name)} it {words} ({_against_twin(report, name)}).")
    rest = [*_single_tasks(report), *_two_stages(report), *cautions(report)]
    return " ".join([*sentences, *rest])


def comparison(report: Told, name: str, task: str) -> Told:
    """One task's paired difference of two models; empty where it was not measured."""
    found: Told = report.get("comparisons", {}).get(name, {}).get(task) or {}
    return found


def share_of_gain(report: Told, task: str) -> float | None:
    """The student's share of the teacher's gain on the item mean; None where there is no gain."""
    key, base, teacher, student = _beside_item_mean(report, task)
    if base is None or teacher is None or student is None:
        return None
    return metric_of(key).share_of_gain(base, teacher, student)


def against_single_task(report: Told) -> tuple[list[str], list[str]]:
    """The tasks that are worse than their single-task twin by the whole interval; the unmeasured.

    Returns:
        Names of tasks: worse, without an interval.
    """
    compared = report.get("comparisons", {}).get("student_vs_single_task_twin", {})
    worse = [name for name, told in compared.items() if gain_outcome(told) == HURT]
    return worse, [name for name, told in compared.items() if gain_bounds(told) is None]


def beside_single_task(told: Told, verb: str = "") -> str:
    """A task's figure beside its single-task twin's, with a verb between them in a sentence."""
    if metric(told.get("difference")) == MISSING:
        return MISSING
    beside = difference_side(told, "that twin's")
    return f"{metric_of(told['metric']).name}{verb} {beside} {interval_in_words(told)}"


def no_worse(report: Told) -> str:
    """That no task is worse than its single-task twin, but for those that were not measured."""
    compared = report.get("comparisons", {}).get("student_vs_single_task_twin", {})
    _, unmeasured = against_single_task(report)
    names = ", ".join(map(_shown, unmeasured))
    if len(unmeasured) == len(compared):
        return f"Whether a task is worse than its single-task twin was not measured ({names})."
    but = f" Not measured: {names}." if names else ""
    return f"No task is worse than its single-task twin beyond its interval.{but}"


def _shown(task: str) -> str:
    return task.replace("_", " ")


def _against_twin(report: Told, task: str) -> str:
    told = comparison(report, "student_vs_twin", task)
    if metric(told.get("difference")) == MISSING:
        return f"the student and its twin could not be compared{f' on {_shown(task)}' * bool(task)}"
    subject = f"the student's {metric_of(told['metric']).name} of {_shown(task)}"
    beside = difference_side(told, "its twin's")
    return f"{subject} is {beside} {interval_in_words(told)}"


def _beside_item_mean(
    report: Told, task: str
) -> tuple[str, float | None, float | None, float | None]:
    """The task's leading metric, and that of the item mean, the teacher and the student."""
    key = report["labels"].get(task, {}).get("metric", "")
    base, teacher, student = (
        report.get("models", {}).get(model, {}).get("metrics", {}).get(task, {}).get(key)
        for model in ("item_mean", "teacher", "student")
    )
    return key, *(None if metric(one) == MISSING else one for one in (base, teacher, student))


def _against_teacher(report: Told, task: str) -> str:
    """What the student has of the teacher's gain on the item mean, and of its bytes."""
    compared = metric(comparison(report, "student_vs_twin", task).get("difference")) != MISSING
    text, share = "", share_of_gain(report, task)
    if share is not None and share >= 0:
        keeps = f"{'keeps' if share <= 1 else 'is'} {percent(share)}"
        start = ", which" if compared else "; the student"
        text = f"{start} {keeps} of the teacher's gain on the item mean"
    models = report.get("models", {})
    teacher, student = (models.get(name, {}).get("bytes") for name in ("teacher", "student"))
    if teacher and student is not None and (compared or text):
        text += f", at {percent(student / teacher)} of the teacher's bytes"
    return f"{text}{no_gain(report, task)}"


def no_gain(report: Told, task: str) -> str:
    """That the teacher is no better than the item mean, or else that the student is worse."""
    key, base, teacher, student = _beside_item_mean(report, task)
    if base is None or teacher is None:
        return ""
    name, share = metric_of(key).name, share_of_gain(report, task)
    than = "the item mean ({} {} against {})".format
    if metric_of(key).share_of_gain(base, teacher, teacher) is None:
        words = "level with" if abs(teacher - base) <= NOISE else "worse than"
        return f"; the teacher is {words} {than(name, metric(teacher), metric(base))}"
    if share is not None and share < 0:
        return f"; the student is worse than {than(name, metric(student), metric(base))}"
    return ""


def _single_tasks(report: Told) -> list[str]:
    compared = report.get("comparisons", {}).get("student_vs_single_task_twin", {})
    if not compared:
        return []
    worse, _ = against_single_task(report)
    if not worse:
        return [no_worse(report)]
    told = "; ".join(
        f"{_shown(name)}, whose {beside_single_task(compared[name], ' is')}" for name in worse
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
        share = percent(told.get("ratio"))
        of = "" if share == MISSING else f", {share} of it"
        sentences.append(
            f"Two stages: {metric_of(told['metric']).name} {difference_side(told, other)}{of} "
            f"{interval_in_words(told)}."
        )
    return sentences
