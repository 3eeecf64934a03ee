"""The page of several settings: each compared with the first, and each setting's short report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfrs_distill.pipeline.report import charts
from tfrs_distill.pipeline.report.models import (
    Figure,
    Report,
    leading_metric,
    metric_of,
    seeds_of,
    words,
)
from tfrs_distill.pipeline.report.page import PAGES, in_json_types, task_section
from tfrs_distill.pipeline.report.settings import (
    INTERVAL_OF_IT,
    Settings,
    best_setting,
    segments_columns,
    setting_name,
    settings_columns,
)
from tfrs_distill.pipeline.report.table import INTERVAL


def comparison_page(
    reports: Sequence[Report],
    between: Mapping[str, Settings],
    model: str,
    lists: Mapping[str, Any] | None,
) -> str:
    """The whole page, from the template of a run's report.

    Args:
        reports: for each setting, the result of `over_seeds`.
        between: by task, the result of `between_settings`.
        model: the model that is compared.
        lists: the result of `compared_users`.
    """
    reports, between = in_json_types(reports), in_json_types(between)
    names = [setting_name(row) for row in next(iter(between.values()))]
    return PAGES.get_template("page.html.jinja").render(
        title=f"Comparison of {' with '.join(dict.fromkeys(one['name'] for one in reports))}",
        settings=[
            _settings_section(reports[0], task, rows, model) for task, rows in between.items()
        ],
        reports=[
            {
                "name": name,
                "seeds": seeds_of(report),
                "verdict": report["verdict"],
                "tasks": [task_section(report, task) for task in report["tasks"]],
            }
            for name, report in zip(names, reports)
        ],
        lists=lists,
    )


def _settings_section(report: Report, task: str, rows: Settings, model: str) -> dict[str, Any]:
    """A task's table, with forest plots of the metrics and of the differences to the first."""
    key, styles = leading_metric(report, task), [charts.style_of(model)] * len(rows)
    differences = [row.get("against_first") for row in rows]
    return {
        "name": task,
        "sentence": best_setting(rows, model, key),
        "metric": metric_of(key),
        "resampled": report["resampled"]["what"],
        "corner": f"{words(model).capitalize()} of",
        "columns": settings_columns(rows, key),
        "rows": [
            {"name": row["name"], "what": setting_name(row).removeprefix(str(row["name"]))}
            for row in rows
        ],
        "forests": {
            INTERVAL: charts.forest([_figure(row, "value") for row in rows], styles),
            INTERVAL_OF_IT: charts.forest(
                [found and _figure(found, "difference") for found in differences], styles, 0.0
            ),
        },
        "segments": [segments_columns(row) for row in rows if row.get("segments")],
    }


def _figure(found: Mapping[str, Any], key: str) -> Figure | None:
    """A value with its bounds; None if one is not finite."""
    value, bounds = found[key], found["interval"]
    return None if None in (value, *bounds) else (value, *bounds)
