"""The teachers of a ranking run: each is trained, opened again, and trained again for each fold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.files import whole_file
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.pipeline.encoders import (
    encoder_fingerprint,
    is_of_tf_hub,
    open_bert,
    open_encoder,
)
from tfrs_distill.pipeline.fit_until_best import fit_until_best
from tfrs_distill.pipeline.ranking.dataset import RankingData
from tfrs_distill.pipeline.ranking.models import make_teacher
from tfrs_distill.pipeline.ranking.training import save_ranking, seed_of_fold
from tfrs_distill.pipeline.ranking.validation import ValidationScore
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.progress import Progress
from tfrs_distill.teachers import Ensemble
from tfrs_distill.teachers.bert.bert_text_ranker import BertTextRanker

Facts = dict[str, Any]
KERAS_FILES = "teacher-"  # and a number: the files of a teacher that is a Keras model
VECTORS, EPOCHS, RANKER, TRAINING = "text_vectors.npy", "epochs.json", "bert", "training"


@dataclass(frozen=True)
class RankingSetting:
    """What the teachers of one run are made from."""

    recipe: Recipe
    data: RankingData
    progress: Progress


class RankingTeacher(Protocol):
    """A kind of teacher for some tasks."""

    def settings(self) -> Any:
        """Everything outside the data and the recipe that decides it, as JSON.

        Raises:
            InputError: something that it needs cannot be used.
        """

    def train(self, folder: Path) -> Facts:
        """Train on the training rows; `parameters`, `bytes`, `line` and perhaps `curves`."""

    def open(self, folder: Path) -> Any:
        """What `train` left: a teacher with logits of ranking rows, as `row_logits` takes it."""

    def train_fold(self, examples: RankingExamples, fold: int, whole: Path, folder: Path) -> Any:
        """The same on these rows, as whole as `whole`; `folder` survives an interrupt."""


def ranking_teacher(setting: RankingSetting, tasks: Sequence[RankingTask]) -> RankingTeacher:
    """The recipe's kind of teacher; with many tasks at once, one for each."""
    if setting.recipe.teacher.kind == "bert-text":
        return BertText(setting, tasks)
    if setting.recipe.task == "multitask":
        return OneEach({task.name: DeepCross(setting, [task]) for task in tasks}, tasks)
    return DeepCross(setting, tasks)


class DeepCross:
    """`DeepCrossTeacher`: as many of different seeds as the recipe says, averaged."""

    def __init__(self, setting: RankingSetting, tasks: Sequence[RankingTask]) -> None:
        self.setting, self.tasks = setting, list(tasks)

    def settings(self) -> Any:
        """The text encoder, where item texts are read."""
        if "text" not in self.setting.recipe.teacher.privileged:
            return {}
        return encoder_fingerprint(self.setting.recipe)

    def train(self, folder: Path) -> Facts:
        """Each model until validation is best."""
        recipe, data = self.setting.recipe, self.setting.data
        vectors = self._text_vectors()
        if vectors is not None:
            with whole_file(folder / VECTORS) as file:
                np.save(file, vectors)
        all_curves, parameters, size = [], 0, 0
        for number in range(recipe.teacher.num_models):
            model = make_teacher(
                recipe, data, self.tasks, vectors, data.splits.train, recipe.seed + 100 * number
            )
            all_curves.append(
                fit_until_best(
                    model,
                    data.splits.train.batches(recipe.teacher.batch_size, seed=recipe.seed + number),
                    ValidationScore(model, data.splits.validation, recipe.evaluation.k),
                    learning_rate=recipe.teacher.learning_rate,
                    max_epochs=recipe.teacher.max_epochs,
                    patience=recipe.teacher.patience,
                    progress=self.setting.progress,
                    description=f"teacher of {' and '.join(task.name for task in self.tasks)}",
                )
            )
            save_ranking(model, folder / _file(number))
            parameters += model.num_parameters
            size += (folder / _file(number)).stat().st_size
        with whole_file(folder / EPOCHS, "w") as file:
            json.dump([curves["best_epoch"] for curves in all_curves], file)
        best = max(all_curves[0]["validation_score"])
        return {
            "curves": all_curves[0],
            "parameters": parameters,
            "bytes": size,
            "line": f"{parameters:,} parameters, validation score {best:.4f} at epoch "
            f"{all_curves[0]['best_epoch']}",
        }

    def open(self, folder: Path) -> Any:
        """Read the models from their Keras files."""
        numbers = range(self.setting.recipe.teacher.num_models)
        models = [tf.keras.models.load_model(folder / _file(number)) for number in numbers]
        return models[0] if len(models) == 1 else Ensemble(models, tasks=self.tasks)

    def train_fold(self, examples: RankingExamples, fold: int, whole: Path, folder: Path) -> Any:
        """For as many epochs as the whole ones needed, with the same text vectors."""
        recipe = self.setting.recipe
        vectors = np.load(whole / VECTORS) if (whole / VECTORS).exists() else None
        for number, epochs in enumerate(json.loads((whole / EPOCHS).read_text())):
            if (folder / _file(number)).exists():
                continue
            seed = seed_of_fold(recipe, fold) + 100 * number
            model = make_teacher(recipe, self.setting.data, self.tasks, vectors, examples, seed)
            model.compile(optimizer=tf.keras.optimizers.Adam(recipe.teacher.learning_rate))
            batches = examples.batches(recipe.teacher.batch_size, seed=seed)
            model.fit(batches, epochs=epochs, verbose=0)
            save_ranking(model, folder / _file(number))
        return self.open(folder)  # as a resumed run will read it

    def _text_vectors(self) -> np.ndarray | None:
        """The items' texts as the encoder reads them: float32 [num_items, text_dim]."""
        catalogue = self.setting.data.catalogue
        if "text" not in self.setting.recipe.teacher.privileged or catalogue is None:
            return None
        with self.setting.progress.bar("item texts", len(catalogue.texts)) as advance:
            return open_encoder(self.setting.recipe).encode(catalogue.texts, advance=advance)


class BertText:
    """`BertTextRanker`: a BERT that reads each row's text."""

    def __init__(self, setting: RankingSetting, tasks: Sequence[RankingTask]) -> None:
        self.setting, self.tasks = setting, list(tasks)

    def settings(self) -> Any:
        """The checkpoint that reads the texts."""
        recipe = self.setting.recipe
        if is_of_tf_hub(recipe):
            raise InputError(
                "A BERT that is trained on texts needs a Hugging Face checkpoint; an encoder from "
                f"TF-Hub stays frozen. Received: {recipe.encoder.name}."
            )
        return encoder_fingerprint(recipe)

    def train(self, folder: Path) -> Facts:
        """The recipe's epochs on the training rows."""
        recipe = self.setting.recipe
        ranker = self._fit(self.setting.data.splits.train, recipe.seed, folder, "BERT steps")
        weights = sum(path.stat().st_size for path in (folder / RANKER).rglob("*"))
        return {
            "parameters": ranker.encoder.num_parameters,
            "bytes": ranker.encoder.num_bytes + weights,
            "line": f"a BERT of {ranker.encoder.num_parameters:,} parameters, "
            f"{recipe.teacher.max_epochs} passes over the texts",
        }

    def open(self, folder: Path) -> BertTextRanker:
        """Read what was trained."""
        return BertTextRanker.load(folder / RANKER, open_bert(self.setting.recipe))

    def train_fold(
        self, examples: RankingExamples, fold: int, whole: Path, folder: Path
    ) -> BertTextRanker:
        """The same on these rows; an interrupted training is taken up."""
        if not (folder / RANKER).exists():
            seed = seed_of_fold(self.setting.recipe, fold)
            self._fit(examples, seed, folder, f"BERT steps of fold {fold + 1}")
        return self.open(folder)

    def _fit(
        self, examples: RankingExamples, seed: int, folder: Path, description: str
    ) -> BertTextRanker:
        recipe = self.setting.recipe
        encoder = open_bert(recipe)
        ranker = BertTextRanker(
            encoder,
            self.tasks,
            max_length=encoder.max_length,
            dropout=recipe.teacher.dropout,
            seed=seed,
        )
        steps = -(-len(examples) // recipe.teacher.batch_size) * recipe.teacher.max_epochs
        with self.setting.progress.bar(description, steps) as advance:
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


class OneEach:
    """A teacher of its own for each task: no task disturbs another's."""

    def __init__(
        self, teachers: Mapping[str, RankingTeacher], tasks: Sequence[RankingTask]
    ) -> None:
        self.teachers, self.tasks = teachers, tasks

    def settings(self) -> Any:
        """Every teacher's."""
        return {name: teacher.settings() for name, teacher in self.teachers.items()}

    def train(self, folder: Path) -> Facts:
        """One after another."""
        facts = {}
        for name, teacher in self.teachers.items():
            (folder / name).mkdir(exist_ok=True)
            facts[name] = teacher.train(folder / name)
        return {
            "parameters": sum(told["parameters"] for told in facts.values()),
            "bytes": sum(told["bytes"] for told in facts.values()),
            "members": facts,
            "line": "; ".join(f"{name}: {told['line']}" for name, told in facts.items()),
        }

    def open(self, folder: Path) -> Ensemble:
        """All of them."""
        opened = [teacher.open(folder / name) for name, teacher in self.teachers.items()]
        return Ensemble(opened, tasks=self.tasks)

    def train_fold(
        self, examples: RankingExamples, fold: int, whole: Path, folder: Path
    ) -> Ensemble:
        """All of them on these rows."""
        opened = []
        for name, teacher in self.teachers.items():
            own = folder / name
            own.mkdir(parents=True, exist_ok=True)
            opened.append(teacher.train_fold(examples, fold, whole / name, own))
        return Ensemble(opened, tasks=self.tasks)


def _file(number: int) -> str:
    return f"{KERAS_FILES}{number}.keras"
