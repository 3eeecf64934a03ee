"""Vectors of the item texts, from a BERT adapted to the catalogue as the recipe says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.files import whole_file, write_json
from tfrs_distill.models import TwoTower
from tfrs_distill.pipeline.encoders import open_encoder
from tfrs_distill.pipeline.recipe.sections import TuningSettings
from tfrs_distill.pipeline.teacher_kinds.kind import TeacherContext
from tfrs_distill.teachers import (
    AllLayers,
    BottleneckAdapters,
    LoRA,
    PrefixVectors,
    TextEncoder,
    TopLayers,
    finetune,
    pretrain_masked_language_model,
)

TUNED_FILE = "tuned_bert.safetensors"  # weights trained by a parameter-efficient method
PRETRAINED_FILES = ("pretrained.npz", "pretrained.json")  # the BERT's weights, and the facts


def adapted_text_vectors(
    context: TeacherContext, trained: Callable[[np.ndarray], TwoTower], folder: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Pre-train, encode, tune together with the towers, and encode again, as the recipe says.

    Args:
        context: of the run.
        trained: `trained(vectors)`: returns the two-tower teacher with these vectors, for tuning.
        folder: of the stage; an interrupted tuning is resumed from its state there.

    Returns:
        float32 [num_items, text_dim], and facts about the encoder.
    """
    tuning, texts = context.recipe.tuning, context.splits.catalogue.texts
    encoder = open_encoder(context.recipe)
    facts: dict[str, Any] = {"parameters": encoder.num_parameters, "bytes": encoder.num_bytes}
    if tuning.pretrain_steps:
        facts["pseudo_perplexity"] = pretrain(encoder, context, folder)
        with context.progress.bar("item texts", len(texts)) as advance:
            vectors = encoder.encode(texts, advance=advance)
    else:
        vectors = context.text_vectors(encoder)
    if tuning.method == "none":
        (folder / PRETRAINED_FILES[0]).unlink(missing_ok=True)
        return vectors, facts
    assert isinstance(encoder, TextEncoder)  # the recipe's check
    teacher = trained(vectors)
    with context.progress.bar("BERT steps", tuning.steps) as advance:
        tuned = finetune(
            teacher,
            encoder,
            context.splits.train,
            tuning=_method(tuning),
            num_steps=tuning.steps,
            batch_size=tuning.batch_size,
            num_negatives=tuning.num_negatives,
            learning_rate=tuning.learning_rate or None,
            seed=context.recipe.seed,
            checkpoint_folder=folder / "tuning",
            advance=advance,
        )
    if tuned.attached is not None:
        tuned.attached.save(folder / TUNED_FILE)
    shutil.rmtree(folder / "tuning")
    (folder / PRETRAINED_FILES[0]).unlink(missing_ok=True)
    facts["tuned_parameters"] = tuned.num_parameters
    return teacher.candidate_tower.item_text_vectors(), facts


def pretrain(encoder: Any, context: TeacherContext, folder: Path) -> dict[str, float]:
    """Pre-train on the item texts, or load an earlier pre-training from `folder`.

    Returns:
        The pseudo-perplexity of held-out texts, `before` and `after`.
    """
    weights_file, facts_file = (folder / name for name in PRETRAINED_FILES)
    if facts_file.exists() and weights_file.exists():
        with np.load(weights_file) as weights:
            encoder.model.set_weights([weights[name] for name in weights.files])
        found: dict[str, float] = json.loads(facts_file.read_text())
        return found
    steps = context.recipe.tuning.pretrain_steps
    with context.progress.bar("masked words", steps) as advance:
        trained = pretrain_masked_language_model(
            encoder,
            context.splits.catalogue.texts,
            num_steps=steps,
            seed=context.recipe.seed,
            advance=advance,
        )
    with whole_file(weights_file) as file:
        np.savez(file, *encoder.model.get_weights())
    facts = {
        "before": trained.pseudo_perplexity_before,
        "after": trained.pseudo_perplexity_after,
    }
    write_json(facts_file, facts)
    return facts


def _method(tuning: TuningSettings) -> Any:
    return {
        "top-layers": lambda: TopLayers(tuning.layers),
        "all-layers": lambda: AllLayers(tuning.layer_decay),
        "lora": lambda: LoRA(rank=tuning.rank),
        "adapters": lambda: BottleneckAdapters(width=tuning.width),
        "prefix": lambda: PrefixVectors(length=tuning.length),
    }[tuning.method]()
