"""The map of the items: the values of the page's section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrs_distill.evaluation.segments import HEAD_SHARE, TAIL_BELOW
from tfrs_distill.pipeline.report import charts
from tfrs_distill.pipeline.report.models import Report, names
from tfrs_distill.pipeline.report.numbers import count, percent

WHAT_GROUPS = (
    f"Head: the {HEAD_SHARE:.0%} most popular items; tail: other items that fewer than "
    f"{TAIL_BELOW} users interacted with."
)
GROUPS = ("head", "middle", "tail")  # as `evaluation.segments` numbers them


def map_section(report: Report) -> dict[str, Any] | None:
    """A text, and a chart for each of the two models; None if a report has no map."""
    found = report.get("map")
    if not found:
        return None
    panels = found["panels"]
    called = {one["model"]: _called(report, one["model"], found["member"]) for one in panels}
    groups = [GROUPS[number] for number in found["groups"]]
    numbers = {group: groups.count(group) for group in GROUPS}
    figures = [
        {
            "heading": f"Item vectors of the {called[panel['model']]}",
            "note": f"The two axes explain {percent(panel['explained'])} of the variance.",
            "dots": True,
            "legend": [(group, group, count(some)) for group, some in numbers.items() if some],
            "chart": charts.map_chart(
                list(zip(panel["x"], panel["y"])),
                groups,
                found["items"],
                f"Map of the item vectors of the {called[panel['model']]}",
            ),
        }
        for panel in panels
    ]
    return {"text": _text(report, found, called), "figures": figures}


def _text(report: Report, found: Mapping[str, Any], called: Mapping[str, str]) -> str:
    """What the map shows, how it was made, and how many neighbours the models share."""
    first, second = (called[panel["model"]] for panel in found["panels"])
    k, number = found["neighbours"]["k"], found["num_items"]
    shared = [
        f"{percent(pair['overlap'])} with the {names(report, pair['models'][1])[0].lower()}"
        for pair in found["neighbours"]["by_pair"]
    ]
    drawn = len(found["items"])
    which = f"{count(drawn)} of the {count(number)}" if drawn < number else f"all {count(number)}"
    return (
        f"Items with similar vectors are close to each other. Of an item's {k} nearest neighbours "
        f"by cosine, the {first} has {' and '.join(shared)} in common; "
        f"{percent(found['neighbours']['chance'])} is expected by chance. Shown: {which} items "
        f"with interactions in training{', drawn by the seed' if drawn < number else ''}; their "
        f"unit-length vectors, projected on the first two principal components. The map of the "
        f"{second} is rotated to align with that of the {first}; a rotation keeps distances. "
        f"{WHAT_GROUPS}"
    )


def _called(report: Report, model: str, member: str) -> str:
    """A model's name; for an ensemble, the name of the member that has item vectors."""
    name = names(report, model)[0].lower()
    return f"{name}'s {member}" if member and model == "teacher" else name
