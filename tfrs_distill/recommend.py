"""An artefact on disk, and answers from it: titles in, the best items out.

A `.tflite` file is run by LiteRT, without TensorFlow, so this is also what a small server imports.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.artefact import PROVENANCE, SAVED_MODEL, Artefact
from tfrs_distill.columns import PADDING
from tfrs_distill.errors import InputError
from tfrs_distill.interpreter import open_interpreter
from tfrs_distill.item_names import ItemNames
from tfrs_distill.quiet import quiet_stderr

SIGNATURE_NAME = "serving_default"
SAVED_MODEL_BATCH = 256  # queries a call; a .tflite file takes one at a time, as a phone would

Model = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Recommendation:
    """One recommended item; a higher score is better, and scores compare within one answer."""

    item_id: str
    title: str
    score: float


class Recommender:
    """Recommends from an artefact alone; make it with `Recommender.load`.

    It is a scorer too: `recommender(histories, k)` gives `(scores, item_indices)`, so it is
    evaluated with the same code as the model it was exported from.

    Args:
        artefact: the folder's contents.
        model: [batch_size, history_length] item indices to `(scores, item_ids)`, both
            [batch_size, artefact.k].
        batch_size: how many histories `model` gets at a time.
    """

    def __init__(self, artefact: Artefact, model: Model, *, batch_size: int = 1) -> None:
        self.artefact = artefact
        self._names = ItemNames(artefact)
        self._model = model
        self._batch_size = batch_size

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, format: str | None = None, num_threads: int = 1
    ) -> Recommender:
        """Read an artefact.

        Args:
            path: the artefact's folder, or one `.tflite` file inside it.
            format: "tflite" or "saved_model". By default `.tflite` where the folder has one.
            num_threads: how many threads LiteRT may use. TensorFlow decides on its own.

        Raises:
            InputError: it is no artefact, a file of it is truncated, or it lacks the format.
        """
        path = Path(path)
        if format not in (None, "tflite", "saved_model"):
            raise InputError(
                f"`format` must be 'tflite' or 'saved_model'. Received: format={format!r}."
            )
        if path.suffix == ".tflite" and not path.is_dir():
            if format == "saved_model":
                raise InputError(
                    f"{path} is a .tflite file. For format='saved_model' give its folder."
                )
            artefact, name = _read_around(path), path.name
        else:
            artefact = Artefact.read(path)
            name = _choose(artefact, format)
        if name == SAVED_MODEL:
            model = _saved_model(artefact.folder)
            return cls(artefact, model, batch_size=SAVED_MODEL_BATCH)
        return cls(artefact, _tflite_model(artefact.folder / name, num_threads))

    def recommend(self, history: Sequence[str], k: int = 10) -> list[Recommendation]:
        """The `k` best items for someone with this history, none of which is in it.

        Args:
            history: what they liked, oldest first, each an item id, a title, or a title without
                its year, in any case. An id goes before a title. May be empty: a new user gets
                what the student recommends to someone it knows nothing of.
            k: how many; fewer come back only where the catalogue is used up.

        Raises:
            InputError: an entry is unknown (the nearest titles are named) or ambiguous, or `k` is
                above what the artefact was exported with.
        """
        if isinstance(history, str):
            raise TypeError(f"`history` must be a list of strings. Received: {history!r}.")
        indices = np.array([self._names.find(entry) for entry in history], np.int32)
        scores, items = self([indices], k)
        return [
            Recommendation(
                self.artefact.item_ids[item - 1], self.artefact.titles[item - 1], float(score)
            )
            for score, item in zip(scores[0], items[0])
            if item != PADDING
        ]

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Score many histories of item indices, without padding, oldest first.

        Returns:
            `(scores, item_indices)`, float32 and int32 [num_histories, k]. Where nothing is left
            the index is 0 and the score the lowest float32.
        """
        self._check_k(k)
        scores = np.full([len(histories), k], np.finfo(np.float32).min, np.float32)
        items = np.full([len(histories), k], PADDING, np.int32)
        for start in range(0, len(histories), self._batch_size):
            chunk = histories[start : start + self._batch_size]
            padded = np.full([len(chunk), max(1, *map(len, chunk))], PADDING, np.int32)
            for row, history in enumerate(chunk):
                padded[row, padded.shape[1] - len(history) :] = history
            some_scores, some_items = self._model(padded)
            rows, columns = slice(start, start + len(chunk)), slice(min(k, some_items.shape[1]))
            scores[rows, columns] = some_scores[:, columns]
            items[rows, columns] = some_items[:, columns]
        return scores, items

    def _check_k(self, k: int) -> None:
        if k < 1:
            raise InputError(f"`k` must be at least 1. Received: k={k!r}.")
        if self.artefact.k < k and self.artefact.k < self.artefact.num_items:
            raise InputError(
                f"This artefact gives at most {self.artefact.k} items, fixed when it was exported. "
                f"Received: k={k}. Export it again with a larger k."
            )


def _tflite_model(path: Path, num_threads: int) -> Model:
    # The interpreter must outlive its runner.
    interpreter = open_interpreter(path, num_threads=num_threads)
    run = interpreter.get_signature_runner(SIGNATURE_NAME)

    def model(history: np.ndarray, interpreter: Any = interpreter) -> tuple[Any, Any]:
        outputs = run(history=history)  # resizes the input, 0.03 ms, where its shape has changed
        return outputs["scores"], outputs["item_ids"]

    return model


def _saved_model(folder: Path) -> Model:
    try:
        with quiet_stderr():
            import tensorflow as tf
    except ImportError as error:
        raise InputError(
            "Reading a SavedModel needs `tensorflow`, which is not installed. Install it with: "
            "pip install tensorflow. A .tflite file needs only `ai-edge-litert`."
        ) from error
    with quiet_stderr():
        loaded = tf.saved_model.load(str(folder))
    run = loaded.signatures[SIGNATURE_NAME]

    def model(history: np.ndarray, loaded: Any = loaded) -> tuple[Any, Any]:
        outputs = run(history=tf.constant(history))
        return outputs["scores"].numpy(), outputs["item_ids"].numpy()

    return model


def _choose(artefact: Artefact, format: str | None) -> str:
    """The model file that `format` asks for."""
    if format != "saved_model" and artefact.tflite_files:
        return artefact.tflite_files[0]
    if format != "tflite" and artefact.has_saved_model:
        return SAVED_MODEL
    models = [*artefact.tflite_files, *([SAVED_MODEL] if artefact.has_saved_model else [])]
    raise InputError(
        f"{artefact.folder} holds no model in format {format or 'tflite or saved_model'!r}; "
        f"it has: {', '.join(models) or 'none'}."
    )


def _read_around(path: Path) -> Artefact:
    """The artefact that the `.tflite` file `path` is part of."""
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the path.")
    if not (path.parent / PROVENANCE).is_file():
        raise InputError(
            f"{path} is alone: {PROVENANCE} and the item titles are not beside it. "
            "Copy the whole folder that it was exported to."
        )
    artefact = Artefact.read(path.parent)
    if path.name not in artefact.tflite_files:
        raise InputError(
            f"{path} is not part of the artefact around it, which has: "
            f"{', '.join(artefact.tflite_files) or 'no .tflite file'}."
        )
    return artefact
