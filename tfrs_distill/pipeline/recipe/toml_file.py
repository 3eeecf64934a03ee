"""Reads and writes a recipe as TOML."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe.settings import rule_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RecipeType = TypeVar("RecipeType", bound=Any)


def read(path: Path, like: Callable[[object, dict[str, Any]], RecipeType]) -> RecipeType:
    """Read a recipe from a TOML file; every error message starts with the file's name.

    Args:
        path: the file.
        like: `like(task, data)` returns the recipe with the defaults for the file's `task` and its
            section [data].
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a recipe is UTF-8 text; this file is not.") from error
    except OSError as error:
        raise InputError(f"{path}: the recipe cannot be read: {error.strerror}.") from error
    try:
        values = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and a number of thousands of digits
        raise InputError(f"{path}, line {_line(error, text)}: not valid TOML: {error}") from error
    try:
        data = values.get("data")
        start = like(values.get("task"), data if isinstance(data, dict) else {})
        recipe: RecipeType = _build(values, start, "", start.task)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return recipe


def write(recipe: Any) -> str:
    """The recipe as TOML, with a comment on every line."""
    lines, sections = [], []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if dataclasses.is_dataclass(value):
            sections += ["", f"[{field.name}]", *_lines(value)]
        else:
            lines.append(_line_of(field, value))
    return "\n".join([*lines, *sections]) + "\n"


def _lines(settings: Any) -> list[str]:
    return [
        _line_of(field, getattr(settings, field.name)) for field in dataclasses.fields(settings)
    ]


def _line_of(field: dataclasses.Field[Any], value: Any) -> str:
    rule = rule_of(field)
    if isinstance(value, tuple):  # on one line
        entries = (tomli_w.dumps({"entry": entry}).strip() for entry in value)
        assignment = f"{field.name} = [{', '.join(e.removeprefix('entry = ') for e in entries)}]"
    else:
        assignment = tomli_w.dumps({field.name: value}).strip()
    return assignment if rule is None else f"{assignment:<32}  # {rule.comment()}"


def _build(values: dict[str, Any], like: Any, section: str, task: str) -> Any:
    """`like` with its values replaced by the file's."""
    fields = {field.name: field for field in dataclasses.fields(like)}
    changes = {}
    for key, value in values.items():
        if key not in fields:
            raise InputError(_unknown(key, list(fields), section, task))
        if rule_of(fields[key]) is None:
            if not isinstance(value, dict):
                raise InputError(f"`{key}` must be a section, [{key}]. Received: {value!r}.")
            value = _build(value, getattr(like, key), key, task)
        changes[key] = value
    return dataclasses.replace(like, **changes)


def _unknown(key: str, known: list[str], section: str, task: str) -> str:
    where = f'{f"[{section}] of " if section else ""}a recipe with `task` "{task}"'
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean `{near[0]}`?" if near else f"Known: {', '.join(known)}."
    return f"`{key}` is not a key of {where}. {hint}"


def _line(error: ValueError, text: str) -> int:
    """The line the parser names; at the end of the file it names none."""
    found = re.search(r"at line (\d+)", str(error))
    return int(found.group(1)) if found else text.count("\n") + 1
