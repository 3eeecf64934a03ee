"""Rank the candidates of a first stage by a second stage's scores."""

from __future__ import annotations

import numpy as np

from tfrs_distill.columns import PADDING


def rerank(
    second: np.ndarray,
    first: np.ndarray,
    items: np.ndarray,
    *,
    weight: float = 0.0,
    k: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return each list's `k` best items by `second + weight * first`, best first.

    Ties keep the order of the list. Empty slots (item 0) come last, with the first stage's score.

    Args:
        second: scores of the second stage, float [num_lists, num_candidates].
        first: scores of the first stage, float [num_lists, num_candidates].
        items: item indices, int [num_lists, num_candidates].
        weight: weight of the first stage's scores.
        k: number of items to keep per list; None keeps all.

    Returns:
        `(scores, items)`, float32 and int32 [num_lists, k].

    Example:
    >>> first = np.array([[3.0, 2.0, -np.inf]])
    >>> rerank(np.array([[0.1, 0.7, 9.0]]), first, np.array([[5, 8, 0]]), k=2)[1].tolist()
    [[8, 5]]
    """
    present = items > PADDING
    scores = np.where(present, second + weight * np.where(present, first, 0.0), first)
    scores = scores.astype(np.float32)
    order = np.argsort(np.where(present, -scores, np.inf), axis=1, kind="stable")[:, :k]
    return (
        np.take_along_axis(scores, order, axis=1),
        np.take_along_axis(items, order, axis=1).astype(np.int32),
    )
