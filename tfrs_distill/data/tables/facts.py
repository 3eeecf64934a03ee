"""Facts about how a table's rows were read, for its owner."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tfrs_distill.data.tables.roles import ID

SHOWN_ROLES = {ID: "id of the items"}


@dataclass
class TableFacts:
    """Facts about how a table's rows were read.

    Args:
        columns: the column used for each role.
        rows: number of rows.
        dropped: number of dropped rows by reason.
        notes: further facts, one sentence each.
    """

    columns: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """Number of rows that are interactions."""
        return self.rows - sum(self.dropped.values())

    def sentences(self) -> list[str]:
        """All facts, as sentences."""
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
