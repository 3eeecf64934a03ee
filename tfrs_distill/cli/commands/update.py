"""`tfrs-distill update`: the next version of a finished run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tfrs_distill.cli.import_pipeline import import_pipeline
from tfrs_distill.cli.options import columns_of, share
from tfrs_distill.cli.terminal import terminal


def add(commands: Any) -> None:
    """Add the command to the parser."""
    words = "continue a finished run with new interactions and items, and publish its next version"
    update = commands.add_parser("update", help=words, description=words, allow_abbrev=False)
    update.set_defaults(command=_update, when_interrupted="run the same command again to resume.")
    update.add_argument("run", metavar="RUN", type=Path, help="a run's folder")
    update.add_argument(
        "--new-interactions",
        metavar="FILE",
        nargs="+",
        required=True,
        help="interactions later than the run's, in CSV, JSON lines or Parquet",
    )
    update.add_argument(
        "--new-items",
        metavar="FILE",
        nargs="+",
        default=[],
        help="items that are new to the run, with a title or text",
    )
    update.add_argument(
        "--column",
        metavar="ROLE=NAME",
        action="append",
        default=[],
        help="the name of a column: user, item, time or rating; id, title or text of the items; "
        "default: as in the run's recipe, or its usual names",
    )
    update.add_argument(
        "--max-drop",
        metavar="SHARE",
        type=share,
        default=0.02,
        help="do not publish if more of an earlier version's NDCG is lost, such as 2%% or 0.02; "
        "default: 2%%",
    )
    update.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _update(arguments: argparse.Namespace) -> None:
    pipeline = import_pipeline()
    from tfrs_distill.pipeline.report.update import update_table
    from tfrs_distill.pipeline.terminal import TerminalProgress
    from tfrs_distill.progress import SilentProgress

    console = terminal()
    found = pipeline.update(
        arguments.run,
        arguments.new_interactions,
        arguments.new_items,
        columns=columns_of(arguments.column),
        max_drop=arguments.max_drop,
        progress=SilentProgress() if arguments.json else TerminalProgress(console),
    )
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    sentence, table = update_table(found)
    console.print(sentence, soft_wrap=not console.is_terminal)
    console.print(table)
    artefact = arguments.run / str(found["version"])
    console.print(f"Published: {artefact}", soft_wrap=True)
