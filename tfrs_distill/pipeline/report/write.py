"""The report on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.report.page import html_page, in_json_types


def write_report(report: Mapping[str, Any], folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write `report.json` and `report.html` into `folder`, each atomically.

    NumPy numbers are allowed. A number that is not finite becomes `null`, as JSON has no NaN.

    Returns:
        The two paths, JSON first.
    """
    plain = in_json_types(report)
    json_path, html_path = Path(folder) / "report.json", Path(folder) / "report.html"
    with whole_file(json_path, "w") as file:
        json.dump(plain, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")
    with whole_file(html_path, "w") as file:
        file.write(html_page(plain))
    return json_path, html_path
