"""Ask a teacher about every training example and check what it says."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.teacher_cache.top_k_knowledge import summarise_top_k
from tfrs_distill.teachers.teacher import Teacher


def label_windows(
    teacher: Teacher,
    windows: Windows,
    top_k: int,
    temperatures: tuple[float, ...],
    *,
    batch_size: int = 64,
) -> dict[str, np.ndarray]:
    """What a teacher says about each window, as arrays with one row a window.

    Args:
        teacher: a factorised teacher.
        windows: the windows to ask about.
        top_k: items whose logits are kept at each position.
        temperatures: at which the rest is summed.
        batch_size: windows at a time.

    Raises:
        InputError: the teacher gives NaN or infinite values; names the example.
    """
    item_ids = tf.range(windows.catalogue.num_items + 1)
    items = tf.cast(teacher.encode_candidates(item_ids), tf.float32)

    @tf.function(reduce_retracing=True)
    def ask(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        queries = tf.cast(teacher.encode_queries(batch), tf.float32)
        shape = tf.shape(queries)
        logits = tf.matmul(
            tf.reshape(queries, [-1, queries.shape[-1]]), items[1:], transpose_b=True
        )
        ids, values, tail = summarise_top_k(logits, top_k, temperatures)
        per_window = {
            columns.TEACHER_TOP_K_IDS: ids,
            columns.TEACHER_TOP_K_LOGITS: values,
            columns.TEACHER_TAIL: tail,
        }
        return {columns.TEACHER_QUERY_EMBEDDINGS: queries} | {
            name: tf.reshape(value, tf.concat([shape[:2], tf.shape(value)[1:]], axis=0))
            for name, value in per_window.items()
        }

    parts = [
        {name: value.numpy() for name, value in ask(batch).items()}
        for batch in windows.batches(batch_size)
    ]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    arrays["item_embeddings"] = items.numpy()
    labelled = windows.labels > columns.PADDING
    finite = np.isfinite(arrays[columns.TEACHER_TOP_K_LOGITS]).all(axis=-1) | ~labelled
    if not finite.all() or not np.isfinite(arrays["item_embeddings"]).all():
        row, position = np.argwhere(~finite)[0] if not finite.all() else (0, 0)
        raise InputError(
            f"The teacher gives NaN or infinite logits, first for user {windows.users[row]} at "
            f"position {position} of their window. Nothing was written; check its training."
        )
    return arrays
