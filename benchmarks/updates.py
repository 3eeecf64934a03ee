"""Is an updated student as good as one trained from scratch, and what is the cost of each?

    python benchmarks/updates.py [--quick] [--seeds 0] [--slices 8] [--anew 4 8] [--out DIR]

MovieLens-100K in order of time: the first 28 % are a run, and every slice of the rest is an update
(`tfrs-distill update`) of the previous version. It is compared with the first version, which is
never updated, and, after the slices that `--anew` names, with a run from scratch on all data so
far. All are measured on the test users of the data so far (each user's last 10 %), over the whole
catalogue at that time; and, for forgetting, on users without new data since the first version.
Costs are the seconds of the stages that a version needs: for a run data, words, teacher, knowledge,
student and export, without its twin and its evaluation. Runs and updates that are on disk are not
run again. Intervals are over users and seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill import pipeline
from tfrs_distill.evaluation import metrics
from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.recipe import Recipe, RetrievalRecipe
from tfrs_distill.pipeline.report.over_runs import NDCG_FILE, USERS
from tfrs_distill.pipeline.terminal import TerminalProgress

from rows import Row, publish, row  # isort: skip

FIRST = 0.28  # of all interactions: the run that is updated
OF_A_VERSION = ("data", "words", "teacher", "knowledge", "student", "export")
ALL_USERS, UNCHANGED = "all users", "users without new data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one slice, as a smoke test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument(
        "--anew", type=int, nargs="*", help="default: the middle and the last slice"
    )
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    recipe, slices, anew = Recipe.named("movielens-100k"), arguments.slices, arguments.anew
    if arguments.quick:
        recipe, slices, arguments.seeds = recipe.quick(), 1, arguments.seeds[:1]
    if anew is None or arguments.quick:
        anew = sorted({max(slices // 2, 1), slices})
    replays = []
    for seed in arguments.seeds:
        replays.append(Replay(replace(recipe, seed=seed), slices, arguments.out))
        print(replays[-1].table(anew))
    publish(goals(replays, anew), arguments.json)


class Replay:
    """Versions of one student over time.

    Args:
        recipe: of the first run and of those trained from scratch.
        slices: number of updates.
        out: the folder of all runs.
    """

    def __init__(self, recipe: RetrievalRecipe, slices: int, out: Path) -> None:
        self.recipe, self.slices, self.out = recipe, slices, out
        self.home = out / f"updates-seed-{recipe.seed}{'-quick' * (slices == 1)}"
        self.tables = write_slices(self.home, slices)
        self._run("first", 0)
        self.versions = [self._update(number) for number in range(1, slices + 1)]

    def _run(self, name: str, until: int) -> dict[str, Any]:
        """The report of a run on the data up to a slice."""
        items = self.home / f"items-until-{until}.csv"
        files = [str(table) for table, _ in self.tables[: until + 1]]
        recipe = self.recipe.of_tables(files, [str(items)])
        recipe = replace(recipe, name=name, training=replace(recipe.training, controls=()))
        return pipeline.run(recipe, self.home, TerminalProgress())

    def _update(self, number: int) -> dict[str, Any]:
        """The results of the update with a slice."""
        version = number + 1
        file = self.home / "first" / "updates" / str(version) / "update.json"
        if file.exists() and (self.home / "first" / str(version)).exists():
            found: dict[str, Any] = json.loads(file.read_text())
            return found
        interactions, items = self.tables[number]
        new = [str(items)] if items is not None else []
        return pipeline.update(
            self.home / "first",
            [str(interactions)],
            new,
            max_drop=0.5,  # so that a loss is measured and not refused
            progress=TerminalProgress(),
        )

    def anew(self, number: int) -> dict[str, Any]:
        """The report of a run from scratch on all data up to a slice."""
        return self._run(f"until-{number}", number)

    def table(self, anew: Iterable[int]) -> str:
        """NDCG and seconds by slice, as Markdown."""
        k = self.recipe.evaluation.k
        lines = [
            f"\n| slice (seed {self.recipe.seed}), NDCG@{k} | never | updated | anew | unchanged "
            "users: first version | updated | seconds: update | anew |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for number, found in enumerate(self.versions, 1):
            whole = self.anew(number) if number in anew else None
            everyone, same = found["ndcg"][ALL_USERS], found["ndcg"].get(UNCHANGED, {})
            cells = [
                f"{everyone['first']:.4f}",
                f"{everyone['new']:.4f}",
                "" if whole is None else f"{ndcg_of(whole):.4f}",
                f"{same.get('first', float('nan')):.4f}",
                f"{same.get('new', float('nan')):.4f}",
                f"{sum(found['seconds'].values()):.0f}",
                "" if whole is None else f"{seconds_of(whole):.0f}",
            ]
            lines.append(f"| {number} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def by_user(self, number: int) -> list[np.ndarray]:
        """The NDCG of each test user: of an update, and of a run from scratch on the same data."""
        update = self.home / "first" / "updates" / str(number + 1) / "stages"
        whole = self.home / f"until-{number}" / "stages"
        values = []
        for stages, stage, name in ((update, "check", "new"), (whole, "evaluate", "student")):
            users = user_ids(stages / "data")
            with np.load(stages / stage / NDCG_FILE.name) as arrays:
                values.append({users[user]: v for user, v in zip(arrays[USERS], arrays[name])})
        one, other = values
        if set(one) != set(other):
            raise RuntimeError("an update and a run from scratch have different test users")
        return [np.array([by_user[user] for user in sorted(one)]) for by_user in (one, other)]

    def kept(self) -> list[float]:
        """After each update, the NDCG of users without new data over that of the first version."""
        same = [version["ndcg"].get(UNCHANGED) for version in self.versions]
        return [values["new"] / values["first"] for values in same if values]


def goals(replays: list[Replay], anew: Iterable[int]) -> list[Row]:
    """Quality and cost compared with training from scratch, and forgetting, over all seeds."""
    found = []
    for number in anew:
        updated, whole = map(np.stack, zip(*(replay.by_user(number) for replay in replays)))
        paired = metrics.paired_difference(updated, whole)
        low, high = paired["interval"]
        seconds = [
            [sum(replay.versions[number - 1]["seconds"].values()) for replay in replays],
            [seconds_of(replay.anew(number)) for replay in replays],
        ]
        of_update, of_run = map(np.mean, seconds)
        by_seed = ", ".join(f"{ratio:.3f}" for ratio in updated.mean(axis=1) / whole.mean(axis=1))
        found += [
            row(
                f"slice {number}: NDCG updated / anew",
                paired["ratio"],
                "",
                ">= 0.97",
                f"{updated.mean():.4f} and {whole.mean():.4f}, difference "
                f"{paired['difference']:+.4f} ({low:+.4f} to {high:+.4f}); by seed {by_seed}",
            ),
            row(
                f"slice {number}: seconds update / anew",
                of_update / of_run,
                "",
                "<= 0.25",
                f"{of_update:.0f} and {of_run:.0f}, of the stages that a version needs",
            ),
        ]
    kept = np.array([replay.kept() for replay in replays])  # [num_seeds, num_slices]
    last = replays[0].versions[-1]
    found.append(
        row(
            "NDCG of users without new data, updated / first version",
            kept[:, -1].mean() if kept.size else float("nan"),
            "",
            ">= 0.99",
            f"{last['queries'].get(UNCHANGED, 0):,} users after the last slice; the lowest of any "
            f"slice and seed {kept.min() if kept.size else float('nan'):.4f}",
        )
    )
    return found


def user_ids(folder: Path) -> list[str]:
    """The ids of a run's users."""
    ids: list[str] = json.loads((folder / "tables.json").read_text())[1]
    return ids


def ndcg_of(report: dict[str, Any]) -> float:
    """The student's."""
    value: float = report["models"]["student"]["metrics"]["next_item"][f"ndcg@{report['k']}"][
        "value"
    ]
    return value


def seconds_of(report: dict[str, Any]) -> float:
    """Seconds of the stages that an artefact needs."""
    return sum(report["stages"].get(name, {}).get("seconds", 0.0) for name in OF_A_VERSION)


def write_slices(home: Path, slices: int) -> list[tuple[Path, Path | None]]:
    """Tables of interactions and of their new items: of the run, then of every slice."""
    films = td.data.movielens_100k()
    by_time = np.argsort(films.timestamps, kind="stable")
    ends = np.linspace(FIRST, 1.0, slices + 1) * len(by_time)
    starts, known, tables = [0, *ends[:-1]], set[int](), []
    for number, (start, end) in enumerate(zip(starts, ends)):
        rows = np.sort(by_time[int(start) : int(end)])  # a tie keeps file order
        new = sorted(set(films.items[rows].tolist()) - known)
        known.update(new)
        interactions = home / f"slice-{number}.csv"
        of_rows = [
            [
                films.user_ids[films.users[row]],
                films.catalogue.item_ids[films.items[row] - 1],
                str(films.timestamps[row]),
            ]
            for row in rows
        ]
        write_table(interactions, ["user_id", "item_id", "timestamp"], of_rows)
        items = home / f"new-items-{number}.csv"
        write_table(items, ["item_id", "title", "text"], described(films.catalogue, new))
        write_table(
            home / f"items-until-{number}.csv",
            ["item_id", "title", "text"],
            described(films.catalogue, sorted(known)),
        )
        tables.append((interactions, items if new else None))
    return tables


def described(catalogue: Any, items: Iterable[int]) -> list[list[str]]:
    """One row per item: its id, its title and the rest of its text."""
    found = []
    for item in items:
        title = catalogue.titles[item - 1]
        rest = catalogue.texts[item - 1].removeprefix(title).removeprefix(". ")
        found.append([catalogue.item_ids[item - 1], title, rest])
    return found


def write_table(path: Path, names: list[str], rows: list[list[str]]) -> None:
    """Write a CSV atomically."""
    with whole_file(path, "w") as file:
        table = csv.writer(file)
        table.writerow(names)
        table.writerows(rows)


if __name__ == "__main__":
    main()
