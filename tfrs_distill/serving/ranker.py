"""Scores from the artefact of a ranking student, for rows or for one query's items."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact import RANKING, Artefact
from tfrs_distill.serving.column_values import ColumnValues
from tfrs_distill.serving.model_file import Run, find_model, open_model

SCORE, RANK = "score", "rank"
# With 119 words per row, LiteRT takes 0.023 to 0.033 ms per row at 32 to 256 rows per call and
# 0.038 at 1,024; TensorFlow 0.04 at 32, 0.011 at 256 and 0.008 at 1,024. Predictions do not depend
# on it.
ROWS_PER_CALL = 256


class Ranker:
    """Score (query, item) rows with an artefact; load it with `Ranker.load`.

    A column of ids takes ids, if the student was exported with their vocabulary, or indices: text
    (also bytes, or strings of NumPy, TensorFlow or pandas) is an id, a number is an index, even if
    ids look like numbers. Unknown ids and indices, None and NaN count as out of vocabulary. A
    numeric column takes NaN or None for missing values. A history is a sequence of ids or indices,
    oldest first, of any length; unknown items are ignored. A column of words takes texts, or
    indices of words.

    Several threads may call one ranker at the same time.

    Args:
        artefact: the folder's contents.
        run: runs one of its signatures.
    """

    def __init__(self, artefact: Artefact, run: Run) -> None:
        self.artefact = artefact
        self._values = ColumnValues(artefact)
        self._run = run

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, format: str | None = None, num_threads: int = 1
    ) -> Ranker:
        """Load an artefact.

        Args:
            path: the artefact's folder, or one `.tflite` file inside it.
            format: "tflite" or "saved_model". By default `.tflite` if the folder has one.
            num_threads: number of threads that LiteRT may use. Not used by TensorFlow.

        Raises:
            InputError: it is not an artefact of a ranking student, a file is truncated, or it lacks
                the format.
        """
        artefact, file = find_model(path, format, RANKING)
        return cls(artefact, open_model(file, num_threads=num_threads))

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The columns that the student reads."""
        return tuple(self._values.names())

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the student predicts."""
        return tuple(self.artefact.tasks)

    def score(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Predict the tasks for (query, item) rows.

        Args:
            columns: by name, a sequence with one value per row.

        Returns:
            float32 [num_rows] by task, in the unit of the task's labels; probabilities for a binary
            task; for a next-item task, the probability of the row's item.

        Raises:
            InputError: columns are missing, unknown or of different lengths, or have values that
                the student cannot read.
        """
        rows = self._values.read(columns)
        num_rows = len(next(iter(rows.values())))
        parts = [
            self._run(SCORE, {name: v[start : start + ROWS_PER_CALL] for name, v in rows.items()})
            for start in range(0, num_rows, ROWS_PER_CALL)
        ]
        return {
            task: np.concatenate([part[task] for part in parts] or [np.zeros(0, np.float32)])
            for task in self.tasks
        }

    def rank(self, *, query: Mapping[str, Any], items: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Predict the tasks for many items of one query, in one call of the model.

        Args:
            query: by name, the single value of each query column.
            items: by name, a sequence with one value per item.

        Returns:
            float32 [num_items] by task, equal to `score` for the pairs.

        Raises:
            InputError: as in `score`; or the student reads only query columns, or only item
                columns.
        """
        if RANK not in self.artefact.signature["signature_names"]:
            raise InputError(
                "This student reads columns of one side only, so it cannot rank items for a query. "
                f"Use `score`. It reads: {', '.join(self.input_columns)}."
            )
        of_query = {
            name: value[None] if isinstance(value, np.ndarray) else [value]
            for name, value in query.items()
        }
        rows = self._values.read(of_query, "query", "query")
        rows |= self._values.read(items, "item", "items")
        if not all(len(rows[name]) for name in items):
            return {task: np.zeros(0, np.float32) for task in self.tasks}
        return self._run(RANK, rows)
