"""`tfrs-distill compare`: finished runs side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tfrs_distill.cli.terminal import terminal
from tfrs_distill.errors import InputError
from tfrs_distill.keras_version import require_keras_2
from tfrs_distill.serving.quiet import quiet_stderr


def add(commands: Any) -> None:
    """Add the command to the parser."""
    words = "compare finished runs, over seeds and between settings"
    compare = commands.add_parser("compare", help=words, description=words, allow_abbrev=False)
    compare.set_defaults(command=_compare, when_interrupted="nothing was changed.")
    compare.add_argument(
        "runs", metavar="RUN", nargs="+", type=Path, help="the folder of a finished run"
    )
    compare.add_argument(
        "--model",
        metavar="NAME",
        default="student",
        help="the model that is compared between settings; default: %(default)s",
    )
    compare.add_argument(
        "--user",
        metavar="ID",
        action="append",
        default=[],
        help="show this user's lists side by side; give it again for each user; default: the users "
        "with the largest gain and the largest loss",
    )
    compare.add_argument(
        "--html", metavar="FILE", type=Path, help="also write an HTML page to this new file"
    )
    compare.add_argument("--json", action="store_true", help="print JSON")


def _compare(arguments: argparse.Namespace) -> None:
    require_keras_2()
    with quiet_stderr():  # TensorFlow writes to standard error
        from tfrs_distill.pipeline.report.compare import compare
    from tfrs_distill.pipeline.report import (
        lists_tables,
        segments_table,
        settings_table,
        terminal_segments,
        terminal_table,
    )
    from tfrs_distill.pipeline.report.models import leading_metric, seeds_of

    if arguments.html is not None and arguments.html.exists():
        raise InputError(f"{arguments.html} already exists. Give another file by --html.")
    found = compare(arguments.runs, model=arguments.model, users=arguments.user)
    if arguments.html is not None:
        from tfrs_distill.files import whole_file

        with whole_file(arguments.html, "w") as file:
            file.write(found.page())
    if arguments.json:
        print(json.dumps(found.as_json(), indent=2))
        return
    console = terminal()
    wide = not console.is_terminal  # a sentence is one line of a file
    for report in found.reports:
        console.print(f"{report['name']}, {seeds_of(report)}")
        console.print(terminal_table(report, console.width))
        console.print(report["verdict"] + "\n", soft_wrap=wide)
        if "segments" in report and not found.between:
            explanation, table = terminal_segments(report, console.width)
            console.print(explanation, soft_wrap=wide)
            console.print(table)
    for task, settings in found.between.items():
        key = leading_metric(found.reports[0], task)
        table, sentence = settings_table(settings, arguments.model, key, console.width)
        console.print(table)
        console.print(sentence, soft_wrap=wide)
        for row in settings[1:]:
            if row["segments"]:
                heading, table = segments_table(row, console.width)
                console.print(f"\n{heading}", soft_wrap=True)
                console.print(table)
    for table, sentences in lists_tables(found.lists) if found.lists else ():
        console.print("\n".join(sentences), soft_wrap=wide)
        console.print(table)
    if arguments.html is not None:
        console.print(f"Page:  {arguments.html}", soft_wrap=True)
