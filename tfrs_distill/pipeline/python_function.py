"""A function in the user's own Python file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError


def function_of_file(path: Path, name: str) -> Callable[[Any, int], Any]:
    """Run the file, and return `FUNCTION(examples, seed)` of it.

    Raises:
        InputError: the file cannot be run, or has no such function.
    """
    module_name = f"tfrs_distill_teacher_{path.stem}"
    specification = importlib.util.spec_from_file_location(module_name, path)
    assert specification is not None and specification.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(specification)
    sys.modules[module_name] = module  # pickling and dataclasses look there
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {error}.") from error
    function: Callable[[Any, int], Any] | None = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{path} has no function {name!r}.")
    return function
