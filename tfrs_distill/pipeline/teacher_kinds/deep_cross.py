"""The wide teacher of rows: `DeepCrossTeacher`, several of different seeds averaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.files import whole_file, write_json
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.pipeline.encoders import encoder_fingerprint, open_encoder
from tfrs_distill.pipeline.fit_until_best import fit_for, fit_until_best, save_alone
from tfrs_distill.pipeline.models import make_teacher
from tfrs_distill.pipeline.teacher_kinds.kind import KERAS_FILES, Facts, TeacherContext
from tfrs_distill.pipeline.validation import ValidationScore
from tfrs_distill.teachers import Ensemble

VECTORS, EPOCHS = "text_vectors.npy", "epochs.json"


class DeepCross:
    """`DeepCrossTeacher`: the average of models with different seeds, as many as the recipe says.

    With `task = "multitask"` each task has separate models, so that tasks do not interfere.
    """

    def __init__(self, context: TeacherContext) -> None:
        self.context = context
        tasks = context.tasks
        alone = context.recipe.task == "multitask"
        self.groups = {task.name: [task] for task in tasks} if alone else {"": tasks}

    def settings(self) -> Any:
        """Return the text encoder, if item texts are read."""
        if "text" not in self.context.recipe.teacher.privileged:
            return {}
        return encoder_fingerprint(self.context.recipe)

    def train(self, folder: Path) -> Facts:
        """Train each model until validation stops improving."""
        vectors = self._text_vectors()
        if vectors is not None:
            with whole_file(folder / VECTORS) as file:
                np.save(file, vectors)
        facts = {
            name: self._train_group(tasks, vectors, folder / name)
            for name, tasks in self.groups.items()
        }
        if len(facts) == 1:
            return facts[""]
        return {
            "parameters": sum(found["parameters"] for found in facts.values()),
            "bytes": sum(found["bytes"] for found in facts.values()),
            "members": facts,
            "line": "; ".join(f"{name}: {found['line']}" for name, found in facts.items()),
        }

    def open(self, folder: Path) -> Any:
        """Read the models from their Keras files."""
        groups = []
        for name, tasks in self.groups.items():
            paths = [_file(folder / name, number) for number in range(self._num_models)]
            models = [tf.keras.models.load_model(path) for path in paths]
            groups.append(models[0] if len(models) == 1 else Ensemble(models, tasks=tasks))
        return groups[0] if len(groups) == 1 else Ensemble(groups, tasks=self.context.tasks)

    def train_fold(self, examples: RankingExamples, fold: int, whole: Path, folder: Path) -> Any:
        """Train for as many epochs as the full models needed, on the same text vectors."""
        recipe = self.context.recipe
        vectors = np.load(whole / VECTORS) if (whole / VECTORS).exists() else None
        for name, tasks in self.groups.items():
            (folder / name).mkdir(exist_ok=True)
            for number, epochs in enumerate(json.loads((whole / name / EPOCHS).read_text())):
                path = _file(folder / name, number)
                if path.exists():
                    continue
                seed = self.context.seed_of_fold(fold) + 100 * number
                model = make_teacher(recipe, self.context.data, tasks, vectors, examples, seed)
                batches = examples.batches(recipe.teacher.batch_size, seed=seed)
                rate = recipe.teacher.learning_rate
                fit_for(model, batches, learning_rate=rate, epochs=epochs)
                save_alone(model, path)
        return self.open(folder)  # as a resumed run will read it

    @property
    def _num_models(self) -> int:
        return self.context.recipe.teacher.num_models

    def _train_group(
        self, tasks: Sequence[RankingTask], vectors: np.ndarray | None, folder: Path
    ) -> Facts:
        folder.mkdir(exist_ok=True)
        recipe, data = self.context.recipe, self.context.data
        all_curves, parameters, size = [], 0, 0
        for number in range(self._num_models):
            seed = recipe.seed + 100 * number
            model = make_teacher(recipe, data, tasks, vectors, data.splits.train, seed)
            all_curves.append(
                fit_until_best(
                    model,
                    data.splits.train.batches(recipe.teacher.batch_size, seed=recipe.seed + number),
                    ValidationScore(model, data.splits.validation, recipe.evaluation.k),
                    learning_rate=recipe.teacher.learning_rate,
                    max_epochs=recipe.teacher.max_epochs,
                    patience=recipe.teacher.patience,
                    progress=self.context.progress,
                    description=f"teacher of {' and '.join(task.name for task in tasks)}",
                )
            )
            save_alone(model, _file(folder, number))
            parameters += model.num_parameters
            size += _file(folder, number).stat().st_size
        write_json(folder / EPOCHS, [curves["best_epoch"] for curves in all_curves])
        best = max(all_curves[0]["validation_score"])
        return {
            "curves": all_curves[0],
            "parameters": parameters,
            "bytes": size,
            "line": f"{parameters:,} parameters, validation score {best:.4f} at epoch "
            f"{all_curves[0]['best_epoch']}",
        }

    def _text_vectors(self) -> np.ndarray | None:
        """Return the encoder's vectors of the items' texts: float32 [num_items, text_dim]."""
        catalogue = self.context.data.catalogue
        if "text" not in self.context.recipe.teacher.privileged or catalogue is None:
            return None
        return self.context.text_vectors(open_encoder(self.context.recipe))


def _file(folder: Path, number: int) -> Path:
    return folder / f"{KERAS_FILES}{number}.keras"
