"""`tfrs-distill init`: write a recipe for a user's own tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tfrs_distill.cli.options import OWN_DATA, RECIPE, add_tables, of_tables
from tfrs_distill.cli.terminal import terminal
from tfrs_distill.errors import InputError
from tfrs_distill.keras_version import require_keras_2
from tfrs_distill.serving.quiet import quiet_stderr


def add(commands: Any) -> None:
    """Add the command to the parser."""
    words = "inspect your own data and write a recipe for it"
    init = commands.add_parser("init", help=words, description=words, allow_abbrev=False)
    init.set_defaults(command=_init, when_interrupted="nothing was written.")
    init.add_argument("interactions", metavar="FILE", nargs="+", help=OWN_DATA)
    add_tables(init)
    init.add_argument(
        "--recipe",
        metavar="NAME",
        default=RECIPE,
        help="the recipe to start from: movielens-100k (retrieval, the default), cold-items, "
        "two-stage (retrieval and ranking), ranking or multitask (rating prediction)",
    )
    init.add_argument(
        "--to",
        metavar="RECIPE",
        type=Path,
        default=Path("recipe.toml"),
        help="the file to write; default: %(default)s",
    )


def _init(arguments: argparse.Namespace) -> None:
    from tfrs_distill.pipeline.recipe import Recipe

    target: Path = arguments.to
    if target.exists():
        raise InputError(f"{target} already exists. Give another file by --to.")
    recipe = of_tables(Recipe.named(arguments.recipe), arguments)
    require_keras_2()
    with quiet_stderr():  # TensorFlow writes to standard error
        from tfrs_distill.files import whole_file
        from tfrs_distill.pipeline.data import interactions_line
        from tfrs_distill.pipeline.source import read_other_tables, read_tables
    data, facts = read_tables(recipe)
    console = terminal()
    more = read_other_tables(recipe, data).sentences
    for sentence in [f"{interactions_line(data)}.", *facts.sentences(), *more]:
        console.print(sentence, soft_wrap=True)
    recipe = of_tables(recipe, arguments, facts.columns)
    with whole_file(target, "w") as file:
        file.write(recipe.to_toml())
    console.print(f"\nRecipe:  {target}", soft_wrap=True)
    console.print(f"Run it:  tfrs-distill run --recipe {target}", soft_wrap=True)
