"""Whether the teacher helped a retrieval student, in one sentence, and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrs_distill.pipeline.report.cautions import cautions
from tfrs_distill.pipeline.report.numbers import MISSING, percent
from tfrs_distill.pipeline.report.paired_difference import (
    HELPED,
    HURT,
    NOT_MEASURABLE,
    bounds_of,
    difference_side,
    interval_in_words,
    outcome_of,
    side,
)

FINDINGS = {
    HELPED: "The teacher helped",
    HURT: "The teacher hurt",
    NOT_MEASURABLE: "The teacher did not help measurably",
}
NOT_MEASURED = "Whether the teacher helped was not measured"


def outcome(report: Mapping[str, Any]) -> str:
    """`HELPED`, `HURT` or `NOT_MEASURABLE`, by the interval of the student's gain on its twin.

    The teacher helped where the whole interval lies above 0 and hurt where it lies below; an
    interval that touches 0 or is missing measures nothing.
    """
    return outcome_of(bounds_of(_comparison(report, "student_vs_twin")))


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence: against the twin, against the teacher, at what size; then the cautions.

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
    twin = _comparison(report, "student_vs_twin")
    start = NOT_MEASURED if bounds_of(twin) is None else FINDINGS[outcome(report)]
    beside_twin = _against_twin(twin)
    compared = f"is {beside_twin}" if beside_twin else "could not be compared with its twin's"
    of_teacher = _against_teacher(report)
    joined = f" and {'' if beside_twin else 'is '}{of_teacher}" if of_teacher else ""
    sentence = (
        f"{start}: the student's NDCG@{report['k']} {compared} {interval_in_words(twin)}{joined}."
    )
    return " ".join([sentence, *cautions(report)])


def _comparison(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = report.get("comparisons", {}).get(name, {})
    return found


def _against_twin(told: Mapping[str, Any]) -> str:
    """By the ratio, or by the difference from a twin that found nothing; else empty."""
    ratio = told.get("ratio")
    if ratio is not None and percent(ratio) != MISSING:
        return side(ratio - 1, percent(abs(ratio - 1)), "its twin's")
    if percent(told.get("difference")) != MISSING:
        return difference_side(told, "its twin's")
    return ""


def _against_teacher(report: Mapping[str, Any]) -> str:
    models = report.get("models", {})
    ratio = percent(_comparison(report, "student_vs_teacher").get("ratio"))
    teacher_bytes = models.get("teacher", {}).get("bytes")
    student_bytes = models.get("student", {}).get("bytes")
    if student_bytes is None:
        student_bytes = models.get("student_tflite", {}).get("bytes")
    text = "" if ratio == MISSING else f"{ratio} of the teacher's"
    if text and teacher_bytes and student_bytes is not None:
        text += f", at {percent(student_bytes / teacher_bytes)} of its bytes"
    return text
