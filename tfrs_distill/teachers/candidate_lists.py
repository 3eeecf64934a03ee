"""Candidate lists of a first stage at training positions, for a second stage to rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.splits import pad_histories
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.teachers.whole_number import check_whole_number

Recommend = Callable[[Sequence[np.ndarray], int], tuple[np.ndarray, np.ndarray]]

RELEVANCE = "relevance"  # the task of a list: 1 for the user's next and later items, else 0


class CandidateLists(NamedTuple):
    """Positions in users' sequences, each with the items that a second stage must rank.

    Args:
        users: int32 [num_lists], the user of the position.
        histories: int32 [num_lists, max_history], the preceding items, oldest first, padded with 0
            in front.
        positives: int32 [num_lists], the next item.
        candidates: int32 [num_lists, k], other items, 0 in empty slots.
        later: bool [num_lists, k], whether the user interacted with the candidate later.
    """

    users: np.ndarray
    histories: np.ndarray
    positives: np.ndarray
    candidates: np.ndarray
    later: np.ndarray


def first_stage_lists(
    recommend: Recommend,
    windows: Windows,
    *,
    num_candidates: int = 50,
    max_history: int | None = None,
    num_lists: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    advance: Callable[[int], Any] | None = None,
) -> CandidateLists:
    """Return a first stage's top items at training positions, and the next item.

    The first stage recommends as in serving, after all earlier items of the user. Unless the
    catalogue's `exclude_seen` is False, earlier items are never candidates, and positions whose
    item is an earlier item are skipped. Later items of the user are candidates like all others, and
    are marked as `later`: as negatives they would train the second stage to rank liked items last.
    A dislike, a label with a weight below 0, is neither a position nor marked as `later`.

    Args:
        recommend: the first stage as a scorer, such as `ModelScorer(student)`: returns scores and
            item indices, best first, without the history's items if they are excluded.
        windows: training windows, all windows of each user; every labelled position is used.
        num_candidates: number of items per list in addition to the next item.
        max_history: number of last items in a list's history; None for as many as in a window.
        num_lists: number of positions, drawn uniformly; None for all.
        seed: seed of the draw.
        batch_size: positions at a time.
        advance: called with the number of positions done since the last call.

    Raises:
        ValueError: an argument is out of its range.
        InputError: `num_lists` is larger than the number of positions.
    """
    check_whole_number("num_candidates", num_candidates)
    check_whole_number("batch_size", batch_size)
    max_history = windows.max_history if max_history is None else max_history
    check_whole_number("max_history", max_history)
    sequences, liked, places = _sequences(windows)
    if num_lists is not None:
        check_whole_number("num_lists", num_lists)
        if num_lists > len(places):
            raise InputError(
                f"`num_lists` must be at most {len(places)}, the labelled positions of the windows "
                f"whose item can be recommended there. Received: num_lists={num_lists}."
            )
        drawn = np.random.default_rng(seed).choice(len(places), num_lists, replace=False)
        places = places[np.sort(drawn)]
    exists, catalogue = windows.existing_items(), windows.catalogue
    before = [sequences[user][:at] for user, at in places.tolist()]
    positives = np.array([sequences[user][at] for user, at in places.tolist()], np.int32)
    candidates = np.zeros((len(places), num_candidates), np.int32)
    later = np.zeros(candidates.shape, bool)
    for start in range(0, len(places), batch_size):
        part = slice(start, start + batch_size)
        length = num_candidates + 1 + catalogue.num_items - len(exists)
        _, items = recommend(before[part], min(length, catalogue.num_items))
        free = np.isin(items, exists) & (items != positives[part, None])
        candidates[part] = _first(items, free, num_candidates)
        for row, (user, at) in enumerate(places[part].tolist(), start):
            wanted = sequences[user][at + 1 :][liked[user][at + 1 :]]
            later[row] = np.isin(candidates[row], wanted)
        if advance is not None:
            advance(len(items))
    histories = pad_histories(before, max_history)
    return CandidateLists(places[:, 0].astype(np.int32), histories, positives, candidates, later)


def num_positions(windows: Windows) -> int:
    """Return the number of positions that `first_stage_lists` can make lists for."""
    return len(_sequences(windows)[2])


def list_examples(
    lists: CandidateLists, catalogue: Catalogue, *, task: str = RELEVANCE
) -> RankingExamples:
    """Candidate lists as ranking examples: a row for each item of each list, a query for each list.

    The features are `history` and `item_id`; the label is 1 for the next item and for later items,
    and 0 for all others. Items of a list are sorted by index, so their order does not depend on the
    labels.

    Args:
        lists: from `first_stage_lists`, or other lists of this form.
        catalogue: the items.
        task: name of the task.

    Raises:
        InputError: shapes do not fit each other, or a list has no next item, contains an item
            twice, or marks an empty slot as `later`.

    Example:
    >>> catalogue = Catalogue(("a", "b", "c"), ("A", "B", "C"), ("A", "B", "C"))
    >>> lists = CandidateLists(
    ...     users=np.array([5]), histories=np.array([[0, 2]]), positives=np.array([3]),
    ...     candidates=np.array([[1, 0]]), later=np.array([[False, False]]))
    >>> examples = list_examples(lists, catalogue)
    >>> examples.features["item_id"].tolist(), examples.labels["relevance"].tolist()
    ([1, 3], [0.0, 1.0])
    """
    items, relevant = _with_positives(lists)
    query, place = np.nonzero(items)  # ascending, list by list
    return RankingExamples(
        features={columns.HISTORY: lists.histories[query], columns.ITEM_ID: items[query, place]},
        labels={task: relevant[query, place].astype(np.float32)},
        users=lists.users[query],
        queries=query.astype(np.int32),
        catalogue=catalogue,
    )


def _sequences(
    windows: Windows,
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], np.ndarray]:
    """Return users' sequences, which of their items are not dislikes, and the labels' places.

    The labels are given as user and place, int [num_labels, 2]: only those that can be recommended
    there, see `first_stage_lists`.
    """
    sequences: dict[int, list[int]] = {}
    liked: dict[int, list[bool]] = {}
    interacted: dict[int, set[int]] = {}
    places = []
    for user, history, labels, wanted in zip(
        windows.users.tolist(), windows.history, windows.labels, windows.liked_labels
    ):
        if user not in sequences:  # a sequence: its first item, then all labels
            sequences[user] = history[history > columns.PADDING][:1].tolist()
            interacted[user], liked[user] = set(sequences[user]), [True] * len(sequences[user])
        there = labels > columns.PADDING
        for item, is_liked in zip(labels[there].tolist(), (wanted[there] > 0).tolist()):
            if is_liked and not (windows.catalogue.exclude_seen and item in interacted[user]):
                places.append((user, len(sequences[user])))
            sequences[user].append(item)
            liked[user].append(is_liked)
            interacted[user].add(item)
    return (
        {user: np.array(items, np.int32) for user, items in sequences.items()},
        {user: np.array(flags, bool) for user, flags in liked.items()},
        np.array(places, np.int64).reshape(-1, 2),
    )


def _first(items: np.ndarray, free: np.ndarray, k: int) -> np.ndarray:
    """Return each list's first k free items, then 0: int32 [num_lists, k]."""
    order = np.argsort(~free, axis=1, kind="stable")[:, :k]
    kept = np.where(free, items, columns.PADDING)
    found = np.take_along_axis(kept, order, axis=1).astype(np.int32)
    return np.pad(found, [(0, 0), (0, k - found.shape[1])])


def _with_positives(lists: CandidateLists) -> tuple[np.ndarray, np.ndarray]:
    """Return each list's items, ascending, 0 first, and which are relevant: [num_lists, 1 + k]."""
    users, histories, positives, candidates, later = map(np.asarray, lists)
    num_lists = len(users)
    shapes = [array.shape for array in (users, histories, positives, candidates, later)]
    fit = [len(shape) for shape in shapes] == [1, 2, 1, 2, 2]
    if not fit or {s[0] for s in shapes} != {num_lists} or candidates.shape != later.shape:
        raise InputError(
            "Candidate lists need `users` [n], `histories` [n, max_history], `positives` [n], "
            "`candidates` [n, k] and `later` [n, k]. Received: shapes "
            f"{', '.join(map(str, shapes))}."
        )
    if not (positives > columns.PADDING).all():
        row = int(np.argmin(positives > columns.PADDING))
        raise InputError(
            f"List {row} has no next item: positives[{row}] is {positives[row]}. Exclude "
            "positions without a label."
        )
    odd = (later & (candidates == columns.PADDING)).any(axis=1)
    if odd.any():
        raise InputError(
            f"List {int(np.argmax(odd))} has an empty slot that is marked as `later`. Only an item "
            "can be a later one."
        )
    items = np.concatenate([positives[:, None], candidates], axis=1)
    relevant = np.concatenate([np.ones((num_lists, 1), bool), later], axis=1)
    order = np.argsort(items, axis=1)
    items = np.take_along_axis(items, order, axis=1)
    twice = ((items[:, 1:] == items[:, :-1]) & (items[:, 1:] != columns.PADDING)).any(axis=1)
    if twice.any():
        raise InputError(
            f"List {int(np.argmax(twice))} holds an item twice, or the next item among the others "
            "too. Give each once."
        )
    return items, np.take_along_axis(relevant, order, axis=1)
