"""Rank training lists of a two-stage run's first stage with the teachers of the second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.evaluation.baselines import best_ease
from tfrs_distill.files import whole_file
from tfrs_distill.knowledge import cross_fit
from tfrs_distill.pipeline.list_teachers import standardised
from tfrs_distill.pipeline.run_folder import LISTS, LISTS_FILE, Run
from tfrs_distill.pipeline.stage import Result, Stage
from tfrs_distill.pipeline.stages.cross_encoder import CROSS_ENCODER, open_cross_encoder
from tfrs_distill.teachers import ItemItemTeacher
from tfrs_distill.teachers.candidate_lists import (
    RELEVANCE,
    first_stage_lists,
    list_examples,
    num_positions,
)
from tfrs_distill.teachers.list_teacher import ListTeacher

KEYS = ("list_size", "num_lists", "num_ordered_lists", "max_history")  # they determine the lists


def lists_stage(run: Run) -> Stage:
    """Return the stage; its result has the settings of the item-item teacher.

    Its folder has the lists and their scores. Item-item weights not trained on the list's user rank
    every list, and the cross-encoder also ranks some of them; a list's scores are those of a
    `Committee` of its teachers.
    """
    recipe, named = run.recipe, run.recipe.lists

    def work(folder: Path) -> tuple[Result, str]:
        splits = run.data.splits
        number = min(named.num_lists, num_positions(splits.train))
        ordered = min(named.num_ordered_lists, number)
        with run.progress.bar("lists of the first stage", number) as advance:
            lists = first_stage_lists(
                run.first_stage_scorer(),
                splits.train,
                num_candidates=named.list_size - 1,
                max_history=named.max_history,
                num_lists=number,
                seed=recipe.seed,
                advance=advance,
            )
        examples = list_examples(lists, splits.catalogue)
        settings = best_ease(splits, recipe.evaluation.k).teacher.settings
        scores = _item_item_scores(run, examples, settings, folder)
        drawn = np.random.default_rng(recipe.seed).permutation(number)[:ordered]
        some = np.isin(examples.queries, drawn)
        with run.progress.bar("lists of the cross-encoder", ordered) as advance:
            teacher = ListTeacher(open_cross_encoder(run))
            crossed = teacher.row_logits(examples.subset(some), advance=advance)[RELEVANCE]
        scores[some] += standardised(crossed[:, 0], examples.queries[some])[:, None]
        with whole_file(folder / LISTS_FILE) as file:
            np.savez(file, *lists, scores)
        line = f"{number:,} lists of {named.list_size} ordered by item-item weights"
        return {"item_item": settings}, f"{line}, {ordered:,} of them by the cross-encoder too"

    return Stage(
        LISTS,
        work,
        lambda: [[asdict(named)[key] for key in KEYS], recipe.knowledge.folds],
        after=("retrieval", CROSS_ENCODER),
    )


def _item_item_scores(
    run: Run, examples: RankingExamples, settings: Mapping[str, Any], folder: Path
) -> np.ndarray:
    """Return standardised scores of weights not trained on the row's user: [num_rows, 1]."""
    train = run.data.splits.train

    def teacher(others: RankingExamples, fold: int) -> ListTeacher:
        of_others = train.subset(np.isin(train.users, others.users))
        return ListTeacher(ItemItemTeacher(of_others, **settings))

    knowledge = cross_fit(
        teacher,
        examples,
        folder / "item-item",
        fingerprint=run.fingerprint(LISTS),
        num_folds=run.recipe.knowledge.folds,
        seed=run.recipe.seed,
    )
    scores = knowledge.join(examples).teacher_logits[RELEVANCE][:, 0]
    return standardised(scores, examples.queries)[:, None]
