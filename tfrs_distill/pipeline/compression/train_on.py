"""Train a compressed student further, with the teacher of its run."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.units import importances
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.pipeline.fit_until_best import fit_until_best
from tfrs_distill.pipeline.run_folder import STUDENT, Run
from tfrs_distill.pipeline.students import DistillationSetup, WindowStudents

MAX_EPOCHS, PATIENCE = 20, 4
NUM_BATCHES = 50  # from which the importance of hidden units and heads is estimated


class Compression:
    """What a run knows that compression needs.

    Args:
        run: whose student is compressed.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.students = run, WindowStudents(run)

    @cached_property
    def student(self) -> TwoTower:
        """The student that is compressed."""
        student: TwoTower = self.run.student(STUDENT)
        return student

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
        """Arguments of `compress`: how often items are labels, and what the loss owes to parts."""
        labels = self.run.data.splits.train.labels
        batches = self.students.batches(self.setup.examples, self.run.recipe.seed)
        distiller = self.setup.distiller(self.student)
        counts = np.bincount(labels.ravel(), minlength=self.student.num_items + 1)[1:]
        return {
            "item_weights": counts,
            **importances(self.student, distiller, batches.take(NUM_BATCHES)),
        }

    def fine_tune(self, smaller: TwoTower) -> dict[str, Any]:
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
