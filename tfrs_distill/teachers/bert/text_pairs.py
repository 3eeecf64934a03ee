"""Sentence pairs of a history's texts and a candidate's text, as token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.models.rows import row_mask

SEPARATOR = ";"  # between the history's texts
LENGTH_STEP = 8  # pairs are padded to a multiple of this


class TextPairs:
    """Every item's tokens, and pairs built from them with TensorFlow operations only.

    A pair is `[CLS] newest item ; next newest ; ... [SEP] candidate [SEP]`, with the special tokens
    of the checkpoint's tokenizer around and between two texts. Each text is cut to half of the
    available length. All tokens of the candidate are kept, and the history gets the remaining
    length: its oldest items are removed.

    Args:
        tokenizer: the tokenizer of a Hugging Face checkpoint.
        texts: every item's text, in catalogue order.
        max_length: maximum number of tokens of a pair, including special tokens.

    Raises:
        InputError: `max_length` leaves no space for texts, or a text has no tokens.
    """

    def __init__(self, tokenizer: Any, texts: Sequence[str], max_length: int) -> None:
        self.max_length = max_length
        self.special, self.types = _special_tokens(tokenizer)
        self.room = max_length - sum(len(ids) for ids in self.special)
        if self.room < 8:
            raise InputError(
                f"`max_length` must leave room for at least 8 tokens next to the "
                f"{max_length - self.room} special ones. Received: max_length={max_length!r}."
            )
        separator = _plain(tokenizer, [SEPARATOR])[0]
        tokens = [ids[: self.room // 2] for ids in _plain(tokenizer, texts)]
        empty = [item for item, ids in enumerate(tokens) if not ids]
        if empty:
            raise InputError(
                f"The tokenizer finds no token in the text of item {empty[0] + 1}, "
                f"{texts[empty[0]]!r}. Give every item a text."
            )
        self.pad = int(tokenizer.pad_token_id)
        self.candidates = tf.ragged.constant([[], *tokens], tf.int32, 1)  # padding has no tokens
        self.parts = tf.ragged.constant([[], *(ids + separator for ids in tokens)], tf.int32, 1)

    @property
    def num_items(self) -> int:
        """Number of items with texts."""
        return int(self.candidates.shape[0]) - 1

    def lengths(self, histories: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Return the number of tokens of each pair, int32 [num_pairs]; see `tokens`."""
        read = tf.reduce_sum(tf.gather(_row_lengths(self.parts), histories), axis=1)
        texts = tf.minimum(read + tf.gather(_row_lengths(self.candidates), candidates), self.room)
        return texts + self.max_length - self.room

    def tokens(self, histories: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the model's inputs for pairs, padded to the longest and a multiple of 8.

        Args:
            histories: int32 [num_pairs, any length], item indices, newest first; 0 is no item.
            candidates: int32 [num_pairs], item indices.

        Returns:
            int32 [num_pairs, length]: `input_ids`, `attention_mask`, and `token_type_ids`, which
            are 0 for the history and 1 for the candidate.
        """
        texts = tf.gather(self.candidates, candidates)
        read = tf.gather(self.parts, histories).merge_dims(1, 2)
        left = tf.minimum(_row_lengths(read), self.room - _row_lengths(texts))
        read = tf.RaggedTensor.from_tensor(read.to_tensor(), lengths=left)
        number = tf.shape(candidates)[0]
        before, between, after = (_every(ids, number) for ids in self.special)
        ids = tf.concat([before, read, between, texts, after], axis=1)
        before, between, after = (_every(types, number) for types in self.types)
        types = [before, tf.zeros_like(read), between, tf.ones_like(texts), after]
        types = tf.concat(types, axis=1)
        longest = tf.reduce_max(tf.concat([[0], _row_lengths(ids)], axis=0))
        length = tf.minimum(-(-longest // LENGTH_STEP) * LENGTH_STEP, self.max_length)
        shape = tf.stack([number, length])
        return {
            "input_ids": ids.to_tensor(self.pad, shape=shape),
            "attention_mask": tf.ones_like(ids).to_tensor(0, shape=shape),
            "token_type_ids": types.to_tensor(0, shape=shape),
        }

    def fingerprint(self) -> str:
        """sha256 of every token and of the construction of pairs."""
        digest = hashlib.sha256(repr((self.max_length, self.special, self.types)).encode())
        for ragged in (self.candidates, self.parts):
            for part in (ragged.values, ragged.row_splits):
                digest.update(part.numpy().tobytes() + b"\0")
        return digest.hexdigest()


def row_histories(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """Return each row's history, the window up to its position: int32 [num_rows, max_history].

    Padding (0) is at the end.

    Example:
    >>> history, labels = tf.constant([[0, 4, 5]]), tf.constant([[0, 5, 6]])
    >>> row_histories({columns.HISTORY: history, columns.LABELS: labels}).numpy().tolist()
    [[0, 4, 0], [0, 4, 5]]
    """
    rows = tf.where(row_mask(batch))
    histories = tf.gather(batch[columns.HISTORY], rows[:, 0])
    until = tf.range(tf.shape(histories, tf.int64)[1]) <= rows[:, 1:]
    return tf.where(until, histories, columns.PADDING)


def _special_tokens(tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Return the ids before, between and after the two texts of a pair, and their token types."""
    one, other = _plain(tokenizer, ["a", "b"])
    pair = tokenizer("a", "b", return_token_type_ids=True)
    ids, types = pair["input_ids"], pair["token_type_ids"]
    first, second = _place(ids, one), len(ids) - len(other) - _place(ids[::-1], other[::-1])
    cuts = [slice(0, first), slice(first + len(one), second), slice(second + len(other), None)]
    return [ids[cut] for cut in cuts], [types[cut] for cut in cuts]


def _place(ids: list[int], wanted: list[int]) -> int:
    for place in range(len(ids) - len(wanted) + 1):
        if ids[place : place + len(wanted)] == wanted:
            return place
    raise InputError(
        "The tokenizer changes a text when it is one of a pair; such a checkpoint cannot be a "
        "cross-encoder. Use a BERT-family checkpoint."
    )


def _plain(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of texts, without special tokens."""
    return list(tokenizer(list(texts), add_special_tokens=False)["input_ids"])


def _every(ids: list[int], number: tf.Tensor) -> tf.RaggedTensor:
    rows = tf.tile(tf.constant([ids], tf.int32), tf.stack([number, 1]))
    return tf.RaggedTensor.from_tensor(rows, ragged_rank=1)


def _row_lengths(ragged: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(ragged.row_lengths(), tf.int32)
