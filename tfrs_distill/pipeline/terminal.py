"""`Progress` for a terminal, and plain lines for a log file.

On a terminal each piece of work is a live bar that disappears when done; if several threads
report work, there are several bars. One line per stage remains. Elsewhere (a pipe, a log of
continuous integration) every event is one plain line, and a long piece of work writes a line at
most every `seconds_between_lines`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from tfrs_distill.pipeline.report.numbers import duration
from tfrs_distill.progress import Advance

NARROW = 72  # columns; below, the bar has no elapsed time and no note


class TerminalProgress:
    """Shows a run on a `rich` console.

    Args:
        console: where to write. Defaults to standard output.
        seconds_between_lines: outside of a terminal, minimum interval between the lines of a bar.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        seconds_between_lines: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = Console(highlight=False) if console is None else console
        self.seconds_between_lines = seconds_between_lines
        self.clock = clock
        self._live: RichProgress | None = None  # all current bars, since a console has one display
        self._lock = threading.Lock()

    def stage(self, number: int, total: int, name: str) -> None:
        """Write the stage's number and name."""
        self._line(Text.assemble((f"[{number}/{total}]", "cyan"), " ", (name, "bold")))

    def bar(self, description: str, total: int) -> contextlib.AbstractContextManager[Advance]:
        """Show a live bar on a terminal; elsewhere write a line at intervals."""
        if self.console.is_terminal:
            return self._live_bar(description, total)
        return self._plain_bar(description, total)

    def done(self, line: str, seconds: float, reused: bool) -> None:
        """Write the result and its duration, or that an earlier result is reused."""
        how_long = "unchanged, not run again" if reused else duration(seconds)
        mark = ("=", "dim") if reused else ("+", "bold green")
        self._line(Text.assemble("      ", mark, " ", line, " ", (f"({how_long})", "dim")))

    def _line(self, text: Text) -> None:
        # A log has one line per event, of any width; a terminal wraps.
        wrap = self.console.is_terminal
        self.console.print(text, soft_wrap=not wrap)

    @contextlib.contextmanager
    def _live_bar(self, description: str, total: int) -> Iterator[Advance]:
        with self._lock:
            if self._live is None:
                self._live = RichProgress(
                    *_columns(self.console.width),
                    console=self.console,
                    transient=True,
                    expand=False,
                )
                self._live.start()
            live = self._live
            task = live.add_task(description, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            if note:
                live.update(task, note=note)
            live.advance(task, steps)

        try:
            yield advance
        finally:
            with self._lock:
                if len(live.tasks) > 1:
                    live.remove_task(task)
                else:
                    live.stop()
                    self._live = None

    @contextlib.contextmanager
    def _plain_bar(self, description: str, total: int) -> Iterator[Advance]:
        start = last_line = self.clock()
        finished = 0

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal finished, last_line
            finished += steps
            now = self.clock()
            if now - last_line < self.seconds_between_lines:
                return
            last_line = now
            left = (now - start) * max(total - finished, 0) / finished if finished else None
            parts = [f"{description} {finished}/{total}", note]
            parts.append("" if left is None else f"{duration(left)} left")
            self._line(Text("      " + ", ".join(part for part in parts if part)))

        yield advance


class _NoteColumn(ProgressColumn):
    """The last note, truncated rather than wrapped."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields["note"]), style="dim", no_wrap=True, overflow="ellipsis")


def _columns(width: int) -> list[ProgressColumn]:
    """Return the columns of a bar: all on a wide terminal, the essential ones on a narrow one."""
    one_line = Column(no_wrap=True, overflow="ellipsis")
    essential: list[ProgressColumn] = [
        TextColumn("{task.description}", table_column=one_line, markup=False),
        BarColumn(bar_width=28 if width >= NARROW else 10),
        TaskProgressColumn(),
    ]
    if width < NARROW:
        return [*essential, TimeRemainingColumn(compact=True)]
    note = _NoteColumn(table_column=Column(no_wrap=True, overflow="ellipsis"))
    return [
        TextColumn("   "),
        SpinnerColumn("line"),
        *essential,
        TimeElapsedColumn(),
        TextColumn("[dim]left[/dim]"),
        TimeRemainingColumn(compact=True),
        note,
    ]
