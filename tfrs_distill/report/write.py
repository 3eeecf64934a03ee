"""The report on disk."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_distill.atomic import whole_file
from tfrs_distill.report.by_task import html_page


def write_report(report: Mapping[str, Any], folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write `report.json` and `report.html` into `folder`; each appears whole or not at all.

    Figures may be NumPy's. One that is not finite becomes `null`: JSON knows no NaN.

    Returns:
        The two paths, JSON first.
    """
    plain = _plain(report)
    json_path, html_path = Path(folder) / "report.json", Path(folder) / "report.html"
    with whole_file(json_path, "w") as file:
        json.dump(plain, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")
    with whole_file(html_path, "w") as file:
        file.write(html_page(plain))
    return json_path, html_path


def _plain(value: Any) -> Any:
    """`value` in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):  # a NumPy array or number, without importing NumPy
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return str(value)
