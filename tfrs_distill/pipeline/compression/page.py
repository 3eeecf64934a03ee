"""`compress.html` and the terminal output: the students measured by a search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.report import numbers as show
from tfrs_distill.pipeline.report.charts import pareto_chart
from tfrs_distill.pipeline.report.page import pages_beside

if TYPE_CHECKING:
    from rich.table import Table


LONG = 16  # characters in the name of a score, from which a column gets a short name


def write_page(facts: Mapping[str, Any], path: Path) -> None:
    """Write the page of a search for a smaller student."""
    page = pages_beside(Path(__file__).parent).get_template("compress.html.jinja")
    chart = pareto_chart(
        [
            (
                point["bytes"],
                point["score"],
                f"{name_of(point)}: {show.metric(point['score'])}, {show.size(point['bytes'])}",
                "student" if point["best"] else "other",
            )
            for point in facts["points"]
        ],
        facts["max_bytes"],
    )
    rows = [
        (number == facts["chosen"], point["best"], cells_of(point, facts))
        for number, point in enumerate(facts["points"])
    ]
    text = page.render(
        facts=facts, sentence=in_short(facts), chart=chart, rows=rows, columns=columns_of(facts)
    )
    with whole_file(path, "w") as file:
        file.write(text)


def table_of(facts: Mapping[str, Any]) -> Table:
    """Return the points of the Pareto front, for the terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("student")
    for name in columns_of(facts):
        table.add_column(name, justify="right")
    for number, point in enumerate(facts["points"]):
        if point["best"]:
            style = "bold" if number == facts["chosen"] else None
            table.add_row(name_of(point), *cells_of(point, facts)[1:], style=style)
    return table


def columns_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the column titles next to a point's name; a long score name is on the page only."""
    score = facts["score"] if len(facts["score"]) < LONG else "score"
    return ("size", f"{score} on validation", "kept", "before fine-tuning", "time p50", "p95")


def cells_of(point: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Return a point's name and the cells of its columns."""
    whole = facts["points"][facts["uncompressed"]]["score"]
    return [
        name_of(point),
        show.size(point["bytes"]),
        show.metric(point["score"]),
        show.percent(point["score"] / whole),
        show.metric(point["untuned"]),
        *(show.milliseconds(point["latency_ms"][name]) for name in ("p50", "p95")),
    ]


def name_of(point: Mapping[str, Any]) -> str:
    """Return a point's methods, in words."""
    name = ", ".join(point["methods"]) or "float32, not compressed"
    return f"{name}, fine-tuned" if point["tuned"] else name


def in_short(facts: Mapping[str, Any]) -> str:
    """Return a summary: the chosen student, and its loss on test."""
    chosen, test = facts["points"][facts["chosen"]], facts["test"]
    whole = facts["points"][facts["uncompressed"]]
    low, high = test["interval"]
    texts = ""
    if "ids-only" in chosen["methods"]:
        texts = " It has no text tower any more: new items cannot be added to it."
    return (
        f"{name_of(chosen)[:1].upper()}{name_of(chosen)[1:]}: {show.size(chosen['bytes'])} in "
        f"place of {show.size(whole['bytes'])}; on test {test['metric']} is "
        f"{show.metric(test['chosen'])} in place of {show.metric(test['uncompressed'])} "
        f"(difference {show.difference(test['difference'])}, 95 % interval "
        f"{show.difference(low)} to {show.difference(high)}).{texts}"
    )
