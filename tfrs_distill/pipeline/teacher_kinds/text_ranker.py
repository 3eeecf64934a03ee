"""The teacher of rows with a text: a BERT that reads the text of each row."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.encoders import encoder_fingerprint, is_of_tf_hub, open_bert
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, TeacherContext
from tfrs_distill.teachers.bert.bert_text_ranker import BertTextRanker

RANKER, TRAINING = "bert", "training"


class TextRanker:
    """`BertTextRanker`, trained for the recipe's epochs."""

    def __init__(self, context: TeacherContext) -> None:
        self.context = context

    def settings(self) -> Any:
        """Return the checkpoint that reads the texts."""
        recipe = self.context.recipe
        if is_of_tf_hub(recipe):
            raise InputError(
                "A BERT that is trained on texts needs a Hugging Face checkpoint; an encoder from "
                f"TF-Hub stays frozen. Received: {recipe.encoder.name}."
            )
        return encoder_fingerprint(recipe)

    def train(self, folder: Path) -> Facts:
        """Train on the training rows for the recipe's epochs."""
        recipe = self.context.recipe
        ranker = self._fit(self.context.data.splits.train, recipe.seed, folder, "BERT steps")
        weights = sum(path.stat().st_size for path in (folder / RANKER).rglob("*"))
        return {
            "parameters": ranker.encoder.num_parameters,
            "bytes": ranker.encoder.num_bytes + weights,
            "line": f"a BERT of {ranker.encoder.num_parameters:,} parameters, "
            f"{recipe.teacher.max_epochs} passes over the texts",
        }

    def open(self, folder: Path) -> BertTextRanker:
        """Load the trained model."""
        return BertTextRanker.load(folder / RANKER, open_bert(self.context.recipe))

    def train_fold(
        self, examples: RankingExamples, fold: int, whole: Path, folder: Path
    ) -> BertTextRanker:
        """Train on these rows; an interrupted training resumes."""
        if not (folder / RANKER).exists():
            seed = self.context.seed_of_fold(fold)
            self._fit(examples, seed, folder, f"BERT steps of fold {fold + 1}")
        return self.open(folder)

    def _fit(
        self, examples: RankingExamples, seed: int, folder: Path, description: str
    ) -> BertTextRanker:
        recipe = self.context.recipe
        encoder = open_bert(recipe)
        ranker = BertTextRanker(
            encoder,
            self.context.tasks,
            max_length=encoder.max_length,
            dropout=recipe.teacher.dropout,
            seed=seed,
        )
        steps = -(-len(examples) // recipe.teacher.batch_size) * recipe.teacher.max_epochs
        with self.context.progress.bar(description, steps) as advance:
            ranker.fit(
                examples,
                num_epochs=recipe.teacher.max_epochs,
                batch_size=recipe.teacher.batch_size,
                learning_rate=recipe.teacher.learning_rate,
                seed=seed,
                checkpoint_folder=folder / TRAINING,
                advance=advance,
            )
        ranker.save(folder / RANKER)
        shutil.rmtree(folder / TRAINING, ignore_errors=True)
        return ranker
