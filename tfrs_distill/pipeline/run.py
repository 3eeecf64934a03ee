"""A recipe's run, by its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrs_distill.pipeline.ranking.run import RankingRun
from tfrs_distill.pipeline.ranking.two_stage_run import TwoStageRun
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.retrieval_run import RetrievalRun
from tfrs_distill.progress import Progress, SilentProgress

RUNS = {
    "retrieval": RetrievalRun,
    "ranking": RankingRun,
    "multitask": RankingRun,
    "two-stage": TwoStageRun,
}


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
    stages: Any = RUNS[recipe.task](recipe, Path(out), progress or SilentProgress())
    report: dict[str, Any] = stages.all_stages()
    return report
