"""The command line: parse, call one public function, print.

Heavy packages (TensorFlow, rich, NumPy) are imported only by the commands that need them, so
`--help` is fast and `recommend` from a `.tflite` file never imports TensorFlow.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrs_distill import __version__
from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.keras_version import require_keras_2
from tfrs_distill.serving.quiet import quiet_stderr

if TYPE_CHECKING:
    from rich.console import Console

    from tfrs_distill.serving.recommender import Recommendation

USERS_ERROR, INTERRUPTED = 2, 130
RECIPE = "movielens-100k"  # the default
SHOWN_VALUES = 20  # of an attribute, which may have a thousand
LOG_WIDTH = 160  # columns of a table in a file or a pipe
BUILT_IN = (
    "movielens-1m, book-crossing, cold-items, synthetic, ranking, multitask, two-stage, reviews"
)
OWN_DATA = (
    "your own user-item interactions, in CSV, JSON lines or Parquet, or a folder of such files"
)
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
    _add_run(commands)
    _add_tune(commands)
    _add_init(commands)
    _add_update(commands)
    _add_compress(commands)
    _add_compare(commands)
    _add_evaluate(commands)
    _add_recommend(commands)
    _add_cache(commands)
    return parser


def _add_run(commands: Any) -> None:
    words = "train a teacher, a student and its controls; export, evaluate and report"
    run = commands.add_parser("run", help=words, description=words, allow_abbrev=False)
    run.set_defaults(command=_run, when_interrupted="run the same command again to resume.")
    _add_recipe(run)
    run.add_argument(
        "--processes",
        metavar="N",
        type=int,
        help="processes that run independent stages at the same time; default: 2, or 1 with a "
        "single core or a GPU",
    )


def _add_tune(commands: Any) -> None:
    words = "tune a recipe's settings on validation, for the student and its twin"
    tune = commands.add_parser("tune", help=words, description=words, allow_abbrev=False)
    tune.set_defaults(command=_tune, when_interrupted="run the same command again to resume.")
    _add_recipe(tune)
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


def _add_recipe(command: argparse.ArgumentParser) -> None:
    """The recipe, and options that change it."""
    _add_data(command)
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
        help="the teacher's BERT: a folder or a Hugging Face name",
    )
    command.add_argument(
        "--tuning", metavar="METHOD", help="how the BERT is fine-tuned: none, lora, ..."
    )
    command.add_argument("--seed", metavar="N", type=int, help="random seed")
    command.add_argument("--quick", action="store_true", help="a small version, as a smoke test")


def _add_init(commands: Any) -> None:
    words = "inspect your own data and write a recipe for it"
    init = commands.add_parser("init", help=words, description=words, allow_abbrev=False)
    init.set_defaults(command=_init, when_interrupted="nothing was written.")
    init.add_argument("interactions", metavar="FILE", nargs="+", help=OWN_DATA)
    _add_tables(init)
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


def _add_data(command: argparse.ArgumentParser) -> None:
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
    _add_tables(command)


def _add_tables(command: argparse.ArgumentParser) -> None:
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


def _add_update(commands: Any) -> None:
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
        type=float,
        default=0.02,
        help="do not publish if more of an earlier version's NDCG is lost; default: %(default)s",
    )
    update.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_compress(commands: Any) -> None:
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
        type=_share,
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


def _share(text: str) -> float:
    """A share, as a number or in per cent."""
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        return float(number) / (100.0 if percent else 1.0)
    except ValueError:
        message = f"{text!r} is not a share; give one such as 2% or 0.02"
        raise argparse.ArgumentTypeError(message) from None


def _add_compare(commands: Any) -> None:
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


def _add_evaluate(commands: Any) -> None:
    words = "evaluate any recommenders on the same users"
    evaluate = commands.add_parser("evaluate", help=words, description=words, allow_abbrev=False)
    evaluate.set_defaults(command=_evaluate, when_interrupted="nothing was written.")
    evaluate.add_argument(
        "scorers",
        metavar="SCORER",
        nargs="+",
        help="an artefact's folder or one of its .tflite files, a SavedModel's folder, scores "
        "(.npy [num_queries, num_items], .npz with ids), or FILE.py:FUNCTION, where "
        "FUNCTION(train, seed) returns a scorer or a teacher",
    )
    _add_data(evaluate)
    evaluate.add_argument(
        "--run", metavar="RUN", type=Path, help="use the data of this run, instead of a recipe's"
    )
    evaluate.add_argument(
        "--split", choices=("test", "validation"), default="test", help="default: %(default)s"
    )
    evaluate.add_argument(
        "-k",
        metavar="N",
        type=int,
        nargs="+",
        default=[10],
        help="list lengths; the first is the main one; default: 10",
    )
    evaluate.add_argument(
        "--item-vectors",
        metavar="FILE",
        help=".npy [num_items, dim], such as text vectors, to measure the diversity of the lists",
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _add_recommend(commands: Any) -> None:
    words = "recommend from an exported model, without TensorFlow"
    recommend = commands.add_parser("recommend", help=words, description=words, allow_abbrev=False)
    recommend.set_defaults(command=_recommend, when_interrupted="nothing was written.")
    recommend.add_argument(
        "artefact", metavar="ARTEFACT", help="an artefact's folder, or a .tflite file in it"
    )
    recommend.add_argument(
        "--history",
        metavar="TITLE_OR_ID",
        action="append",
        default=[],
        help="an item of the user's history, oldest first; give it again for each item",
    )
    recommend.add_argument(
        "--add-item",
        metavar="TEXT",
        action="append",
        default=[],
        help="the text of a new item, to be recommended as well; for students that read texts. "
        "Give it again for each item",
    )
    recommend.add_argument(
        "--attribute",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an attribute of the user, such as age=25; for students that read it. Give it again "
        "for each attribute",
    )
    recommend.add_argument(
        "-k", metavar="N", type=int, default=10, help="number of recommendations; default: 10"
    )
    recommend.add_argument(
        "--format", choices=("tflite", "saved_model"), help="default: tflite if available"
    )
    recommend.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_cache(commands: Any) -> None:
    words = "inspect, verify or prune a teacher cache"
    cache = commands.add_parser("cache", help=words, description=words, allow_abbrev=False)
    actions = cache.add_subparsers(required=True, metavar="ACTION")
    for name, command, words in (
        ("inspect", _cache_inspect, "show what a cache holds"),
        ("verify", _cache_verify, "verify all checksums and name each damaged file"),
        ("prune", _cache_prune, "remove what a finished cache no longer needs"),
    ):
        action = actions.add_parser(name, help=words, description=words, allow_abbrev=False)
        action.set_defaults(command=command, when_interrupted="no file is left incomplete.")
        action.add_argument("directory", metavar="DIR", help="the cache's folder")
        action.add_argument("--json", action="store_true", help="print JSON instead of text")


def _run(arguments: argparse.Namespace) -> None:
    recipe, pipeline = _recipe(arguments), _pipeline(arguments)
    from tfrs_distill.pipeline.report import terminal_table, verdict
    from tfrs_distill.pipeline.terminal import TerminalProgress
    from tfrs_distill.pipeline.worker import default_processes

    console = _console()
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


def _update(arguments: argparse.Namespace) -> None:
    pipeline = _pipeline_module()
    from tfrs_distill.pipeline.report.update import update_table
    from tfrs_distill.pipeline.terminal import TerminalProgress
    from tfrs_distill.progress import SilentProgress

    console = _console()
    found = pipeline.update(
        arguments.run,
        arguments.new_interactions,
        arguments.new_items,
        columns=_columns(arguments.column),
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


def _compress(arguments: argparse.Namespace) -> None:
    pipeline = _pipeline_module()
    from tfrs_distill.pipeline.compression.page import in_short, table_of
    from tfrs_distill.pipeline.terminal import TerminalProgress
    from tfrs_distill.progress import SilentProgress

    console = _console()
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


def _tune(arguments: argparse.Namespace) -> None:
    recipe, pipeline = _recipe(arguments), _pipeline(arguments)
    from tfrs_distill.pipeline.search.page import in_short
    from tfrs_distill.pipeline.terminal import TerminalProgress

    console = _console()
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


def _pipeline(arguments: argparse.Namespace) -> Any:
    """The pipeline's functions; check that `--out` can be a folder."""
    if arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"--out must be a folder. Received: {arguments.out}, which is a file.")
    return _pipeline_module()


def _pipeline_module() -> Any:
    """The pipeline's functions, imported without TensorFlow's messages."""
    try:
        require_keras_2()
    except ImportError as error:
        raise InputError(str(error)) from error
    with quiet_stderr():  # TensorFlow writes to standard error before it reads any setting
        import tensorflow  # noqa: F401  which the pipeline imports later

        from tfrs_distill import pipeline
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return pipeline


def _recipe(arguments: argparse.Namespace) -> Any:
    """The recipe that the arguments name, with their changes."""
    recipe = _recipe_of_data(arguments)
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


def _recipe_of_data(arguments: argparse.Namespace) -> Any:
    """The recipe that the arguments name, with their data."""
    from tfrs_distill.pipeline.recipe import Recipe

    recipe: Any = Recipe.load(arguments.recipe)
    if arguments.data_dir == "":
        raise InputError("--data-dir is empty. Give it a value or drop it.")
    if arguments.data_dir is not None and arguments.interactions is not None:
        raise InputError("--data-dir and --interactions both name the data. Give one of them.")
    if arguments.data_dir is not None:
        with quiet_stderr():  # it may import TensorFlow, see above
            recipe = recipe.of_folder(arguments.data_dir)
    if arguments.interactions is not None:
        recipe = _of_tables(recipe, arguments)
    else:
        for option in ("items", "users", "column", "min_rating", "weigh_by_rating"):
            if getattr(arguments, option):
                name = option.replace("_", "-")
                raise InputError(f"--{name} describes --interactions, which is missing.")
        recipe = recipe.with_dislikes(arguments.disliked_below)
    return recipe


def _of_tables(
    recipe: Any, arguments: argparse.Namespace, found: Mapping[str, Any] | None = None
) -> Any:
    """The recipe for the tables that the arguments name, with the recognised columns."""
    recipe = recipe.of_tables(
        arguments.interactions,
        arguments.items,
        users=arguments.users,
        columns=_columns(arguments.column) | dict(found or {}),
        min_rating=arguments.min_rating,
        weigh_by_rating=arguments.weigh_by_rating,
    )
    return recipe.with_dislikes(arguments.disliked_below)


def _init(arguments: argparse.Namespace) -> None:
    from tfrs_distill.pipeline.recipe import Recipe

    target: Path = arguments.to
    if target.exists():
        raise InputError(f"{target} already exists. Give another file by --to.")
    recipe = _of_tables(Recipe.named(arguments.recipe), arguments)
    require_keras_2()
    with quiet_stderr():  # TensorFlow writes to standard error
        from tfrs_distill.files import whole_file
        from tfrs_distill.pipeline.data import interactions_line
        from tfrs_distill.pipeline.source import read_other_tables, read_tables
    data, facts = read_tables(recipe)
    console = _console()
    more = read_other_tables(recipe, data).sentences
    for sentence in [f"{interactions_line(data)}.", *facts.sentences(), *more]:
        console.print(sentence, soft_wrap=True)
    recipe = _of_tables(recipe, arguments, facts.columns)
    with whole_file(target, "w") as file:
        file.write(recipe.to_toml())
    console.print(f"\nRecipe:  {target}", soft_wrap=True)
    console.print(f"Run it:  tfrs-distill run --recipe {target}", soft_wrap=True)


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
    console = _console()
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


def _evaluate(arguments: argparse.Namespace) -> None:
    named = (
        arguments.data_dir,
        arguments.interactions,
        arguments.items,
        arguments.users,
        arguments.column,
        arguments.min_rating,
        arguments.disliked_below,
        arguments.weigh_by_rating,
    )
    if arguments.run is not None and (any(named) or arguments.recipe != RECIPE):
        raise InputError(
            "--run determines the data. Leave out --recipe, --data-dir, --interactions ..."
        )
    recipe = _recipe_of_data(arguments)
    require_keras_2()
    with quiet_stderr():  # TensorFlow writes to standard error
        from tfrs_distill.pipeline.evaluate_scorers import (
            check_finds_items,
            data_of_run,
            evaluate_scorers,
        )
        from tfrs_distill.pipeline.source import read_data
    from tfrs_distill.pipeline.report.evaluation import evaluation_blocks
    from tfrs_distill.pipeline.report.page import in_json_types
    from tfrs_distill.pipeline.terminal import TerminalProgress
    from tfrs_distill.progress import SilentProgress

    data: Any
    if arguments.run is not None:
        data, seed = data_of_run(arguments.run)
    else:
        check_finds_items(recipe)
        data, seed = read_data(recipe), recipe.seed
    console = _console()
    found = evaluate_scorers(
        arguments.scorers,
        data,
        split=arguments.split,
        ks=arguments.k,
        item_vectors=arguments.item_vectors,
        seed=seed,
        progress=SilentProgress() if arguments.json else TerminalProgress(console),
    )
    if arguments.json:
        print(json.dumps(in_json_types(found), indent=2))
        return
    for block in evaluation_blocks(found, console.width):
        console.print(block, soft_wrap=isinstance(block, str) and not console.is_terminal)


def _columns(given: Sequence[str]) -> dict[str, str | list[str]]:
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


def _attributes(given: Sequence[str]) -> dict[str, str]:
    """The attributes of `--attribute NAME=VALUE`, by name."""
    attributes: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value) or name in attributes:
            raise InputError(
                "--attribute must be NAME=VALUE, once per name, such as age=25. Received: "
                f"{text!r}."
            )
        attributes[name] = value
    return attributes


def _recommend(arguments: argparse.Namespace) -> None:
    from tfrs_distill.serving.recommender import Recommender

    recommender = Recommender.load(arguments.artefact, format=arguments.format)
    if arguments.add_item:
        recommender.add_items(arguments.add_item)
    attributes = _attributes(arguments.attribute)
    answer = recommender.recommend(arguments.history, k=arguments.k, attributes=attributes)
    for name, value in attributes.items():
        read: Any = recommender.artefact.user_attributes
        if not read.encode({name: [value]}).any():
            known = read.attributes[name]
            more = f" and {len(known) - SHOWN_VALUES:,} more" if len(known) > SHOWN_VALUES else ""
            print(
                f"note: {name}={value} is unknown; known values: "
                f"{', '.join(known[:SHOWN_VALUES])}{more}",
                file=sys.stderr,
            )
    if arguments.json:
        print(json.dumps([_as_json(rank, item) for rank, item in enumerate(answer, 1)], indent=2))
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Rank", justify="right")
    table.add_column("Title", overflow="fold")
    table.add_column("Id")
    table.add_column("Score", justify="right")
    for rank, item in enumerate(answer, 1):
        table.add_row(str(rank), item.title, item.item_id, f"{item.score:.3f}")
    _console().print(table)


def _cache_inspect(arguments: argparse.Namespace) -> None:
    from tfrs_distill.pipeline.report.numbers import count, size

    found = _cache().inspect(arguments.directory)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    console = _console()
    for cache in found["caches"]:
        facts = {key: cache.pop(key) for key in ("manifest", "kind", "shards", "rows", "bytes")}
        console.print(
            f"{facts['manifest']}: {facts['kind']}, {count(facts['rows'])} rows in "
            f"{count(facts['shards'])} shards, {size(facts['bytes'])}"
        )
        for key, value in cache.items():
            console.print(f"  {key.replace('_', ' ')}: {value}", soft_wrap=True)
    for left in found["leftovers"]:
        console.print(f"not in the cache: {left['file']} ({left['why']}, {size(left['bytes'])})")


def _cache_verify(arguments: argparse.Namespace) -> None:
    from tfrs_distill.pipeline.report.numbers import count, size

    found = _cache().verify(arguments.directory)
    if arguments.json:
        print(json.dumps(found, indent=2))
    problems = [f"{problem['file']}: {problem['problem']}" for problem in found["problems"]]
    if problems:
        raise InputError(
            f"{len(problems)} files of the cache {arguments.directory} are damaged: "
            + "; ".join(problems)
        )
    if not arguments.json:
        print(f"intact: {count(found['files'])} files, {size(found['bytes'])}")


def _cache_prune(arguments: argparse.Namespace) -> None:
    from tfrs_distill.pipeline.report.numbers import size

    removed = _cache().prune(arguments.directory)
    if arguments.json:
        print(json.dumps(removed, indent=2))
        return
    for file in removed:
        print(f"removed {file['file']} ({file['why']}, {size(file['bytes'])})")
    print(f"{len(removed)} files, {size(sum(file['bytes'] for file in removed))} freed")


def _cache() -> Any:
    """The cache's functions, imported without TensorFlow's messages."""
    with quiet_stderr():
        from tfrs_distill.knowledge import maintenance
    return maintenance


def _console() -> Console:
    """The terminal, or a file of `LOG_WIDTH` columns.

    Text is printed literally: "[Rec]" in a title is not markup, and ":cat:" is not an emoji.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console


def _as_json(rank: int, item: Recommendation) -> dict[str, Any]:
    return {"rank": rank, "item_id": item.item_id, "title": item.title, "score": item.score}


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
