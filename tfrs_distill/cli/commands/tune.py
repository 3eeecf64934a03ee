"""`tfrs-distill tune`: search a recipe's settings."""

from __future__ import annotations

import argparse
from typing import Any

from tfrs_distill.cli.import_pipeline import import_pipeline
from tfrs_distill.cli.options import add_recipe, recipe_of
from tfrs_distill.cli.terminal import terminal


def add(commands: Any) -> None:
    """Add the command to the parser."""
    words = "tune a recipe's settings on validation, for the student and its twin"
    tune = commands.add_parser("tune", help=words, description=words, allow_abbrev=False)
    tune.set_defaults(command=_tune, when_interrupted="run the same command again to resume.")
    add_recipe(tune)
    tune.add_argument(
        "--trials",
        metavar="N",
        type=int,
        default=20,
        help="trials of the student, and as many of the twin; default: %(default)s",
    )
    tune.add_argument(
        "--search",
        metavar="KEY=VALUES",
        action="append",
        default=[],
        help="a setting and its range (LOW:HIGH, LOW:HIGH:log) or values (A,B,C), such as "
        "student.embedding_dim=16,32,48, added to the default search space or replacing its "
        "entry; a single value fixes it",
    )


def _tune(arguments: argparse.Namespace) -> None:
    recipe, pipeline = recipe_of(arguments), import_pipeline()
    from tfrs_distill.pipeline.search.page import in_short
    from tfrs_distill.pipeline.terminal import TerminalProgress

    console = terminal()
    found = pipeline.tune(
        recipe,
        arguments.out,
        num_trials=arguments.trials,
        space=arguments.search,
        progress=TerminalProgress(console),
    )
    folder = arguments.out / recipe.name / "tune"
    console.print(in_short(found), soft_wrap=not console.is_terminal)
    console.print(f"\nReport:  {folder / 'tune.html'}", soft_wrap=True)
    run = f"tfrs-distill run --recipe {folder / 'best.toml'} --out {arguments.out}"
    console.print(f"Run it:  {run}", soft_wrap=True)
