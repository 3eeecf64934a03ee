"""Train a compressed student further, with the teacher of its run."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.compress.measures import Measure, measure_of
from tfrs_distill.compress.units import importances
from tfrs_distill.models.features import ItemFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.pipeline.fit_until_best import fit_until_best
from tfrs_distill.pipeline.run_folder import STUDENT, Run
from tfrs_distill.pipeline.students import DistillationSetup, students_of
from tfrs_distill.pipeline.vocabularies import vocabularies_of

MAX_EPOCHS, PATIENCE = 20, 4
NUM_BATCHES = 50  # from which the importance of hidden units and heads is estimated


class Compression:
    """What a run knows that compression needs.

    Args:
        run: whose student is compressed.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.students = run, students_of(run, STUDENT)

    @cached_property
    def student(self) -> TwoTower | RankingModel:
        """The student that is compressed."""
        student: TwoTower | RankingModel = self.run.student(STUDENT)
        return student

    @cached_property
    def measured_with(self) -> dict[str, Any]:
        """Arguments of `measure_of` and `to_budget`: how students are scored and exported."""
        recipe, data, student = self.run.recipe, self.run.data, self.student
        found: dict[str, Any] = {"k": recipe.evaluation.k}
        if isinstance(student, RankingModel):
            vocabularies = vocabularies_of(student, data.vocabularies, data.words)
            return found | {"catalogue": data.catalogue, "vocabularies": vocabularies}
        return found | {"num_recommended": recipe.export.k}

    @property
    def measure(self) -> Measure:
        """What a student is measured by on validation."""
        return measure_of(self.student, self.run.data.splits.validation, **self.measured_with)

    @cached_property
    def setup(self) -> DistillationSetup:
        """What teaches a compressed student: the same as the student."""
        return self.students.distillation_setup(STUDENT)

    @property
    def settings(self) -> list[Any]:
        """What decides how students are trained on."""
        return [str(self.run.recipe.distillation), MAX_EPOCHS, PATIENCE, self.run.recipe.seed]

    @cached_property
    def weights(self) -> dict[str, Any]:
        """Arguments of `compress`: how often items were met, and what the loss owes to parts."""
        train, student = self.run.data.splits.train, self.student
        batches = self.students.batches(self.setup.examples, self.run.recipe.seed)
        distiller = self.setup.distiller(student)
        found: dict[str, Any] = importances(student, distiller, batches.take(NUM_BATCHES))
        if not isinstance(student, RankingModel):
            return found | {"item_weights": _counts(train.labels, student.num_items)}
        for feature in student.table_features:
            if isinstance(feature, ItemFeature):
                items = train.features[columns.ITEM_ID]
                return found | {"item_weights": _counts(items, feature.num_items)}
        return found

    def fine_tune(self, smaller: TwoTower | RankingModel) -> dict[str, Any]:
        """Train a compressed student on, in place; return its curves."""
        recipe = self.run.recipe
        tf.keras.utils.set_random_seed(recipe.seed)
        curves = fit_until_best(
            self.setup.distiller(smaller),
            self.students.batches(self.setup.examples, recipe.seed),
            self.students.validation_callback(smaller),
            learning_rate=recipe.distillation.learning_rate,
            weight_decay=recipe.distillation.weight_decay,
            max_epochs=MAX_EPOCHS,
            patience=PATIENCE,
            progress=self.run.progress,
            description="training on",
        )
        self.students.finish(smaller)
        return curves


def _counts(items: np.ndarray, num_items: int) -> np.ndarray:
    return np.bincount(items.ravel(), minlength=num_items + 1)[1:]
