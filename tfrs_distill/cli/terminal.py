"""The terminal, or a file, that the commands print to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LOG_WIDTH = 160  # columns of a table in a file or a pipe


def terminal() -> Console:
    """The terminal, or a file of `LOG_WIDTH` columns.

    Text is printed literally: "[Rec]" in a title is not markup, and ":cat:" is not an emoji.
    """
    from rich.console import Console  # slow to import, and not needed for JSON

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console
