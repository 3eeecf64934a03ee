"""Scrambled soft targets, as a control: the same smoothing without the teacher's knowledge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, overload

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.example_rows import ExampleRows
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError

ITEMS_PER_BLOCK = 20  # items of similar popularity, among which probabilities are permuted
ROWS_PER_BLOCK = 20  # rows with unique, but similar labels


@overload
def scrambled(examples: Windows, *, seed: int = 0) -> Windows: ...


@overload
def scrambled(examples: RankingExamples, *, seed: int = 0) -> RankingExamples: ...


def scrambled(examples: Windows | RankingExamples, *, seed: int = 0) -> Windows | RankingExamples:
    """Reassign the teacher's soft targets among other items or rows, as a control.

    A student of scrambled targets trains on distributions with the same smoothness and the same
    probability of the label as the teacher's, but without its knowledge of which other items are
    relevant. The advantage of a student with the original targets over it is due to the teacher's
    knowledge; the rest is due to smoothing.

    For windows, items are sorted by their number of training labels and cut into blocks of about
    20. At each position the probabilities in a block are rotated by a random number of places:
    `p'(item_{(j + s) mod B}) = p(item_j)`, s within 1 and B - 1, except that of the label, which
    does not change. So no other item keeps its own probability, and popular items get those of
    other popular items. For ranking rows, each row gets the logits of another row with the same
    label; rows without a label get those of others without one. Rows whose label is unique, as in
    the regression of a price, are sorted by label and exchange logits in blocks of about 20. Logits
    over the whole catalogue are permuted as for windows.

    Args:
        examples: `Windows` joined with a cache as `form="top_k"`, or `RankingExamples` with
            `teacher_logits`.
        seed: seed of the reassignment.

    Returns:
        The same examples with scrambled teacher outputs; those of windows stay on disk and are
        permuted when a batch is read.

    Raises:
        InputError: the examples have no teacher outputs in that form, or the catalogue has fewer
            than 3 items.

    Example:
    >>> rows = RankingExamples(
    ...     {}, {"like": np.array([1.0, 0.0, 1.0])}, users=np.arange(3), queries=np.arange(3),
    ...     teacher_logits={"like": np.array([[2.0], [-1.0], [3.0]])})
    >>> scrambled(rows).teacher_logits["like"][:, 0].tolist()  # the two likes are swapped
    [3.0, -1.0, 2.0]
    """
    random = np.random.default_rng(seed)
    if isinstance(examples, Windows):
        return _of_windows(examples, random)
    if not examples.teacher_logits:
        raise InputError(
            "Ranking rows have no teacher logits to scramble. Join them with a cache, or add "
            "some with `with_teacher`."
        )
    return examples.with_teacher(
        {task: _of_task(examples, task, random) for task in examples.teacher_logits}
    )


class BlockRotations:
    """A rotation of items within blocks of similar popularity.

    Args:
        popularity: popularity of every item, [num_items].

    Raises:
        InputError: there are fewer than 3 items.
    """

    def __init__(self, popularity: np.ndarray) -> None:
        num_items = len(popularity)
        if num_items < 3:
            raise InputError(
                "Soft targets are scrambled among the items that are not the label: at least 3 "
                f"items are needed. Received: {num_items}."
            )
        self.items = np.argsort(-popularity, kind="stable").astype(np.int32) + 1
        blocks = np.array_split(np.arange(num_items), max(1, num_items // ITEMS_PER_BLOCK))
        sizes = np.array([len(block) for block in blocks])
        self.place = np.empty(num_items + 1, np.int32)  # of padding: any
        self.place[0], self.place[self.items] = 0, np.arange(num_items)
        self.start = np.repeat(np.cumsum(sizes) - sizes, sizes).astype(np.int32)
        self.size = np.repeat(sizes, sizes).astype(np.int32)

    def turned(self, ids: np.ndarray, labels: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Return the item that gets each item's probability: a permutation for each label.

        Args:
            ids: item indices, [..., k].
            labels: the item that keeps its probability, [...].
            draws: integers, [...]; equal ones have equal rotations.
        """
        labels, draws = labels[..., None], draws[..., None]
        place, of_label = self.place[ids], self.place[labels]
        start = self.start[place]
        has_label = self.start[of_label] == start
        num_others = self.size[place] - has_label
        turned = place - start - (has_label & (place > of_label))
        turned = start + (turned + 1 + draws % (num_others - 1)) % num_others
        turned += has_label & (turned >= of_label)
        return np.where((ids == labels) | (ids == columns.PADDING), ids, self.items[turned])


class RotatedIds:
    """The item indices of top-K outputs, with a rotation per position.

    Args:
        ids: int [num_examples, max_history, k].
        labels: int [num_examples, max_history].
        rotations: the possible rotations.
        draws: int [num_examples, max_history].
    """

    def __init__(
        self, ids: ExampleRows, labels: np.ndarray, rotations: BlockRotations, draws: np.ndarray
    ) -> None:
        self.ids, self.labels, self.rotations, self.draws = ids, labels, rotations, draws
        self.shape, self.dtype = ids.shape, ids.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the rows at these indices."""
        turned = self.rotations.turned(self.ids[rows], self.labels[rows], self.draws[rows])
        return turned.astype(self.dtype)


def _of_windows(windows: Windows, random: np.random.Generator) -> Windows:
    name = columns.TEACHER_TOP_K_IDS
    if name not in windows.knowledge:
        raise InputError(
            "Windows are scrambled by the item ids of their top-K outputs, which are missing. "
            "Join them with `cached_teacher.join(windows, form='top_k')`."
        )
    num_items = windows.catalogue.num_items
    popularity = np.bincount(windows.labels.reshape(-1), minlength=num_items + 1)[1:]
    draws = random.integers(0, 1 << 15, windows.labels.shape, np.int32)
    ids = RotatedIds(windows.knowledge[name], windows.labels, BlockRotations(popularity), draws)
    return replace(windows, knowledge={**windows.knowledge, name: ids})


def _of_task(examples: RankingExamples, task: str, random: np.random.Generator) -> np.ndarray:
    logits = examples.teacher_logits[task]
    if task not in examples.labels:
        return _over_catalogue(examples, logits, random)
    permuted = logits.copy()
    _, groups = np.unique(examples.labels_of(task), return_inverse=True)  # NaN is one of them
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    unique = [rows for rows in parts if len(rows) == 1]
    if unique:  # alone they would keep their own logits, and the control would be no control
        in_order = np.concatenate(unique)
        parts += np.array_split(in_order, max(1, len(in_order) // ROWS_PER_BLOCK))
    for rows in parts:
        turn = random.permutation(rows)
        permuted[turn] = logits[np.roll(turn, 1)]  # one cycle: no row keeps its own logits
    return permuted


def _over_catalogue(
    examples: RankingExamples, logits: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Permute logits of every item; the label is the row's item."""
    labels = examples.features[columns.ITEM_ID]
    num_items = logits.shape[1]
    rotations = BlockRotations(np.bincount(labels, minlength=num_items + 1)[1 : num_items + 1])
    draws = random.integers(0, 1 << 15, len(labels), np.int32)
    items = np.arange(1, num_items + 1)
    permuted = np.empty_like(logits)
    for rows in row_blocks(len(labels), num_items):
        ids = np.broadcast_to(items, (rows.stop - rows.start, num_items))
        receivers = rotations.turned(ids, labels[rows], draws[rows])
        np.put_along_axis(permuted[rows], receivers - 1, logits[rows], axis=1)
    return permuted
