"""`tfrs-distill run`: a recipe, from data to files and report."""

from __future__ import annotations

import argparse
from typing import Any

from tfrs_distill.cli.import_pipeline import import_pipeline
from tfrs_distill.cli.options import add_recipe, recipe_of
from tfrs_distill.cli.terminal import terminal


def add(commands: Any) -> None:
    """Add the command to the parser."""
    words = "train a teacher, a student and its controls; export, evaluate and report"
    run = commands.add_parser("run", help=words, description=words, allow_abbrev=False)
    run.set_defaults(command=_run, when_interrupted="run the same command again to resume.")
    add_recipe(run)
    run.add_argument(
        "--processes",
        metavar="N",
        type=int,
        help="processes that run independent stages at the same time; default: 2, or 1 with a "
        "single core or a GPU",
    )


def _run(arguments: argparse.Namespace) -> None:
    recipe, pipeline = recipe_of(arguments), import_pipeline()
    from tfrs_distill.pipeline.report import terminal_table, verdict
    from tfrs_distill.pipeline.terminal import TerminalProgress
    from tfrs_distill.pipeline.worker import default_processes

    console = terminal()
    processes = default_processes() if arguments.processes is None else arguments.processes
    report = pipeline.run(recipe, arguments.out, TerminalProgress(console), processes=processes)
    console.print(terminal_table(report, console.width))
    console.print(verdict(report), soft_wrap=not console.is_terminal)
    home = arguments.out / recipe.name
    artefact = home / str(recipe.export.version)
    if (home / "report.html").exists():
        console.print(f"\nReport:  {home / 'report.html'}", soft_wrap=True)
    if artefact.exists():
        recommends = recipe.task in ("retrieval", "two-stage")
        command = f"tfrs-distill recommend {artefact} --history TITLE"
        if recommends and recipe.item_texts.read:
            command += ' --add-item "TEXT OF A NEW ITEM"'
        words = f"Try it:  {command}" if recommends else f"Student: {artefact}"
        console.print(words, soft_wrap=True)
