"""The cross-encoder teacher of a run: a two-tower retrieves, a BERT that reads pairs ranks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.encoders import encoder_fingerprint, is_of_tf_hub, open_bert
from tfrs_distill.pipeline.recipe import RetrievalRecipe
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, TeacherContext
from tfrs_distill.pipeline.teacher_kinds.two_tower import TwoTowerOfItems
from tfrs_distill.teachers import BertCrossEncoder, Reranker

FIRST, SECOND, TRAINING = "first_stage", "cross_encoder", "training"


class CrossEncoder:
    """`Reranker` of a two-tower, as the recipe describes it, and a `BertCrossEncoder`."""

    def __init__(self, context: TeacherContext) -> None:
        self.context = context
        self.first_stage = TwoTowerOfItems(context)

    def settings(self) -> Any:
        """Return those of the two-tower, and the checkpoint that reads pairs."""
        recipe = self.context.recipe
        check_reads_pairs(recipe)
        return [self.first_stage.settings(), encoder_fingerprint(recipe)]

    def train(self, folder: Path) -> Facts:
        """Train the two-tower, then the cross-encoder on the two-tower's candidates."""
        (folder / FIRST).mkdir(exist_ok=True)
        facts = self.first_stage.train(folder / FIRST)
        seed = self.context.recipe.seed
        second = self._train_second(self.context.splits.train, seed, folder)
        steps = self.context.recipe.cross_encoder.steps
        return facts | {
            "parameters": facts["parameters"] + second["parameters"],
            "bytes": facts["bytes"] + second["bytes"],
            "line": f"{facts['line']}; then a cross-encoder of {steps} steps",
        }

    def open(self, folder: Path) -> Reranker:
        """Load both stages from their files."""
        named = self.context.recipe.cross_encoder
        return Reranker(
            self.first_stage.open(folder / FIRST),
            open_pairs(self.context, folder),
            num_candidates=named.num_candidates,
            first_stage_weight=named.first_stage_weight,
            exclude_seen=self.context.splits.catalogue.exclude_seen,
        )

    def train_fold(self, windows: Windows, fold: int, whole: Path, folder: Path) -> Reranker:
        """Train both stages on these windows."""
        (folder / FIRST).mkdir(parents=True, exist_ok=True)
        self.first_stage.train_fold(windows, fold, whole / FIRST, folder / FIRST)
        if not (folder / SECOND).exists():
            seed = self.context.seed_of_fold(fold)
            self._train_second(windows, seed, folder)
        return self.open(folder)

    def _train_second(self, windows: Windows, seed: int, folder: Path) -> dict[str, int]:
        first_stage = self.first_stage.open(folder / FIRST)
        return train_pairs(self.context, windows, first_stage, seed, folder)


def check_reads_pairs(recipe: RetrievalRecipe) -> None:
    """Raise for an encoder that cannot read pairs, before training.

    Raises:
        InputError: it is from TF-Hub.
    """
    if is_of_tf_hub(recipe):
        raise InputError(
            "A cross-encoder needs a Hugging Face checkpoint; an encoder from TF-Hub cannot "
            f"read pairs. Received: {recipe.encoder.name}."
        )


def train_pairs(
    context: TeacherContext, windows: Windows, first_stage: Any, seed: int, folder: Path
) -> dict[str, int]:
    """Train the cross-encoder that ranks a first stage's candidates, and write it to `folder`.

    Returns:
        Its `parameters`, and its `bytes` including the BERT.
    """
    named = context.recipe.cross_encoder
    cross_encoder = BertCrossEncoder(
        open_bert(context.recipe),
        context.splits.catalogue.texts,
        max_history_items=named.max_history_items,
        max_length=named.max_length,
        seed=seed,
    )
    with context.progress.bar("cross-encoder steps", named.steps) as advance:
        cross_encoder.fit(
            windows,
            first_stage,
            num_steps=named.steps,
            batch_size=named.batch_size,
            num_negatives=named.num_negatives,
            learning_rate=named.learning_rate,
            seed=seed,
            checkpoint_folder=folder / TRAINING,
            advance=advance,
        )
    cross_encoder.save(folder / SECOND)
    shutil.rmtree(folder / TRAINING, ignore_errors=True)
    encoder = cross_encoder.encoder
    weights = sum(path.stat().st_size for path in (folder / SECOND).iterdir())
    return {"parameters": encoder.num_parameters, "bytes": encoder.num_bytes + weights}


def open_pairs(context: TeacherContext, folder: Path) -> BertCrossEncoder:
    """Read the cross-encoder that `train_pairs` wrote to `folder`."""
    texts = context.splits.catalogue.texts
    return BertCrossEncoder.load(folder / SECOND, open_bert(context.recipe), texts)
