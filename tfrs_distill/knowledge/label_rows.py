"""A teacher's outputs for ranking rows: checked logits by task."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.files import content_sha256
from tfrs_distill.knowledge.fold import EXAMPLE_KEYS, FoldKnowledge
from tfrs_distill.knowledge.shard import check_rows_per_shard
from tfrs_distill.teachers.row_logits import row_logits

LOGITS = "logits"
ROWS_PER_SHARD = 1 << 20  # 4 MB per number in a row


class RowsToLabel:
    """All rows of a cache; the teacher's logits are stored completely.

    Args:
        examples: the training rows.
        rows_per_shard: rows per shard.
    """

    def __init__(self, examples: RankingExamples, rows_per_shard: int = ROWS_PER_SHARD) -> None:
        check_rows_per_shard(rows_per_shard)
        self.examples, self.fingerprint = examples, examples.fingerprint()
        self.kept = {"form": LOGITS, "rows_per_shard": rows_per_shard}

    def knowledge(self, teacher: Any, rows: np.ndarray) -> FoldKnowledge:
        """Return one teacher's outputs for these rows, ascending.

        All rows are labelled at once, so that rows of one list stay together. The fingerprint of
        the teacher is that of its logits.

        Raises:
            InputError: the logits have other rows, or a value is not finite.
        """
        examples = self.examples.subset(rows)
        by_task = row_logits(teacher, examples)
        if not by_task:
            raise InputError("it has logits for no task.")
        checked = examples.with_teacher(by_task).teacher_logits
        logits = {columns.teacher_logits(task): checked[task] for task in by_task}

        def of_rows(some: np.ndarray) -> dict[str, np.ndarray]:
            place = np.searchsorted(rows, some)
            keys = {EXAMPLE_KEYS: some.astype(np.uint64)}
            return keys | {name: values[place] for name, values in logits.items()}

        facts: dict[str, Any] = {
            "forms": [LOGITS],
            "temperatures": [],
            "tasks": {task: checked[task].shape[1] for task in sorted(by_task)},
            "examples": self.fingerprint,
        }
        return FoldKnowledge(content_sha256({}, logits), facts, {}, of_rows)
