"""Compress the student of a finished run to a budget, and write the chosen one as an artefact."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.compress import to_budget
from tfrs_distill.compress.budget import POINT_FILE, Point, SearchResult
from tfrs_distill.compress.measures import RowMeasure
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.ranking import RankingEvaluation, compare, evaluate_ranking
from tfrs_distill.evaluation.retrieval import evaluate
from tfrs_distill.evaluation.row_score import next_item_ndcg
from tfrs_distill.export.artefact import refuse_foreign_folder
from tfrs_distill.files import whole_folder, write_json
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import NextItem
from tfrs_distill.pipeline.compression.fine_tuning import Compression
from tfrs_distill.pipeline.compression.page import write_page
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import COLD_ITEMS
from tfrs_distill.pipeline.report.models import metric_of
from tfrs_distill.pipeline.run_folder import COMPRESSED, KNOWLEDGE, LISTS, RETRIEVAL, STUDENT, Run
from tfrs_distill.pipeline.stage import NOTE
from tfrs_distill.pipeline.tasks import leading_metric
from tfrs_distill.progress import Progress
from tfrs_distill.serving import Ranker, Recommender

COMPRESS, FACTS_FILE, PAGE_FILE = "compress", "compress.json", "compress.html"


def compress_artefact(
    artefact: Path, to: Path | None, max_bytes: int, max_drop: float, progress: Progress
) -> dict[str, Any]:
    """Implement `tfrs_distill.pipeline.compress`."""
    run = _run_of(artefact, progress)
    to = run.home / COMPRESSED / artefact.resolve().name if to is None else to
    _refuse_of_run(to, run)
    this = Compression(run)
    found = to_budget(
        this.student,
        run.data.splits.validation,
        run.home / COMPRESS,
        max_bytes=max_bytes,
        max_drop=max_drop,
        fine_tune=this.fine_tune,
        fingerprint=str(this.settings),
        progress=progress,
        **this.measured_with,
        **this.weights,
    )
    facts = _facts(this, found, max_bytes, max_drop, to)
    _publish(found.chosen, to)
    write_json(run.home / COMPRESS / FACTS_FILE, facts)
    write_page(facts, run.home / COMPRESS / PAGE_FILE)
    return facts


def _facts(
    this: Compression, found: SearchResult, max_bytes: int, max_drop: float, to: Path
) -> dict[str, Any]:
    """Return the content of `compress.json`; evaluates the chosen student on test, once."""
    recipe = this.run.recipe
    on_test = _rows_on_test if isinstance(this.student, RankingModel) else _lists_on_test
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "score": found.score_name,
        "max_bytes": max_bytes,
        "max_drop": max_drop,
        "artefact": str(to),
        "chosen": found.points.index(found.chosen),
        "uncompressed": found.points.index(found.uncompressed),
        "points": [asdict(point) for point in found.points],
        "test": on_test(this, [found.chosen, found.uncompressed]),
    }


def _lists_on_test(this: Compression, points: list[Point]) -> dict[str, Any]:
    recipe, queries = this.run.recipe, this.run.data.splits.test
    found = [
        evaluate(Recommender.load(point.folder), queries, k=recipe.evaluation.k).ndcg
        for point in points
    ]
    return _compared(recipe, f"NDCG@{recipe.evaluation.k}", found)


def _rows_on_test(this: Compression, points: list[Point]) -> dict[str, Any]:
    """Compare the leading metric of the first labelled task, or else of the next item."""
    recipe, test, k = this.run.recipe, this.run.data.splits.test, this.run.recipe.evaluation.k
    student = this.student
    assert isinstance(student, RankingModel)
    measure = RowMeasure(student, test, k, None, None)
    found = [measure.predictions(Ranker.load(point.folder)) for point in points]
    labelled = [task for task in this.run.tasks if not isinstance(task, NextItem)]
    if not labelled:
        (task,) = this.run.tasks
        scores = [predictions[task.name] for predictions in found]
        items = test.features[columns.ITEM_ID][: len(scores[0])]
        ndcg = [next_item_ndcg(of_point, items, k) for of_point in scores]
        return _compared(recipe, f"NDCG@{k} of {task.name}", ndcg)
    task = labelled[0]
    key = leading_metric(task, k)

    def evaluated(predictions: dict[str, Any]) -> RankingEvaluation:
        return evaluate_ranking(
            lambda _: predictions,
            test,
            [task],
            num_samples=recipe.evaluation.bootstrap_samples,
            seed=recipe.seed,
        )

    chosen, whole = map(evaluated, found)
    difference = compare(chosen, whole, task.name, key)
    return {
        "metric": f"{metric_of(key).name} of {task.name}",
        "chosen": float(chosen.metrics[task.name][key]),
        "uncompressed": float(whole.metrics[task.name][key]),
        "difference": float(difference.difference),
        "interval": [difference.low, difference.high],
    }


def _compared(recipe: Any, metric: str, values: list[np.ndarray]) -> dict[str, Any]:
    """Compare the metric of each query, of the chosen student and the student in float32."""
    chosen, whole = values
    difference = metrics.paired_difference(
        chosen, whole, num_samples=recipe.evaluation.bootstrap_samples, seed=recipe.seed
    )
    means = {"chosen": float(chosen.mean()), "uncompressed": float(whole.mean())}
    return {"metric": metric, **means, **difference}


def _publish(point: Point, to: Path) -> None:
    """Copy an artefact, without the files that only the search reads."""
    with whole_folder(to) as folder:
        shutil.copytree(
            point.folder,
            folder,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns(POINT_FILE),
        )


def _refuse_of_run(to: Path, run: Run) -> None:
    """Raise if the target holds something that no search has written.

    Raises:
        InputError: `to` holds something else than an artefact, or belongs to the run itself.
    """
    refuse_foreign_folder(to)
    if to.resolve().parent == run.home.resolve() and to.resolve().name.isdigit():
        raise InputError(
            f"{to} is a version of the run's own artefact, which is never changed. Give another "
            f"folder, such as {run.home / COMPRESSED / to.name}."
        )


def _run_of(artefact: Path, progress: Progress) -> Run:
    """Return the finished run that an artefact belongs to.

    Raises:
        InputError: it is not in a run's folder, or the run's student cannot be compressed.
    """
    home = artefact.resolve().parent
    recipe_file = home / "recipe.toml"
    recipe = Recipe.from_toml(recipe_file) if recipe_file.is_file() else None
    needed = [STUDENT, KNOWLEDGE]
    if recipe is not None and recipe.task == "two-stage":
        needed += [RETRIEVAL, LISTS]
    missing = [stage for stage in needed if not (home / "stages" / stage / NOTE).is_file()]
    missing += ["recipe.toml"] if recipe is None else []
    missing += [] if artefact.is_dir() else [str(artefact)]
    if missing or recipe is None:
        raise InputError(
            f"{artefact} is not the artefact of a finished run: next to it there must be the run's "
            "recipe.toml and stages, whose teacher and data train the smaller student. Missing "
            f"or not finished: {', '.join(missing)}. Give one "
            "such as saved_models/ml-100k/1; for a student of your own there is "
            "`td.compress.to_budget`."
        )
    if recipe.data.split == COLD_ITEMS:
        raise InputError(
            f'A run whose `data.split` is "{COLD_ITEMS}" cannot be compressed: its student '
            "is chosen by its text tower, which compression does not train. Give a run of another "
            "split."
        )
    if artefact.resolve().name != str(recipe.export.version):
        raise InputError(
            f"{artefact} does not hold the run's own student, which is version "
            f"{recipe.export.version}: a later version comes from an update, whose teachers are "
            "not kept with it. Give the run's own version."
        )
    run = Run(recipe, home.parent, progress, home=home)
    run.check_exported(artefact)
    return run
