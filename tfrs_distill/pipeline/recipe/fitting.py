"""Which parts of a recipe go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe.sections import (
    LABELLED,
    RANKING_KINDS,
    RETRIEVAL,
    RETRIEVAL_KINDS,
)

if TYPE_CHECKING:
    from tfrs_distill.pipeline.recipe.recipe import Recipe

REVIEWS = "clothing-reviews"
LABELS = {  # of a row of each data set
    "movielens-100k": ("like", "rating", "next_item"),
    REVIEWS: ("recommended", "rating"),
}
TEACHERS = {"movielens-100k": "deep-cross", REVIEWS: "bert-text"}  # of a ranking student


def check_fit(recipe: Recipe) -> None:
    """Refuse parts that do not go together, before work is wasted.

    Raises:
        InputError: says which, and what to choose.
    """
    task, kind, source = recipe.task, recipe.teacher.kind, recipe.data.source
    kinds = RETRIEVAL_KINDS if task in RETRIEVAL else RANKING_KINDS
    if kind not in kinds:
        raise InputError(
            f'`teacher.kind` of a recipe with `task` "{task}" must be one of '
            f"{_listed(kinds)}. Received: {kind!r}."
        )
    sources = ("movielens-100k", "synthetic") if task in RETRIEVAL else tuple(LABELS)
    if source not in sources:
        raise InputError(
            f'`data.source` of a recipe with `task` "{task}" must be one of {_listed(sources)}. '
            f"Received: {source!r}."
        )
    if task in LABELLED:
        _check_labels(recipe)
    elif recipe.export.k < recipe.evaluation.k:
        raise InputError(
            "`export.k` must be at least `evaluation.k`: the exported models are measured too. "
            f"Received: export.k={recipe.export.k}, evaluation.k={recipe.evaluation.k}."
        )
    if task == "two-stage":
        _check_two_stages(recipe)


def _check_labels(recipe: Recipe) -> None:
    source, tasks = recipe.data.source, recipe.ranking.tasks
    foreign = [name for name in tasks if name not in LABELS[source]]
    if foreign:
        raise InputError(
            f"`ranking.tasks` of {source} are {_listed(LABELS[source])}. Received: "
            f"{_listed(foreign)}."
        )
    if recipe.task == "multitask" and len(tasks) < 2:
        raise InputError(
            '`ranking.tasks` must name at least two with `task` "multitask"; one alone is '
            f'`task` "ranking". Received: {_listed(tasks)}.'
        )
    if recipe.teacher.kind != TEACHERS[source]:
        raise InputError(
            f'`teacher.kind` must be "{TEACHERS[source]}" for {source}. Received: '
            f'"{recipe.teacher.kind}".'
        )
    if source != REVIEWS and recipe.words != type(recipe.words)():
        raise InputError(
            f"`words` is about {REVIEWS}: the rows of other data have no text. Received: "
            f'`data.source` "{source}".'
        )
    if recipe.ranking.unlabelled_per_row and (source == REVIEWS or "next_item" in tasks):
        raise InputError(
            "`ranking.unlabelled_per_row` puts other items into rows, but a review is of its own "
            'item and the label of "next_item" is the row\'s item. Received: '
            f"unlabelled_per_row={recipe.ranking.unlabelled_per_row} with `data.source` "
            f'"{source}" and `ranking.tasks` {_listed(tasks)}. Set it to 0.'
        )
    if source == REVIEWS and recipe.teacher.privileged:
        raise InputError(
            "`teacher.privileged` is read by the kind deep-cross only. Received: "
            f'{_listed(recipe.teacher.privileged)} with kind "bert-text". Set it to [].'
        )


def _check_two_stages(recipe: Recipe) -> None:
    found, k = recipe.ranking.num_candidates, recipe.evaluation.k
    if found < max(recipe.ranking.list_size, k) or found > recipe.export.k:
        raise InputError(
            "`ranking.num_candidates` must be at least `ranking.list_size` and `evaluation.k`, "
            f"and at most `export.k`. Received: num_candidates={found}, "
            f"list_size={recipe.ranking.list_size}, evaluation.k={k}, export.k={recipe.export.k}."
        )

    lists, ordered = recipe.ranking.num_lists, recipe.ranking.num_ordered_lists
    if ordered > lists:
        raise InputError(
            "`ranking.num_ordered_lists` must be at most `ranking.num_lists`. Received: "
            f"num_ordered_lists={ordered}, num_lists={lists}."
        )


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
