"""The map of the items: what the section of the page shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrs_distill.evaluation.segments import HEAD_SHARE, TAIL_BELOW
from tfrs_distill.pipeline.report import charts
from tfrs_distill.pipeline.report.models import Report, names
from tfrs_distill.pipeline.report.numbers import count, percent

WHAT_GROUPS = (
    f"Head: the {HEAD_SHARE:.0%} of the items that most users met; tail: others that fewer than "
    f"{TAIL_BELOW} users met."
)
GROUPS = ("head", "middle", "tail")  # as `evaluation.segments` numbers them


def map_section(report: Report) -> dict[str, Any] | None:
    """A sentence, and a figure for each of the two models; None where a report has no map."""
    found = report.get("map")
    if not found:
        return None
    panels = found["panels"]
    called = {one["model"]: _called(report, one["model"], found["member"]) for one in panels}
    groups = [GROUPS[number] for number in found["groups"]]
    numbers = {group: groups.count(group) for group in GROUPS}
    figures = [
        {
            "heading": f"The items by the {called[panel['model']]}",
            "note": f"The two directions hold {percent(panel['explained'])} of the variance.",
            "dots": True,
            "legend": [(group, group, count(some)) for group, some in numbers.items() if some],
            "chart": charts.map_chart(
                list(zip(panel["x"], panel["y"])),
                groups,
                found["items"],
                f"Map of the items by the {called[panel['model']]}",
            ),
        }
        for panel in panels
    ]
    return {"text": _text(report, found, called), "figures": figures}


def _text(report: Report, found: Mapping[str, Any], called: Mapping[str, str]) -> str:
    """What is seen, how it was made, and whose neighbours are whose."""
    first, second = (called[panel["model"]] for panel in found["panels"])
    k, number = found["neighbours"]["k"], found["num_items"]
    shared = [
        f"{percent(pair['overlap'])} with the {names(report, pair['models'][1])[0].lower()}"
        for pair in found["neighbours"]["by_pair"]
    ]
    drawn = len(found["items"])
    which = f"{count(drawn)} of the {count(number)}" if drawn < number else f"All {count(number)}"
    return (
        f"Near one another are items that a model takes for alike. Of an item's {k} nearest "
        f"neighbours by cosine, the {first} has {' and '.join(shared)} in common; "
        f"{percent(found['neighbours']['chance'])} would be chance. {which} items that somebody "
        f"met in training{', drawn by the seed' if drawn < number else ''}; their vectors at unit "
        f"length, on their first two principal components; the map by the {second} is rotated to "
        f"that by the {first}, which leaves its distances as they are. {WHAT_GROUPS}"
    )


def _called(report: Report, model: str, member: str) -> str:
    """A model's name; of an ensemble, whose member it is that has item vectors."""
    name = names(report, model)[0].lower()
    return f"{name}'s {member}" if member and model == "teacher" else name
