"""Stage 6: every model answers the same test users; then what each costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.splits import Queries, Splits
from tfrs_distill.evaluation import Scorer, evaluate, metrics
from tfrs_distill.evaluation.baselines import EASE, best_ease, popularity
from tfrs_distill.evaluation.latency import WARM_UP, percentiles
from tfrs_distill.evaluation.retrieval import Evaluation, ModelScorer
from tfrs_distill.evaluation.teacher_report import compare_teachers, scorer_of
from tfrs_distill.export.forms import FORMS
from tfrs_distill.files import whole_file
from tfrs_distill.models import TwoTower
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.ranking.tasks import NEXT_ITEM
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.teacher_kinds.kind import TEACHER_FILE
from tfrs_distill.progress import Progress
from tfrs_distill.serving.artefact import SAVED_MODEL, TFLITE, Artefact
from tfrs_distill.serving.recommender import Recommender

TFLITE_INT8 = FORMS["student_int8"].file
LATENCY_QUERIES, SLOW_LATENCY_QUERIES = 200, 20
SHAPE = "metrics by task"  # of what the last stage gives: an earlier version's is measured again


@dataclass(frozen=True)
class MeasuredTeacher:
    """The teacher, where it lies and what is known of it.

    Args:
        teacher: the whole teacher.
        folder: what `train` left.
        facts: what `train` said: `parameters` and `bytes`.
        members: of an ensemble, by name.
    """

    teacher: Any
    folder: Path
    facts: dict[str, Any]
    members: dict[str, Any]

    @property
    def keras_file(self) -> Path | None:
        """The file of a two-tower teacher, which a process of its own can open."""
        return self.folder / TEACHER_FILE if isinstance(self.teacher, TwoTower) else None

    def scorer(self, queries: Queries, max_history: int) -> Scorer:
        """What answers these queries."""
        return scorer_of(self.teacher, queries, max_history)


def measure(
    recipe: Recipe,
    splits: Splits,
    models: dict[str, TwoTower],
    model_files: dict[str, Path],
    teacher: MeasuredTeacher,
    artefact: Artefact,
    folder: Path,
    progress: Progress,
) -> tuple[dict[str, Any], str]:
    """Evaluate, weigh and time every model; keep each query's NDCG in `ndcg.npz`."""
    ease = best_ease(splits, recipe.evaluation.k)
    max_history = splits.train.max_history
    scorers = {"teacher": teacher.scorer(splits.test, max_history)}
    scorers |= _scorers(models, artefact, splits, ease)
    evaluations: dict[str, Evaluation] = {}
    with progress.bar("test users", len(scorers)) as advance:
        for name, scorer in scorers.items():
            evaluations[name] = evaluate(scorer, splits.test, k=recipe.evaluation.k)
            advance(note=name)
    teachers = compare_teachers(
        {"teacher": teacher.teacher} | teacher.members,
        splits,
        twin=models["twin"],
        k=recipe.evaluation.k,
        num_samples=recipe.evaluation.bootstrap_samples,
        seed=recipe.seed,
        progress=progress,
    )
    with whole_file(folder / "ndcg.npz") as file:
        np.savez(file, **{name: found.ndcg for name, found in evaluations.items()})
    rows: dict[str, dict[str, Any]] = _quality(recipe, evaluations)
    for name, size in _sizes(models, model_files, teacher, artefact, splits, ease).items():
        rows[name] |= size
    with progress.bar("milliseconds a query", 1) as advance:
        for name, latency in _latencies(
            model_files, teacher, artefact, splits, ease, folder
        ).items():
            rows[name]["latency_ms"] = latency
        advance()
    student = evaluations["student"]
    comparisons = {
        "student_vs_twin": compare_ndcg(recipe, student, evaluations["twin"]),
        "student_vs_teacher": compare_ndcg(recipe, student, evaluations["teacher"]),
        "int8_vs_float32": compare_ndcg(
            recipe, evaluations["student_int8"], evaluations["student_tflite"]
        ),
        "tflite_vs_keras": compare_ndcg(recipe, evaluations["student_tflite"], student)
        | {
            "identical_lists": float(
                (evaluations["student_tflite"].item_ids == student.item_ids).all(axis=1).mean()
            )
        },
    }
    k = recipe.evaluation.k
    line = f"NDCG@{k} " + ", ".join(
        f"{name} {evaluations[name].ndcg.mean():.4f}"
        for name in ("teacher", "twin", "student", "ease")
    )
    result = {
        "models": rows,
        "comparisons": {name: {NEXT_ITEM: found} for name, found in comparisons.items()},
        "resampled": resampled("test users", len(student.ndcg)),
        "teachers": teachers,
        "ease_l2": ease.l2,
    }
    return result, line


def resampled(what: str, number: int) -> dict[str, Any]:
    """What the intervals of a report are over, and whether it is too few for them."""
    return {"what": what, "number": number, "too_few": metrics.too_few_to_resample(number)}


def report_figures(recipe: Recipe, evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """An evaluation's figures as a report has them: `{"value", "interval"}` by metric."""
    figures = evaluation.figures(num_samples=recipe.evaluation.bootstrap_samples, seed=recipe.seed)
    return {
        key: {"value": value, "interval": figures.get(f"{key}_interval")}
        for key, value in figures.items()
        if not key.endswith("_interval")
    }


def compare_ndcg(recipe: Recipe, one: Evaluation, other: Evaluation) -> dict[str, Any]:
    """The paired difference of two models' NDCG over the same users; no ratio to a model of 0."""
    difference = one.ndcg - other.ndcg
    low, high = metrics.bootstrap_interval(
        difference, num_samples=recipe.evaluation.bootstrap_samples, seed=recipe.seed
    )
    base = float(other.ndcg.mean())
    return {
        "metric": f"ndcg@{one.k}",
        "seeds": [recipe.seed],
        "difference": float(difference.mean()),
        "interval": [low, high],
        "ratio": float(one.ndcg.mean()) / base if base else None,
    }


def _scorers(
    models: dict[str, TwoTower], artefact: Artefact, splits: Splits, ease: EASE
) -> dict[str, Scorer]:
    folder = artefact.folder
    exclude_seen = splits.catalogue.exclude_seen
    keras = {name: ModelScorer(model, exclude_seen=exclude_seen) for name, model in models.items()}
    return keras | {
        "saved_model": Recommender.load(folder, format="saved_model"),
        "student_tflite": Recommender.load(folder / TFLITE),
        "student_int8": Recommender.load(folder / TFLITE_INT8),
        "popularity": popularity(splits.train),
        "ease": ease,
    }


def _quality(recipe: Recipe, evaluations: Mapping[str, Evaluation]) -> dict[str, dict[str, Any]]:
    rows = {}
    for name, evaluation in evaluations.items():
        figures = report_figures(recipe, evaluation)
        if name != "teacher":
            shared = metrics.overlap(evaluation.item_ids, evaluations["teacher"].item_ids)
            figures[f"overlap@{recipe.evaluation.k}"] = {"value": float(shared.mean())}
        rows[name] = {"metrics": {NEXT_ITEM: figures}}
    return rows


def _sizes(
    models: dict[str, TwoTower],
    model_files: dict[str, Path],
    teacher: MeasuredTeacher,
    artefact: Artefact,
    splits: Splits,
    ease: EASE,
) -> dict[str, dict[str, int | None]]:
    """Parameters, and bytes on disk; the teacher's with all that it reads by, where known."""
    sizes: dict[str, dict[str, int | None]] = {
        name: {"parameters": model.num_parameters, "bytes": model_files[name].stat().st_size}
        for name, model in models.items()
    }
    sizes["teacher"] = {key: teacher.facts[key] for key in ("parameters", "bytes")}
    parameters = sizes["student"]["parameters"]
    files = {"saved_model": SAVED_MODEL, "student_tflite": TFLITE, "student_int8": TFLITE_INT8}
    for name, file in files.items():
        sizes[name] = {"parameters": parameters, "bytes": artefact.bytes_of(file)}
    num_items = splits.catalogue.num_items
    sizes["popularity"] = {"parameters": num_items, "bytes": 4 * num_items}
    sizes["ease"] = {"parameters": ease.num_parameters, "bytes": 4 * ease.num_parameters}
    return sizes


def _latencies(
    model_files: dict[str, Path],
    teacher: MeasuredTeacher,
    artefact: Artefact,
    splits: Splits,
    ease: EASE,
    folder: Path,
) -> dict[str, dict[str, float]]:
    """Milliseconds a query: Keras models and files in a process of its own with one thread."""
    histories = splits.test.histories[:LATENCY_QUERIES]
    with whole_file(folder / "histories.npz") as file:
        np.savez(file, *histories)
    keras = {name: str(path) for name, path in model_files.items()}
    if teacher.keras_file is not None:
        keras["teacher"] = str(teacher.keras_file)
    request = {
        "histories": str(folder / "histories.npz"),
        "keras": keras,
        "artefacts": {
            form.key: [str(form.path(artefact.folder)), form.format] for form in FORMS.values()
        },
    }
    timings: dict[str, dict[str, float]] = in_fresh_process(
        "tfrs_distill.evaluation.latency", request
    )
    peers: dict[str, Scorer] = {"popularity": popularity(splits.train), "ease": ease}
    timings |= {name: percentiles(peer, histories) for name, peer in peers.items()}
    if teacher.keras_file is None:
        timings["teacher"] = _latency_of_any(teacher, splits)
    return timings


def _latency_of_any(teacher: MeasuredTeacher, splits: Splits) -> dict[str, float]:
    """Milliseconds a query of a teacher that knows its queries by more than their history."""
    rows = np.arange(min(len(splits.test), SLOW_LATENCY_QUERIES))
    asked = iter(
        [splits.test.subset(rows[:1])] * WARM_UP
        + [splits.test.subset(rows[row : row + 1]) for row in rows]
    )

    def scorer(histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        return teacher.scorer(next(asked), splits.train.max_history)(histories, k)

    return percentiles(scorer, [splits.test.histories[row] for row in rows])
