"""How a long job tells what it is doing, whoever listens.

The stages of a pipeline and the training loops speak to a `Progress`; a terminal, a notebook or
nothing at all listens. Only the command line knows which: the library prints nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Advance(Protocol):
    """What a bar yields: call it after each piece of work."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Move the bar by `steps`; a `note` such as "epoch 3" replaces the last one."""


class Progress(Protocol):
    """A listener for the start of a stage, the work inside it, and its result."""

    def stage(self, number: int, total: int, name: str) -> None:
        """Stage `number` of `total` begins; numbers start at 1."""

    def bar(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """A piece of work of `total` steps; it may end early, as early stopping does."""

    def done(self, line: str, seconds: float, reused: bool) -> None:
        """The stage has ended with the result `line`; `reused` when nothing had to be done."""


class SilentProgress:
    """Listens and says nothing: the default of the library.

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
