"""Compress the student as the recipe says, and fine-tune it with the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrs_distill.compress import compress
from tfrs_distill.compress.fine_tune import fine_tune_unless_worse
from tfrs_distill.compress.methods import Methods
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.pipeline.compression.fine_tuning import Compression
from tfrs_distill.pipeline.fit_until_best import save_alone
from tfrs_distill.pipeline.run_folder import (
    COMPRESSED,
    KNOWLEDGE,
    RETRIEVAL_FILE,
    STUDENT,
    STUDENT_FILE,
    Run,
)
from tfrs_distill.pipeline.stage import Result, Stage


def compress_stage(run: Run) -> Stage:
    """Return the stage; its result has the `curves` of fine-tuning and the validation `score`.

    Raises:
        InputError: the recipe has an unknown method.
    """
    methods = run.recipe.export.compress
    Methods.of(methods)

    def settings() -> Any:
        return [list(methods), Compression(run).settings]

    def work(folder: Path) -> tuple[Result, str]:
        this = Compression(run)
        smaller = compress(this.student, methods, **this.weights)
        measure = this.measure
        before, score, curves = fine_tune_unless_worse(smaller, this.fine_tune, measure.of_student)
        result: Result = {"curves": curves, "score": score}
        if isinstance(smaller, TwoStageStudent):
            save_alone(smaller.retrieval_student, folder / RETRIEVAL_FILE)
            save_alone(smaller.ranking_student, folder / STUDENT_FILE)
            result["retrieval_weight"] = smaller.retrieval_weight
        else:
            save_alone(smaller, folder / STUDENT_FILE)
        line = (
            f"{', '.join(methods)}: validation {measure.name} {before:.4f}, fine-tuned {score:.4f}"
        )
        return result, line

    return Stage(COMPRESSED, work, settings, after=(STUDENT, KNOWLEDGE))
