"""The comparison of finished runs: reports over seeds, settings side by side, lists of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.report.comparison_page import comparison_page
from tfrs_distill.pipeline.report.lists import compared_users
from tfrs_distill.pipeline.report.over_runs import (
    between_settings,
    over_seeds,
    read_settings,
    shared_tasks,
)
from tfrs_distill.pipeline.report.page import html_page, in_json_types


@dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Args:
        model: the model that is compared between settings.
        reports: one per setting, over its seeds.
        between: by task, the result of `between_settings`; empty for one setting.
        lists: the result of `compared_users`.
    """

    model: str
    reports: list[dict[str, Any]]
    between: dict[str, list[dict[str, Any]]]
    lists: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """The whole result as JSON values."""
        found = {"settings": self.reports, "between": self.between, "lists": self.lists}
        return dict(in_json_types(found))

    def page(self) -> str:
        """The whole result as HTML; for one setting, the page of its report over seeds."""
        if self.between:
            return comparison_page(self.reports, self.between, self.model, self.lists)
        return html_page(self.reports[0] | {"lists": self.lists})


def compare(folders: Sequence[Path], *, model: str, users: Sequence[str]) -> Compared:
    """Compare finished runs.

    Args:
        folders: of the runs.
        model: the model that is compared between settings.
        users: ids, as in the data, of the users whose lists are shown; empty for the users with
            the largest differences.

    Raises:
        InputError: the runs are not finished, or of an earlier version; they cannot be compared;
            or the runs do not have the lists of a given user.
    """
    settings = read_settings(folders)
    if any(run.lengths is None for runs in settings for run in runs) and users:
        raise InputError(
            "--user shows recommended lists, but a ranking run has none. Received: "
            f"--user {' '.join(users)}. Leave it out."
        )
    between = {}
    if len(settings) > 1:
        tasks = shared_tasks(settings)
        between = {task: between_settings(settings, model, task) for task in tasks}
    reports = [over_seeds(runs) for runs in settings]
    rows = next(iter(between.values()), [])
    return Compared(model, reports, between, compared_users(settings, rows, model, users))
