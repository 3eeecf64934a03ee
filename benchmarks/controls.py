"""What needs no teacher: the twin with smoothed labels, and EASE that forgets.

    python benchmarks/controls.py [--quick] [--seeds 0 1 2] [--out DIR] [--json FILE]

MovieLens-100K, the data, split and settings of the main recipe. Where `benchmarks/retrieval.py` has
left runs of the same seeds in DIR, its student is compared with the twin, user by user. Intervals
are 95 % bootstrap intervals over users of the NDCG averaged over the seeds. What is on disk is not
made again.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill.data.splits import Splits, split_by_time
from tfrs_distill.evaluation import ValidationNDCG, evaluate, metrics
from tfrs_distill.evaluation.baselines import EASE_GRID, best_ease
from tfrs_distill.files import whole_file
from tfrs_distill.models.rows import row_mask
from tfrs_distill.pipeline.fit_until_best import fit_until_best, save_alone
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.stage import Stage, Stages
from tfrs_distill.pipeline.teacher_kinds.closed_form import described
from tfrs_distill.pipeline.terminal import TerminalProgress
from tfrs_distill.progress import Progress

import tensorflow as tf  # isort: skip
from rows import Row, publish, row  # isort: skip

SMOOTHING = 0.6  # the share of a label that goes to all items alike
CONTROLS = ("twin_smoothed", "ease_decayed")
STUDENT = "student"  # of the runs of benchmarks/retrieval.py


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few epochs: to see it work")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    recipe = Recipe.named("movielens-100k")
    recipe = recipe.quick() if arguments.quick else recipe
    interactions = td.data.movielens_100k(recipe.data.folder or None)
    splits = split_by_time(interactions, max_history=recipe.data.max_history)
    found, runs = [], []
    for seed in arguments.seeds:
        seeded = replace(recipe, seed=seed, name=f"{recipe.name}-seed-{seed}")
        home = arguments.out / seeded.name
        found.append(controls(seeded, splits, home, TerminalProgress()))
        ndcg = home / "stages" / "evaluate" / "ndcg.npz"
        if ndcg.exists():
            with np.load(ndcg) as arrays:
                runs.append(arrays[STUDENT])
    students = runs if len(runs) == len(found) else []
    publish(figures(found, students, arguments.seeds), arguments.json)


def controls(
    recipe: Recipe, splits: Splits, home: Path, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Each control's test NDCG by user, and what it was made with.

    Args:
        recipe: says data, student, twin and training.
        splits: the recipe's data.
        home: where the stages' folder is made.
        progress: shows the stages.

    Returns:
        By name: `ndcg` [num_users], `validation`, `parameters`, `bytes`, `detail`.
    """
    stages = Stages(home / "controls", recipe.seed, progress)
    parts = (recipe.data, recipe.student, recipe.training, recipe.twin, recipe.evaluation)
    settings = [dataclasses.asdict(part) for part in parts]
    makers = {
        "twin_smoothed": lambda folder: smoothed_twin(recipe, splits, folder, progress),
        "ease_decayed": lambda folder: decayed_ease(splits, recipe.evaluation.k, folder),
    }
    fixed = {"twin_smoothed": SMOOTHING, "ease_decayed": EASE_GRID}
    data = splits.train.fingerprint()
    stages.run(
        [
            Stage(name, make, lambda name=name: [settings, data, fixed[name]])
            for name, make in makers.items()
        ]
    )
    found = stages.results
    for name in makers:
        with np.load(home / "controls" / name / "ndcg.npz") as arrays:
            found[name]["ndcg"] = arrays["ndcg"]
    return found


def figures(
    found: list[dict[str, dict[str, Any]]], students: list[np.ndarray], seeds: list[int]
) -> list[Row]:
    """The controls' NDCG, and the student's beside it where its runs are there."""
    rows = []
    for name in CONTROLS:
        mean = np.mean([controls[name]["ndcg"] for controls in found], axis=0)
        low, high = metrics.bootstrap_interval(mean)
        by_seed = ", ".join(f"{controls[name]['ndcg'].mean():.4f}" for controls in found)
        validation = np.mean([controls[name]["validation"] for controls in found])
        facts = found[0][name]
        detail = (
            f"95 % interval {low:.4f} to {high:.4f}; seeds {seeds}: {by_seed}; validation "
            f"{validation:.4f}; {facts['detail']}; {facts['bytes']:,} bytes"
        )
        rows.append(row(f"{name}_ndcg", float(mean.mean()), "NDCG@10", "", detail))
        if students:
            student = np.mean(students, axis=0)
            low, high = metrics.bootstrap_interval(student - mean)
            detail = (
                f"difference {(student - mean).mean():.4f}, 95 % interval {low:.4f} to {high:.4f}"
            )
            ratio = float(student.mean() / mean.mean())
            rows.append(row(f"student_ndcg_over_{name}", ratio, "ratio", "", detail))
    return rows


def smoothed_twin(
    recipe: Recipe, splits: Splits, folder: Path, progress: Progress
) -> tuple[dict[str, Any], str]:
    """The twin, with label smoothing over the catalogue.

    The labels are `(1 - SMOOTHING) * one_hot + SMOOTHING / num_items`, as in
    `tf.keras.losses.CategoricalCrossentropy(label_smoothing=SMOOTHING)`: to learn them is to learn
    from a teacher to whom all items are alike, at temperature 1.
    """
    student = td.models.RetrievalStudent.from_history(
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
    save_alone(student, folder / "student.keras")
    return _measured(
        evaluate(student, splits.test, k=recipe.evaluation.k).ndcg,
        folder,
        validation=best,
        parameters=student.num_parameters,
        bytes=(folder / "student.keras").stat().st_size,
        detail=f"label smoothing {SMOOTHING}",
    )


def decayed_ease(splits: Splits, k: int, folder: Path) -> tuple[dict[str, Any], str]:
    """The l2 and decay whose NDCG@k on validation is best, asked about test."""
    best = best_ease(splits, k)
    return _measured(
        evaluate(best, splits.test, k=k).ndcg,
        folder,
        validation=float(evaluate(best, splits.validation, k=k).ndcg.mean()),
        parameters=best.num_parameters,
        bytes=4 * best.num_parameters,
        detail=f"history weighted by its age: {described(best.teacher.settings)}",
    )


def _measured(ndcg: np.ndarray, folder: Path, **facts: Any) -> tuple[dict[str, Any], str]:
    with whole_file(folder / "ndcg.npz") as file:
        np.savez(file, ndcg=ndcg)
    return facts, f"{facts['detail']}, test {ndcg.mean():.4f}"


if __name__ == "__main__":
    main()
