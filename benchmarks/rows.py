"""The rows that every benchmark prints and writes: a value, its goal, and whether it is met."""

from __future__ import annotations

import json
from pathlib import Path

from tfrs_distill.files import whole_file

Row = dict[str, object]


def row(name: str, value: float, unit: str, goal: str, detail: str) -> Row:
    """One measured value; `goal` is a text such as `<= 1.15`, or empty."""
    value = float(value)  # a comparison would return a NumPy bool, which JSON cannot store
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "goal": goal,
        "holds": holds(value, goal) if goal else None,
        "detail": detail,
    }


def holds(value: float, goal: str) -> bool:
    """Whether a value meets a goal such as `>= 1.05`."""
    sign, bound = goal.split()
    limit = float(bound)
    return {">=": value >= limit, "<=": value <= limit, ">": value > limit, "<": value < limit}[
        sign
    ]


def publish(rows: list[Row], json_file: Path | None) -> None:
    """Print the rows as a Markdown table and, if a file is given, write them as JSON."""
    print("\n| figure | value | goal | | detail |\n|---|---|---|---|---|")
    for one in rows:
        held = {True: "holds", False: "**missed**"}.get(one["holds"], "")
        print(
            f"| {one['name']} | {one['value']:.4g} {one['unit']} | {one['goal']} | {held} | "
            f"{one['detail']} |"
        )
    if json_file:
        with whole_file(json_file, "w") as file:
            json.dump({"rows": rows}, file, indent=2)
