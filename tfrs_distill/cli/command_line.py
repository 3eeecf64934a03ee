"""Parse the arguments, call one command, and say what went wrong."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Sequence

from tfrs_distill import __version__
from tfrs_distill.cli.commands import (
    cache,
    compare,
    compress,
    evaluate,
    init,
    recommend,
    run,
    tune,
    update,
)
from tfrs_distill.errors import InputError, MissingExtraError

COMMANDS = (run, tune, init, update, compress, compare, evaluate, recommend, cache)
USERS_ERROR, INTERRUPTED = 2, 130
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name. Defaults to the process's own.

    Returns:
        The exit code: 0, 2 for a mistake that the user can correct, 130 for an interrupt.
    """
    # TensorFlow reads this once, when it is imported; the user's own value has priority.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for stream in (sys.stdout, sys.stderr):  # a title must not fail on a terminal's encoding
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    arguments = _parser().parse_args(argv)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"\ninterrupted: {arguments.when_interrupted}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        message = _users_message(error)
        if message is None:
            raise
        print("error: " + " ".join(message.splitlines()), file=sys.stderr)
        return USERS_ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tfrs-distill",
        description="Distil a large recommender into a small one, export it and compare them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _users_message(error: BaseException | None) -> str | None:
    """The message for an error, or its cause, that the user can correct; else None."""
    if error is None:
        return None
    if isinstance(error, (InputError, MissingExtraError)):
        return str(error)
    if getattr(error, "errno", None) in FULL_DISK or "No space left on device" in str(error):
        return (
            "No space left on the disk; no incomplete file was kept. Free some space and run the "
            "same command again to resume."
        )
    if isinstance(error, PermissionError):
        return f"No permission to use {error.filename}. Choose another folder, such as with --out."
    return _users_message(error.__cause__)
