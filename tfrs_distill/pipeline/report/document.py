"""What every page has: its frame, its head, its verdict, its tiles and its tables of facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from tfrs_distill.pipeline.report.numbers import (
    MISSING,
    count,
    counted,
    duration,
    milliseconds,
    times,
)
from tfrs_distill.pipeline.report.paired_difference import HELPED, HURT, NOT_MEASURABLE
from tfrs_distill.pipeline.report.style import STYLE
from tfrs_distill.pipeline.report.table import interval

SAID_IN_WORDS = ("split", "repeats")  # of the data: sentences say it, see `cautions`
VERDICT_STYLES = {HELPED: "helped", HURT: "hurt", NOT_MEASURABLE: "undecided"}


def document(report: Mapping[str, Any], sections: Sequence[str]) -> str:
    """The whole file around its sections."""
    title = f"{report['name']}: distillation report"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def head(report: Mapping[str, Any], things: Sequence[str]) -> str:
    """The run's name, and how much of each of `things` its data has."""
    data = report.get("data", {})
    facts = [counted(data[key], key) for key in things if key in data]
    line = " · ".join([*facts, f"seed {report.get('seed', MISSING)}"])
    return (
        f'<header><h1>{escape(str(report["name"]))}</h1><p class="meta">{escape(line)}</p></header>'
    )


def verdict_section(sentence: str, outcome: str) -> str:
    """The verdict, its finding before the colon in colour."""
    finding, reason = sentence.split(": ", 1)
    return (
        f'<section class="verdict {VERDICT_STYLES[outcome]}">'
        f"<p><strong>{escape(finding)}:</strong> {escape(reason)}</p></section>"
    )


def tiles(shown: Sequence[tuple[str, str, str]]) -> str:
    """The few figures that matter most: name, figure and note of each."""
    return (
        '<dl class="tiles">'
        + "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd>{escape(note)}</dd></div>"
            for name, value, note in shown
        )
        + "</dl>"
    )


def beside_teachers_size(report: Mapping[str, Any]) -> str:
    """How many times smaller the int8 student is than the teacher, in bytes; or larger."""
    models = report["models"]
    of_teacher = models.get("teacher", {}).get("bytes")
    on_device = models.get("student_int8", {}).get("bytes")
    if not of_teacher or not on_device:
        return ""
    larger, smaller = times(on_device / of_teacher), times(of_teacher / on_device)
    if "1.0×" in (larger, smaller):
        return "about as large as the teacher"
    if on_device > of_teacher:
        return f"{larger} larger than the teacher"
    return f"{smaller} smaller than the teacher"


def interval_note(bounds: Any) -> str:
    """A tile's note on how sure its figure is; empty where that was not measured."""
    return "" if interval(bounds) == MISSING else f"95 %: {interval(bounds)}"


def latency_note(p95: Any) -> str:
    """A tile's note on the slowest answers; empty where none was timed."""
    return "" if milliseconds(p95) == MISSING else f"95 % within {milliseconds(p95)}"


def how_section(
    report: Mapping[str, Any], protocol: str, comparisons: Iterable[tuple[str, str]]
) -> str:
    """What was measured and how: protocol, data, time, comparisons, versions, the recipe."""
    return (
        "<section><h2>What was measured, and how</h2>"
        f"<p>{escape(protocol)}</p>"
        '<div class="facts">'
        f"<div><h3>Data</h3>{facts(_data(report))}</div>"
        f"<div><h3>Time</h3>{_stages(report.get('stages', {}))}</div>"
        f"<div><h3>Comparisons</h3>{facts(comparisons)}</div>"
        f"<div><h3>Versions</h3>{facts(report.get('versions', {}).items())}</div></div>"
        f"<details><summary>The recipe</summary><pre>{escape(_recipe(report))}</pre></details>"
        "</section>"
    )


def facts(pairs: Iterable[tuple[Any, Any]]) -> str:
    """A table of names and what is known of each."""
    lines = (
        f"<tr><td>{escape(str(key))}</td><td>{escape(str(value))}</td></tr>" for key, value in pairs
    )
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _data(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key, value in report.get("data", {}).items():
        if key in SAID_IN_WORDS:
            continue
        yield key.replace("_", " "), count(value) if count(value) != MISSING else str(value)


def _stages(stages: Mapping[str, Any]) -> str:
    times = {name: told.get("seconds") for name, told in stages.items()}
    known = {name: seconds for name, seconds in times.items() if duration(seconds) != MISSING}
    longest = max([*known.values(), 1e-9])
    lines = (
        f"<tr><td>{escape(name)}</td><td>{duration(seconds)}</td>"
        f'<td><i style="width:{100 * known.get(name, 0) / longest:.1f}%"></i></td></tr>'
        for name, seconds in times.items()
    )
    total = f"<tr><td>together</td><td>{duration(sum(known.values()))}</td><td></td></tr>"
    return f'<table class="stages"><tbody>{"".join(lines)}{total}</tbody></table>'


def _recipe(report: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for key, value in report.get("recipe", {}).items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *(f"{name} = {inner!r}" for name, inner in value.items())]
        else:
            lines.append(f"{key} = {value!r}")
    return "\n".join(lines).strip()
