"""A report in the types that JSON knows, as it is written and as a page shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def in_json_types(value: Any) -> Any:
    """`value` in JSON's own types; a number that is not finite becomes None.

    Example:
    >>> in_json_types({"auc": float("nan"), 3: (0.5, None)})
    {'auc': None, '3': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): in_json_types(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):  # a NumPy array or number, without importing NumPy
        return in_json_types(value.tolist())
    if isinstance(value, (list, tuple)):
        return [in_json_types(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return str(value)
