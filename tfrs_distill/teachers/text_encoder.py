"""A BERT that turns texts into vectors: Hugging Face weights in TensorFlow, without PyTorch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.checkpoint import (
    checkpoint_fingerprint,
    checkpoint_folder,
    load_checkpoint,
    max_positions,
    weight_files,
)
from tfrs_distill.teachers.pooling import (
    Pooling,
    check_pooling,
    combine_windows,
    pool,
    unit_length,
)
from tfrs_distill.teachers.token_windows import (
    LongTexts,
    check_long_texts,
    token_windows,
)

__all__ = ["TextEncoder", "checkpoint_fingerprint"]


class TextEncoder:
    """Vectors of texts by a checkpoint of the BERT family: its last layer, pooled, length 1.

    `vector = m / |m|_2`, with m the mean, the first token or the maximum of the last layer's
    outputs h_t over the tokens that are not padding. "mean" is what sentence-transformers computes
    for all-MiniLM-L6-v2 ([Reimers and Gurevych, 2019](https://arxiv.org/abs/1908.10084)).

    A longer text than `max_length` is cut, or read in windows, one after another without overlap,
    each between the special tokens. The windows' m are then combined: their mean weighted by tokens
    for "mean", the maximum for "max", the plain mean for "cls". Shorter texts have one window, the
    same as cut. Measured with MiniLM on 60 texts of 300 to 512 wordpieces: the mean cosine with the
    vectors of the whole texts is 0.893 for windows of 128; 0.885 if they overlap by a quarter,
    which costs more; 0.800 for texts cut at 128.

    Args:
        name_or_path: a folder with `config.json`, weights and tokenizer files, or the name of a
            model on the Hugging Face Hub that has them. Weights are `model.safetensors` with the
            names of PyTorch or of TensorFlow, or else `pytorch_model.bin`, or several such files
            with their index; PyTorch itself is not needed.
        max_length: longest text, or window, in wordpieces, the special ones among them.
        pooling: "mean", "cls" or "max".
        long_texts: "cut" or "windows".

    Raises:
        InputError: the folder misses a file, its weights do not fit its configuration, the Hub
            does not give the model, or the model has fewer positions than `max_length`.
        ValueError: `pooling` or `long_texts` is none of those, or `max_length` leaves no room
            beside the special tokens.

    Example:
    >>> encoder = TextEncoder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> encoder.encode(["Heat (1995)", "Babe (1995)"]).shape  # doctest: +SKIP
    (2, 384)
    """

    def __init__(
        self,
        name_or_path: str | os.PathLike[str],
        *,
        max_length: int = 128,
        pooling: Pooling = "mean",
        long_texts: LongTexts = "cut",
    ) -> None:
        check_pooling(pooling)
        check_long_texts(long_texts)
        self.folder = checkpoint_folder(name_or_path)
        self.max_length = max_length
        self.pooling: Pooling = pooling
        self.long_texts: LongTexts = long_texts
        self.tokenizer, self.model = load_checkpoint(self.folder)
        self._check_lengths()
        self._check_tokenizer()
        self._traced_for: list[tf.Variable] = []

    @property
    def text_dim(self) -> int:
        """Width of the vectors."""
        return int(self.model.config.hidden_size)

    @property
    def num_parameters(self) -> int:
        """Parameters of the checkpoint's encoder."""
        return int(self.model.count_params())

    @property
    def num_bytes(self) -> int:
        """Bytes of the weights on disk."""
        return sum(path.stat().st_size for path in weight_files(self.folder))

    def tokenize(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and attention mask of texts, longer ones cut, int32 [num_texts, length].

        `length` is the longest's, rounded up to a multiple of 8 but not beyond `max_length`, so
        that whoever compiles for a shape meets few.

        Raises:
            ValueError: `texts` is one string.
        """
        tokens = token_windows(self.tokenizer, texts, max_length=self.max_length, long_texts="cut")
        longest = int(tokens.lengths.max(initial=0))
        return tokens.padded(
            np.arange(len(texts)),
            pad_id=self.tokenizer.pad_token_id,
            length=min(-(-longest // 8) * 8, self.max_length),
        )

    def pooled(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        """Vectors of tokenized texts: int32 [num_texts, length] to [num_texts, text_dim]."""
        return self.pool(self._hidden(input_ids, attention_mask), attention_mask)

    def pool(self, hidden: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        """What `pooled` does after the model: the chosen pooling, scaled to length 1.

        Args:
            hidden: the last layer's outputs, [num_texts, length, text_dim].
            attention_mask: [num_texts, length], 1 for a token and 0 for padding.

        Returns:
            [num_texts, text_dim], each of length 1.
        """
        return unit_length(pool(hidden, attention_mask, self.pooling))

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        advance: Callable[[int], Any] | None = None,
    ) -> np.ndarray:
        """Vectors of texts, float32 [num_texts, text_dim], in the order given.

        Windows of like length share a batch and are padded to its longest, for one graph takes all
        shapes: what is spent on padding is little.

        Args:
            texts: what to read.
            batch_size: windows at a time; a text has one unless it is long.
            advance: called with the number of texts done since the last call.

        Raises:
            ValueError: `texts` is one string.
        """
        tokens = token_windows(
            self.tokenizer, texts, max_length=self.max_length, long_texts=self.long_texts
        )
        forward = self._traced_forward()
        left = np.bincount(tokens.texts, minlength=len(texts))
        vectors = np.zeros((len(tokens.lengths), self.text_dim), np.float32)
        order = np.argsort(-tokens.lengths, kind="stable")  # too long for memory shows at once
        for start in range(0, len(order), batch_size):
            windows = order[start : start + batch_size]
            input_ids, mask = tokens.padded(windows, pad_id=self.tokenizer.pad_token_id)
            vectors[windows] = forward(tf.constant(input_ids), tf.constant(mask)).numpy()
            np.subtract.at(left, tokens.texts[windows], 1)
            if advance is not None:
                advance(int((left[np.unique(tokens.texts[windows])] == 0).sum()))
        return unit_length(
            tf.constant(combine_windows(vectors, tokens.lengths, tokens.texts, self.pooling))
        ).numpy()

    def fingerprint(self) -> str:
        """sha256 of all that decides the vectors: the checkpoint's files and the arguments.

        Training of `model` in place is not seen.
        """
        settings = {
            "checkpoint": checkpoint_fingerprint(self.folder),
            "max_length": self.max_length,
            "pooling": self.pooling,
            "long_texts": self.long_texts,
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def _traced_forward(self) -> Any:
        """Model and pooling as one graph for all shapes; a new one when the variables are others.

        Layers of the model may be trained in place, and may be exchanged for others (adapters); a
        graph of the old ones would go on computing with the old variables.
        """
        variables = list(self.model.weights)
        if [id(v) for v in variables] != [id(v) for v in self._traced_for]:
            shape = tf.TensorSpec([None, None], tf.int32)
            traced = tf.function(self._pooled_unscaled, input_signature=[shape, shape])
            self._graph = traced.get_concrete_function()
            self._traced_for = variables
        return self._graph

    def _pooled_unscaled(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        return pool(self._hidden(input_ids, attention_mask), attention_mask, self.pooling)

    def _hidden(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        """The last layer's outputs, [num_texts, length, text_dim]; segment ids are all 0."""
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, training=False)
        return outputs.last_hidden_state

    def _check_lengths(self) -> None:
        special = self.tokenizer.num_special_tokens_to_add()
        if not self.max_length > special:
            raise ValueError(
                f"`max_length` must be greater than {special}, the special tokens around a text. "
                f"Received: max_length={self.max_length!r}."
            )
        limit = max_positions(self.model)
        if limit is not None and self.max_length > limit:
            raise InputError(
                f"The encoder in {self.folder} has positions for {limit} tokens. Received: "
                f"max_length={self.max_length}. Give at most {limit}, and long_texts='windows' to "
                "read longer texts whole."
            )

    def _check_tokenizer(self) -> None:
        if self.tokenizer.pad_token_id is None:
            raise InputError(
                f"The tokenizer in {self.folder} has no padding token, so texts of different "
                "lengths cannot share a batch. Name one in its tokenizer_config.json: pad_token."
            )
        if self.long_texts == "windows" and not self.tokenizer.is_fast:
            raise InputError(
                f"The tokenizer in {self.folder}, {type(self.tokenizer).__name__}, cannot make "
                "windows: that needs a fast tokenizer (tokenizer.json). Use long_texts='cut'."
            )
