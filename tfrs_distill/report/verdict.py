"""Whether the teacher helped, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrs_distill.report.numbers import MISSING, metric, percent

HELPED, NOT_MEASURABLE, HURT = "helped", "not measurable", "hurt"


def outcome(report: Mapping[str, Any]) -> str:
    """`HELPED`, `HURT` or `NOT_MEASURABLE`, by the interval of the student's gain on its twin.

    The teacher helped where the whole interval lies above 0 and hurt where it lies below; an
    interval that touches 0 or is missing measures nothing.
    """
    low, high = _interval(report)
    if low is not None and low > 0:
        return HELPED
    if high is not None and high < 0:
        return HURT
    return NOT_MEASURABLE


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence: against the twin, against the teacher, and at what size.

    Example:
    >>> verdict({
    ...     "k": 10,
    ...     "models": {"teacher": {"bytes": 1000}, "student": {"bytes": 50}},
    ...     "comparisons": {
    ...         "student_vs_twin": {"interval": [0.001, 0.02], "ratio": 1.06},
    ...         "student_vs_teacher": {"ratio": 0.98},
    ...     },
    ... })  # doctest: +NORMALIZE_WHITESPACE
    "The teacher helped: the student's NDCG@10 is 6.0 % above its twin's (95 % interval of the
    difference 0.0010 to 0.0200) and 98.0 % of the teacher's, at 5.0 % of its bytes."
    """
    low, high = _interval(report)
    against_twin = _against_twin(report)
    if outcome(report) == NOT_MEASURABLE:
        if MISSING in (metric(low), metric(high)):
            interval = " (no interval was measured)"
        else:
            interval = (
                f" (the 95 % interval of the difference, {metric(low)} to {metric(high)}, "
                "contains 0)"
            )
        start = "The teacher did not help measurably"
    else:
        interval = f" (95 % interval of the difference {metric(low)} to {metric(high)})"
        start = f"The teacher {outcome(report)}"
    return f"{start}: {against_twin}{interval}{_against_teacher(report)}."


def _interval(report: Mapping[str, Any]) -> tuple[float | None, float | None]:
    low, high = _comparison(report, "student_vs_twin").get("interval") or (None, None)
    return low, high


def _comparison(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = report.get("comparisons", {}).get(name, {})
    return found


def _against_twin(report: Mapping[str, Any]) -> str:
    ratio = _comparison(report, "student_vs_twin").get("ratio")
    subject = f"the student's NDCG@{report['k']}"
    if ratio is None or percent(ratio) == MISSING:
        return f"{subject} could not be compared with its twin's"
    side = "above" if ratio >= 1 else "below"
    return f"{subject} is {percent(abs(ratio - 1))} {side} its twin's"


def _against_teacher(report: Mapping[str, Any]) -> str:
    models = report.get("models", {})
    ratio = percent(_comparison(report, "student_vs_teacher").get("ratio"))
    teacher_bytes = models.get("teacher", {}).get("bytes")
    student_bytes = models.get("student", {}).get("bytes")
    if student_bytes is None:
        student_bytes = models.get("student_tflite", {}).get("bytes")
    text = "" if ratio == MISSING else f" and {ratio} of the teacher's"
    if text and teacher_bytes and student_bytes is not None:
        text += f", at {percent(student_bytes / teacher_bytes)} of its bytes"
    return text
