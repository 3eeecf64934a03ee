"""`report.html` of a run with a ranking student: one section a task. All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from tfrs_distill.pipeline.report import charts
from tfrs_distill.pipeline.report.cautions import history_in_words, limits_of_split
from tfrs_distill.pipeline.report.document import (
    beside_teachers_size,
    document,
    head,
    how_section,
    interval_note,
    latency_note,
    tiles,
    verdict_section,
)
from tfrs_distill.pipeline.report.numbers import MISSING, count, metric, milliseconds, percent, size
from tfrs_distill.pipeline.report.ranking_charts import confusion_table, legend, reliability_chart
from tfrs_distill.pipeline.report.ranking_metrics import METRICS, metric_of
from tfrs_distill.pipeline.report.ranking_table import INTERVAL, ranking_columns, ranking_rows
from tfrs_distill.pipeline.report.ranking_verdict import (
    against_single_task,
    beside_single_task,
    comparison,
    no_gain,
    no_worse,
    ranking_outcome,
    ranking_verdict,
    share_of_gain,
)
from tfrs_distill.pipeline.report.table import interval

COMPARISONS = {
    "student_vs_twin": "student - twin",
    "student_vs_teacher": "student - teacher",
    "student_vs_retrieval": "two stages - retrieval alone",
    "student_vs_cross_encoder": "two stages - cross-encoder",
    "int8_vs_float32": "int8 - float32",
    "tflite_vs_keras": ".tflite - Keras",
    "student_vs_single_task_twin": "student - single-task twin",
    "teacher_vs_retrieval": "teachers - retrieval alone",
}


def ranking_page(report: Mapping[str, Any]) -> str:
    """The whole page of a run with a ranking student."""
    return document(
        report,
        [
            head(report, ("users", "items", "rows")),
            verdict_section(ranking_verdict(report), ranking_outcome(report)),
            _tiles(report),
            _single_tasks(report),
            *(_task(report, task) for task in report["labels"]),
            _training(report),
            how_section(report, _protocol(report), _comparisons(report)),
        ],
    )


def _tiles(report: Mapping[str, Any]) -> str:
    leading = next(iter(report["labels"]), "")
    key = report["labels"].get(leading, {}).get("metric", "")
    student = report["models"].get("student", {})
    int8 = report["models"].get("student_int8", {})
    figures = student.get("metrics", {}).get(leading, {})
    if report.get("task") == "two-stage":
        kept = comparison(report, "student_vs_teacher", leading).get("ratio")
        base = "same candidates"
    else:
        kept, base = share_of_gain(report, leading), "gain on the item mean, same rows"
        if kept is None:
            base = no_gain(report, leading).lstrip("; ")
    served = int8 if int8.get("latency_ms_p50") is not None else student
    what = "A query" if report.get("task") == "two-stage" else "A row"
    return tiles(
        [
            (
                f"Student's {metric_of(key).name}",
                metric(figures.get(key)),
                interval_note(figures.get(f"{key}_interval")),
            ),
            ("Of the teacher's", percent(kept), base),
            ("Size, int8", size(int8.get("bytes")), beside_teachers_size(report)),
            (
                what,
                milliseconds(served.get("latency_ms_p50")),
                latency_note(served.get("latency_ms_p95")),
            ),
        ]
    )


def _single_tasks(report: Mapping[str, Any]) -> str:
    """Whether learning several tasks at once costs one of them."""
    compared = report.get("comparisons", {}).get("student_vs_single_task_twin", {})
    if not compared:
        return ""
    worse, _ = against_single_task(report)
    lines = [(name.replace("_", " "), beside_single_task(told)) for name, told in compared.items()]
    finding = no_worse(report)
    if worse:
        names = ", ".join(name.replace("_", " ") for name in worse)
        finding = f"Worse than its single-task twin beyond its interval: {names}."
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(words)}</td></tr>" for name, words in lines
    )
    return (
        f"<section><h2>Many tasks at once</h2><p>{escape(finding)}</p>"
        '<p class="note">Each task: the distilled student of all tasks against the same student '
        "that learnt this task alone, without a teacher. Above is better, except for "
        f"{_lower_words()}.</p>"
        f'<div class="scroll" tabindex="0"><table><tbody>{body}</tbody></table></div></section>'
    )


def _lower_words() -> str:
    """The metrics that are better where they are less."""
    *names, last = (told.name for told in METRICS.values() if told.lower_is_better)
    return f"{', '.join(names)} and {last}"


def _task(report: Mapping[str, Any], task: str) -> str:
    key, rows = report["labels"][task]["metric"], ranking_rows(report, task)
    shown = [column for column in ranking_columns(report, task) if column.heading != INTERVAL]
    low, high = _range(report, task, key)
    heading = "".join(f"<th>{escape(column.heading)}</th>" for column in shown[1:])
    lines = []
    for row in rows:
        cells = "".join(f"<td>{escape(column.text(row))}</td>" for column in shown[1:])
        tooltip = escape(f"95 % interval {interval(row.figures.get(f'{key}_interval'))}")
        lines.append(
            f'<tr class="{escape(row.key)}"><td>{escape(row.name)}'
            f"<small>{escape(row.what)}</small></td><td>{escape(shown[0].text(row))}</td>"
            f'<td class="forest-cell" title="{tooltip}">{charts.forest(row, key, low, high)}</td>'
            f"{cells}</tr>"
        )
    note = report["labels"][task].get("what", "")
    direction = "less" if metric_of(key).lower_is_better else "more"
    return (
        f"<section><h2>{escape(task.replace('_', ' ').capitalize())}</h2>"
        f'<p class="note">{escape(note)} {escape(metric_of(key).name)}: {direction} is better. '
        "Latency: one at a time.</p>"
        '<div class="scroll" tabindex="0"><table class="models"><thead><tr><th>Model</th>'
        f"<th>{escape(shown[0].heading)}</th>"
        f'<th class="forest-cell">{INTERVAL}</th>{heading}</tr></thead><tbody>'
        + "".join(lines)
        + f"</tbody></table></div>{_pictures(report, task, key)}</section>"
    )


def _pictures(report: Mapping[str, Any], task: str, key: str) -> str:
    name = metric_of(key).name
    figures = []
    sizes = charts.size_chart(ranking_rows(report, task), key, f"{name} against bytes on disk")
    if sizes:
        figures.append(
            f"<figure><h3>Quality against size: {escape(name)} by bytes on disk</h3>{sizes}"
            "</figure>"
        )
    told = {model: bins for model, bins in report.get("reliability", {}).get(task, {}).items()}
    if told:
        errors = {
            model: f"ECE {metric(_figure(report, model, task, 'expected_calibration_error'))}"
            for model in told
        }
        figures.append(
            "<figure><h3>Reliability: how often it was so, by how probable it was said to be</h3>"
            f"{legend(list(told), errors)}{reliability_chart(told)}</figure>"
        )
    matrix = report.get("confusion", {}).get(task, {}).get("student")
    if matrix:
        figures.append(
            "<figure><h3>Confusion matrix of the student, at 0.5</h3>"
            f"{confusion_table(matrix, task)}</figure>"
        )
    return f'<div class="charts">{"".join(figures)}</div>' if figures else ""


def _figure(report: Mapping[str, Any], model: str, task: str, key: str) -> Any:
    return report["models"].get(model, {}).get("metrics", {}).get(task, {}).get(key)


def _range(report: Mapping[str, Any], task: str, key: str) -> tuple[float, float]:
    figures: list[float] = []
    for row in ranking_rows(report, task):
        bounds: Any = row.figures.get(f"{key}_interval")
        figures += list(bounds) if interval(bounds) != MISSING else []
        figures += [row.figures[key]] if row.figures.get(key) is not None else []
    return (min(figures), max(figures)) if figures else (0.0, 1.0)


def _training(report: Mapping[str, Any]) -> str:
    curves = {
        name: told["validation_score"]
        for name, told in report.get("training", {}).items()
        if any(value is not None for value in told.get("validation_score") or [])
    }
    if not curves:
        return ""
    notes = {}
    for name, curve in curves.items():
        epoch = charts.best_epoch(curve)
        notes[name] = f"best {metric(curve[epoch - 1])}, epoch {epoch}"
    drawn = charts.curves_chart(curves, "Validation score by epoch")
    return (
        '<section><h2>Training</h2><div class="charts"><figure>'
        "<h3>Validation score by epoch</h3>"
        f'<p class="meta small">{escape(_score(report))}; the epoch with the highest is kept.</p>'
        f"{legend(list(curves), notes)}{drawn}</figure></div></section>"
    )


def _score(report: Mapping[str, Any]) -> str:
    """What the validation score is."""
    if report.get("task") == "two-stage":
        return "The NDCG of both stages together"
    return (
        "The mean over the tasks of AUC (yes or no), of 1 - RMSE / standard deviation (ratings) "
        "and of NDCG (items)"
    )


def _protocol(report: Mapping[str, Any]) -> str:
    told = report.get("recipe", {})
    samples = told.get("evaluation", {}).get("bootstrap_samples")
    resampled = f" ({count(samples)} resamples)" if samples is not None else ""
    answered = "answered the same test rows"
    if report.get("task") == "two-stage":
        answered = f"recommended to the same test users, {history_in_words(report)}"
    limits = limits_of_split(report)
    return (
        f"{report.get('protocol', '')} What the run chose, it chose on validation. Every model "
        f"{answered}. Intervals are 95 %, by bootstrap over users{resampled}, paired for a "
        "difference. The twin is the student without its teacher: same model, same labels, as many "
        f"epochs at most, same seed{_beside_labels(told)}; each learns with the learning rate and "
        "dropout that the recipe gives it. "
        f"Student and twin were compared with one seed ({report.get('seed', MISSING)}): a claim "
        f"needs three. {limits}"
    ).strip()


def _beside_labels(recipe: Mapping[str, Any]) -> str:
    """What the student has in a run of this recipe beside what its twin has."""
    rows = recipe.get("ranking", {}).get("unlabelled_per_row", 0)
    if rows:
        return f" (the student also has unlabelled rows, {count(rows)} for each labelled one)"
    if recipe.get("task") == "two-stage":
        return " (both read the item-item weights of an item's neighbours, which also teach)"
    return ""


def _comparisons(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key, by_task in report.get("comparisons", {}).items():
        for task, told in by_task.items():
            if metric(told.get("difference")) == MISSING:
                continue
            words = f"{metric_of(told['metric']).name} {metric(told['difference'])}"
            if interval(told.get("interval")) != MISSING:
                words += f" ({interval(told['interval'])})"
            yield f"{COMPARISONS.get(key, key)}, {task.replace('_', ' ')}", words
