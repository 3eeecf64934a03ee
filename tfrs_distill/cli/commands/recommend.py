"""`tfrs-distill recommend`: recommendations from an exported model."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfrs_distill.cli.terminal import terminal
from tfrs_distill.errors import InputError

if TYPE_CHECKING:
    from tfrs_distill.serving.recommender import Recommendation

SHOWN_VALUES = 20  # of an attribute, which may have a thousand


def add(commands: Any) -> None:
    """Add the command to the parser."""
    words = "recommend from an exported model; from a .tflite file without TensorFlow"
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
    terminal().print(table)


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


def _as_json(rank: int, item: Recommendation) -> dict[str, Any]:
    return {"rank": rank, "item_id": item.item_id, "title": item.title, "score": item.score}
