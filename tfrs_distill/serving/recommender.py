"""Recommendations from an artefact on disk, by ids or titles.

A `.tflite` file is run by LiteRT without TensorFlow, so a small server can import this module.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tfrs_distill.columns import (
    HISTORY,
    HISTORY_RATINGS,
    ITEM_ID,
    PADDING,
    USER_ATTRIBUTES,
    plain_texts,
)
from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact import (
    RANKING_FOLDER,
    RETRIEVAL,
    SAVED_MODEL,
    Artefact,
    RankingStage,
)
from tfrs_distill.serving.artefact.given_ids import indices_of, plain_values, whole_numbers
from tfrs_distill.serving.attribute_vocabulary import AttributeVocabulary
from tfrs_distill.serving.item_names import ItemNames
from tfrs_distill.serving.model_file import Run, find_model, open_model
from tfrs_distill.serving.ranker import Ranker
from tfrs_distill.serving.rerank import rerank
from tfrs_distill.serving.word_pieces import UNKNOWN

SIGNATURE_NAME = "serving_default"
EMBED_TEXTS, RETRIEVE_WITH_ADDED = "embed_texts", "retrieve_with_added_items"
SAVED_MODEL_BATCH = 256  # queries per call; a .tflite file takes one at a time, as on a phone

Model = Callable[[np.ndarray, "np.ndarray | None"], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Recommendation:
    """One recommended item; higher scores are better, and comparable within one list only."""

    item_id: str
    title: str
    score: float


class _State(NamedTuple):
    """The state of a recommender, replaced as a whole when items are added."""

    artefact: Artefact
    names: ItemNames
    model: Model
    added_embeddings: np.ndarray | None


class Recommender:
    """Recommend items with an artefact; load it with `Recommender.load`.

    It is also a scorer: `recommender(histories, k)` returns `(scores, item_indices)`, so it is
    evaluated with the same code as the model it was exported from.

    Several threads may call one recommender at the same time.

    A student that reads item texts can also recommend new items, after `add_items` with their
    texts.

    An artefact of two stages is read as any other: what its retrieval student finds is ordered by
    its ranking student, and scores are those of a `TwoStageStudent`.

    Args:
        artefact: the folder's contents.
        model: maps item indices [batch_size, history_length] and, for a student that reads user
            attributes, their indices, else None, to `(scores, item_ids)`, both [batch_size,
            artefact.k].
        batch_size: number of histories per call of `model`.
        run: the open model file, for `add_items`; None if items cannot be added.
    """

    def __init__(
        self, artefact: Artefact, model: Model, *, batch_size: int = 1, run: Run | None = None
    ) -> None:
        self._state = _State(artefact, ItemNames(artefact), model, None)
        self._batch_size, self._run = batch_size, run
        self._adding = threading.Lock()  # concurrent calls of `add_items` would lose items
        self._attributes = artefact.user_attributes

    @property
    def artefact(self) -> Artefact:
        """The folder's contents, followed by the added items."""
        return self._state.artefact

    @property
    def exclude_seen(self) -> bool:
        """Whether items in the history are excluded; set at export."""
        return self.artefact.exclude_seen

    @property
    def reads_attributes(self) -> bool:
        """Whether the student reads user attributes besides histories."""
        return self._attributes is not None

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, format: str | None = None, num_threads: int = 1
    ) -> Recommender:
        """Load an artefact.

        Args:
            path: the artefact's folder, or one `.tflite` file inside it.
            format: "tflite" or "saved_model". By default `.tflite` if the folder has one.
            num_threads: number of threads that LiteRT may use. Not used by TensorFlow.

        Raises:
            InputError: it is not an artefact, a file is truncated, or it lacks the format.
        """
        artefact, file = find_model(path, format, RETRIEVAL)
        run = open_model(file, num_threads=num_threads)
        model = _retrieval(run)
        is_saved_model = file.name == SAVED_MODEL
        if artefact.ranking_stage is not None:
            second = artefact.folder / RANKING_FOLDER
            ranker = (
                Ranker.load(second, format="saved_model")
                if is_saved_model
                else Ranker.load(second / file.name, num_threads=num_threads)
            )
            model = _ranked(model, ranker, artefact.ranking_stage)
        return cls(
            artefact,
            model,
            batch_size=SAVED_MODEL_BATCH if is_saved_model else 1,
            run=run if artefact.ranking_stage is None else None,
        )

    def add_items(
        self,
        texts: Sequence[str],
        *,
        titles: Sequence[str] | None = None,
        item_ids: Sequence[str] | None = None,
    ) -> None:
        """Add new items, which can then be recommended from their texts without a new export.

        Their embeddings are the outputs of the student's text tower. They may also be in histories.
        The artefact on disk does not change.

        Args:
            texts: one per item, in the format of the catalogue's texts: for MovieLens the title,
                then the genres.
            titles: titles for people; the texts by default.
            item_ids: ids of the items; the titles by default.

        Raises:
            InputError: the student uses item ids alone, or ranks in two stages; an id exists
                already or is given twice; a text is empty or has only unknown words; or the
                arguments differ in length. No item is added then.
        """
        pieces = self.artefact.word_pieces
        if pieces is None or self._run is None:
            raise InputError(
                f"{self.artefact.folder} cannot take new items: "
                + (
                    "its student uses item ids alone. Train one with a text tower, "
                    "`item_texts.read = true` in a recipe."
                    if pieces is None
                    else "its ranking stage cannot score them. Use a single-stage student."
                )
            )
        texts = plain_texts("texts", texts)
        titles = texts if titles is None else plain_texts("titles", titles)
        item_ids = titles if item_ids is None else plain_texts("item_ids", item_ids)
        encoded = pieces.encode(texts)
        with self._adding:
            state = self._state
            _check_added(texts, titles, item_ids, encoded, state.names)
            if not texts:
                return
            embeddings = self._run(EMBED_TEXTS, {"pieces": encoded})["embeddings"]
            if state.added_embeddings is not None:
                embeddings = np.concatenate([state.added_embeddings, embeddings])
            artefact = replace(
                state.artefact,
                vocabularies={ITEM_ID: (*state.artefact.item_ids, *item_ids)},
                titles=(*state.artefact.titles, *titles),
            )
            model = _retrieval(self._run, embeddings)
            self._state = _State(artefact, ItemNames(artefact), model, embeddings)

    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        *,
        attributes: Mapping[str, Any] | None = None,
    ) -> list[Recommendation]:
        """Return the `k` best items for a user with this history, without items of the history.

        With `exclude_seen=False` in the artefact, items of the history can be recommended too.

        Args:
            history: items the user interacted with, oldest first, each an item id, a title, or a
                title without its year (case is ignored), as text. Ids take precedence over titles.
                May be empty: the student then recommends as for a user without history.
            k: number of items; fewer are returned only if the catalogue has no more.
            attributes: attributes of the user, such as `{"age": 25, "gender": "F"}`, for a student
                that reads them; see `AttributeVocabulary`. Omitted attributes, None, and values
                that did not occur in training are treated as missing.

        Raises:
            InputError: an entry is unknown (the message has the nearest titles), ambiguous or not
                text, or `k` is larger than at export; the student reads no attributes, or none of
                this name, or a value has another type.
        """
        if isinstance(history, (str, bytes)):
            raise TypeError(f"`history` must be a list of strings. Received: {history!r}.")
        state = self._state
        indices = [state.names.find(entry) for entry in _entries(history).tolist()]
        known = self._known_of_one(attributes) if attributes else None
        scores, items = self._scored(state, [np.array(indices, np.int32)], k, known)
        return [
            Recommendation(
                state.artefact.item_ids[item - 1], state.artefact.titles[item - 1], float(score)
            )
            for score, item in zip(scores[0], items[0])
            if item != PADDING
        ]

    def __call__(
        self, histories: Sequence[Any], k: int, user_attributes: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Score many histories, oldest item first.

        Args:
            histories: sequences of ids or indices: text is an id, a number is an index. Unknown
                items are ignored.
            k: number of items; see `recommend`.
            user_attributes: integers [num_histories, num_attributes], indices of the artefact's
                `user_attributes`, 0 if missing; None if all are missing.

        Returns:
            `(scores, item_indices)`, float32 and int32 [num_histories, k]. Empty slots have index 0
            and the lowest float32 as score.

        Raises:
            InputError: a history is not a sequence, a number is not an index, or `k` is too large;
                the student reads no attributes, or they have another shape or are not indices.
        """
        if user_attributes is not None:
            name = "`user_attributes`"
            user_attributes = whole_numbers(plain_values(user_attributes, name), name)
            expected = [len(histories), len(self._vocabulary().names)]
            if list(np.shape(user_attributes)) != expected:
                raise InputError(
                    f"`user_attributes` must be indices of shape {expected} (histories, "
                    f"attributes). Received: shape {list(np.shape(user_attributes))}."
                )
        return self._scored(self._state, histories, k, user_attributes)

    def _vocabulary(self) -> AttributeVocabulary:
        """The attributes that the student reads.

        Raises:
            InputError: the student reads no attributes.
        """
        if self._attributes is None:
            raise InputError(
                f"The student in {self.artefact.folder} reads histories alone. Received: "
                "user attributes. Omit them, or train a student that reads them: "
                "`user_attributes` in [data] of a recipe."
            )
        return self._attributes

    def _known_of_one(self, attributes: Mapping[str, Any]) -> np.ndarray:
        if not isinstance(attributes, Mapping):
            raise TypeError(
                "`attributes` must be a dict of values by name, such as {'age': 25}. Received: "
                f"{attributes!r}."
            )
        return self._vocabulary().encode({name: [value] for name, value in attributes.items()})

    def _scored(
        self,
        state: _State,
        histories: Sequence[Any],
        k: int,
        user_attributes: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        _check_k(k, state.artefact)
        if self._attributes is not None and user_attributes is None:
            user_attributes = np.zeros([len(histories), len(self._attributes.names)], np.int32)
        scores = np.full([len(histories), k], np.finfo(np.float32).min, np.float32)
        items = np.full([len(histories), k], PADDING, np.int32)
        for start in range(0, len(histories), self._batch_size):
            chunk = [
                indices_of(_entries(history), state.names.by_id, "A history")
                for history in histories[start : start + self._batch_size]
            ]
            padded = np.full([len(chunk), max(1, *map(len, chunk))], PADDING, np.int32)
            for row, history in enumerate(chunk):
                padded[row, padded.shape[1] - len(history) :] = history
            rows = slice(start, start + len(chunk))
            known = None if user_attributes is None else user_attributes[rows]
            some_scores, some_items = state.model(padded, known)
            columns = slice(min(k, some_items.shape[1]))
            scores[rows, columns] = some_scores[:, columns]
            items[rows, columns] = some_items[:, columns]
        return scores, items


def _check_k(k: int, artefact: Artefact) -> None:
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise InputError(f"`k` must be a whole number of at least 1. Received: k={k!r}.")
    if artefact.k < k and artefact.k < artefact.num_items:
        raise InputError(
            f"This artefact returns at most {artefact.k} items, fixed at export. "
            f"Received: k={k}. Export it again with a larger k."
        )


def _check_added(
    texts: Sequence[str],
    titles: Sequence[str],
    item_ids: Sequence[str],
    encoded: np.ndarray,
    names: ItemNames,
) -> None:
    """Raise an InputError unless these items can be added."""
    if not len(texts) == len(titles) == len(item_ids):
        raise InputError(
            "`texts`, `titles` and `item_ids` must have one entry per item. Received: "
            f"{len(texts)}, {len(titles)} and {len(item_ids)}."
        )
    taken = set(names.by_id)
    for text, item_id, pieces in zip(texts, item_ids, encoded):
        if not text.strip():
            raise InputError(f"A new item needs a text. Received: item {item_id!r} without one.")
        if pieces.max(initial=0) <= UNKNOWN:
            raise InputError(
                f"The student has no word of the text {text!r} of the new item {item_id!r}, so "
                "its score would be random. Write it in the format of the catalogue's texts."
            )
        if item_id in taken:
            raise InputError(
                f"An item with the id {item_id!r} exists already. Give every new item a unique "
                "id, as `item_ids`."
            )
        taken.add(item_id)


def _entries(history: Any) -> np.ndarray:
    """Return the entries of a history, texts as `str`."""
    entries = plain_values(history, "A history")
    if entries.ndim != 1:
        raise InputError(
            f"A history must be a sequence of items, oldest first. Received: {history!r}."
        )
    return entries


def _retrieval(run: Run, added_embeddings: np.ndarray | None = None) -> Model:
    """Return the retrieval student of an open model file, with embeddings of added items."""
    signature, added = SIGNATURE_NAME, {}
    if added_embeddings is not None:
        signature, added = RETRIEVE_WITH_ADDED, {"added_embeddings": added_embeddings}

    def model(
        history: np.ndarray, user_attributes: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        known = {} if user_attributes is None else {USER_ATTRIBUTES: user_attributes}
        outputs = run(signature, {HISTORY: history, **added, **known})
        return outputs["scores"], outputs["item_ids"]

    return model


def _ranked(retrieve: Model, ranker: Ranker, stage: RankingStage) -> Model:
    """Return both stages: the items of `retrieve`, ranked by `ranker`; ties keep their order."""
    reads_ratings = HISTORY_RATINGS in ranker.input_columns

    def model(
        histories: np.ndarray, user_attributes: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        first, items = retrieve(histories, user_attributes)
        second = np.zeros(items.shape, np.float32)
        for row, history in enumerate(histories):
            found = np.flatnonzero(items[row] != PADDING)
            query = {HISTORY: history}
            if reads_ratings:
                query[HISTORY_RATINGS] = np.zeros(history.shape, np.float32)
            predictions = ranker.rank(query=query, items={ITEM_ID: items[row, found]})
            second[row, found] = predictions[stage.task]
        return rerank(second, first, items, weight=stage.retrieval_weight)

    return model
