"""Whether the teacher helped, for each task, in a few sentences; then the cautions."""

from __future__ import annotations

from tfrs_distill.evaluation.metrics.metric import NOISE
from tfrs_distill.pipeline.report.cautions import cautions
from tfrs_distill.pipeline.report.models import (
    Report,
    figures_of,
    leading_metric,
    measured,
    metric_of,
    words,
)
from tfrs_distill.pipeline.report.numbers import difference, metric, percent
from tfrs_distill.pipeline.report.paired_difference import (
    HELPED,
    HURT,
    NOT_MEASURABLE,
    PairedDifference,
    difference_side,
    gain_bounds,
    gain_outcome,
    interval_in_words,
    side,
)

BEATEN = "beaten"  # the best control is better, and it is not the twin
FINDINGS = {  # of the leading task; of every other task
    HELPED: ("The teacher helped", "the teacher helped"),
    HURT: ("The teacher hurt", "the teacher hurt"),
    NOT_MEASURABLE: ("The teacher did not help measurably", "the teacher did not help measurably"),
    BEATEN: (
        "A control without the teacher's knowledge is better",
        "a control without the teacher's knowledge is better",
    ),
}
NOT_MEASURED = (
    "Whether the teacher helped was not measured",
    "whether the teacher helped was not measured",
)
CONTROLS = {  # without the teacher's knowledge: their names in a report, and what they measure
    "twin": ("the twin", "label smoothing alone explains"),
    "self_taught": ("the self-taught student", "self-teaching explains"),
    "scrambled": ("the scrambled student", "scrambled soft targets explain"),
    "plain": ("the plain student", "neither explains"),
}
STAGES = {
    "student_vs_retrieval": "retrieval alone",
    "student_vs_cross_encoder": "the cross-encoder over the same candidates",
}


def outcome(report: Report) -> str:
    """`HELPED`, `HURT` or `NOT_MEASURABLE`, by the first task's gain on its best control.

    The teacher helped if the whole interval of the gain is above 0, and hurt if it is below 0. The
    outcome is `NOT_MEASURABLE` if the interval contains 0 or is missing.
    """
    return gain_outcome(beside_best_control(report, leading_task(report)))


def controls(report: Report, task: str) -> dict[str, float]:
    """The task's leading metric of every control that was measured; the twin comes first."""
    key = leading_metric(report, task)
    values = {
        name: measured(figures_of(report, name, task).get(key, {}).get("value"))
        for name in CONTROLS
    }
    return {name: value for name, value in values.items() if value is not None}


def best_control(report: Report, task: str) -> str:
    """The control that the student has to beat: the best one on test, the strictest choice."""
    of, values = metric_of(leading_metric(report, task)), controls(report, task)
    return max(values, key=lambda name: of.gain(values[name]), default="twin")


def beside_best_control(report: Report, task: str) -> PairedDifference:
    """The paired difference of the student and its best control."""
    return comparison(report, f"student_vs_{best_control(report, task)}", task)


def verdict(report: Report) -> str:
    """Whether the teacher helped, for each task in order; the other comparisons; the cautions.

    Example:
    >>> def model(ndcg, size):
    ...     return {"metrics": {"next_item": {"ndcg@10": {"value": ndcg}}}, "bytes": size}
    >>> verdict({
    ...     "tasks": {"next_item": {"metric": "ndcg@10"}},
    ...     "models": {"teacher": model(0.20, 1000), "student": model(0.196, 50)},
    ...     "comparisons": {
    ...         "student_vs_twin": {
    ...             "next_item": {"metric": "ndcg@10", "interval": [0.001, 0.02], "ratio": 1.06},
    ...         },
    ...         "student_vs_teacher": {"next_item": {"metric": "ndcg@10", "ratio": 0.98}},
    ...     },
    ... })  # doctest: +NORMALIZE_WHITESPACE
    "The teacher helped: the student's NDCG@10 is 6.0 % above its twin's (95 % interval of the
    difference 0.0010 to 0.0200) and 98.0 % of the teacher's, at 5.0 % of its bytes."
    """
    leading = leading_task(report)
    finding, _ = _findings(report, leading)
    against = _against_control(report, leading)
    sentences = [f"{finding}: {against}{_against_teacher(report, leading)}."]
    sentences += _explained(report, leading)
    for name in list(report.get("tasks", {}))[1:]:
        _, short = _findings(report, name)
        sentences.append(f"For {words(name)}, {short} ({_against_control(report, name)}).")
    rest = [*_single_tasks(report), *_two_stages(report), *cautions(report)]
    return " ".join([*sentences, *rest])


def _findings(report: Report, task: str) -> tuple[str, str]:
    """Whether the teacher helped on a task: the start of a verdict, and a short form."""
    found = beside_best_control(report, task)
    if gain_bounds(found) is None:
        return NOT_MEASURED
    what = gain_outcome(found)
    beaten = what == HURT and best_control(report, task) != "twin"
    return FINDINGS[BEATEN if beaten else what]


def leading_task(report: Report) -> str:
    """The first task, which decides the verdict."""
    return next(iter(report.get("tasks", {})), "")


def comparison(report: Report, name: str, task: str) -> PairedDifference:
    """One task's paired difference of two models; empty where it was not measured."""
    found: PairedDifference = report.get("comparisons", {}).get(name, {}).get(task) or {}
    return found


def share_of_gain(report: Report, task: str) -> float | None:
    """The student's share of the teacher's gain over the item mean; None without a gain."""
    of = metric_of(leading_metric(report, task))
    return of.share_of_gain(*_beside_item_mean(report, task, of.key))


def single_task_twins(report: Report) -> dict[str, PairedDifference]:
    """By task, the student of all tasks minus the single-task twin; empty without such twins."""
    found: dict[str, PairedDifference] = report.get("comparisons", {}).get(
        "student_vs_single_task_twin", {}
    )
    return found


def worse_than_alone(report: Report) -> list[str]:
    """The tasks on which the student is significantly worse than its single-task twin."""
    return [
        name for name, found in single_task_twins(report).items() if gain_outcome(found) == HURT
    ]


def beside_single_task(found: PairedDifference, verb: str = "") -> str:
    """A task's metric compared with its single-task twin's; `verb` is for use in a sentence."""
    if measured(found.get("difference")) is None:
        return metric(None)
    beside = difference_side(found, "that twin's")
    return f"{metric_of(found['metric']).name}{verb} {beside} {interval_in_words(found)}"


def single_tasks_in_short(report: Report) -> str:
    """Which tasks are worse than their single-task twin, and which were not measured."""
    compared, worse = single_task_twins(report), worse_than_alone(report)
    if worse:
        return f"Significantly worse than its single-task twin: {_joined(worse)}."
    unmeasured = [name for name, found in compared.items() if gain_bounds(found) is None]
    if len(unmeasured) == len(compared):
        shown = _joined(unmeasured)
        return f"Whether a task is worse than its single-task twin was not measured ({shown})."
    but = f" Not measured: {_joined(unmeasured)}." if unmeasured else ""
    return f"No task is significantly worse than its single-task twin.{but}"


def _joined(tasks: list[str]) -> str:
    return ", ".join(map(words, tasks))


def no_gain(report: Report, task: str) -> str:
    """A statement that the teacher or the student does not exceed the item mean; else empty."""
    of, share = metric_of(leading_metric(report, task)), share_of_gain(report, task)
    base, teacher, student = _beside_item_mean(report, task, of.key)
    if base is None or teacher is None:
        return ""
    than = f"the item mean ({of.name} {{}} and {metric(base)})"
    if of.share_of_gain(base, teacher, teacher) is None:
        beside = "equal to" if abs(teacher - base) <= NOISE else "worse than"
        return f"the teacher is {beside} {than.format(metric(teacher))}"
    if share is not None and share < 0:
        return f"the student is worse than {than.format(metric(student))}"
    return ""


def _subject(report: Report, task: str) -> str:
    """The name of the student's metric, with its task if there are several."""
    name = metric_of(leading_metric(report, task)).name
    several = len(report.get("tasks", {})) > 1
    return f"the student's {name}{f' of {words(task)}' * several}" if name else "the student"


def _against_control(report: Report, task: str) -> str:
    """The comparison by ratio; by difference if there is no ratio, as with a twin at 0."""
    best, found = best_control(report, task), beside_best_control(report, task)
    several = len(controls(report, task)) > 1
    other = f"that of its best control, {CONTROLS[best][0]}" if several else "its twin's"
    ratio = measured(found.get("ratio"))
    if ratio is not None:
        beside = side(ratio - 1, percent(abs(ratio - 1)), other)
    elif measured(found.get("difference")) is not None:
        beside = difference_side(found, other)
    else:
        return f"{_subject(report, task)} could not be compared with {other}"
    return f"{_subject(report, task)} is {beside} {interval_in_words(found)}"


def _explained(report: Report, task: str) -> list[str]:
    """How much of the student's gain each control explains, and what is left for the teacher.

    The gain is over the plain student, which has no teacher and no label smoothing; if it was not
    measured, over the twin.
    """
    key, shown = leading_metric(report, task), controls(report, task)
    of = metric_of(key)
    student = measured(figures_of(report, "student", task).get(key, {}).get("value"))
    plain = shown.pop("plain", None)
    base = shown.pop("twin", None) if plain is None else plain
    if base is None or student is None or not shown:
        return []
    on = "the twin" if plain is None else "the plain student"
    gain = of.gain(student - base)
    if gain <= NOISE:
        return [f"It has no gain over {on} that a control could explain."]
    shares = {name: of.gain(value - base) / gain for name, value in shown.items()}
    parts = [f"{CONTROLS[name][1]} {_share(share)}" for name, share in shares.items()]
    left = 1 - max(*shares.values(), 0.0)
    unknown = [name for name in CONTROLS if name not in controls(report, task) | {"plain": 0.0}]
    most = "at most " if unknown else ""
    rest = f"{most}{percent(left)} is left" if left > 0 else "nothing is left"
    sentences = [
        f"Of its gain over {on} ({difference(gain)}), {', '.join(parts)}; {rest} for the "
        "teacher's knowledge."
    ]
    missing = [f"How much {CONTROLS[name][1]} was not measured." for name in unknown]
    return sentences + missing


def _share(share: float) -> str:
    """A share of a gain in words; a control can have a larger gain than the student."""
    if share > 1:
        return "more than all of it"
    return percent(share) if share > 0 else "none"


def _beside_item_mean(
    report: Report, task: str, key: str
) -> tuple[float | None, float | None, float | None]:
    """The task's leading metric of the item mean, the teacher and the student."""
    base, teacher, student = (
        measured(figures_of(report, model, task).get(key, {}).get("value"))
        for model in ("item_mean", "teacher", "student")
    )
    return base, teacher, student


def _against_teacher(report: Report, task: str) -> str:
    """The student's share of the teacher's metric or gain, and of its bytes."""
    control = beside_best_control(report, task)
    compared = any(measured(control.get(key)) is not None for key in ("ratio", "difference"))
    ratio = measured(comparison(report, "student_vs_teacher", task).get("ratio"))
    share = share_of_gain(report, task)
    text = ""
    if ratio is not None:
        text = f" and {'' if compared else 'is '}{percent(ratio)} of the teacher's"
    elif share is not None and share >= 0:
        keeps = f"{'keeps' if share <= 1 else 'has'} {percent(share)}"
        text = f"; the student {keeps} of the teacher's gain over the item mean"
    of_bytes = _of_teachers_bytes(report)
    if of_bytes and (compared or text):
        whose = "the teacher's" if ratio is None else "its"
        text += f", at {of_bytes} of {whose} bytes"
    reason = no_gain(report, task)
    return f"{text}; {reason}" if reason else text


def _of_teachers_bytes(report: Report) -> str:
    models = report.get("models", {})
    teacher, student, exported = (
        models.get(name, {}).get("bytes") for name in ("teacher", "student", "student_tflite")
    )
    student = exported if student is None else student
    return percent(student / teacher) if teacher and student is not None else ""


def _single_tasks(report: Report) -> list[str]:
    compared, worse = single_task_twins(report), worse_than_alone(report)
    if not worse:
        return [single_tasks_in_short(report)] if compared else []
    each = "; ".join(
        f"{words(name)}, whose {beside_single_task(compared[name], ' is')}" for name in worse
    )
    return [f"Significantly worse than its single-task twin: {each}."]


def _two_stages(report: Report) -> list[str]:
    """Retrieve then rank, compared with retrieval alone and with the cross-encoder."""
    sentences = []
    for name, other in STAGES.items():
        found = comparison(report, name, leading_task(report))
        if measured(found.get("difference")) is None:
            continue
        ratio = measured(found.get("ratio"))
        of = "" if ratio is None else f", {percent(ratio)} of it"
        sentences.append(
            f"Two stages: {metric_of(found['metric']).name} {difference_side(found, other)}{of} "
            f"{interval_in_words(found)}."
        )
    return sentences
