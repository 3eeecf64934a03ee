"""A recipe, run stage by stage; a stage whose inputs have not changed is not run again.

- `recipe/`: a run as data; `stages/`: its stages, one file each; `stage.py`: how they resume
- `run_folder.py`: what finished stages left; `teacher_kinds/`: the teachers that a recipe can name
- `report/`: the report of a run; `search/`: a search for a recipe's settings
- `transfer.py`: what a run's models take from those of a finished run of other data
- `updates/`: new interactions and items for a finished run
- `compression/`: a finished run's student in fewer bytes
- `worker.py`: further processes that take stages of a run
- `freed_memory.py`: the memory that a training step frees is kept for the next
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
    `out/<name>/`, and keeps what each stage made in `out/<name>/stages/`, so that an interrupted
    run resumes and an unchanged stage is not run again.

    Args:
        recipe: the run, as data.
        out: folder of all runs, such as `saved_models`.
        progress: receives stages, bars and results; with several processes from several threads.
        processes: how many take stages at the same time. The result is the same; each needs
            memory of its own. A teacher from a Python file is made once, so by one process.

    Returns:
        The report, as in `report.json`.

    Raises:
        InputError: the data, the encoder or an earlier run's files cannot be used; `processes` is
            below 1.
    """
    # Here, so that a recipe can be read, and refused, without TensorFlow.
    from tfrs_distill.pipeline.freed_memory import keep_freed_memory
    from tfrs_distill.pipeline.run_folder import Run
    from tfrs_distill.pipeline.run_report import write_run_report
    from tfrs_distill.pipeline.stages import stages_of
    from tfrs_distill.pipeline.worker import FIRST_STAGES, share_cores, workers
    from tfrs_distill.progress import SilentProgress

    if processes < 1:
        raise InputError(f"`processes` must be at least 1. Received: {processes}.")
    further = 0 if "python" in recipe.teacher.kinds else processes - 1
    share_cores(1 + further)
    keep_freed_memory()
    this = Run(recipe, Path(out), progress or SilentProgress())
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

    Both get the same number of trials, of which the first has the recipe's own settings, where all
    are among the values searched. The student's come first; the twin's then have the best
    student's of what both share, such as their width. What trials train from is made once, by `run`
    or by the first trial that needs it. An interrupted search goes on where it was, and more trials
    can be asked for later.

    Writes to `out/<name>/tune/` the study (SQLite, `study.db`), `tune.json`, `tune.html` with
    Optuna's own plots, and the recipe with the best settings, `best.toml`, which `run` then
    measures on test.

    Args:
        recipe: the run, as data.
        out: folder of all runs.
        num_trials: of the student, and as many of the twin.
        space: `KEY=LOW:HIGH`, `KEY=LOW:HIGH:log`, `KEY=A,B,C` or `KEY=VALUE`: what is searched of
            a setting such as "student.embedding_dim", beside or in place of the default settings.
        progress: receives every trial.

    Returns:
        What `tune.json` holds.

    Raises:
        InputError: the space, the data or the study cannot be used.
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
    """Let a finished run's student go on with new interactions and items, and publish it.

    Old items keep their indices; new ones come behind them. The student starts from the last
    version and learns from all interactions, old and new, from the last version's teacher, which
    has never seen what is new, and from the last version itself, so that it does not forget. It is
    measured beside the last and the first version: over all test users, and over those who have
    nothing new since the first version, whose queries stay the same from update to update. A
    student that lost more than `max_drop` of an earlier NDCG, with a paired 95 % interval below 0,
    is not published. Otherwise the teacher is trained on too, for the next update, and the artefact
    takes its place as `folder/<version>/`, whole or not at all, where TensorFlow Serving finds it.
    An interrupted update resumes, and until it is done the published version stays as it was.

    Args:
        folder: of the run, such as `saved_models/ml-100k`.
        interactions: tables with a row a new interaction, none older than those of the run.
        items: tables with a row a new item.
        columns: of these tables, as for `read_table`; others are those of the recipe.
        max_drop: the share of an earlier NDCG that may be lost.
        progress: receives stages, bars and results.

    Returns:
        What `folder/updates/<version>/update.json` holds: `version`, `before`, `new`, `ndcg` by
        users and version, `differences` (see `metrics.paired_difference`), `queries`, `seconds` by
        stage, `published`.

    Raises:
        InputError: the folder is none of a run that can be updated, the tables cannot be used, or
            the new student is worse.
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
    """Search for the best smaller student of a finished run's, and write it as an artefact.

    A run of any task; see `td.compress.to_budget`. The run's teacher
    trains the promising ones on, and its validation rows choose. What is chosen is measured once on
    test, beside the run's own student, and written to `to` as a `.tflite` file with what a reader
    needs; the run's artefact stays as it was. All students that were measured are kept in
    `run/compress/`, with `compress.json` and `compress.html`: an interrupted search goes on where
    it was, and one with another budget measures nothing twice.

    Args:
        artefact: of the run's own version, such as `saved_models/ml-100k/1`.
        max_bytes: of the `.tflite` file; of two stages, of both files.
        max_drop: the share of the score of the student in float32 that may be lost.
        to: the artefact to write; by default `run/compressed/<version>`.
        progress: receives every student.

    Returns:
        What `compress.json` holds: `points`, each with `methods`, `bytes`, `score` on validation,
        `untuned`, `latency_ms` and whether it is `best`; which is `chosen`; `test`.

    Raises:
        InputError: there is no run around the artefact, or nothing fits: what the least possible
            is. Nothing is written then but the points.
    """
    from tfrs_distill.pipeline.compression.compress_run import compress_artefact
    from tfrs_distill.pipeline.freed_memory import keep_freed_memory
    from tfrs_distill.progress import SilentProgress

    keep_freed_memory()
    progress = progress or SilentProgress()
    return compress_artefact(Path(artefact), to and Path(to), max_bytes, max_drop, progress)
