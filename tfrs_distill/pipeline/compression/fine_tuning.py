"""Fine-tune a compressed student, with the teacher of its run."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.compress.measures import Measure, measure_of
from tfrs_distill.compress.suited import Student
from tfrs_distill.compress.units import HIDDEN_UNITS, importances
from tfrs_distill.models.features import ItemFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.pipeline.fit_until_best import fit_until_best
from tfrs_distill.pipeline.run_folder import RETRIEVAL, STUDENT, Run
from tfrs_distill.pipeline.students import (
    DistillationSetup,
    ListStudents,
    Students,
    students_of,
)
from tfrs_distill.pipeline.two_stage import ValidationLists
from tfrs_distill.pipeline.vocabularies import vocabularies_of

MAX_EPOCHS, PATIENCE = 20, 4
NUM_BATCHES = 50  # for estimating the importance of hidden units and heads


class Compression:
    """The parts of a run that compression needs.

    Args:
        run: the run of the student.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def student(self) -> Student:
        """The student to compress."""
        student: Student = self.run.whole_student(STUDENT)
        return student

    @cached_property
    def measured_with(self) -> dict[str, Any]:
        """Arguments of `measure_of` and `to_budget`: how students are scored and exported."""
        recipe, data, student = self.run.recipe, self.run.data, self.student
        found: dict[str, Any] = {"k": recipe.evaluation.k}
        if isinstance(student, RankingModel):
            vocabularies = vocabularies_of(student, data.vocabularies, data.words)
            return found | {"catalogue": data.catalogue, "vocabularies": vocabularies}
        if isinstance(student, TwoStageStudent):
            return found
        return found | {"num_recommended": recipe.export.k}

    @property
    def measure(self) -> Measure:
        """The measure of a student on validation."""
        return measure_of(self.student, self.run.data.splits.validation, **self.measured_with)

    def parts(self, student: Student) -> dict[str, tuple[Any, Students]]:
        """Return the separately trained parts with their `Students`, by stage, in order."""
        if not isinstance(student, TwoStageStudent):
            return {STUDENT: (student, students_of(self.run, STUDENT))}
        first = student.retrieval_student
        return {
            RETRIEVAL: (first, students_of(self.run, RETRIEVAL)),
            STUDENT: (student.ranking_student, ListStudents(self.run, first)),
        }

    @cached_property
    def setups(self) -> dict[str, DistillationSetup]:
        """The distillation setups of a compressed student by stage, as for the original student."""
        return {
            name: students.distillation_setup(name)
            for name, (_, students) in self.parts(self.student).items()
        }

    @property
    def settings(self) -> list[Any]:
        """The settings that determine the fine-tuning."""
        return [str(self.run.recipe.distillation), MAX_EPOCHS, PATIENCE, self.run.recipe.seed]

    @cached_property
    def weights(self) -> dict[str, Any]:
        """Arguments of `compress`: the items' interaction counts, and the importance of parts."""
        train, student = self.run.data.splits.train, self.student
        of_parts = []
        for name, (part, students) in self.parts(student).items():
            setup = self.setups[name]
            batches = students.batches(setup.examples, self.run.recipe.seed).take(NUM_BATCHES)
            of_parts.append(importances(part, setup.distiller(part), batches))
        found: dict[str, Any] = of_parts[0]
        if isinstance(student, TwoStageStudent):
            found |= {HIDDEN_UNITS.argument: [of.get(HIDDEN_UNITS.argument) for of in of_parts]}
        if not isinstance(student, RankingModel):
            return found | {"item_weights": _counts(train.labels, student.num_items)}
        for feature in student.table_features:
            if isinstance(feature, ItemFeature):
                items = train.features[columns.ITEM_ID]
                return found | {"item_weights": _counts(items, feature.num_items)}
        return found

    def fine_tune(self, smaller: Student) -> dict[str, Any]:
        """Fine-tune a compressed student, in place; return its curves.

        With two stages the first is fine-tuned, then the second, on the validation candidates that
        the new first stage retrieves.
        """
        recipe, curves = self.run.recipe, {}
        tf.keras.utils.set_random_seed(recipe.seed)
        for name, (part, students) in self.parts(smaller).items():
            setup, validation = self.setups[name], students.validation_callback(part)
            curves = fit_until_best(
                setup.distiller(part),
                students.batches(setup.examples, recipe.seed),
                validation,
                learning_rate=recipe.distillation.learning_rate,
                weight_decay=recipe.distillation.weight_decay,
                max_epochs=MAX_EPOCHS,
                patience=PATIENCE,
                progress=self.run.progress,
                description="fine-tuning",
            )
            students.finish(part)
            if isinstance(validation, ValidationLists):
                smaller.retrieval_weight = validation.weights[curves["best_epoch"] - 1]
        return curves


def _counts(items: np.ndarray, num_items: int) -> np.ndarray:
    return np.bincount(items.ravel(), minlength=num_items + 1)[1:]
