"""What needs no teacher, beside the main recipe: a twin with smoothed labels, EASE that forgets.

`python benchmarks/retrieval.py` prints them. Both are made from a finished run's data; what is on
disk is not made again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tfrs_distill as td
from tfrs_distill.atomic import whole_file
from tfrs_distill.baselines import EASE, EASE_L2
from tfrs_distill.data.splits import Splits, split_by_time
from tfrs_distill.evaluation import ValidationNDCG, evaluate, top_k_unseen
from tfrs_distill.pipeline.dataset import load_data
from tfrs_distill.pipeline.fit_until_best import fit_until_best
from tfrs_distill.pipeline.resume import Stages
from tfrs_distill.progress import Progress
from tfrs_distill.recipe import Recipe
from tfrs_distill.towers.rows import row_mask

SMOOTHING = 0.6  # the share of a label that goes to all items alike; .2, .4 and .8 are no better
DECAYS = (4.0, 8.0, 16.0)  # items, chosen on validation
CONTROLS = ("twin_smoothed", "ease_decayed")


def controls(recipe: Recipe, home: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Each control's test NDCG by user, and what it was made with.

    Args:
        recipe: of a run that has finished.
        home: the run's folder.
        progress: shows the stages.

    Returns:
        By name: `ndcg` [num_users], `parameters`, `bytes`, `detail`.
    """
    stages = Stages(home / "controls", len(CONTROLS), recipe.seed, progress)
    splits = split_by_time(load_data(home / "stages" / "data"), max_history=recipe.data.max_history)
    parts = (recipe.data, recipe.student, recipe.training, recipe.twin, recipe.evaluation)
    settings = [dataclasses.asdict(part) for part in parts]
    makers = {
        "twin_smoothed": lambda folder: smoothed_twin(recipe, splits, folder, progress),
        "ease_decayed": lambda folder: decayed_ease(splits, recipe.evaluation.k, folder),
    }
    fixed = {"twin_smoothed": SMOOTHING, "ease_decayed": [DECAYS, EASE_L2]}
    found = {}
    for name, make in makers.items():
        inputs = [settings, splits.train.fingerprint(), fixed[name]]
        found[name] = stages.run(name, inputs, make)
        with np.load(home / "controls" / name / "ndcg.npz") as arrays:
            found[name]["ndcg"] = arrays["ndcg"]
    return found


def smoothed_twin(
    recipe: Recipe, splits: Splits, folder: Path, progress: Progress
) -> tuple[dict[str, Any], str]:
    """The twin, with label smoothing over the catalogue.

    The labels are `(1 - SMOOTHING) * one_hot + SMOOTHING / num_items`, as in
    `tf.keras.losses.CategoricalCrossentropy(label_smoothing=SMOOTHING)`: to learn them is to learn
    from a teacher to whom all items are alike, at temperature 1.
    """
    student = td.students.RetrievalStudent.from_history(
        num_items=splits.catalogue.num_items,
        max_history=recipe.data.max_history,
        embedding_dim=recipe.student.embedding_dim,
        dropout=recipe.twin.dropout,
        seed=recipe.seed,
    )

    def all_alike(batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        return tf.zeros([tf.math.count_nonzero(row_mask(batch)), tf.size(candidate_ids)])

    smoothing = td.losses.SoftTargetKLDivergence(temperature=1.0)
    curves = fit_until_best(
        td.Distiller(student, all_alike, smoothing, student_loss_weight=1.0 - SMOOTHING),
        splits.train.batches(recipe.training.batch_size, seed=recipe.seed),
        ValidationNDCG(splits.validation, k=recipe.evaluation.k, model=student),
        learning_rate=recipe.twin.learning_rate,
        max_epochs=recipe.training.max_epochs,
        patience=recipe.training.patience,
        progress=progress,
        description="twin with smoothed labels",
    )
    best = max(curves[f"validation_ndcg@{recipe.evaluation.k}"])
    student.save(folder / "student.keras", include_optimizer=False)
    return _measured(
        evaluate(student, splits.test, k=recipe.evaluation.k).ndcg,
        folder,
        parameters=student.num_parameters,
        bytes=(folder / "student.keras").stat().st_size,
        detail=f"label smoothing {SMOOTHING}, validation {best:.4f}",
    )


class DecayedEASE:
    """EASE whose history counts `exp(-age / decay)`, age 0 for the last item met."""

    def __init__(self, ease: EASE, decay: float) -> None:
        self.ease, self.decay = ease, decay

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Recommend `k` items after each history."""
        met = np.zeros((len(histories), len(self.ease.weights)), np.float32)
        for row, history in enumerate(histories):
            ages = np.arange(len(history) - 1, -1, -1)
            met[row, history] = np.exp(-ages / self.decay)  # met again: the last time counts
        return top_k_unseen(met @ self.ease.weights, histories, k)


def decayed_ease(splits: Splits, k: int, folder: Path) -> tuple[dict[str, Any], str]:
    """The l2 and decay whose NDCG@k on validation is best, asked about test."""
    tried = [DecayedEASE(EASE(splits.train, l2=l2), decay) for l2 in EASE_L2 for decay in DECAYS]
    scores = [evaluate(scorer, splits.validation, k=k).ndcg.mean() for scorer in tried]
    best = tried[int(np.argmax(scores))]
    return _measured(
        evaluate(best, splits.test, k=k).ndcg,
        folder,
        parameters=best.ease.num_parameters,
        bytes=4 * best.ease.num_parameters,
        detail=f"exp(-age / {best.decay:g}), l2 {best.ease.l2:g}, validation {max(scores):.4f}",
    )


def _measured(ndcg: np.ndarray, folder: Path, **facts: Any) -> tuple[dict[str, Any], str]:
    with whole_file(folder / "ndcg.npz") as file:
        np.savez(file, ndcg=ndcg)
    return facts, f"{facts['detail']}, test {ndcg.mean():.4f}"
