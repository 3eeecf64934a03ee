"""Evaluate models that recommend: a retrieval student alone, or followed by a ranking student."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation import Scorer, evaluate, metrics
from tfrs_distill.evaluation.baselines import MAX_ITEMS_OF_EASE, best_ease, popularity
from tfrs_distill.evaluation.latency import WARM_UP, percentiles
from tfrs_distill.evaluation.retrieval import Evaluation, ModelScorer
from tfrs_distill.evaluation.segments import Segment, Values, by_segment, segment_report, segments
from tfrs_distill.evaluation.teacher_report import compare_teachers, scorer_of
from tfrs_distill.evaluation.two_stage import TwoStages, ranking_scores
from tfrs_distill.export.forms import FORMS
from tfrs_distill.files import save_arrays, whole_file
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.list_teachers import Committee
from tfrs_distill.pipeline.recipe import RetrievalRecipe, TwoStageRecipe
from tfrs_distill.pipeline.report.lists import RecommendedLists, drawn_users
from tfrs_distill.pipeline.report.over_runs import LENGTHS, NDCG_FILE, OF_SEGMENT, USERS
from tfrs_distill.pipeline.run_folder import COMPRESSED, STUDENT, Run
from tfrs_distill.pipeline.stage import Result, forget_other_trainings
from tfrs_distill.pipeline.stages.cross_encoder import CROSS_ENCODER, open_cross_encoder
from tfrs_distill.pipeline.stages.item_map import ENCODES_ITEMS, item_map
from tfrs_distill.pipeline.stages.report_rows import (
    PAIRS,
    artefacts_to_time,
    describe_controls,
    name_forms,
    name_of_exported,
    pairs_of,
    resampled,
)
from tfrs_distill.pipeline.tasks import NEXT_ITEM
from tfrs_distill.pipeline.teacher_kinds import EnsembleOf
from tfrs_distill.pipeline.teacher_kinds.closed_form import described
from tfrs_distill.pipeline.teacher_kinds.kind import KERAS_FILES
from tfrs_distill.pipeline.teacher_kinds.two_tower import TwoTowerOfItems
from tfrs_distill.progress import Progress
from tfrs_distill.serving.recommender import Recommender
from tfrs_distill.teachers import Reranker
from tfrs_distill.teachers.candidate_lists import RELEVANCE

REPORTED = (metrics.NDCG, metrics.RECALL, metrics.MRR, metrics.HIT_RATE, metrics.COVERAGE)
LATENCY_QUERIES, SLOW_LATENCY_QUERIES = 200, 10
LISTS_AT_A_TIME = 8  # of the cross-encoder, per update of the progress bar
SECONDS_BETWEEN = 60.0  # between two writes of the scores so far
KEPT_FILE = "cross_encoder.npz"
Latency = dict[str, float]
Segmented = tuple[list[Segment], dict[str, Values]]  # the segments, and each model's NDCG in them
TWO_STAGE_PAIRS = {
    "student_vs_retrieval": ("student", "retrieval"),
    "student_vs_cross_encoder": ("student", "cross_encoder"),
    "teacher_vs_retrieval": ("teacher", "retrieval"),
}
TWO_STAGE_NAMES = {  # names in a report, for models whose keys are not specific enough
    "teacher": ("Teachers", "cross-encoder and item-item weights over the same candidates"),
    "student": ("Two stages", "retrieval, then the distilled ranking student"),
    "twin": ("Two stages, twin", "the same ranking student without teachers"),
}


@dataclass(frozen=True)
class Measured:
    """A model to measure.

    Args:
        scorer: its recommendations.
        parameters: number of parameters; None if unknown.
        bytes: on disk, with all inputs it needs; None if unknown.
        keras_file: timed in a separate process, like exported forms.
        num_timed: queries that are timed in this process, if there is no such file.
        latency: `latency()` measures it if its scorer does not accept single queries.
    """

    scorer: Scorer
    parameters: int | None
    bytes: int | None
    keras_file: Path | None = None
    num_timed: int = LATENCY_QUERIES
    latency: Callable[[], Latency] | None = None


def evaluate_retrieval(run: Run, folder: Path) -> tuple[Result, str]:
    """Evaluate every model, and measure its size and latency.

    `ndcg.npz` stores each query's NDCG by model, also by segment, and `lists.npz` the
    recommendations of some models.
    """
    recipe, splits = run.recipe, run.data.splits
    popular, ease = popularity(splits.train), None
    if splits.catalogue.num_items <= MAX_ITEMS_OF_EASE:
        reads_order = recipe.data.reads_order
        ease = best_ease(splits, recipe.evaluation.k, reads_order=reads_order)
    students = {name: run.student(name) for name in (*run.compared_stages, "student")}
    teacher = run.teacher.open(run.file("teacher"))
    facts, num_items = run.result("teacher"), splits.catalogue.num_items

    def scorer(queries: Queries) -> Scorer:
        return scorer_of(teacher, queries, splits.train.max_history)

    models = {
        "teacher": Measured(
            scorer(splits.test),
            facts["parameters"],
            facts["bytes"],
            next(run.file("teacher").glob(f"{KERAS_FILES}*.keras"), None)
            if isinstance(run.teacher, TwoTowerOfItems)
            else None,
            latency=lambda: _latency_of_any(scorer, splits.test),
        )
    }
    models |= {name: _of_student(run, name, model) for name, model in students.items()}
    exported = students[STUDENT]
    if run.exported == COMPRESSED:
        exported = run.student(COMPRESSED)
        models[COMPRESSED] = replace(_of_student(run, COMPRESSED, exported), keras_file=None)
    models |= _of_forms(run, exported.num_parameters)
    models["popularity"] = Measured(popular, num_items, 4 * num_items)
    if ease is not None:
        models["ease"] = Measured(ease, ease.num_parameters, 4 * ease.num_parameters)
    evaluations, segmented = _evaluations(run, models, splits.test, folder)
    lists = _keep_lists(run, evaluations, splits.test, folder)
    members = {}
    if isinstance(run.teacher, EnsembleOf):
        kinds = run.teacher.members.items()
        members = {name: kind.open(run.file("teacher", name)) for name, kind in kinds}
    teachers = compare_teachers(
        {"teacher": teacher} | members,
        splits,
        twin=students["twin"],
        k=recipe.evaluation.k,
        num_samples=recipe.evaluation.bootstrap_samples,
        seed=recipe.seed,
        progress=run.progress,
    )
    rows = _rows(run, NEXT_ITEM, models, evaluations, splits.test, folder)
    if ease is not None:
        rows["ease"]["what"] = f"linear item-item model, {described(ease.teacher.settings)}"
    for name, found in evaluations.items():
        if name != "teacher":
            shared = metrics.overlap(found.item_ids, evaluations["teacher"].item_ids)
            overlap = {f"overlap@{recipe.evaluation.k}": {"value": float(shared.mean())}}
            rows[name]["metrics"][NEXT_ITEM] |= overlap
    name_forms(rows, name_of_exported(run))
    describe_controls(run, rows)
    result = _result(run, NEXT_ITEM, rows, evaluations, segmented, pairs_of(run))
    same = evaluations["student_tflite"].item_ids == evaluations[run.exported].item_ids
    compared = result["comparisons"]["tflite_vs_keras"][NEXT_ITEM]
    compared["identical_lists"] = float(same.all(axis=1).mean())
    shown = ("teacher", *run.compared_stages, "student", "popularity" if ease is None else "ease")
    line = _line(recipe, evaluations, shown)
    result |= _shown_lists(run, lists, evaluations, rows)
    with_items = {"teacher": teacher} if hasattr(teacher, ENCODES_ITEMS) else members
    result["map"] = item_map(
        {name: model for name, model in with_items.items() if hasattr(model, ENCODES_ITEMS)},
        students["student"],
        students["twin"],
        splits.train,
        seed=recipe.seed,
    )
    settings = None if ease is None else ease.teacher.settings
    return result | {"teachers": teachers, "ease": settings}, line


def evaluate_two_stages(run: Run, folder: Path) -> tuple[Result, str]:
    """Evaluate retrieve-then-rank, next to the first stage and the teachers' rankings.

    `folder` also has the cross-encoder's scores from before an interrupt.
    """
    recipe = run.recipe
    forget_other_trainings(folder, run.fingerprint("evaluate"))
    queries, most = _drawn(recipe, run.data.splits.test), recipe.lists.num_candidates
    first = run.first_stage_scorer()
    models = {"retrieval": _of_student(run, "retrieval", run.first_stage, first)}
    of_first, crossed = models["retrieval"], run.result(CROSS_ENCODER)

    def both(second: Scorer, parameters: int, size: int, num_timed: int) -> Measured:
        parameters += of_first.parameters or 0
        return Measured(second, parameters, size + (of_first.bytes or 0), num_timed=num_timed)

    cross_encoder = KeptScores(open_cross_encoder(run), run.progress, folder / KEPT_FILE)
    committee = Committee([cross_encoder, run.item_item])
    sizes = crossed["parameters"], crossed["bytes"]
    models["cross_encoder"] = both(
        TwoStages(first, cross_encoder.scores, most), *sizes, SLOW_LATENCY_QUERIES
    )
    item_item = run.item_item.num_parameters
    models["teacher"] = both(
        TwoStages(first, committee.scores, most),
        sizes[0] + item_item,
        sizes[1] + 4 * item_item,
        SLOW_LATENCY_QUERIES,
    )
    for name in (*run.compared_stages, "student"):
        student = run.student(name)
        second = ranking_scores(student, RELEVANCE)
        models[name] = both(
            TwoStages(first, second, most, run.result(name)["retrieval_weight"]),
            student.num_parameters,
            run.student_file(name).stat().st_size,
            LATENCY_QUERIES,
        )
    if run.exported == COMPRESSED:
        whole = run.whole_student(COMPRESSED)
        files = (run.retrieval_file(COMPRESSED), run.student_file(COMPRESSED))
        models[COMPRESSED] = Measured(
            TwoStages.of(whole, exclude_seen=run.data.catalogue.exclude_seen),
            whole.num_parameters,
            sum(file.stat().st_size for file in files),
        )
    models |= _of_forms(run, models[run.exported].parameters)
    evaluations, segmented = _evaluations(run, models, queries, folder)
    lists = _keep_lists(run, evaluations, queries, folder)
    rows = _rows(run, RELEVANCE, models, evaluations, queries, folder)
    for name, (shown, what) in TWO_STAGE_NAMES.items():
        rows[name] |= {"name": shown, "what": what}
    name_forms(rows, "Two stages" if run.exported == STUDENT else name_of_exported(run))
    describe_controls(run, rows, "Two stages, ")
    pairs = pairs_of(run) | TWO_STAGE_PAIRS
    result = _result(run, RELEVANCE, rows, evaluations, segmented, pairs)
    result |= _shown_lists(run, lists, evaluations, rows)
    order = ("retrieval", *run.compared_stages, "student", "cross_encoder", "teacher")
    return result, _line(recipe, evaluations, order)


def report_figures(recipe: RetrievalRecipe, evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Return an evaluation's metrics as in a report: `{"value", "interval"}` by metric."""
    figures = evaluation.figures(num_samples=recipe.evaluation.bootstrap_samples, seed=recipe.seed)
    return {
        key: {"value": figures[key], "interval": figures.get(f"{key}_interval")}
        for key in (f"{metric.key}@{evaluation.k}" for metric in REPORTED)
    }


def compare_ndcg(recipe: RetrievalRecipe, one: Evaluation, other: Evaluation) -> dict[str, Any]:
    """Return the paired difference of two models' NDCG over the same users."""
    return {
        "metric": f"ndcg@{one.k}",
        "seeds": [recipe.seed],
        **metrics.paired_difference(
            one.ndcg,
            other.ndcg,
            num_samples=recipe.evaluation.bootstrap_samples,
            seed=recipe.seed,
        ),
    }


class KeptScores:
    """A cross-encoder that saves its scores of many lists in a file, and shows a progress bar.

    The scores are written every minute: an interrupt loses at most that much, and a committee that
    needs the same lists again reads them from the file.

    Args:
        cross_encoder: has `scores(histories, candidate_lists)`.
        progress: shows the bar.
        kept: the file, used only for this cross-encoder and these histories.
    """

    def __init__(self, cross_encoder: Reranker, progress: Progress, kept: Path) -> None:
        self.cross_encoder, self.progress, self.kept = cross_encoder, progress, kept

    def scores(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Return the scores, float32 [n, k]."""
        if len(histories) <= LISTS_AT_A_TIME:
            return np.asarray(self.cross_encoder.scores(histories, candidates))
        scores = self._kept(candidates)
        if len(scores) == len(candidates):
            return scores
        with self.progress.bar("lists of the cross-encoder", len(candidates)) as advance:
            advance(len(scores))
            saved = time.monotonic()
            for start in range(len(scores), len(candidates), LISTS_AT_A_TIME):
                part = slice(start, start + LISTS_AT_A_TIME)
                some = np.asarray(self.cross_encoder.scores(histories[part], candidates[part]))
                scores = np.concatenate([scores, some])
                if time.monotonic() - saved > SECONDS_BETWEEN or len(scores) == len(candidates):
                    with whole_file(self.kept) as file:
                        np.savez(file, candidates=candidates, scores=scores)
                    saved = time.monotonic()
                advance(len(some))
        return scores

    def _kept(self, candidates: np.ndarray) -> np.ndarray:
        """Return the saved scores of the first of these lists, float32 [lists done, k]."""
        if self.kept.exists():
            with np.load(self.kept) as arrays:
                if np.array_equal(arrays["candidates"], candidates):
                    return np.array(arrays["scores"])
        return np.zeros([0, candidates.shape[1]], np.float32)


def _of_student(run: Run, stage: str, model: Any, scorer: Scorer | None = None) -> Measured:
    path = run.student_file(stage)
    if scorer is None:
        scorer = ModelScorer(model, exclude_seen=run.data.catalogue.exclude_seen)
    return Measured(scorer, model.num_parameters, path.stat().st_size, path)


def _of_forms(run: Run, parameters: int | None) -> dict[str, Measured]:
    """The exported forms of the student."""
    return {
        name: Measured(form.load(run.version, Recommender), parameters, form.num_bytes(run.version))
        for name, form in FORMS.items()
    }


def _drawn(recipe: TwoStageRecipe, queries: Queries) -> Queries:
    """Return the recipe's number of test queries, sampled evenly."""
    most = recipe.evaluation.max_lists
    if not most or most >= len(queries):
        return queries
    drawn = np.random.default_rng(recipe.seed).permutation(len(queries))[:most]
    return queries.subset(np.sort(drawn))


def _evaluations(
    run: Run, models: Mapping[str, Measured], queries: Queries, folder: Path
) -> tuple[dict[str, Evaluation], Segmented]:
    """Return every model's lists for the same queries, and its NDCG by segment.

    Each query's NDCG is saved in `folder`.
    """
    evaluations, answerable = {}, queries.answerable()
    with run.progress.bar("test users", len(models)) as advance:
        for name, model in models.items():
            evaluations[name] = evaluate(model.scorer, queries, k=run.recipe.evaluation.k)
            advance(note=name)
    data = run.data
    parts = segments(data.splits.train, answerable, data.user_groups, data.item_groups)
    ndcgs = {
        name: by_segment(metrics.ndcg, found.item_ids, parts) for name, found in evaluations.items()
    }
    of_segments = {
        f"{OF_SEGMENT}{segment}/{name}": values
        for name, found in ndcgs.items()
        for segment, values in found.items()
        if len(values)
    }
    with whole_file(folder / NDCG_FILE.name) as file:
        save_arrays(
            file,
            {name: found.ndcg for name, found in evaluations.items()}
            | of_segments
            | {
                USERS: answerable.users,
                LENGTHS: np.array([len(history) for history in answerable.histories]),
            },
        )
    return evaluations, (parts, ndcgs)


def _by_segment(recipe: RetrievalRecipe, segmented: Segmented) -> dict[str, Any]:
    """Return a report's `segments`: of the teacher, both students and the teacher's gain."""
    parts, ndcgs = segmented
    return segment_report(
        parts,
        {name: ndcgs[name] for name in ("teacher", "twin", "student")},
        [PAIRS["student_vs_twin"]],
        k=recipe.evaluation.k,
        num_samples=recipe.evaluation.bootstrap_samples,
        seed=recipe.seed,
    )


def _keep_lists(
    run: Run, evaluations: Mapping[str, Evaluation], queries: Queries, folder: Path
) -> RecommendedLists:
    """Save the recommendations of teacher, students and the first stage in `folder`."""
    compared = ("teacher", "retrieval", *run.compared_stages, "student")
    item_ids = {name: evaluations[name].item_ids for name in compared if name in evaluations}
    answerable = queries.answerable()
    lists = RecommendedLists.of(answerable, run.data.interactions.user_ids, item_ids)
    lists.save(folder, answerable.users)
    return lists


def _shown_lists(
    run: Run,
    lists: RecommendedLists,
    evaluations: Mapping[str, Evaluation],
    rows: dict[str, dict[str, Any]],
) -> Result:
    """Return a report's `lists`."""
    ndcg = {name: found.ndcg for name, found in evaluations.items()}
    k, seed = run.recipe.evaluation.k, run.recipe.seed
    return {"lists": drawn_users(lists, ndcg, {"models": rows}, k, seed)}


def _rows(
    run: Run,
    task: str,
    models: Mapping[str, Measured],
    evaluations: Mapping[str, Evaluation],
    queries: Queries,
    folder: Path,
) -> dict[str, dict[str, Any]]:
    """Return a report's `models`."""
    with run.progress.bar("milliseconds a query", 1) as advance:
        latencies = _latencies(run, models, queries, folder)
        advance()
    return {
        name: {
            "metrics": {task: report_figures(run.recipe, evaluations[name])},
            "parameters": model.parameters,
            "bytes": model.bytes,
            "latency_ms": latencies[name],
        }
        for name, model in models.items()
    }


def _latencies(
    run: Run, models: Mapping[str, Measured], queries: Queries, folder: Path
) -> dict[str, Latency]:
    """Return milliseconds per query: Keras models and forms run in one single-threaded process."""
    histories = queries.histories[:LATENCY_QUERIES]
    with whole_file(folder / "histories.npz") as file:
        np.savez(file, *histories)
    keras = {name: str(m.keras_file) for name, m in models.items() if m.keras_file is not None}
    request = {
        "histories": str(folder / "histories.npz"),
        "keras": keras,
        "artefacts": artefacts_to_time(run.version),
    }
    timings: dict[str, Latency] = in_fresh_process("tfrs_distill.evaluation.latency", request)
    for name, model in models.items():
        if name not in timings:
            timings[name] = (
                model.latency()
                if model.latency is not None
                else percentiles(model.scorer, histories[: model.num_timed])
            )
    return timings


def _latency_of_any(scorer: Callable[[Queries], Scorer], queries: Queries) -> Latency:
    """Time a teacher that needs more of its queries than their history; milliseconds per query."""
    rows = np.arange(min(len(queries), 2 * SLOW_LATENCY_QUERIES))
    parts = iter(
        [queries.subset(rows[:1])] * WARM_UP + [queries.subset(rows[row : row + 1]) for row in rows]
    )

    def of_next(histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        return scorer(next(parts))(histories, k)

    return percentiles(of_next, [queries.histories[row] for row in rows])


def _result(
    run: Run,
    task: str,
    rows: dict[str, dict[str, Any]],
    evaluations: Mapping[str, Evaluation],
    segmented: Segmented,
    pairs: Mapping[str, tuple[str, str]],
) -> Result:
    return {
        "models": rows,
        "comparisons": {
            name: {task: compare_ndcg(run.recipe, evaluations[one], evaluations[other])}
            for name, (one, other) in pairs.items()
        },
        "resampled": resampled(
            run.recipe,
            "test users",
            len(evaluations["student"].ndcg),
            run.data.interactions.num_users,
        ),
        "segments": _by_segment(run.recipe, segmented),
    }


def _line(
    recipe: RetrievalRecipe, evaluations: Mapping[str, Evaluation], names: Sequence[str]
) -> str:
    values = ", ".join(f"{name} {evaluations[name].ndcg.mean():.4f}" for name in names)
    return f"NDCG@{recipe.evaluation.k} {values}"
