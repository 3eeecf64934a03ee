"""The errors that a user can correct; every other exception is a bug of this package."""

from __future__ import annotations


class InputError(ValueError):
    """An input of the user is invalid.

    The message says what was received, what was expected and what to do. The command line prints
    the message without a traceback, and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of another library's error, short enough to be part of a message."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


class DivergedError(InputError):
    """The loss of a training has become NaN or infinite."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs `{package}`, which is not installed. "
            f'Install it with: pip install "tfrs-distill[{extra}]"'
        )
