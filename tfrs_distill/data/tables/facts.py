"""What became of a table's rows, for the person whose table it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tfrs_distill.data.tables.roles import ID

SHOWN_ROLES = {ID: "id of the items"}


@dataclass
class TableFacts:
    """What became of a table's rows.

    Args:
        columns: which column was taken for what, by role.
        rows: how many there were.
        dropped: how many were left out, by reason.
        notes: what else is to be known, a sentence each.
    """

    columns: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """How many rows are interactions."""
        return self.rows - sum(self.dropped.values())

    def sentences(self) -> list[str]:
        """All of it, a sentence each."""
        taken = ", ".join(
            f"{SHOWN_ROLES.get(role, role)} = "
            + (repr(name) if isinstance(name, str) else " and ".join(map(repr, name)))
            for role, name in self.columns.items()
        )
        dropped = ", ".join(f"{number:,} {why}" for why, number in self.dropped.items())
        left_out = f"; left out: {dropped}" if dropped else ""
        return [
            f"Columns: {taken}.",
            f"{self.kept:,} of {self.rows:,} rows are interactions{left_out}.",
            *self.notes,
        ]
