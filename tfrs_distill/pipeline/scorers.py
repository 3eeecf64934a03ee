"""Open any recommender by its path, for `tfrs-distill evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.splits import Queries, pad_histories
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.agreement import centred_ranks
from tfrs_distill.evaluation.retrieval import Evaluation, evaluate
from tfrs_distill.evaluation.teacher_report import scorer_of
from tfrs_distill.evaluation.top_k import BlockScorer
from tfrs_distill.evaluation.whole_catalogue import whole_ranking
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.python_function import function_of_file
from tfrs_distill.serving.artefact import PROVENANCE, SAVED_MODEL
from tfrs_distill.serving.model_file import open_model
from tfrs_distill.serving.recommender import SIGNATURE_NAME, Recommender
from tfrs_distill.teachers import ArrayTeacher

LISTED = 100  # length of the lists whose ranking is compared, as an artefact's default
NAMED_ARRAYS = (".npz", ".safetensors", ".parquet")
KINDS = (
    "an artefact's folder or one of its .tflite files, a SavedModel's folder, a file of scores "
    "(.npy, .npz, .safetensors, .parquet), or FILE.py:FUNCTION"
)


@dataclass(frozen=True)
class OpenedScorer:
    """A model to evaluate.

    Args:
        path: the path as given.
        model: a scorer; a teacher, which has `logits`; or the scores of a split's queries, float
            [num_queries, num_items].
        longest: the length of its longest list; None for the full catalogue.
    """

    path: str
    model: Any
    longest: int | None = None

    def check_length(self, k: int) -> None:
        """Raise an `InputError` if it does not return lists of `k` items."""
        if self.longest is not None and k > self.longest:
            raise InputError(
                f"{self.path} returns at most {self.longest} items, fixed at export. "
                f"Received: k={k}. Give a smaller k, or export it again with a larger k."
            )

    def evaluate(self, queries: Queries, k: int, max_history: int) -> Evaluation:
        """Evaluate it for queries, as `td.evaluate` does.

        Raises:
            InputError: it fails, does not return lists of the catalogue's items, or recommends
                items of the history although the catalogue excludes them.
        """
        scorer = self.model
        if not isinstance(scorer, np.ndarray):
            scorer = scorer_of(scorer, queries, max_history)
        try:
            found = evaluate(scorer, queries, k=k)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error
        except Exception as error:
            raise InputError(f"{self.path} fails: {type(error).__name__}: {error}") from error
        return found

    def rank(
        self, some: Queries, places: np.ndarray, max_history: int
    ) -> tuple[dict[str, Any] | None, np.ndarray]:
        """Return calibration and ranks for some of a split's queries, see `whole_ranking`.

        A scorer that only returns lists has no calibration, and all items outside of its lists of
        `LISTED` items share the last rank.

        Args:
            some: the queries, each with a relevant item.
            places: int [num_queries], their rows in the full split.
            max_history: positions of a window, as a teacher reads them.
        """
        model = self.model
        if isinstance(model, np.ndarray):
            model = model[places]
        elif not hasattr(model, "logits") and not isinstance(model, BlockScorer):
            seen = some.histories if some.catalogue.exclude_seen else [np.zeros(0, int)] * len(some)
            left = some.catalogue.num_items - max(len(np.unique(items)) for items in seen)
            length = max(1, min(self.longest or LISTED, left))
            lists = self.evaluate(some, length, max_history).item_ids
            order = np.broadcast_to(-np.arange(float(length)), lists.shape)
            return None, centred_ranks(order, lists, seen, some.catalogue.num_items)
        return whole_ranking(model, some, max_history=max_history)


def open_scorer(path: str, data: RetrievalData, queries: Queries, *, seed: int = 0) -> OpenedScorer:
    """Open a model, and check that it belongs to the data.

    Args:
        path: an artefact's folder, one of its `.tflite` files or its `saved_model.pb`; a SavedModel
            whose `serving_default` returns `scores` and `item_ids` for a `history`; `.npy`, scores
            [num_queries, num_items], a row for each of `queries`; a file that `ArrayTeacher.read`
            reads; or `FILE.py:FUNCTION`. `FUNCTION(train, seed)` gets the training windows and
            returns a scorer, called with `(histories, k)`, a teacher, which has
            `logits(batch, candidate_ids)`, or a two-tower model.
        data: the data, whose catalogue and users it must have.
        queries: of the evaluated split.
        seed: for `FUNCTION`.

    Raises:
        InputError: there is no such model, it is damaged, or it has another catalogue or other
            users.
    """
    file, _, function = path.rpartition(":")
    if file.endswith(".py"):
        return OpenedScorer(path, _of_function(path, Path(file), function, data, seed))
    place = Path(path)
    if place.suffix == ".py":
        raise InputError(f"{path} needs the name of a function. Give {path}:FUNCTION.")
    if not place.exists():
        raise InputError(f"There is no {path}. A scorer is {KINDS}.")
    if place.suffix == ".npy":
        return OpenedScorer(path, _scores(place, queries))
    if place.suffix in NAMED_ARRAYS:
        return OpenedScorer(path, _array_teacher(place, data, queries))
    if place.suffix == ".tflite" or place.name == SAVED_MODEL or place.is_dir():
        return _exported(place, data)
    raise InputError(f"{path} is not a scorer. A scorer is {KINDS}.")


def _of_function(path: str, file: Path, name: str, data: RetrievalData, seed: int) -> Any:
    if not file.is_file():
        raise InputError(f"There is no file {file}. Check the path.")
    tf.keras.utils.set_random_seed(seed)  # as for a run's teacher, independent of earlier calls
    try:
        made = function_of_file(file, name)(data.splits.train, seed)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} fails: {type(error).__name__}: {error}") from error
    if not hasattr(made, "logits") and not callable(made):
        raise InputError(
            f"{path} must return a scorer, which is called with `(histories, k)`, or a teacher, "
            f"which has `logits(batch, candidate_ids)`. Received: {type(made).__name__}."
        )
    return made


def _scores(path: Path, queries: Queries) -> np.ndarray:
    """Return the scores in a `.npy` file, memory-mapped."""
    try:
        scores: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array of numbers: {error}.") from error
    expected = (len(queries), queries.catalogue.num_items)
    if scores.shape != expected or scores.dtype.kind not in "iuf":
        raise InputError(
            f"{path} must hold scores of shape {list(expected)}, a row for each query of the split "
            f"and a column for each item of the catalogue. Received: {scores.dtype} of shape "
            f"{list(scores.shape)}."
        )
    return scores


def _array_teacher(path: Path, data: RetrievalData, queries: Queries) -> ArrayTeacher:
    user_ids = data.interactions.user_ids
    teacher = ArrayTeacher.read(path, catalogue=data.catalogue, user_ids=user_ids)
    missing = np.setdiff1d(queries.users, teacher.query_ids)
    if len(missing):
        raise InputError(
            f"{path} lacks {len(missing)} of the {len(queries)} users of the split, first: "
            f"{user_ids[missing[0]]!r}. Give scores of all of them."
        )
    return teacher


def _exported(path: Path, data: RetrievalData) -> OpenedScorer:
    """Open an artefact, or a SavedModel alone."""
    catalogue, known = data.catalogue, data.known_users
    folder = path.parent if path.name == SAVED_MODEL else path
    if (folder / SAVED_MODEL).is_file() and not (folder / PROVENANCE).is_file():
        return _saved_model(folder, catalogue)
    format = "saved_model" if path.name == SAVED_MODEL else None
    recommender = Recommender.load(folder, format=format)
    item_ids = recommender.artefact.item_ids
    if item_ids != catalogue.item_ids:
        raise InputError(
            f"{path} is of another catalogue: it has {_items(item_ids)}; the data has "
            f"{_items(catalogue.item_ids)}. Give the data that it was made from."
        )
    if recommender.exclude_seen != catalogue.exclude_seen:
        raise InputError(
            f"{path} was exported with exclude_seen={recommender.exclude_seen}, but the data has "
            f"exclude_seen={catalogue.exclude_seen}. Set exclude_seen in [data] of the recipe as "
            "it was at export."
        )
    read = recommender.artefact.user_attributes
    if read is not None and (known is None or known.vocabulary.as_list() != read.as_list()):
        raise InputError(
            f"{path} reads the user attributes {', '.join(read.names)}, whose names and values "
            "differ from those of the data. Give the run that exported it (--run), or set "
            "`data.user_attributes` of the recipe as it was at export."
        )
    return OpenedScorer(str(path), recommender, min(recommender.artefact.k, len(item_ids)))


def _items(item_ids: Sequence[str]) -> str:
    first = ", ".join(map(repr, item_ids[:3]))
    return f"{len(item_ids):,} items, {first}, ..."


def _saved_model(folder: Path, catalogue: Catalogue) -> OpenedScorer:
    run = open_model(folder / SAVED_MODEL)

    def lists(histories: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        outputs = run(SIGNATURE_NAME, {"history": pad_histories(list(histories))})
        return outputs["scores"], outputs["item_ids"]

    try:
        widths = {array.shape[1] for array in lists([np.array([1], np.int32)])}
        (longest,) = widths
    except Exception as error:
        raise InputError(
            f"{folder} is a SavedModel, but not one that recommends: its function "
            f"{SIGNATURE_NAME!r} must take `history`, int32 [batch_size, history_length], item "
            "indices from 1 on, and return `scores` and `item_ids`, [batch_size, k]. Received: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    batch = 256

    def scorer(histories: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        found = [lists(histories[row : row + batch]) for row in range(0, len(histories), batch)]
        scores, item_ids = (np.concatenate(parts)[:, :k] for parts in zip(*found))
        return np.where(item_ids != columns.PADDING, scores, -np.inf), item_ids

    return OpenedScorer(str(folder), scorer, min(longest, catalogue.num_items))
