"""The progress of long jobs.

The stages of a pipeline and the training loops report to a `Progress`; its implementation prints to
a terminal or a notebook, or does nothing. Only the command line chooses one: the library itself
prints nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Advance(Protocol):
    """The function that a bar yields; call it after each step of work."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Move the bar by `steps`; a `note` such as "epoch 3" replaces the last one."""


class Progress(Protocol):
    """Receives the start of a stage, the progress of its work, and its result."""

    def stage(self, number: int, total: int, name: str) -> None:
        """Stage `number` of `total` begins; numbers start at 1."""

    def bar(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """A progress bar of `total` steps; it may end early, for example with early stopping."""

    def done(self, line: str, seconds: float, reused: bool) -> None:
        """The stage has ended with the result `line`; `reused` if it was not run again."""


class SilentProgress:
    """Ignores all progress: the default of the library.

    Example:
    >>> with SilentProgress().bar("epochs", total=2) as advance:
    ...     advance(note="epoch 1")
    ...     advance(note="epoch 2")
    """

    def stage(self, number: int, total: int, name: str) -> None:
        """Say nothing."""

    @contextlib.contextmanager
    def bar(self, description: str, total: int) -> Iterator[Advance]:
        """Yield a function that does nothing."""

        def advance(steps: int = 1, note: str = "") -> None:
            pass

        yield advance

    def done(self, line: str, seconds: float, reused: bool) -> None:
        """Say nothing."""
