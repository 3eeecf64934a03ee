"""The errors that a user can correct; every other exception is ours."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what came, what was expected and what to do; the command line prints it alone,
    without a traceback, and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """What an error of another library says, short enough to be part of a message."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


class DivergedError(InputError):
    """A training's loss has become NaN or infinite."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs `{package}`, which is not installed. "
            f'Install it with: pip install "tfrs-distill[{extra}]"'
        )
