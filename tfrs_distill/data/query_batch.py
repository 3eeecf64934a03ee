"""Histories as a batch of queries for the next item."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill import columns


def query_batch(
    history: np.ndarray,
    users: np.ndarray | None = None,
    user_attributes: np.ndarray | None = None,
) -> dict[str, tf.Tensor]:
    """Return a batch with one row per history, with the label at its last position.

    The label only marks the row. It is the same for all rows, so it carries no information.

    Args:
        history: int [num_rows, max_history], oldest first, padded with 0 in front.
        users: int [num_rows], for models that identify queries by `user_id`.
        user_attributes: int [num_rows, num_attributes], for models that read these.

    Example:
    >>> query_batch(np.array([[0, 3], [5, 2]]))["labels"].numpy().tolist()
    [[0, 1], [0, 1]]
    """
    labels = np.zeros_like(history)
    labels[:, -1] = 1
    batch = {columns.HISTORY: history, columns.LABELS: labels}
    if users is not None:
        batch[columns.USER_ID] = users
    if user_attributes is not None:
        batch[columns.USER_ATTRIBUTES] = user_attributes
    return {name: tf.constant(values, tf.int32) for name, values in batch.items()}
