"""Train the cross-encoder that orders the candidates of a two-stage run's first stage."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.encoders import encoder_fingerprint, is_of_tf_hub, open_bert
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stage import Result, Stage, forget_other_trainings
from tfrs_distill.teachers import BertCrossEncoder, FunctionTeacher, Reranker

CROSS_ENCODER, TRAINING = "cross-encoder", "training"


def cross_encoder_stage(run: Run) -> Stage:
    """Its result has the `parameters` and `bytes` of the BERT."""
    recipe, named = run.recipe, run.recipe.cross_encoder

    def settings() -> Any:
        return [asdict(named), encoder_fingerprint(recipe)]

    def work(folder: Path) -> tuple[Result, str]:
        made_from = run.fingerprint(CROSS_ENCODER)
        forget_other_trainings(folder, made_from)
        cross_encoder = BertCrossEncoder(
            open_bert(recipe),
            run.data.catalogue.texts,
            max_history_items=named.max_history_items,
            max_length=named.max_length,
            seed=recipe.seed,
        )
        with run.progress.bar("cross-encoder steps", named.steps) as advance:
            cross_encoder.fit(
                run.data.splits.train,
                FunctionTeacher(run.first_stage.logits, run.fingerprint("retrieval")),
                num_steps=named.steps,
                batch_size=named.batch_size,
                num_negatives=named.num_negatives,
                learning_rate=named.learning_rate,
                seed=recipe.seed,
                checkpoint_folder=folder / TRAINING,
                advance=advance,
            )
        cross_encoder.save(folder / CROSS_ENCODER)
        shutil.rmtree(folder / TRAINING, ignore_errors=True)
        encoder = cross_encoder.encoder
        weights = sum(path.stat().st_size for path in (folder / CROSS_ENCODER).iterdir())
        facts = {"parameters": encoder.num_parameters, "bytes": encoder.num_bytes + weights}
        return facts, f"a BERT of {encoder.num_parameters:,} parameters, {named.steps} steps"

    return Stage(CROSS_ENCODER, work, settings, after=("retrieval",))


def check_encoder(run: Run) -> None:
    """Refuse an encoder that cannot read pairs, before anything is trained.

    Raises:
        InputError: it is from TF-Hub.
    """
    if is_of_tf_hub(run.recipe):
        raise InputError(
            "A cross-encoder needs a Hugging Face checkpoint; an encoder from TF-Hub cannot "
            f"read pairs. Received: {run.recipe.encoder.name}."
        )


def open_cross_encoder(run: Run) -> Reranker:
    """The trained cross-encoder, with the first stage's scores beside its own."""
    folder = run.file(CROSS_ENCODER, CROSS_ENCODER)
    texts = run.data.catalogue.texts
    cross_encoder = BertCrossEncoder.load(folder, open_bert(run.recipe), texts)
    weight = run.recipe.cross_encoder.first_stage_weight
    return Reranker(run.first_stage, cross_encoder, first_stage_weight=weight)
