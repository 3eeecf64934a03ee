"""The last stage of a two-stage run: retrieval alone, two stages, cross-encoder, side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.splits import Queries, Splits
from tfrs_distill.evaluation import Scorer, evaluate
from tfrs_distill.evaluation.latency import percentiles
from tfrs_distill.evaluation.retrieval import Evaluation, ModelScorer
from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.measure import compare_ndcg, report_figures, resampled
from tfrs_distill.pipeline.ranking.list_teachers import Committee
from tfrs_distill.pipeline.ranking.two_stage import TwoStages, ranking_scores
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.progress import Progress
from tfrs_distill.serving.artefact import TFLITE, TFLITE_INT8
from tfrs_distill.serving.recommender import Recommender
from tfrs_distill.teachers import Reranker
from tfrs_distill.teachers.candidate_lists import RELEVANCE

LATENCY_QUERIES, SLOW_LATENCY_QUERIES = 200, 10
LISTS_AT_A_TIME = 8  # of the cross-encoder: a sign of life now and then
SECONDS_BETWEEN = 60.0  # two writings of what it said so far
KEPT_FILE = "cross_encoder.npz"
NAMES = {  # of the models that are more than their keys say: what a report calls them
    "teacher": ("Teachers", "cross-encoder and item-item weights over the same candidates"),
    "student": ("Two stages", "retrieval, then the distilled ranking student"),
    "twin": ("Two stages, twin", "the same ranking student without teachers"),
    "student_int8": ("Two stages, int8", "8-bit weights, .tflite"),
    "student_tflite": ("Two stages, .tflite", "float32, for a device"),
    "saved_model": ("Two stages, SavedModel", "for a server"),
}


@dataclass(frozen=True)
class TwoStageModels:
    """What is compared, and where it lies.

    Args:
        teachers: order the first stage's candidates: `cross_encoder`, which the first stage's
            scores stand beside, and `item_item`.
        facts: the cross-encoder's `parameters` and `bytes`.
        files: the Keras files of `retrieval`, `twin` and `student`.
        artefact: the folder of both exported students.
        retrieval_weights: of the first stage's score, for `twin` and `student`.
    """

    teachers: Mapping[str, Any]
    facts: Mapping[str, Any]
    files: Mapping[str, Path]
    artefact: Path
    retrieval_weights: Mapping[str, float]


def measure_two_stages(
    recipe: Recipe, splits: Splits, models: TwoStageModels, folder: Path, progress: Progress
) -> tuple[dict[str, Any], str]:
    """Evaluate, weigh and time every model; keep each query's NDCG in `ndcg.npz`.

    What the cross-encoder said before an interrupt is in `folder` too.
    """
    queries, k = _asked(recipe, splits.test), recipe.evaluation.k
    loaded = {name: tf.keras.models.load_model(path) for name, path in models.files.items()}
    first = ModelScorer(loaded["retrieval"], exclude_seen=splits.catalogue.exclude_seen)
    scorers = _scorers(recipe, models, loaded, first, folder / KEPT_FILE, progress)
    evaluations: dict[str, Evaluation] = {}
    with progress.bar("test users", len(scorers)) as advance:
        for name, scorer in scorers.items():
            evaluations[name] = evaluate(scorer, queries, k=k)
            advance(note=name)
    with whole_file(folder / "ndcg.npz") as file:
        np.savez(file, **{name: found.ndcg for name, found in evaluations.items()})
    rows: dict[str, dict[str, Any]] = {
        name: {"metrics": {RELEVANCE: report_figures(recipe, found)}}
        for name, found in evaluations.items()
    }
    for name, (shown, what) in NAMES.items():
        rows[name] |= {"name": shown, "what": what}
    for name, size in _sizes(models, loaded).items():
        rows[name] |= size
    with progress.bar("milliseconds a query", 1) as advance:
        for name, latency in _latencies(models, queries, scorers, folder).items():
            rows[name]["latency_ms"] = latency
        advance()
    pairs = {
        "student_vs_retrieval": ("student", "retrieval"),
        "student_vs_twin": ("student", "twin"),
        "student_vs_teacher": ("student", "teacher"),
        "student_vs_cross_encoder": ("student", "cross_encoder"),
        "teacher_vs_retrieval": ("teacher", "retrieval"),
        "int8_vs_float32": ("student_int8", "student_tflite"),
        "tflite_vs_keras": ("student_tflite", "student"),
    }
    comparisons = {
        name: {RELEVANCE: compare_ndcg(recipe, evaluations[one], evaluations[other])}
        for name, (one, other) in pairs.items()
    }
    line = ", ".join(
        f"{name} {evaluations[name].ndcg.mean():.4f}"
        for name in ("retrieval", "twin", "student", "cross_encoder", "teacher")
    )
    result = {
        "models": rows,
        "comparisons": comparisons,
        "resampled": resampled("test users", len(evaluations["student"].ndcg)),
    }
    return result, f"NDCG@{k} {line}"


def _asked(recipe: Recipe, queries: Queries) -> Queries:
    """As many of the test queries as the recipe says, drawn evenly."""
    most = recipe.evaluation.max_lists
    if not most or most >= len(queries):
        return queries
    drawn = np.random.default_rng(recipe.seed).permutation(len(queries))[:most]
    return queries.subset(np.sort(drawn))


def _scorers(
    recipe: Recipe,
    models: TwoStageModels,
    loaded: Mapping[str, Any],
    first: ModelScorer,
    kept: Path,
    progress: Progress,
) -> dict[str, Scorer]:
    most = recipe.ranking.num_candidates
    found: dict[str, Scorer] = {"retrieval": first}
    for name, weight in models.retrieval_weights.items():
        second = ranking_scores(loaded[name], recipe.ranking.max_history)
        found[name] = TwoStages(first, second, most, weight)
    crossed = AskedOnce(models.teachers["cross_encoder"], progress, kept)
    found["cross_encoder"] = TwoStages(first, crossed.scores, most)
    committee = Committee([crossed, models.teachers["item_item"]])
    found["teacher"] = TwoStages(first, committee.scores, most)
    found["student_tflite"] = Recommender.load(models.artefact / TFLITE)
    found["student_int8"] = Recommender.load(models.artefact / TFLITE_INT8)
    found["saved_model"] = Recommender.load(models.artefact, format="saved_model")
    return found


class AskedOnce:
    """The cross-encoder, with a bar over the lists where there are many.

    What it says of many lists is kept in a file, every minute: an interrupt costs no more than
    that, and a committee asks about the same lists again.

    Args:
        cross_encoder: answers `scores(histories, candidate_lists)`.
        progress: shows the bar.
        kept: the file, of this cross-encoder and these histories alone.
    """

    def __init__(self, cross_encoder: Reranker, progress: Progress, kept: Path) -> None:
        self.cross_encoder, self.progress, self.kept = cross_encoder, progress, kept

    def scores(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Float32 [n, k]."""
        if len(histories) <= LISTS_AT_A_TIME:
            return np.asarray(self.cross_encoder.scores(histories, candidates))
        said = self._said(candidates)
        if len(said) == len(candidates):
            return said
        with self.progress.bar("lists of the cross-encoder", len(candidates)) as advance:
            advance(len(said))
            saved = time.monotonic()
            for start in range(len(said), len(candidates), LISTS_AT_A_TIME):
                part = slice(start, start + LISTS_AT_A_TIME)
                some = np.asarray(self.cross_encoder.scores(histories[part], candidates[part]))
                said = np.concatenate([said, some])
                if time.monotonic() - saved > SECONDS_BETWEEN or len(said) == len(candidates):
                    with whole_file(self.kept) as file:
                        np.savez(file, candidates=candidates, said=said)
                    saved = time.monotonic()
                advance(len(some))
        return said

    def _said(self, candidates: np.ndarray) -> np.ndarray:
        """What it said of the first of these lists, float32 [lists done, k]."""
        if self.kept.exists():
            with np.load(self.kept) as arrays:
                if np.array_equal(arrays["candidates"], candidates):
                    return np.array(arrays["said"])
        return np.zeros([0, candidates.shape[1]], np.float32)


def _sizes(models: TwoStageModels, loaded: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Parameters, and bytes on disk, of both stages where there are two."""
    own: dict[str, dict[str, Any]] = {
        name: {"parameters": model.num_parameters, "bytes": models.files[name].stat().st_size}
        for name, model in loaded.items()
    }
    first = own["retrieval"]

    def both(second: Mapping[str, Any]) -> dict[str, Any]:
        return {key: first[key] + second[key] for key in ("parameters", "bytes")}

    item_item = models.teachers["item_item"].num_parameters
    crossed = both(models.facts)
    sizes = {"parameters": item_item, "bytes": 4 * item_item}
    found = {"retrieval": first, "cross_encoder": crossed}
    found["teacher"] = {key: crossed[key] + sizes[key] for key in sizes}
    found |= {name: both(own[name]) for name in ("twin", "student")}
    for name, file in (("student_tflite", TFLITE), ("student_int8", TFLITE_INT8)):
        size = sum(path.stat().st_size for path in models.artefact.rglob(file))
        found[name] = {"parameters": found["student"]["parameters"], "bytes": size}
    saved = [*models.artefact.rglob("saved_model.pb"), *models.artefact.rglob("variables/*")]
    found["saved_model"] = {
        "parameters": found["student"]["parameters"],
        "bytes": sum(path.stat().st_size for path in saved),
    }
    return found


def _latencies(
    models: TwoStageModels, queries: Queries, scorers: Mapping[str, Scorer], folder: Path
) -> dict[str, dict[str, float]]:
    """Milliseconds a query: what is served in a process of its own with one thread."""
    histories = queries.histories[:LATENCY_QUERIES]
    with whole_file(folder / "histories.npz") as file:
        np.savez(file, *histories)
    request = {
        "histories": str(folder / "histories.npz"),
        "keras": {"retrieval": str(models.files["retrieval"])},
        "saved_model": str(models.artefact),
        "student_tflite": str(models.artefact / TFLITE),
        "student_int8": str(models.artefact / TFLITE_INT8),
    }
    times: dict[str, dict[str, float]] = in_fresh_process(
        "tfrs_distill.evaluation.latency", request
    )
    slow: Sequence[np.ndarray] = histories[:SLOW_LATENCY_QUERIES]
    for name in ("cross_encoder", "teacher"):
        times[name] = percentiles(scorers[name], slow)
    for name in ("twin", "student"):
        times[name] = percentiles(scorers[name], histories)
    return times
