"""Extend histories with the teacher's predictions, and label the generated interactions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrs_distill.files import save_arrays, whole_file
from tfrs_distill.knowledge import cache_teacher, generate_histories
from tfrs_distill.knowledge.maintenance import prune
from tfrs_distill.pipeline.run_folder import CACHE, GENERATED, HISTORIES_FILE, Run
from tfrs_distill.pipeline.stage import Result, Stage


def generated_stage(run: Run) -> Stage:
    """Return the stage; its folder holds the inputs of `run.generated`."""

    def work(folder: Path) -> tuple[Result, str]:
        number = write_generated(run, run.teacher.open(run.file("teacher")), folder)
        return {}, f"{number:,} histories that the teacher continued and labelled"

    def settings() -> Any:
        return [run.recipe.knowledge.generated_per_window, run.kept_of_logits]

    return Stage(GENERATED, work, settings, after=("teacher",))


def write_generated(run: Run, teacher: Any, folder: Path) -> int:
    """Write histories extended by a teacher, with its outputs for them; return their number.

    A student trained on them reads the top-K, so the teacher's knowledge must be top-K too.
    """
    made = generate_histories(
        teacher,
        run.data.splits.train,
        run.recipe.knowledge.generated_per_window,
        seed=run.recipe.seed,
        progress=run.progress,
    )
    cache_teacher(teacher, made, folder / CACHE, progress=run.progress, **run.kept_of_logits)
    prune(folder / CACHE)
    with whole_file(folder / HISTORIES_FILE) as file:
        arrays = {"users": made.users, "history": made.history, "labels": made.labels}
        if made.user_attributes is not None:
            arrays["user_attributes"] = made.user_attributes
        save_arrays(file, arrays)
    return len(made)
