"""Runs a recipe stage by stage; a stage with unchanged inputs is not run again.

- `recipe/`: a run as data; `stages/`: its stages, one file each; `stage.py`: how they resume
- `run_folder.py`: the results of finished stages; `teacher_kinds/`: the teachers of a recipe
- `report/`: the report of a run; `search/`: a search for a recipe's settings
- `transfer.py`: initialises a run's models from those of a finished run of other data
- `updates/`: new interactions and items for a finished run
- `compression/`: compresses the student of a finished run
- `worker.py`: further processes that run stages in parallel
- `freed_memory.py`: keeps the memory that a training step frees for the next step
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrs_distill.errors import InputError

if TYPE_CHECKING:
    from tfrs_distill.pipeline.recipe import Recipe
    from tfrs_distill.progress import Progress

__all__ = ["compress", "run", "tune", "update"]


def run(
    recipe: Recipe, out: Path, progress: Progress | None = None, *, processes: int = 1
) -> dict[str, Any]:
    """Run a recipe, from interactions and item text to a small recommender on disk and a report.

    Writes `out/<name>/<version>/` (the artefact), `report.json`, `report.html` and `recipe.toml` to
    `out/<name>/`, and keeps the results of each stage in `out/<name>/stages/`, so that an
    interrupted run resumes and an unchanged stage is not run again.

    Args:
        recipe: the run, as data.
        out: folder of all runs, such as `saved_models`.
        progress: receives stages, bars and results; with several processes from several threads.
        processes: the number of processes that run stages in parallel, each with its own memory.
            The result is the same. A run with a teacher from a Python file uses one process.

    Returns:
        The report, as in `report.json`.

    Raises:
        InputError: the data, the encoder or an earlier run's files are invalid; `processes` is
            below 1.
    """
    # Imported here, so that a recipe can be read and checked without TensorFlow.
    from tfrs_distill.pipeline.freed_memory import keep_freed_memory
    from tfrs_distill.pipeline.run_folder import Run
    from tfrs_distill.pipeline.run_report import write_run_report
    from tfrs_distill.pipeline.stages import stages_of
    from tfrs_distill.pipeline.worker import FIRST_STAGES, share_cores, workers
    from tfrs_distill.progress import SilentProgress

    if processes < 1:
        raise InputError(f"`processes` must be at least 1. Received: {processes}.")
    this = Run(recipe, Path(out), progress or SilentProgress())
    further = 0 if "python" in this.recipe.teacher.kinds else processes - 1
    share_cores(1 + further)
    keep_freed_memory()
    stages = stages_of(this)
    if taken := this.stages.at_work_elsewhere(stages):
        warnings.warn(
            f"Another process is at work in {this.home}, at {' and '.join(taken)}: this one takes "
            "other stages and waits for those.",
            stacklevel=2,
        )
    first = [stage for stage in stages if stage.name in FIRST_STAGES]
    this.stages.run(first, of=stages)
    with workers(recipe, Path(out), further, this.progress):
        this.stages.run([stage for stage in stages if stage not in first], of=stages)
    return write_run_report(this)


def tune(
    recipe: Recipe,
    out: Path,
    *,
    num_trials: int = 20,
    space: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Search a recipe's settings for the student and for its twin, on validation alone.

    Both get the same number of trials. The first trial has the recipe's own settings, if all are
    among the searched values. The student's trials come first; the twin's use the best student's
    values of shared settings, such as the width. The inputs of trials are computed once, by `run`
    or by the first trial that needs them. An interrupted search resumes, and can be extended with
    more trials later.

    Writes to `out/<name>/tune/` the study (SQLite, `study.db`), `tune.json`, `tune.html` with
    Optuna's own plots, and the recipe with the best settings, `best.toml`, which `run` then
    evaluates on test.

    Args:
        recipe: the run, as data.
        out: folder of all runs.
        num_trials: the number of trials of the student, and of the twin.
        space: `KEY=LOW:HIGH`, `KEY=LOW:HIGH:log`, `KEY=A,B,C` or `KEY=VALUE`: the searched values
            of a setting such as "student.embedding_dim"; adds to or replaces the defaults.
        progress: receives every trial.

    Returns:
        The content of `tune.json`.

    Raises:
        InputError: the space, the data or the study is invalid.
        MissingExtraError: `optuna` is not installed.

    Reference: [Akiba et al., 2019](https://arxiv.org/abs/1907.10902).
    """
    from tfrs_distill.pipeline.freed_memory import keep_freed_memory
    from tfrs_distill.pipeline.search.page import write_page
    from tfrs_distill.pipeline.search.study import search
    from tfrs_distill.progress import SilentProgress

    keep_freed_memory()
    found = search(recipe, Path(out), num_trials, space, progress or SilentProgress())
    write_page(found, Path(out))
    return found


def update(
    folder: Path,
    interactions: Sequence[str],
    items: Sequence[str] = (),
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    max_drop: float = 0.02,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Continue the training of a finished run's student on new data, and publish the new version.

    Old items keep their indices; new items get the next ones. The student starts from the last
    version and is trained on all interactions, old and new, with distillation from the last
    version's teacher, which was not trained on the new data, and from the last version itself, to
    avoid forgetting. It is compared with the last and the first version: over all test users, and
    over the users without new data since the first version, whose queries are the same in every
    update. A student that lost more than `max_drop` of an earlier NDCG, with a paired 95 % interval
    below 0, is not published. Otherwise the teacher is also trained further, for the next update,
    and the artefact is published atomically as `folder/<version>/`, where TensorFlow Serving finds
    it. An interrupted update resumes; until it is finished the published version is unchanged.

    Args:
        folder: of the run, such as `saved_models/ml-100k`.
        interactions: tables with one row per new interaction, none older than those of the run.
        items: tables with one row per new item.
        columns: of these tables, as for `read_table`; by default those of the recipe.
        max_drop: the share of an earlier NDCG that may be lost.
        progress: receives stages, bars and results.

    Returns:
        The content of `folder/updates/<version>/update.json`: `version`, `before`, `new`, `ndcg` by
        users and version, `differences` (see `metrics.paired_difference`), `queries`, `seconds` by
        stage, `published`.

    Raises:
        InputError: the folder is not of a run that can be updated, the tables are invalid, or the
            new student is worse.
    """
    from tfrs_distill.pipeline.freed_memory import keep_freed_memory
    from tfrs_distill.pipeline.updates.publish import update_run
    from tfrs_distill.progress import SilentProgress

    keep_freed_memory()
    return update_run(
        Path(folder), interactions, items, columns or {}, max_drop, progress or SilentProgress()
    )


def compress(
    artefact: Path,
    *,
    max_bytes: int,
    max_drop: float = 0.02,
    to: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Search for the best compressed student of a finished run, and write it as an artefact.

    For runs of any task; see `td.compress.to_budget`. Promising
    candidates are fine-tuned with the run's teacher, and chosen on its validation rows. The chosen
    student is evaluated once on test, next to the run's own student, and written to `to` as a
    `.tflite` file with the files that a reader needs; the run's artefact is unchanged. All measured
    students are kept in `run/compress/`, with `compress.json` and `compress.html`: an interrupted
    search resumes, and a search with another budget measures no student twice.

    Args:
        artefact: of the run's own version, such as `saved_models/ml-100k/1`.
        max_bytes: of the `.tflite` file; of two stages, of both files.
        max_drop: the share of the score of the student in float32 that may be lost.
        to: the artefact to write; by default `run/compressed/<version>`.
        progress: receives every student.

    Returns:
        The content of `compress.json`: `points`, each with `methods`, `bytes`, `score` on
        validation, `untuned`, `latency_ms` and whether it is `best`; the `chosen` one; `test`.

    Raises:
        InputError: the artefact is not in a run's folder, or no student fits; the message has the
            smallest possible size. Then only the points are written.
    """
    from tfrs_distill.pipeline.compression.compress_run import compress_artefact
    from tfrs_distill.pipeline.freed_memory import keep_freed_memory
    from tfrs_distill.progress import SilentProgress

    keep_freed_memory()
    progress = progress or SilentProgress()
    return compress_artefact(Path(artefact), to and Path(to), max_bytes, max_drop, progress)
