"""Train the cross-encoder that ranks the candidates of a two-stage run's first stage."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfrs_distill.pipeline.encoders import encoder_fingerprint
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stage import Result, Stage, forget_other_trainings
from tfrs_distill.pipeline.teacher_kinds.cross_encoder import open_pairs, train_pairs
from tfrs_distill.teachers import FunctionTeacher, Reranker

CROSS_ENCODER = "cross-encoder"


def cross_encoder_stage(run: Run) -> Stage:
    """Return the stage; its result has the `parameters` and `bytes` of the BERT."""
    recipe = run.recipe

    def settings() -> Any:
        return [asdict(recipe.cross_encoder), encoder_fingerprint(recipe)]

    def work(folder: Path) -> tuple[Result, str]:
        forget_other_trainings(folder, run.fingerprint(CROSS_ENCODER))
        first_stage = FunctionTeacher(run.first_stage.logits, run.fingerprint("retrieval"))
        windows = run.data.splits.train
        facts = train_pairs(run.teacher_context, windows, first_stage, recipe.seed, folder)
        steps = recipe.cross_encoder.steps
        return facts, f"a BERT of {facts['parameters']:,} parameters, {steps} steps"

    return Stage(CROSS_ENCODER, work, settings, after=("retrieval",))


def open_cross_encoder(run: Run) -> Reranker:
    """Return the trained cross-encoder, which also uses the first stage's scores."""
    cross_encoder = open_pairs(run.teacher_context, run.file(CROSS_ENCODER))
    weight = run.recipe.cross_encoder.first_stage_weight
    return Reranker(run.first_stage, cross_encoder, first_stage_weight=weight)
