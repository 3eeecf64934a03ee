"""Histories that a teacher makes up: unlabelled data without end for it to label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.query_batch import query_batch
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.models.retrieval_model import RetrievalModel
from tfrs_distill.progress import Progress, SilentProgress

ROWS_AT_ONCE = 256
SCORES_AT_ONCE = 1 << 27  # rows x positions x items: fewer rows where there are many items


def generate_histories(
    teacher: Any,
    windows: Windows,
    per_window: int = 1,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Windows:
    """Let a teacher continue parts of histories: more data for a student that has little.

    A part of each window, drawn at random and at most half of the positions long, is continued up
    to the other half, each time by an item i of the catalogue drawn with
    `p(i) = exp(logit_i) / sum_j exp(logit_j)` over the items j that can come: not those of the
    history so far, unless the catalogue recommends these again, and not those that are no
    candidates. The items that were drawn are the labels, so but for the first item behind a part
    that begins a window the teacher was not trained on what it is asked of: one teacher of all data
    can label them, by `cache_teacher`, and is hardly over-confident.

    Reference: [Hinton et al., 2015](https://arxiv.org/abs/1503.02531), section 1: the transfer set
    may be all unlabelled; drawn from the teacher,
    [Kim and Rush, 2016](https://arxiv.org/abs/1606.07947) (sequence-level distillation).

    Args:
        teacher: anything with `logits(batch, candidate_ids)` that reads histories.
        windows: training windows.
        per_window: histories that are made of each.
        seed: of drawing.
        progress: shows a bar over the histories.

    Returns:
        `per_window * len(windows)` windows of the same users, at most, without knowledge: windows
        without an item are left out. Labels are at the positions of the drawn items alone.

    Raises:
        InputError: `per_window` is below 1, the windows have one position, there are not more items
            than positions where none comes again, or the teacher gives scores that are not finite.

    Example:
    >>> from tfrs_distill import data, models
    >>> train = data.split_by_time(data.synthetic(num_users=20), max_history=8).train
    >>> teacher = models.RetrievalStudent.from_history(
    ...     num_items=train.catalogue.num_items, max_history=8, seed=0)
    >>> made = generate_histories(teacher, train, 2)
    >>> len(made) == 2 * len(train), made.num_labels == 4 * len(made)
    (True, True)
    """
    if per_window < 1:
        raise InputError(f"`per_window` must be at least 1. Received: {per_window}.")
    check_continued(windows)
    number, num_items = windows.max_history // 2, windows.catalogue.num_items
    random = np.random.default_rng(seed)
    sources = np.repeat(np.arange(len(windows)), per_window)
    parts = [
        _part(windows.history[row], windows.labels[row, -1], number, random) for row in sources
    ]
    sources = sources[[len(part) > 0 for part in parts]]
    history = np.zeros((len(sources), windows.max_history + number), np.int32)
    for row, part in zip(history, (part for part in parts if len(part))):
        row[len(row) - number - len(part) : len(row) - number] = part
    size = max(1, min(ROWS_AT_ONCE, SCORES_AT_ONCE // (windows.max_history * num_items)))
    logits_of, attributes = _scores_of(teacher, num_items), windows.user_attributes
    with (progress or SilentProgress()).bar("histories", len(sources)) as advance:
        for start in range(0, len(sources), size):
            rows = slice(start, start + size)
            for end in range(history.shape[1] - number, history.shape[1]):
                seen = history[rows, :end]
                known = None if attributes is None else attributes[sources[rows]]
                users = windows.users[sources[rows]]
                logits = logits_of(query_batch(seen[:, -windows.max_history :], users, known))
                history[rows, end] = _drawn(logits, seen, windows, random)
            advance(len(sources[rows]))
    labels = history[:, -windows.max_history :].copy()
    labels[:, :-number] = columns.PADDING
    return Windows(
        windows.catalogue,
        windows.users[sources],
        history[:, -windows.max_history - 1 : -1],
        labels,
        candidates=windows.candidates,
        weights=None if windows.weights is None else np.float32(labels > columns.PADDING),
        user_attributes=None if attributes is None else attributes[sources],
    )


def _part(
    history: np.ndarray, last_label: int, longest: int, random: np.random.Generator
) -> np.ndarray:
    """Items of a window that follow each other, from 1 to `longest` of them."""
    items = np.append(history, last_label)
    items = items[items > columns.PADDING]
    if not len(items):
        return items
    length = random.integers(1, min(len(items), longest) + 1)
    start = random.integers(0, len(items) - length + 1)
    return items[start : start + length]


def check_continued(windows: Windows) -> None:
    """Raise an InputError unless histories like those of the windows can be continued."""
    positions, existing = windows.max_history, len(windows.existing_items())
    if positions < 2 or (windows.catalogue.exclude_seen and existing <= positions):
        raise InputError(
            "A history is continued by items that are not in it: windows of at least 2 positions "
            f"and more items than positions are needed. Received: {positions} positions and "
            f"{existing} items."
        )


def _scores_of(teacher: Any, num_items: int) -> Callable[[dict[str, tf.Tensor]], np.ndarray]:
    """A teacher's logits of all items at a batch's rows; items are encoded once where they can."""
    items = tf.range(1, num_items + 1)
    factorised = hasattr(teacher, "encode_queries") and hasattr(teacher, "encode_candidates")
    embeddings = tf.cast(teacher.encode_candidates(items), tf.float32) if factorised else None
    temperature = teacher.temperature if isinstance(teacher, RetrievalModel) else 1.0

    def logits_of(batch: dict[str, tf.Tensor]) -> np.ndarray:
        if embeddings is None:
            logits = np.asarray(teacher.logits(batch, items), np.float64)
        else:
            queries = tf.cast(teacher.encode_queries(batch)[:, -1], tf.float32) / temperature
            logits = np.asarray(tf.matmul(queries, embeddings, transpose_b=True), np.float64)
        expected = (len(batch[columns.HISTORY]), num_items)
        if logits.shape != expected or not np.isfinite(logits).all():
            raise InputError(
                "A teacher that continues histories must give a finite score to every item, "
                f"{list(expected)}. Received of {type(teacher).__name__}: shape "
                f"{list(logits.shape)}, {np.count_nonzero(~np.isfinite(logits)):,} not finite."
            )
        return logits

    return logits_of


def _drawn(
    logits: np.ndarray, history: np.ndarray, windows: Windows, random: np.random.Generator
) -> np.ndarray:
    """One item a row, drawn from the softmax over those that can come."""
    logits = np.pad(logits, [(0, 0), (1, 0)], constant_values=-np.inf)
    if windows.candidates is not None:
        logits[:, 1:][:, ~windows.candidates] = -np.inf
    if windows.catalogue.exclude_seen:
        np.put_along_axis(logits, history, -np.inf, axis=1)
    total = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
    places = random.uniform(size=len(total)) * total[:, -1]
    return np.array(
        [np.searchsorted(row, place, side="right") for row, place in zip(total, places)]
    )
