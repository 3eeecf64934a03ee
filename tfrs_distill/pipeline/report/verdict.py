"""Whether the teacher helped, task by task, in a few sentences, and what to beware of."""

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

BEATEN = "beaten"  # by a control that is no twin: teaching helped, the teacher did not
FINDINGS = {  # of the leading task, and of another
    HELPED: ("The teacher helped", "helped"),
    HURT: ("The teacher hurt", "hurt"),
    NOT_MEASURABLE: ("The teacher did not help measurably", "did not help measurably"),
    BEATEN: ("It went better without the teacher's knowledge", "did worse than a control"),
}
NOT_MEASURED = ("Whether the teacher helped was not measured", "was not measured")
CONTROLS = {  # without the teacher's knowledge: what a report calls them, and what they show
    "twin": ("the twin", "label smoothing alone has"),
    "self_taught": ("the self-taught student", "teaching itself has"),
    "scrambled": ("the scrambled student", "scrambled soft targets have"),
    "plain": ("the plain student", "neither has"),
}
STAGES = {
    "student_vs_retrieval": "retrieval alone",
    "student_vs_cross_encoder": "the cross-encoder over the same candidates",
}


def outcome(report: Report) -> str:
    """`HELPED`, `HURT` or `NOT_MEASURABLE`, by the first task's gain on its best control.

    The teacher helped where the whole interval of the gain lies above 0 and hurt where it lies
    below; an interval that touches 0 or is missing measures nothing.
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
    """The control that the student has to beat: the best one on test, which spares no control."""
    of, values = metric_of(leading_metric(report, task)), controls(report, task)
    return max(values, key=lambda name: of.gain(values[name]), default="twin")


def beside_best_control(report: Report, task: str) -> PairedDifference:
    """The paired difference of the student and its best control."""
    return comparison(report, f"student_vs_{best_control(report, task)}", task)


def verdict(report: Report) -> str:
    """What the teacher did for each task, the first one first; what else was compared; cautions.

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
        sentences.append(f"With {words(name)} it {short} ({_against_control(report, name)}).")
    rest = [*_single_tasks(report), *_two_stages(report), *cautions(report)]
    return " ".join([*sentences, *rest])


def _findings(report: Report, task: str) -> tuple[str, str]:
    """What the teacher did for a task, as a verdict begins and in short."""
    found = beside_best_control(report, task)
    if gain_bounds(found) is None:
        return NOT_MEASURED
    what = gain_outcome(found)
    beaten = what == HURT and best_control(report, task) != "twin"
    return FINDINGS[BEATEN if beaten else what]


def leading_task(report: Report) -> str:
    """The first task, by which a report is judged."""
    return next(iter(report.get("tasks", {})), "")


def comparison(report: Report, name: str, task: str) -> PairedDifference:
    """One task's paired difference of two models; empty where it was not measured."""
    found: PairedDifference = report.get("comparisons", {}).get(name, {}).get(task) or {}
    return found


def share_of_gain(report: Report, task: str) -> float | None:
    """The student's share of the teacher's gain on the item mean; None where there is no gain."""
    of = metric_of(leading_metric(report, task))
    return of.share_of_gain(*_beside_item_mean(report, task, of.key))


def single_task_twins(report: Report) -> dict[str, PairedDifference]:
    """By task, the student of all tasks against the one that learnt it alone; empty without."""
    found: dict[str, PairedDifference] = report.get("comparisons", {}).get(
        "student_vs_single_task_twin", {}
    )
    return found


def worse_than_alone(report: Report) -> list[str]:
    """The tasks that are worse than their single-task twin by the whole interval."""
    return [
        name for name, found in single_task_twins(report).items() if gain_outcome(found) == HURT
    ]


def beside_single_task(found: PairedDifference, verb: str = "") -> str:
    """A task's figure beside its single-task twin's, with a verb between them in a sentence."""
    if measured(found.get("difference")) is None:
        return metric(None)
    beside = difference_side(found, "that twin's")
    return f"{metric_of(found['metric']).name}{verb} {beside} {interval_in_words(found)}"


def single_tasks_in_short(report: Report) -> str:
    """Which tasks are worse than their single-task twin, and which were not measured."""
    compared, worse = single_task_twins(report), worse_than_alone(report)
    if worse:
        return f"Worse than its single-task twin beyond its interval: {_joined(worse)}."
    unmeasured = [name for name, found in compared.items() if gain_bounds(found) is None]
    if len(unmeasured) == len(compared):
        shown = _joined(unmeasured)
        return f"Whether a task is worse than its single-task twin was not measured ({shown})."
    but = f" Not measured: {_joined(unmeasured)}." if unmeasured else ""
    return f"No task is worse than its single-task twin beyond its interval.{but}"


def _joined(tasks: list[str]) -> str:
    return ", ".join(map(words, tasks))


def no_gain(report: Report, task: str) -> str:
    """That the teacher is no better than the item mean, or else that the student is worse."""
    of, share = metric_of(leading_metric(report, task)), share_of_gain(report, task)
    base, teacher, student = _beside_item_mean(report, task, of.key)
    if base is None or teacher is None:
        return ""
    than = f"the item mean ({of.name} {{}} against {metric(base)})"
    if of.share_of_gain(base, teacher, teacher) is None:
        beside = "level with" if abs(teacher - base) <= NOISE else "worse than"
        return f"the teacher is {beside} {than.format(metric(teacher))}"
    if share is not None and share < 0:
        return f"the student is worse than {than.format(metric(student))}"
    return ""


def _subject(report: Report, task: str) -> str:
    """The student's figure, with its task where there are several."""
    name = metric_of(leading_metric(report, task)).name
    several = len(report.get("tasks", {})) > 1
    return f"the student's {name}{f' of {words(task)}' * several}" if name else "the student"


def _against_control(report: Report, task: str) -> str:
    """By the ratio, or by the difference where there is none, as of a twin that found nothing."""
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
    """How much of the student's gain each control has, and what is left for the teacher.

    The gain is on the plain student, which has neither a teacher nor smoothed labels; without one,
    the twin is it.
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
        return [f"It has no gain on {on} that a control could explain."]
    shares = {name: of.gain(value - base) / gain for name, value in shown.items()}
    parts = [f"{CONTROLS[name][1]} {_share(share)}" for name, share in shares.items()]
    left = 1 - max(*shares.values(), 0.0)
    unknown = [name for name in CONTROLS if name not in controls(report, task) | {"plain": 0.0}]
    most = "at most " if unknown else ""
    rest = f"{most}{percent(left)} is left" if left > 0 else "nothing is left"
    sentences = [
        f"Of its gain on {on}, {difference(gain)}, {', '.join(parts)}; {rest} for the teacher's "
        "knowledge."
    ]
    return sentences + [f"What {CONTROLS[name][1]} was not measured." for name in unknown]


def _share(share: float) -> str:
    """A share of a gain, which a control can have more of than there is."""
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
    """What the student has of the teacher's figure, or of its gain, and of its bytes."""
    control = beside_best_control(report, task)
    compared = any(measured(control.get(key)) is not None for key in ("ratio", "difference"))
    ratio = measured(comparison(report, "student_vs_teacher", task).get("ratio"))
    share = share_of_gain(report, task)
    text = ""
    if ratio is not None:
        text = f" and {'' if compared else 'is '}{percent(ratio)} of the teacher's"
    elif share is not None and share >= 0:
        keeps = f"{'keeps' if share <= 1 else 'is'} {percent(share)}"
        start = ", which" if compared else "; the student"
        text = f"{start} {keeps} of the teacher's gain on the item mean"
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
    return [f"Worse than its single-task twin: {each}."]


def _two_stages(report: Report) -> list[str]:
    """Retrieve then rank, against retrieval alone and against the cross-encoder."""
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
