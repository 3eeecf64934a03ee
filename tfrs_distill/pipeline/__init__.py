"""A recipe, run stage by stage; a stage whose inputs have not changed is not run again.

- `recipe/`: a run as data; `stages/`: its stages, one file each; `stage.py`: how they resume
- `run_folder.py`: what finished stages left; `teacher_kinds/`: the teachers that a recipe can name
- `report/`: the report of a run
- `freed_memory.py`: the memory that a training step frees is kept for the next
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrs_distill.pipeline.recipe import Recipe
    from tfrs_distill.progress import Progress

__all__ = ["run"]


def run(recipe: Recipe, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Run a recipe, from interactions and item text to a small recommender on disk and a report.

    Writes `out/<name>/<version>/` (the artefact), `report.json`, `report.html` and `recipe.toml` to
    `out/<name>/`, and keeps what each stage made in `out/<name>/stages/`, so that an interrupted
    run resumes and an unchanged stage is not run again.

    Args:
        recipe: the run, as data.
        out: folder of all runs, such as `saved_models`.
        progress: receives stages, bars and results.

    Returns:
        The report, as in `report.json`.

    Raises:
        InputError: the data, the encoder or an earlier run's files cannot be used.
    """
    # Here, so that a recipe can be read, and refused, without TensorFlow.
    from tfrs_distill.pipeline.freed_memory import keep_freed_memory
    from tfrs_distill.pipeline.run_folder import Run
    from tfrs_distill.pipeline.run_report import write_run_report
    from tfrs_distill.pipeline.stages import stages_of
    from tfrs_distill.progress import SilentProgress

    keep_freed_memory()
    this = Run(recipe, Path(out), progress or SilentProgress())
    this.stages.run(stages_of(this))
    return write_run_report(this)
