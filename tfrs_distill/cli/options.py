"""Options that several commands have, and the recipe that they name."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.serving.quiet import quiet_stderr

RECIPE = "movielens-100k"  # the default
BUILT_IN = (
    "movielens-1m, book-crossing, cold-items, synthetic, ranking, multitask, two-stage, reviews"
)
OWN_DATA = (
    "your own user-item interactions, in CSV, JSON lines or Parquet, or a folder of such files"
)


def add_recipe(command: argparse.ArgumentParser) -> None:
    """The recipe, and options that change it."""
    add_data(command)
    command.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("saved_models"),
        help="the folder of all runs; default: %(default)s",
    )
    command.add_argument(
        "--teacher",
        metavar="KIND",
        help="kind of teacher: two-tower, item-item, ensemble, deep-cross, ...",
    )
    command.add_argument(
        "--encoder",
        metavar="NAME_OR_PATH",
        help="the teacher's BERT: a folder, also of a TF-Hub model, or a Hugging Face name",
    )
    command.add_argument(
        "--tuning", metavar="METHOD", help="how the BERT is fine-tuned: none, lora, ..."
    )
    command.add_argument("--seed", metavar="N", type=int, help="random seed")
    command.add_argument("--quick", action="store_true", help="a small version, as a smoke test")


def add_data(command: argparse.ArgumentParser) -> None:
    """The recipe, and data to use instead of its own."""
    command.add_argument(
        "--recipe",
        metavar="FILE_OR_NAME",
        default=RECIPE,
        help=f"a TOML file, or one of movielens-100k (the default), {BUILT_IN}",
    )
    command.add_argument(
        "--data-dir", metavar="DIR", help="a folder with the data, instead of fetching it"
    )
    command.add_argument("--interactions", metavar="FILE", nargs="+", help=OWN_DATA)
    add_tables(command)


def add_tables(command: argparse.ArgumentParser) -> None:
    """Further tables, columns, and how ratings are used."""
    command.add_argument(
        "--items", metavar="FILE", nargs="+", default=[], help="tables of the items"
    )
    command.add_argument(
        "--users",
        metavar="FILE",
        nargs="+",
        default=[],
        help="tables of the users, for quality by user group",
    )
    command.add_argument(
        "--column",
        metavar="ROLE=NAME",
        action="append",
        default=[],
        help="the name of a column: user, item, time or rating; id, title, text or attribute of "
        "the items; group of the users",
    )
    command.add_argument(
        "--min-rating",
        metavar="X",
        type=float,
        default=0.0,
        help="drop interactions with a lower rating",
    )
    command.add_argument(
        "--disliked-below",
        metavar="X",
        type=float,
        default=0.0,
        help="treat interactions with a lower rating as dislikes",
    )
    command.add_argument(
        "--weigh-by-rating",
        action="store_true",
        help="use ratings as sample weights",
    )


def recipe_of(arguments: argparse.Namespace) -> Any:
    """The recipe that the arguments of `add_recipe` name, with their changes."""
    if arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"--out must be a folder. Received: {arguments.out}, which is a file.")
    recipe = recipe_of_data(arguments)
    if arguments.encoder == "":
        raise InputError("--encoder is empty. Give a value or leave the option out.")
    if arguments.encoder is not None:
        recipe = replace(recipe, encoder=replace(recipe.encoder, name=arguments.encoder))
    if arguments.teacher is not None:
        recipe = replace(recipe, teacher=replace(recipe.teacher, kind=arguments.teacher))
    if arguments.tuning is not None:
        if not hasattr(recipe, "tuning"):
            raise InputError(
                "--tuning fine-tunes the BERT of a retrieval teacher. Received: "
                f'--tuning {arguments.tuning} with a recipe whose `task` is "{recipe.task}".'
            )
        recipe = replace(recipe, tuning=replace(recipe.tuning, method=arguments.tuning))
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    return recipe.quick() if arguments.quick else recipe


def recipe_of_data(arguments: argparse.Namespace) -> Any:
    """The recipe that the arguments of `add_data` name, with their data."""
    from tfrs_distill.pipeline.recipe import Recipe

    recipe: Any = Recipe.load(arguments.recipe)
    if arguments.data_dir == "":
        raise InputError("--data-dir is empty. Give it a value or drop it.")
    if arguments.data_dir is not None and arguments.interactions is not None:
        raise InputError("--data-dir and --interactions both name the data. Give one of them.")
    if arguments.data_dir is not None:
        with quiet_stderr():  # it may import TensorFlow, which writes to it
            recipe = recipe.of_folder(arguments.data_dir)
    if arguments.interactions is not None:
        recipe = of_tables(recipe, arguments)
    else:
        for option in ("items", "users", "column", "min_rating", "weigh_by_rating"):
            if getattr(arguments, option):
                name = option.replace("_", "-")
                raise InputError(f"--{name} describes --interactions, which is missing.")
        recipe = recipe.with_dislikes(arguments.disliked_below)
    return recipe


def of_tables(
    recipe: Any, arguments: argparse.Namespace, found: Mapping[str, Any] | None = None
) -> Any:
    """The recipe for the tables that the arguments name, with the recognised columns."""
    recipe = recipe.of_tables(
        arguments.interactions,
        arguments.items,
        users=arguments.users,
        columns=columns_of(arguments.column) | dict(found or {}),
        min_rating=arguments.min_rating,
        weigh_by_rating=arguments.weigh_by_rating,
    )
    return recipe.with_dislikes(arguments.disliked_below)


def columns_of(given: Sequence[str]) -> dict[str, str | list[str]]:
    """The columns of `--column ROLE=NAME`, by role; a list for roles with several columns."""
    from tfrs_distill.pipeline.recipe.sections import ROLES_OF_SEVERAL

    columns: dict[str, str | list[str]] = {}
    for text in given:
        role, equals, name = text.partition("=")
        if not (role and equals and name):
            raise InputError(
                f"--column must be ROLE=NAME, such as user=customer. Received: {text!r}."
            )
        if role in ROLES_OF_SEVERAL:
            columns[role] = [*columns.get(role, []), name]
        else:
            columns[role] = name
    return columns


def share(text: str) -> float:
    """A share, as a number or in per cent."""
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        return float(number) / (100.0 if percent else 1.0)
    except ValueError:
        message = f"{text!r} is not a share; give one such as 2% or 0.02"
        raise argparse.ArgumentTypeError(message) from None
