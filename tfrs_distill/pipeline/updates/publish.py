"""The versions of a run's artefact, and the update from the last one to the next."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfrs_distill.data.tables.roles import Columns
from tfrs_distill.errors import InputError
from tfrs_distill.files import locked, whole_folder, write_json
from tfrs_distill.pipeline.recipe import Recipe, RetrievalRecipe
from tfrs_distill.pipeline.recipe.sections import COLD_ITEMS, RANDOM
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.source import table_sha256
from tfrs_distill.pipeline.stage import NOTE, note_of_finished
from tfrs_distill.pipeline.stages.export import export_stage
from tfrs_distill.pipeline.teacher_kinds import EnsembleOf
from tfrs_distill.pipeline.teacher_kinds.kind import updated
from tfrs_distill.pipeline.updates.stages import TABLES, Update
from tfrs_distill.progress import Progress
from tfrs_distill.serving.artefact.artefact import RETRIEVAL, Artefact
from tfrs_distill.serving.artefact.files import PROVENANCE, versions_in

UPDATES, STAGED, FACTS_FILE = "updates", "artefact", "update.json"


def update_run(
    folder: Path,
    interactions: Sequence[str],
    items: Sequence[str],
    columns: Columns,
    max_drop: float,
    progress: Progress,
) -> dict[str, Any]:
    """What `tfrs_distill.pipeline.update` does."""
    interactions, items = (
        [str(tables)] if isinstance(tables, (str, Path)) else [str(table) for table in tables]
        for tables in (interactions, items)
    )
    if not interactions:
        raise InputError("An update needs at least one table of new interactions. Received: none.")
    if not 0 <= max_drop < 1:
        raise InputError(
            f"`max_drop` must be at least 0 and below 1. Received: max_drop={max_drop!r}."
        )
    recipe = _recipe_of(folder)
    with locked(folder / UPDATES, wait=False) as held:
        if not held:
            raise InputError(f"Another update of {folder} is running. Wait for it, or stop it.")
        return _update(folder, recipe, interactions, items, columns, max_drop, progress)


def _update(
    folder: Path,
    recipe: RetrievalRecipe,
    interactions: Sequence[str],
    items: Sequence[str],
    columns: Columns,
    max_drop: float,
    progress: Progress,
) -> dict[str, Any]:
    last = max(_published(folder))
    first = Run(recipe, folder.parent, progress, home=folder)
    earlier = first if last == recipe.export.version else _run_of(folder, recipe, last, progress)
    earlier.check_exported(folder / str(last))
    _check_vocabulary(folder / str(last), earlier, first)
    kind = earlier.teacher
    members = kind.members if isinstance(kind, EnsembleOf) else {recipe.teacher.kind: kind}
    for name, member in members.items():
        updated(name, member)
    version = last + 1
    run = _run_of(folder, recipe, version, progress)
    work = Update(
        run,
        earlier,
        first,
        interactions,
        items,
        dict(columns),
        max_drop,
    )
    _check_tables(folder, work)
    run.stages.run([work.data_stage(), work.student_stage(), work.check_stage()])
    checked = run.result("check")
    facts = {
        "version": version,
        "before": last,
        "new": run.result("data")["new"],
        **{key: checked[key] for key in ("ndcg", "differences", "queries")},
        "k": recipe.evaluation.k,
        "published": not checked["worse"],
    }
    if not checked["worse"]:
        run.stages.run([work.teacher_stage(), export_stage(run)])
        with whole_folder(folder / str(version)) as published:
            shutil.copytree(run.version, published, dirs_exist_ok=True)
    facts["seconds"] = run.stages.seconds
    write_json(run.home / FACTS_FILE, facts)
    if checked["worse"]:
        raise InputError(_refusal(facts, checked["worse"], max_drop))
    return facts


def _check_tables(folder: Path, work: Update) -> None:
    """Raise an `InputError` if a table of new interactions is part of the run already."""
    tables = work.first.recipe.data.interactions
    known = {
        table_sha256(table): f"the data of {folder}" for table in tables if Path(table).exists()
    }
    for version in _published(folder):
        note = note_of_finished(folder / UPDATES / str(version) / "stages" / "data") or {}
        of_version = note.get("result", {}).get(TABLES, [])
        known |= dict.fromkeys(of_version, f"version {version} of {folder}")
    for table, content in zip(work.interactions, work.tables):
        if content in known:
            raise InputError(
                f"{table} is in {known[content]} already: its interactions would count twice. Give "
                "the tables of later interactions."
            )
        known[content] = f"{table}, given before it,"


def _refusal(facts: dict[str, Any], worse: list[list[str]], max_drop: float) -> str:
    figures = "; ".join(
        f"NDCG@{facts['k']} of {part} is {facts['ndcg'][part]['new']:.4f}, that of the {name} "
        f"version {facts['ndcg'][part][name]:.4f}"
        for part, name in worse
    )
    return (
        f"Version {facts['version']} is worse than an earlier one and was not published: "
        f"{figures}. A significant loss of at most {max_drop:.1%} is allowed (--max-drop). Version "
        f"{facts['before']} is unchanged. Check the new interactions, or train a new run on all "
        "data with `tfrs-distill run`."
    )


def _run_of(folder: Path, recipe: RetrievalRecipe, version: int, progress: Progress) -> Run:
    """An update as a run, in a folder of its own: without a twin or controls."""
    exported = replace(recipe, export=replace(recipe.export, version=version))
    run = Run(exported, folder.parent, progress, home=folder / UPDATES / str(version))
    run.version, run.twins, run.controls = run.home / STAGED, [], []
    return run


def _recipe_of(folder: Path) -> RetrievalRecipe:
    """The recipe of a finished run that can be updated.

    Raises:
        InputError: it is none.
    """
    finished = all(
        (folder / "stages" / stage / NOTE).is_file()
        for stage in ("data", "teacher", "student", "export")
    )
    if not finished or not (folder / "recipe.toml").is_file():
        raise InputError(
            f"{folder} is not the folder of a finished run: it lacks recipe.toml or stages. Give "
            "the folder that `tfrs-distill run` wrote, such as saved_models/ml-100k."
        )
    recipe = Recipe.from_toml(folder / "recipe.toml")
    what = {
        "`task`": recipe.task if recipe.task != "retrieval" else "",
        "`data.split`": recipe.data.split if recipe.data.split in (COLD_ITEMS, RANDOM) else "",
        "`export.compress`": ", ".join(recipe.export.compress),
    }
    for setting, value in what.items():
        if value:
            raise InputError(
                "Only retrieval runs with a split by time over all items can be updated. "
                f'Received: a run whose {setting} is "{value}".'
            )
    if not _published(folder):
        raise InputError(f"{folder} has no published version. Run its recipe again.")
    return recipe


def _published(folder: Path) -> list[int]:
    """The versions of a run whose artefacts are there."""
    return [n for n in versions_in(folder) if (folder / str(n) / PROVENANCE).is_file()]


def _check_vocabulary(version: Path, earlier: Run, first: Run) -> None:
    """Raise an `InputError` if an artefact, or the first run, has other items than the run."""
    known = earlier.data.catalogue.item_ids
    published = Artefact.read(version, RETRIEVAL).item_ids
    if tuple(published) != tuple(known):
        raise InputError(
            f"{version} has another vocabulary than its run: "
            f"{len(published):,} items where {len(known):,} were expected. Was it changed manually "
            "or are files of its stages missing?"
        )
    before = first.data.catalogue.item_ids
    if tuple(known[: len(before)]) != tuple(before):
        raise InputError(
            f"The items of {first.stages.folder} are not the first ones of {version}: the run was "
            "repeated with other data since. Update a copy in another folder."
        )
