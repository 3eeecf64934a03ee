"""`tfrs-distill compress`: the best student within a size limit."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tfrs_distill.cli.import_pipeline import import_pipeline
from tfrs_distill.cli.options import share
from tfrs_distill.cli.terminal import terminal


def add(commands: Any) -> None:
    """Add the command to the parser."""
    words = "search for the best student within a size limit, and export it"
    compress = commands.add_parser("compress", help=words, description=words, allow_abbrev=False)
    compress.set_defaults(
        command=_compress, when_interrupted="run the same command again to resume."
    )
    compress.add_argument(
        "artefact",
        metavar="ARTEFACT",
        type=Path,
        help="the artefact of a run, such as saved_models/ml-100k/1",
    )
    compress.add_argument(
        "--max-bytes",
        metavar="SIZE",
        type=_bytes,
        required=True,
        help="size limit of the .tflite file (two stages have two), such as 32KB (32,000 bytes)",
    )
    compress.add_argument(
        "--max-drop",
        metavar="SHARE",
        type=share,
        default=0.02,
        help="the share of the float32 student's score that may be lost, such as 2%% or 0.02; "
        "default: 2%%",
    )
    compress.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        help="the new artefact; default: compressed/VERSION in the run's folder",
    )
    compress.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _compress(arguments: argparse.Namespace) -> None:
    pipeline = import_pipeline()
    from tfrs_distill.pipeline.compression.page import in_short, table_of
    from tfrs_distill.pipeline.terminal import TerminalProgress
    from tfrs_distill.progress import SilentProgress

    console = terminal()
    found = pipeline.compress(
        arguments.artefact,
        max_bytes=arguments.max_bytes,
        max_drop=arguments.max_drop,
        to=arguments.to,
        progress=SilentProgress() if arguments.json else TerminalProgress(console),
    )
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    console.print(table_of(found))
    console.print(in_short(found), soft_wrap=not console.is_terminal)
    console.print(f"Artefact: {found['artefact']}", soft_wrap=True)


def _bytes(text: str) -> int:
    """A number of bytes, such as 32000, 32KB or 1.5 MB, in units of 1,000 and 1,000,000."""
    number = text.strip().upper().removesuffix("B").strip()
    factors = {"K": 1_000, "M": 1_000_000}
    factor = factors.get(number[-1:], 1)
    try:
        size = float(number[:-1] if factor > 1 else number) * factor
    except ValueError:
        size = -1.0
    if not 1 <= size < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give one such as 32000 or 32KB")
    return int(size)
