"""A recipe, run stage by stage; a stage whose inputs have not changed is not run again.

- `retrieval_run.py`: the stages of a retrieval run in their order; `dataset.py`, `training.py`,
  `teacher_kinds/`, `export_student.py`, `measure.py`: what they do
- `ranking/`: the same for a ranking student, alone or behind a retrieval student
- `resume.py`: what makes a stage resumable
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
        progress: told of stages, bars and results.

    Returns:
        The report, as in `report.json`.

    Raises:
        InputError: the data, the encoder or an earlier run's files cannot be used.
    """
    # Here, so that a recipe can be read, and refused, without TensorFlow.
    from tfrs_distill.pipeline.ranking.run import RankingRun
    from tfrs_distill.pipeline.ranking.two_stage_run import TwoStageRun
    from tfrs_distill.pipeline.retrieval_run import RetrievalRun
    from tfrs_distill.progress import SilentProgress

    runs = {
        "retrieval": RetrievalRun,
        "ranking": RankingRun,
        "multitask": RankingRun,
        "two-stage": TwoStageRun,
    }
    stages: Any = runs[recipe.task](recipe, Path(out), progress or SilentProgress())
    report: dict[str, Any] = stages.all_stages()
    return report
