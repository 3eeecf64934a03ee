"""Label the training examples with teachers that never saw them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tfrs_distill.knowledge import cross_fit, prune
from tfrs_distill.pipeline.run_folder import CACHE, Run
from tfrs_distill.pipeline.stage import Result, Stage, forget_other_trainings


def knowledge_stage(run: Run) -> Stage:
    """Its folder holds the cache; folds that are on disk are not trained again."""
    recipe = run.recipe

    def work(folder: Path) -> tuple[Result, str]:
        fingerprint = run.fingerprint("knowledge")
        forget_other_trainings(folder, fingerprint)
        teachers = folder / "teachers"  # kept until all folds are labelled

        def train(examples: Any, fold: int) -> Any:
            of_fold = teachers / str(fold)
            of_fold.mkdir(parents=True, exist_ok=True)
            return run.teacher.train_fold(examples, fold, run.file("teacher"), of_fold)

        cross_fit(
            train,
            run.data.rows_of_teacher,
            folder / CACHE,
            fingerprint=fingerprint,
            num_folds=recipe.knowledge.folds,
            seed=recipe.seed,
            progress=run.progress,
            **_kept(run),
        )
        prune(folder / CACHE)
        shutil.rmtree(teachers, ignore_errors=True)
        which = "a teacher that never saw it"
        if "array" in recipe.teacher.kinds:
            which = "a teacher that may have seen it: the maker of its array knows"
        of = "rows" if run.tasks else "users"
        return {}, f"{recipe.knowledge.folds} folds of {of}, each labelled by {which}"

    return Stage(
        "knowledge", work, lambda: [recipe.knowledge.folds, _kept(run)], after=("teacher",)
    )


def _kept(run: Run) -> dict[str, Any]:
    """How rows are dealt, or how much is kept of a window's logits."""
    recipe = run.recipe
    if run.tasks:
        return {"by": recipe.knowledge.by}
    num_items = run.data.catalogue.num_items
    return {
        "top_k": min(recipe.knowledge.top_k, num_items - 1),
        "temperatures": (recipe.distillation.temperature,),
    }
