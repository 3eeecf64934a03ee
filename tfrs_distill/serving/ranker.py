"""Scores from the artefact of a ranking student: rows, or one query's items, to predictions."""

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
# Of 119 words a row, LiteRT takes 0.023 to 0.033 ms a row at 32 to 256 rows a call and 0.038 at
# 1,024; TensorFlow 0.04 at 32, 0.011 at 256 and 0.008 at 1,024. Predictions do not depend on it.
ROWS_A_CALL = 256


class Ranker:
    """Scores (query, item) rows from an artefact alone; make it with `Ranker.load`.

    A column of ids takes the ids that people know, where the student was exported with their
    vocabulary, or indices: text (also in bytes, or of NumPy, TensorFlow or pandas) is an id, a
    number an index, though an id may look like a number. An id or index that is not known, None and
    NaN count as out of vocabulary. A column of numbers takes NaN or None for one that is not known.
    A history is a sequence of ids or indices, oldest first, of any length; what the student does
    not know of it is left out. A column of words takes texts, or their indices.

    Several threads may call one ranker at once.

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
        """Read an artefact.

        Args:
            path: the artefact's folder, or one `.tflite` file inside it.
            format: "tflite" or "saved_model". By default `.tflite` where the folder has one.
            num_threads: how many threads LiteRT may use. TensorFlow decides by itself.

        Raises:
            InputError: it is no artefact of a ranking student, a file of it is truncated, or it
                lacks the format.
        """
        artefact, file = find_model(path, format, RANKING)
        return cls(artefact, open_model(file, num_threads=num_threads))

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The columns that the student reads."""
        return tuple(self._values.names())

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it predicts."""
        return tuple(self.artefact.tasks)

    def score(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return predictions for rows.

        Args:
            columns: by name, a sequence with one value a row.

        Returns:
            float32 [num_rows] by task, in the unit of the task's labels; probabilities of a binary
            task, and of a next-item task the probability of the row's item.

        Raises:
            InputError: columns are missing, unknown or of unequal lengths, or hold something that
                the student cannot read.
        """
        rows = self._values.read(columns)
        num_rows = len(next(iter(rows.values())))
        parts = [
            self._run(SCORE, {name: v[start : start + ROWS_A_CALL] for name, v in rows.items()})
            for start in range(0, num_rows, ROWS_A_CALL)
        ]
        return {
            task: np.concatenate([part[task] for part in parts] or [np.zeros(0, np.float32)])
            for task in self.tasks
        }

    def rank(self, *, query: Mapping[str, Any], items: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return predictions for many items of one query, in one call of the model.

        Args:
            query: by name, the one value of each column of the query.
            items: by name, a sequence with one value an item.

        Returns:
            float32 [num_items] by task, as `score` of the pairs.

        Raises:
            InputError: as in `score`; or the student reads the query alone, or the item alone.
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
