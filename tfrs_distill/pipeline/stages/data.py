"""Read the data once and save it as arrays."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.source import read_data, source_fingerprint
from tfrs_distill.pipeline.stage import Result, Stage

PLACES = ("folder", "interactions", "items", "users")  # where the data is, not its content


def data_stage(run: Run) -> Stage:
    """Return the stage; its result is facts of the data, with the training data's fingerprint."""
    recipe = run.recipe

    def settings() -> Any:
        return [source_fingerprint(recipe), asdict(recipe.data) | dict.fromkeys(PLACES, "")]

    def work(folder: Path) -> tuple[Result, str]:
        data = read_data(recipe)
        data.save(folder)
        return data.facts()

    return Stage("data", work, settings)
