"""A teacher's logits for all rows of ranking examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples

BATCH_SIZE = 4096


def row_logits(teacher: Any, examples: RankingExamples) -> dict[str, np.ndarray]:
    """Compute a teacher's logits for every row, [num_rows, width] by task.

    Pass them to `examples.with_teacher(...)`. A teacher that needs inputs that are not in batches
    (texts, whole candidate lists) computes them in its own method `row_logits(examples)`, as
    `BertTextRanker` and `ListTeacher` do; any other has `logits(batch, None)` for one batch of rows
    after another.

    Args:
        teacher: has one of the two methods. If it returns one tensor instead of a dict by task, the
            examples must have labels of exactly one task.
        examples: the rows.

    Raises:
        ValueError: the task of the logits is ambiguous.

    Example:
    >>> from tfrs_distill.teachers.function_teacher import FunctionTeacher
    >>> rows = RankingExamples(
    ...     {"stars": np.array([2.0, 5.0])}, {"like": np.array([0.0, 1.0])},
    ...     users=np.array([7, 8]), queries=np.array([7, 8]))
    >>> teacher = FunctionTeacher(lambda batch, _: batch["stars"][:, None] - 3.0)
    >>> row_logits(teacher, rows)["like"].tolist()
    [[-1.0], [2.0]]
    """
    if hasattr(teacher, "row_logits"):
        return dict(teacher.row_logits(examples))
    logits_of = tf.function(lambda batch: teacher.logits(batch, None), reduce_retracing=True)
    parts = [_by_task(logits_of(batch), examples) for batch in examples.batches(BATCH_SIZE)]
    return {task: np.concatenate([part[task].numpy() for part in parts]) for task in parts[0]}


def _by_task(logits: Any, examples: RankingExamples) -> Mapping[str, tf.Tensor]:
    if isinstance(logits, Mapping):
        return logits
    if len(examples.labels) != 1:
        raise ValueError(
            "The teacher returns one tensor of logits, but the rows have labels of the tasks "
            f"{sorted(examples.labels)}. Let it return a dict of logits by task."
        )
    return {next(iter(examples.labels)): logits}
