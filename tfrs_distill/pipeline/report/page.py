"""`report.html`: one file for a browser, with nothing to fetch. All text is escaped."""

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
from tfrs_distill.pipeline.report.table import MODELS, columns, interval, rows
from tfrs_distill.pipeline.report.teacher_section import teacher_section
from tfrs_distill.pipeline.report.verdict import outcome, verdict


def html_page(report: Mapping[str, Any]) -> str:
    """The whole page of a retrieval run."""
    return document(
        report,
        [
            head(report, ("users", "items", "interactions")),
            verdict_section(verdict(report), outcome(report)),
            _tiles(report),
            _models(report),
            _charts(report),
            teacher_section(report["teachers"]) if report.get("teachers") else "",
            how_section(report, _protocol(report), _comparisons(report)),
        ],
    )


def _tiles(report: Mapping[str, Any]) -> str:
    k, models = report["k"], report["models"]
    student, int8 = models.get("student", {}), models.get("student_int8", {})
    of_teacher = report.get("comparisons", {}).get("student_vs_teacher", {})
    return tiles(
        [
            (
                f"Student's NDCG@{k}",
                metric(student.get(f"ndcg@{k}")),
                interval_note(student.get(f"ndcg@{k}_interval")),
            ),
            ("Of the teacher's", percent(of_teacher.get("ratio")), f"NDCG@{k}, same users"),
            ("Size, int8", size(int8.get("bytes")), beside_teachers_size(report)),
            (
                "A query, int8",
                milliseconds(int8.get("latency_ms_p50")),
                latency_note(int8.get("latency_ms_p95")),
            ),
        ]
    )


def _models(report: Mapping[str, Any]) -> str:
    k = report["k"]
    key = f"ndcg@{k}"
    shown = [column for column in columns(k) if column.heading != "95 % interval"]
    low, high = _range(report, key)
    heading = "".join(f"<th>{escape(column.heading)}</th>" for column in shown[1:])
    lines = []
    for row in rows(report):
        cells = "".join(f"<td>{escape(column.text(row))}</td>" for column in shown[1:])
        tooltip = escape(f"95 % interval {interval(row.figures.get(f'{key}_interval'))}")
        lines.append(
            f'<tr class="{escape(row.key)}"><td>{escape(row.name)}'
            f"<small>{escape(row.what)}</small></td><td>{escape(shown[0].text(row))}</td>"
            f'<td class="forest-cell" title="{tooltip}">{charts.forest(row, key, low, high)}</td>'
            f"{cells}</tr>"
        )
    return (
        "<section><h2>The models, side by side</h2>"
        '<p class="note">Same test users, same histories, whole catalogue. Overlap: the share of '
        f"the teacher's top {k} that the model names too. Latency: one query at a time.</p>"
        '<div class="scroll" tabindex="0"><table class="models"><thead><tr><th>Model</th>'
        f'<th>NDCG@{k}</th><th class="forest-cell">95 % interval</th>'
        f"{heading}</tr></thead><tbody>" + "".join(lines) + "</tbody></table></div></section>"
    )


def _range(report: Mapping[str, Any], key: str) -> tuple[float, float]:
    figures = []
    for row in rows(report):
        bounds: Any = row.figures.get(f"{key}_interval")
        figures += list(bounds) if interval(bounds) != MISSING else []
        figures += [row.figures[key]] if row.figures.get(key) is not None else []
    return (min(figures), max(figures)) if figures else (0.0, 1.0)


def _charts(report: Mapping[str, Any]) -> str:
    k = report["k"]
    figures = []
    curves = charts.training_curves(report)
    if curves:
        figures.append(
            f"<figure><h3>Training: validation NDCG@{k} by epoch</h3>"
            f"{_legend(report)}{curves}</figure>"
        )
    sizes = charts.quality_against_size(report)
    if sizes:
        figures.append(
            f"<figure><h3>Quality against size: test NDCG@{k} by bytes on disk</h3>"
            '<p class="meta small">Vertical lines: 95 % interval. Green: the student and its '
            f"exported files.</p>{sizes}</figure>"
        )
    if not figures:
        return ""
    return f'<section><h2>In pictures</h2><div class="charts">{"".join(figures)}</div></section>'


def _legend(report: Mapping[str, Any]) -> str:
    items = []
    for name, curve in charts.curves_of(report).items():
        shown = MODELS.get(name, (name,))[0]
        epoch = charts.best_epoch(curve)
        style = name if name in MODELS else "other"
        items.append(
            f'<li class="{style}"><svg viewBox="0 0 22 10" aria-hidden="true">'
            '<line class="line" x1="1" x2="21" y1="5" y2="5"/></svg>'
            f"<b>{escape(shown)}</b> best {metric(curve[epoch - 1])}, epoch {epoch}</li>"
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _protocol(report: Mapping[str, Any]) -> str:
    samples = report.get("recipe", {}).get("evaluation", {}).get("bootstrap_samples")
    seeds = report.get("comparisons", {}).get("student_vs_twin", {}).get("seeds") or []
    resampled = f" ({count(samples)} resamples)" if samples is not None else ""
    which = ", ".join(str(seed) for seed in seeds)
    over = f"Student and twin were compared over {len(seeds)} seeds ({which})"
    if len(seeds) < 3:
        many = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
        over = f"Student and twin were compared with {many} ({which}): a claim needs three"
    sentences = [f"{over}." if seeds else "", limits_of_split(report)]
    return (
        "Each user's interactions stand in order of time: the first 80 % train, the next 10 % "
        "validate, the last 10 % test. What the run chose, it chose on validation. Every model got "
        f"the same history and ranked the whole catalogue, {history_in_words(report)}. "
        f"Intervals are 95 %, by bootstrap over users{resampled}, paired for a difference. The "
        "twin is the student without its teacher: same model, same data, same budget, same seed; "
        "each learns with the learning rate and dropout that the recipe gives it. "
        + " ".join(filter(None, sentences))
    ).strip()


def _comparisons(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key, figures in report.get("comparisons", {}).items():
        parts = [percent(figures.get("ratio"))]
        if metric(figures.get("difference")) != MISSING:
            parts.append(f"difference {metric(figures['difference'])}")
        text = ", ".join(part for part in parts if part != MISSING) or MISSING
        if interval(figures.get("interval")) != MISSING:
            text += f" ({interval(figures['interval'])})"
        yield key.replace("_", " "), text
