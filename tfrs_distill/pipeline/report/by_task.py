"""A report's page, table and verdict, as its task asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from tfrs_distill.pipeline.report import page, table
from tfrs_distill.pipeline.report.json_types import in_json_types
from tfrs_distill.pipeline.report.ranking_page import ranking_page
from tfrs_distill.pipeline.report.ranking_table import ranking_table
from tfrs_distill.pipeline.report.ranking_verdict import ranking_verdict
from tfrs_distill.pipeline.report.verdict import verdict as retrieval_verdict


def html_page(report: Mapping[str, Any]) -> str:
    """The whole page; a figure that is not finite is a missing one."""
    report = in_json_types(report)
    return ranking_page(report) if _ranks(report) else page.html_page(report)


def terminal_table(report: Mapping[str, Any], width: int = 100) -> Table:
    """The comparison as a `rich` table; a narrow terminal gets fewer columns."""
    return ranking_table(report, width) if _ranks(report) else table.terminal_table(report, width)


def verdict(report: Mapping[str, Any]) -> str:
    """Whether the teacher helped, in words."""
    return ranking_verdict(report) if _ranks(report) else retrieval_verdict(report)


def _ranks(report: Mapping[str, Any]) -> bool:
    return bool(report.get("task", "retrieval") != "retrieval")
