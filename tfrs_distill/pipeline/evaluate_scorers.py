"""Any models, the same queries: figures, differences, segments, calibration and agreement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.splits import Queries
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.agreement import rank_correlation_matrix
from tfrs_distill.evaluation.segments import by_segment, segment_report, segments
from tfrs_distill.evaluation.whole_catalogue import ranked_rows
from tfrs_distill.pipeline.data import RetrievalData, load_data
from tfrs_distill.pipeline.recipe import Recipe, RetrievalRecipe
from tfrs_distill.pipeline.scorers import open_scorer
from tfrs_distill.pipeline.stage import NOTE
from tfrs_distill.progress import Progress, SilentProgress


def evaluate_scorers(
    scorers: Sequence[str],
    data: RetrievalData,
    *,
    split: str = "test",
    ks: Sequence[int] = (10,),
    item_vectors: str | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate models by their paths, and compare the others with the first.

    Args:
        scorers: their paths, see `open_scorer`.
        data: interactions, split.
        split: `"test"` or `"validation"`.
        ks: lengths of the lists; the first leads.
        item_vectors: a `.npy` file of vectors [num_items, dim] in catalogue order, for the lists'
            diversity; None for none.
        num_samples: resamples of the bootstrap.
        seed: of the bootstrap, and of training.
        progress: shows a bar over the models.

    Returns:
        Plain JSON: `data`, `split`, `k`, `queries`, `num_left_out`, `interval_too_narrow`; `models`
        by path: `figures` (of `Evaluation.figures` and `beyond_accuracy` for every k),
        `calibration` (see `calibration`, or None), and, with the first model, `overlap@k` and
        `rank_correlation`; `comparisons` by path with the first model: of the leading NDCG, see
        `metrics.paired_difference`; `segments`, see `segment_report`.

    Raises:
        InputError: a model cannot be read or used, or is of other data, see `open_scorer`; one is
            named twice, or `ks` are not lengths of lists.
    """
    queries, train = getattr(data.splits, split), data.splits.train
    _check(scorers, ks, data.catalogue.num_items)
    vectors = None if item_vectors is None else _vectors(Path(item_vectors), queries)
    answerable, max_history = queries.answerable(), train.max_history
    parts, rows = (
        segments(train, answerable, data.user_groups, data.item_groups),
        ranked_rows(answerable),
    )
    some, places = answerable.subset(rows), queries.answerable_rows[rows]
    trained_last = sorted(scorers, key=lambda path: ".py:" in path)
    opened = {}
    for path in trained_last:
        opened[path] = open_scorer(path, data, queries, seed=seed)
        opened[path].check_length(max(ks))
    models: dict[str, dict[str, Any]] = {}
    ndcgs, lists, ranks = {}, [], []
    with (progress or SilentProgress()).bar("models", len(scorers)) as advance:
        for path in scorers:
            whole = opened[path].evaluate(queries, max(ks), max_history)
            figures: dict[str, Any] = {}
            for k in ks:
                found = whole.at(k)
                figures |= found.figures(num_samples=num_samples, seed=seed)
                figures |= found.beyond_accuracy(train, vectors)
            leading = whole.at(ks[0])
            ndcgs[path] = by_segment(metrics.ndcg, leading.item_ids, parts)
            lists.append(leading.item_ids)
            calibrated, ranked = opened[path].rank(some, places, max_history)
            ranks.append(ranked)
            models[path] = {"figures": figures, "calibration": calibrated}
            advance(note=path)
    correlations = rank_correlation_matrix([ranks[0], *ranks])[0][1:]
    for path, item_ids, correlation in zip(scorers, lists, correlations):
        models[path][f"overlap@{ks[0]}"] = float(metrics.overlap(item_ids, lists[0]).mean())
        models[path]["rank_correlation"] = correlation
    first, *others = scorers
    return {
        "data": data.splits.name,
        "split": split,
        "k": list(ks),
        "queries": len(answerable),
        "num_left_out": queries.num_left_out,
        "interval_too_narrow": metrics.too_few_to_resample(len(answerable)),
        "models": models,
        "comparisons": {
            path: metrics.paired_difference(
                ndcgs[path]["all"], ndcgs[first]["all"], num_samples=num_samples, seed=seed
            )
            for path in others
        },
        "segments": segment_report(
            parts,
            ndcgs,
            [(path, first) for path in others],
            k=ks[0],
            num_samples=num_samples,
            seed=seed,
        ),
    }


def data_of_run(folder: Path) -> tuple[RetrievalData, int]:
    """Return the data of a run's folder, as its data stage left it, and the run's seed.

    Raises:
        InputError: it is not a run's folder, or the run's student does not recommend items.
    """
    of_data = folder / "stages" / "data"
    if not (folder / "recipe.toml").is_file() or not (of_data / NOTE).is_file():
        raise InputError(
            f"{folder} is not the folder of a finished run: it lacks recipe.toml or stages/data. "
            "Give the folder that `tfrs-distill run` wrote, such as saved_models/ml-100k."
        )
    recipe = Recipe.from_toml(folder / "recipe.toml")
    check_finds_items(recipe)
    data = load_data(of_data, recipe)
    assert isinstance(data, RetrievalData)
    return data, recipe.seed


def check_finds_items(recipe: Recipe) -> None:
    """Raise an `InputError` if a recipe's data has ranking rows, not user-item interactions."""
    if not isinstance(recipe, RetrievalRecipe):
        raise InputError(
            "Models that recommend are evaluated on the data of a recipe that finds items. "
            f'Received: a recipe whose `task` is "{recipe.task}".'
        )


def _check(scorers: Sequence[str], ks: Sequence[int], num_items: int) -> None:
    paths = list(map(Path, scorers))
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise InputError(f"{twice[0]} is named twice. Name each model once.")
    wrong = [k for k in ks if not 1 <= k <= num_items]
    if wrong or len(set(ks)) < len(ks):
        raise InputError(
            f"`k` must be different lengths of lists, from 1 to {num_items}, the items of the "
            f"catalogue. Received: {' '.join(map(str, ks))}."
        )


def _vectors(path: Path, queries: Queries) -> np.ndarray:
    try:
        vectors: np.ndarray = np.load(path, allow_pickle=False)
        expected = vectors.ndim == 2 and len(vectors) == queries.catalogue.num_items
        if not expected or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
            raise ValueError(f"it holds {vectors.dtype} of shape {list(vectors.shape)}")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path} must be a .npy file of finite vectors, float [{queries.catalogue.num_items}, "
            f"dim], a row for each item of the catalogue: {error}."
        ) from error
    return vectors
