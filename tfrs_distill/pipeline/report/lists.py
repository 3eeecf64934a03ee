"""Side by side for one user: the history, the relevant items, what each model recommended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from tfrs_distill.data.splits import Queries, pad_histories
from tfrs_distill.errors import InputError
from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.data import read_names
from tfrs_distill.pipeline.report.models import Report, leading_metric, metric_of, names
from tfrs_distill.pipeline.report.numbers import metric, percent
from tfrs_distill.pipeline.report.over_runs import FinishedRun, results_of
from tfrs_distill.pipeline.report.settings import setting_name
from tfrs_distill.pipeline.report.verdict import leading_task

LISTS_FILE = "lists.npz"  # of the evaluate stage
HISTORY, POSITIVES, ENDS, LISTS = "history", "positives", "ends", "lists"
SHOWN = ("teacher", "student", "twin", "retrieval")  # in this order, if the run has them
MOST_RECENT = 10  # items of a history that are kept
SEVERAL = 5  # users that an error message names


@dataclass(frozen=True)
class RecommendedLists:
    """What models recommended to the test users of a run.

    Args:
        user_ids: as in the data, one per query.
        titles: by item index; the title of padding is never shown.
        histories: int [num_queries, 10], the latest items, padded with 0 in front.
        positives: the relevant items, one int array per query.
        item_ids: int [num_queries, k] by model, best first, 0 in empty slots.
    """

    user_ids: Sequence[str]
    titles: Sequence[str]
    histories: np.ndarray
    positives: Sequence[np.ndarray]
    item_ids: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        queries: Queries,
        user_ids: Sequence[str],
        item_ids: Mapping[str, np.ndarray],
    ) -> RecommendedLists:
        """The lists of answerable queries; `user_ids` has all users of the data."""
        return cls(
            [user_ids[user] for user in queries.users],
            ("", *queries.catalogue.titles),
            pad_histories(queries.histories, MOST_RECENT),
            queries.positives,
            item_ids,
        )

    def save(self, folder: Path, users: np.ndarray) -> None:
        """Write the indices to the evaluate stage's folder, in the smallest integer type."""
        dtype = np.min_scalar_type(len(self.titles) - 1)
        items = {f"{LISTS}/{name}": found for name, found in self.item_ids.items()}
        items |= {HISTORY: self.histories, POSITIVES: np.concatenate(self.positives)}
        arrays: dict[str, Any] = {name: array.astype(dtype) for name, array in items.items()}
        arrays |= {"users": users, ENDS: np.cumsum([len(items) for items in self.positives])}
        with whole_file(folder / LISTS_FILE) as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def read(cls, home: Path) -> RecommendedLists:
        """Read the lists of a finished run; titles and user ids come from its data stage.

        Raises:
            InputError: the run has none; it was evaluated by an earlier version.
        """
        path = home / "stages" / "evaluate" / LISTS_FILE
        if not path.is_file():
            raise InputError(
                f"{home} has no recommended lists: it was evaluated by an earlier version. Remove "
                "its folder stages/evaluate and run its recipe.toml again."
            )
        _, user_ids, catalogue = read_names(home / "stages" / "data")
        with np.load(path) as arrays:
            return cls(
                [user_ids[user] for user in arrays["users"]],
                ("", *catalogue.titles),
                arrays[HISTORY],
                np.split(arrays[POSITIVES], arrays[ENDS][:-1]),
                {
                    name.removeprefix(f"{LISTS}/"): arrays[name]
                    for name in arrays.files
                    if name.startswith(f"{LISTS}/")
                },
            )

    def row(self, user_id: str) -> int:
        """The query of a user.

        Raises:
            InputError: no test user has the id.
        """
        if user_id not in self.user_ids:
            some = ", ".join(self.user_ids[:SEVERAL])
            raise InputError(
                f"User {user_id!r} is not among the {len(self.user_ids):,} test users with "
                f"relevant items. Some of these users: {some}."
            )
        return self.user_ids.index(user_id)

    def listed(self, model: str, row: int) -> list[dict[str, Any]]:
        """A model's list for a query: each item's `title`, and whether it is a `hit`."""
        items = self.item_ids[model][row]
        return [
            {"title": self.titles[item], "hit": bool(item in self.positives[row])}
            for item in items[items > 0]
        ]

    def user(self, row: int) -> dict[str, Any]:
        """A query's `user`, the end of the `history`, oldest first, and the `next` items."""
        history = self.histories[row]
        return {
            "user": self.user_ids[row],
            "history": [self.titles[item] for item in history[history > 0]],
            "next": [self.titles[item] for item in self.positives[row]],
        }


Column = tuple[str, RecommendedLists, Mapping[str, np.ndarray], str]  # heading, ..., NDCG, model


def drawn_users(
    lists: RecommendedLists, ndcg: Mapping[str, np.ndarray], report: Report, k: int, seed: int
) -> dict[str, Any]:
    """The users of a run's report: one each with a better, an equal and a worse student list.

    Each is drawn by the seed among all such test users, so the examples are not hand-picked.

    Args:
        lists: of the run.
        ndcg: float [num_queries] by model.
        report: has `models`, for their names.
        k: of the NDCG.
        seed: of the draw.
    """
    difference = ndcg["student"] - ndcg["twin"]
    generator, shares, users = np.random.default_rng(seed), [], []
    for where, among in (
        ("above", difference > 0),
        ("equal to", difference == 0),
        ("below", difference < 0),
    ):
        shares.append(f"{where} the twin's ({percent(among.mean())} of the test users)")
        if among.any():
            row = int(generator.choice(np.flatnonzero(among)))
            users.append(_side_by_side(lists, row, _columns(lists, ndcg, report)))
    return {
        "rule": f"One user each, drawn at random by the run's seed, of those for whom the "
        f"student's NDCG@{k} is {shares[0]}, {shares[1]} and {shares[2]}.",
        "metric": f"ndcg@{k}",
        "users": users,
    }


def compared_users(
    settings: Sequence[Sequence[FinishedRun]],
    between: Sequence[Mapping[str, Any]],
    model: str,
    user_ids: Sequence[str],
) -> dict[str, Any] | None:
    """The users of a comparison: the given ones, or the two with the largest differences.

    The lists are of each setting's first seed: for one setting, the lists of its models; for
    several, each setting's list of one model.

    Args:
        settings: runs, as `read_settings` returns them.
        between: for several settings, the result of `between_settings`.
        model: the model that is compared between settings.
        user_ids: as in the data; empty for the users with the largest differences.

    Returns:
        `rule`, in words, `metric`, and `users`; None if no users are given and the runs have no
        lists of the model.

    Raises:
        InputError: users are given, and the runs have no lists, or a user is not a test user.
    """
    runs = [of_setting[0] for of_setting in settings]
    if not user_ids and any(run.lengths is None for run in runs):
        return None  # of rows
    kept = [RecommendedLists.read(run.folder) for run in runs]
    report, task = runs[0].report, leading_task(runs[0].report)
    for run, lists in zip(runs, kept):
        if len(runs) > 1 and model not in lists.item_ids:
            if not user_ids:
                return None
            raise InputError(
                f"{run.folder} has no recommended lists of {model!r}. It has lists of: "
                f"{', '.join(lists.item_ids)}."
            )
    ndcg = [one.models for one in results_of(runs, task)]
    if len(runs) == 1:
        pair = "the student and its twin"
        differences = (ndcg[0]["student"] - ndcg[0]["twin"])[None]
        columns = _columns(kept[0], ndcg[0], report)
    else:
        pair = "the settings" if len(runs) == 2 else "the first setting and another"
        differences = np.stack([of_run[model] - ndcg[0][model] for of_run in ndcg[1:]])
        headings = map(setting_name, between)
        columns = list(zip(headings, kept, ndcg, [model] * len(runs)))
    seeds = ", ".join(dict.fromkeys(str(run.report["seed"]) for run in runs))
    if user_ids:
        rows = [kept[0].row(user_id) for user_id in user_ids]
        rule = "The users given by --user"
    else:
        rows = _extremes(differences)
        name = metric_of(leading_metric(report, task)).name
        rule = f"The users whose {name} differs most between {pair}, one in each direction"
    return {
        "rule": f"{rule}; lists of seed {seeds}.",
        "metric": leading_metric(report, task),
        "users": [_side_by_side(kept[0], row, columns) for row in rows],
    }


def _extremes(differences: np.ndarray) -> list[int]:
    """The query with the largest difference above 0, and the one with the lowest below 0."""
    found = []
    if differences.max() > 0:
        found.append(int(differences.max(axis=0).argmax()))
    if differences.min() < 0:
        found.append(int(differences.min(axis=0).argmin()))
    return found


def _side_by_side(lists: RecommendedLists, row: int, columns: Sequence[Column]) -> dict[str, Any]:
    """A user with several lists: each has its heading `of`, its `value` and its `items`."""
    return lists.user(row) | {
        "lists": [
            {
                "of": heading,
                "value": float(ndcg[model][row]),
                "items": of_column.listed(model, row),
            }
            for heading, of_column, ndcg, model in columns
        ]
    }


def _columns(
    lists: RecommendedLists, ndcg: Mapping[str, np.ndarray], report: Report
) -> list[Column]:
    """A column for each of a run's models."""
    shown = [model for model in SHOWN if model in lists.item_ids]
    return [(names(report, model)[0], lists, ndcg, model) for model in shown]


def lists_tables(shown: Mapping[str, Any]) -> Iterator[tuple[Table, list[str]]]:
    """Each user's lists as a `rich` table, and the lines above it: id, history, relevant items.

    Args:
        shown: what `compared_users` returned.
    """
    name, heading = metric_of(shown["metric"]).name, [shown["rule"]]
    for user in shown["users"]:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("Rank", justify="right")
        for column in user["lists"]:
            figure = f"{column['of']}\n{name} {metric(column['value'])}"
            table.add_column(Text(figure), overflow="fold")
        cells = [list(map(_cell, column["items"])) for column in user["lists"]]
        for rank, line in enumerate(zip_longest(*cells, fillvalue=Text("")), 1):
            table.add_row(str(rank), *line)
        yield (
            table,
            [
                *heading,
                "",
                f"User {user['user']}",
                f"Last interactions, oldest first: {'; '.join(user['history'])}",
                f"Relevant items (* in a list): {'; '.join(user['next'])}",
            ],
        )
        heading = []


def _cell(item: Mapping[str, Any]) -> Text:
    return Text(f"* {item['title']}", "bold") if item["hit"] else Text(item["title"])
