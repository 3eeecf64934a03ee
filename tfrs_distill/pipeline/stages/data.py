"""Read the data once and keep it as arrays."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.source import read_data, source_fingerprint
from tfrs_distill.pipeline.stage import Result, Stage

PLACES = ("folder", "interactions", "items", "users")  # where the data lies, not what it is


def data_stage(run: Run) -> Stage:
    """Its result is the data's facts, with the fingerprint of the training examples."""
    recipe = run.recipe

    def settings() -> Any:
        return [source_fingerprint(recipe), asdict(recipe.data) | dict.fromkeys(PLACES, "")]

    def work(folder: Path) -> tuple[Result, str]:
        data = read_data(recipe)
        data.save(folder)
        return data.facts()

    return Stage("data", work, settings)
