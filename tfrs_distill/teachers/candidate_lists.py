"""What a first stage passes on at training positions: the lists that a second stage orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.teachers.whole_number import check_whole_number

Recommend = Callable[[Sequence[np.ndarray], int], tuple[np.ndarray, np.ndarray]]

RELEVANCE = "relevance"  # the task of a list: 1 for the item that came next, 0 for the others


class CandidateLists(NamedTuple):
    """Positions in users' sequences, each with the items that a second stage has to order.

    Args:
        users: int32 [num_lists], whose position it is.
        histories: int32 [num_lists, max_history], what preceded it, oldest first, 0 in front.
        positives: int32 [num_lists], the item that came next.
        candidates: int32 [num_lists, k], other items, 0 in empty slots.
    """

    users: np.ndarray
    histories: np.ndarray
    positives: np.ndarray
    candidates: np.ndarray


def first_stage_lists(
    recommend: Recommend,
    windows: Windows,
    *,
    num_candidates: int = 50,
    num_lists: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    advance: Callable[[int], Any] | None = None,
) -> CandidateLists:
    """What a first stage would pass on at training positions, beside the item that came next.

    Args:
        recommend: the first stage as a scorer, such as `ModelScorer(student)`: gives scores and
            item indices, best first, without the history's items.
        windows: training windows; every labelled position is one.
        num_candidates: items a list beside the one that came next.
        num_lists: positions, drawn evenly; None takes all of them.
        seed: of drawing.
        batch_size: positions asked about at a time.
        advance: called with the number of positions done since the last call.

    Raises:
        ValueError: an argument is out of its range.
        InputError: `num_lists` is more than the positions there are.
    """
    check_whole_number("num_candidates", num_candidates)
    check_whole_number("batch_size", batch_size)
    places = np.argwhere(windows.labels > columns.PADDING)
    if num_lists is not None:
        check_whole_number("num_lists", num_lists)
        if num_lists > len(places):
            raise InputError(
                f"`num_lists` must be at most {len(places)}, the labelled positions of the "
                f"windows. Received: num_lists={num_lists}."
            )
        drawn = np.random.default_rng(seed).choice(len(places), num_lists, replace=False)
        places = places[np.sort(drawn)]
    window, position = places.T
    histories, exists = _until(windows.history[window], position), windows.existing_items()
    positives = windows.labels[window, position].astype(np.int32)
    candidates = np.zeros((len(places), num_candidates), np.int32)
    for start in range(0, len(places), batch_size):
        part = slice(start, start + batch_size)
        asked = [history[history > columns.PADDING] for history in histories[part]]
        length = num_candidates + 1 + windows.catalogue.num_items - len(exists)
        _, items = recommend(asked, min(length, windows.catalogue.num_items))
        free = np.isin(items, exists) & (items != positives[part, None])
        candidates[part] = _first(items, free, num_candidates)
        if advance is not None:
            advance(len(asked))
    return CandidateLists(windows.users[window], histories, positives, candidates)


def list_examples(
    lists: CandidateLists, catalogue: Catalogue, *, task: str = RELEVANCE
) -> RankingExamples:
    """Candidate lists as ranking examples: a row for each item of each list, a query for each list.

    The features are `history` and `item_id`; the label is 1 for the item that came next and 0 for
    every other. Items of a list come in the order of their indices, which says nothing about them.

    Args:
        lists: from `first_stage_lists`, or made by hand.
        catalogue: the items.
        task: name of the task.

    Raises:
        InputError: shapes do not fit each other, a list has no item that came next, or names an
            item twice.

    Example:
    >>> catalogue = Catalogue(("a", "b", "c"), ("A", "B", "C"), ("A", "B", "C"))
    >>> lists = CandidateLists(np.array([5]), np.array([[0, 2]]), np.array([3]), np.array([[1, 0]]))
    >>> examples = list_examples(lists, catalogue)
    >>> examples.features["item_id"].tolist(), examples.labels["relevance"].tolist()
    ([1, 3], [0.0, 1.0])
    """
    items = _with_positives(lists)
    query, place = np.nonzero(items)  # ascending, list by list
    item_ids = items[query, place]
    return RankingExamples(
        features={columns.HISTORY: lists.histories[query], columns.ITEM_ID: item_ids},
        labels={task: (item_ids == lists.positives[query]).astype(np.float32)},
        users=lists.users[query],
        queries=query.astype(np.int32),
        catalogue=catalogue,
    )


def _until(windows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Each window up to its position, pushed to the end: int32 [n, max_history], 0 in front."""
    width = windows.shape[1]
    source = np.arange(width) + positions[:, None] + 1 - width
    taken = np.take_along_axis(windows, np.maximum(source, 0), axis=1)
    return np.where(source >= 0, taken, columns.PADDING).astype(np.int32)


def _first(items: np.ndarray, free: np.ndarray, k: int) -> np.ndarray:
    """The first k items of each list that are free, 0 behind: int32 [num_lists, k]."""
    order = np.argsort(~free, axis=1, kind="stable")[:, :k]
    kept = np.where(free, items, columns.PADDING)
    found = np.take_along_axis(kept, order, axis=1).astype(np.int32)
    return np.pad(found, [(0, 0), (0, k - found.shape[1])])


def _with_positives(lists: CandidateLists) -> np.ndarray:
    """All items of each list, ascending, 0 in front: int32 [num_lists, 1 + k]."""
    users, histories, positives, candidates = map(np.asarray, lists)
    num_lists = len(users)
    shapes = [array.shape for array in (users, histories, positives, candidates)]
    if [len(shape) for shape in shapes] != [1, 2, 1, 2] or {s[0] for s in shapes} != {num_lists}:
        raise InputError(
            "Candidate lists need `users` [n], `histories` [n, max_history], `positives` [n] and "
            f"`candidates` [n, k]. Received: shapes {', '.join(map(str, shapes))}."
        )
    if not (positives > columns.PADDING).all():
        row = int(np.argmin(positives > columns.PADDING))
        raise InputError(
            f"List {row} has no item that came next: positives[{row}] is {positives[row]}. Leave "
            "positions without a label out."
        )
    items = np.sort(np.concatenate([positives[:, None], candidates], axis=1), axis=1)
    twice = ((items[:, 1:] == items[:, :-1]) & (items[:, 1:] != columns.PADDING)).any(axis=1)
    if twice.any():
        raise InputError(
            f"List {int(np.argmax(twice))} names an item twice, or the item that came next among "
            "the others too. Name each once."
        )
    return items
