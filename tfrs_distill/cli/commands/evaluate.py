"""`tfrs-distill evaluate`: any recommenders on the same users."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tfrs_distill.cli.options import RECIPE, add_data, recipe_of_data
from tfrs_distill.cli.terminal import terminal
from tfrs_distill.errors import InputError
from tfrs_distill.keras_version import require_keras_2
from tfrs_distill.serving.quiet import quiet_stderr


def add(commands: Any) -> None:
    """Add the command to the parser."""
    words = "evaluate any recommenders on the same users"
    evaluate = commands.add_parser("evaluate", help=words, description=words, allow_abbrev=False)
    evaluate.set_defaults(command=_evaluate, when_interrupted="nothing was written.")
    evaluate.add_argument(
        "scorers",
        metavar="SCORER",
        nargs="+",
        help="an artefact's folder or one of its .tflite files, a SavedModel's folder, scores "
        "(.npy [num_queries, num_items]; .npz, .safetensors or .parquet with ids), or "
        "FILE.py:FUNCTION, where "
        "FUNCTION(train, seed) returns a scorer or a teacher",
    )
    add_data(evaluate)
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
    recipe = recipe_of_data(arguments)
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
    console = terminal()
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
