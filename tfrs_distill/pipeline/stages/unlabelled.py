"""Label rows of items that their users have not interacted with, with the teacher of all data."""

from __future__ import annotations

from pathlib import Path

from tfrs_distill.files import save_arrays, whole_file
from tfrs_distill.pipeline.run_folder import LOGITS_FILE, UNLABELLED, Run
from tfrs_distill.pipeline.stage import Result, Stage
from tfrs_distill.pipeline.tasks import logits_of_tasks


def unlabelled_stage(run: Run) -> Stage:
    """Return the stage; its folder holds the teacher's logits for the rows of `run.drawn`."""

    def work(folder: Path) -> tuple[Result, str]:
        tasks = [task.name for task in run.tasks]
        teacher = run.teacher.open(run.file("teacher"))
        teacher_logits = logits_of_tasks(teacher, run.drawn, tasks)
        with whole_file(folder / LOGITS_FILE) as file:
            save_arrays(file, teacher_logits)
        return {}, f"{len(run.drawn):,} rows of items for which their users have no training row"

    return Stage(UNLABELLED, work, lambda: run.num_unlabelled, after=("teacher",))
