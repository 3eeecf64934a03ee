"""Evaluate every model on the same test data: accuracy, size and latency."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stage import Result, Stage
from tfrs_distill.pipeline.stages.cross_encoder import CROSS_ENCODER
from tfrs_distill.pipeline.stages.evaluate_lists import evaluate_retrieval, evaluate_two_stages
from tfrs_distill.pipeline.stages.evaluate_rows import evaluate_rows


def evaluate_stage(run: Run) -> Stage:
    """Return the stage; its result is the measured part of the report."""
    recipe = run.recipe
    two_stage = recipe.task == "two-stage"
    of_first = ("retrieval", CROSS_ENCODER) if two_stage else ("teacher",)

    def settings() -> Any:
        return [asdict(recipe.evaluation), recipe.lists.num_candidates if two_stage else None]

    def work(folder: Path) -> tuple[Result, str]:
        if two_stage:
            return evaluate_two_stages(run, folder)
        return evaluate_rows(run, folder) if run.tasks else evaluate_retrieval(run, folder)

    after = (*of_first, *run.compared_stages, "student", "export")
    return Stage("evaluate", work, settings, after=after)
