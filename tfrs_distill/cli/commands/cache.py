"""`tfrs-distill cache`: inspect, verify or prune a teacher cache."""

from __future__ import annotations

import argparse
import json
from typing import Any

from tfrs_distill.cli.terminal import terminal
from tfrs_distill.errors import InputError
from tfrs_distill.serving.quiet import quiet_stderr


def add(commands: Any) -> None:
    """Add the command to the parser."""
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


def _cache_inspect(arguments: argparse.Namespace) -> None:
    from tfrs_distill.pipeline.report.numbers import count, size

    found = _cache().inspect(arguments.directory)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    console = terminal()
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
