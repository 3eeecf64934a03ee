"""How good is a teacher on users outside its training data, by the number of folds?

    python benchmarks/folds.py [--quick] [--seed 0] [--teacher] [--out DIR]

A student learns from teachers that were not trained on the example's user. With fewer folds such a
teacher has fewer training users. The cost is measured as NDCG@10 of each user's query by the
teacher of the user's fold, compared with the teacher of all users. MovieLens-100K: time-decayed
EASE at several numbers of folds, and with `--teacher` the recipe's teacher at the recipe's number
(trained once, kept on disk).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill.data.splits import Queries
from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation.retrieval import Scorer, TeacherScorer
from tfrs_distill.knowledge.cross_fit import USER, assign_folds
from tfrs_distill.pipeline.freed_memory import keep_freed_memory
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stages.data import data_stage
from tfrs_distill.pipeline.stages.teacher import teacher_stage
from tfrs_distill.pipeline.terminal import TerminalProgress

Train = Callable[[Windows, int], Callable[[Queries], Scorer]]
EASE_SETTINGS = {"l2": 1000.0, "decay": 8.0}  # chosen on validation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer folds, as a smoke test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teacher", action="store_true", help="the recipe's teacher too")
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    arguments = parser.parse_args()
    keep_freed_memory()
    recipe = Recipe.named("movielens-100k")
    recipe = replace(recipe, seed=arguments.seed, name=f"{recipe.name}-seed-{arguments.seed}")
    run = Run(recipe, arguments.out, TerminalProgress())
    run.stages.run([data_stage(run), *([teacher_stage(run)] if arguments.teacher else [])])
    splits = run.data.splits
    print("| teacher | folds | validation NDCG@10 | test NDCG@10 |\n|---|---|---|---|")

    def ease(windows: Windows, fold: int) -> Callable[[Queries], Scorer]:
        scorer = td.EASE(windows, **EASE_SETTINGS)
        return lambda queries: scorer

    show("EASE", "all users", [ndcg(ease(splits.train, 0), each) for each in parts(splits)])
    for folds in (2, 4) if arguments.quick else (2, 4, 8, 16, 32):
        show("EASE", folds, cross_fitted(ease, splits, folds, arguments.seed))
    if not arguments.teacher:
        return

    def teacher(windows: Windows, fold: int) -> Callable[[Queries], Scorer]:
        folder = run.home / f"of-{recipe.knowledge.folds}-folds" / str(fold)
        folder.mkdir(parents=True, exist_ok=True)
        return scored(run.teacher.train_fold(windows, fold, run.file("teacher"), folder), splits)

    whole = scored(run.teacher.open(run.file("teacher")), splits)
    show("the recipe's", "all users", [ndcg(whole, each) for each in parts(splits)])
    folds = recipe.knowledge.folds
    show("the recipe's", folds, cross_fitted(teacher, splits, folds, arguments.seed))


def parts(splits: Any) -> list[Queries]:
    """The validation queries, which choose settings, and the test queries."""
    return [splits.validation, splits.test]


def scored(teacher: Any, splits: Any) -> Callable[[Queries], Scorer]:
    """The scorer of a teacher for given queries."""
    return lambda queries: TeacherScorer(teacher, queries, max_history=splits.train.max_history)


def ndcg(scorer: Callable[[Queries], Scorer], queries: Queries) -> np.ndarray:
    """NDCG@10 of each query."""
    return td.evaluate(scorer(queries), queries).ndcg


def cross_fitted(train: Train, splits: Any, folds: int, seed: int) -> list[np.ndarray]:
    """NDCG@10 of each query, by the teacher that was trained without its user's fold."""
    fold_of_row = assign_folds(splits.train, folds, USER, seed)
    fold_of_user = dict(zip(splits.train.users.tolist(), fold_of_row.tolist()))
    found: list[list[np.ndarray]] = [[] for _ in parts(splits)]
    for fold in range(folds):
        scorer = train(splits.train.subset(fold_of_row != fold), fold)
        for values, queries in zip(found, parts(splits)):
            own = [fold_of_user.get(int(user)) == fold for user in queries.users]
            values.append(ndcg(scorer, queries.subset(np.flatnonzero(own))))
    return [np.concatenate(values) for values in found]


def show(teacher: str, folds: int | str, values: list[np.ndarray]) -> None:
    """Print one row of the table."""
    means = " | ".join(f"{each.mean():.4f}" for each in values)
    print(f"| {teacher} | {folds} | {means} |", flush=True)


if __name__ == "__main__":
    main()
