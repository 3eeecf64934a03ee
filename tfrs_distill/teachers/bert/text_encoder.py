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
from tfrs_distill.teachers.bert.checkpoint import (
    check_max_length,
    checkpoint_fingerprint,
    checkpoint_folder,
    load_checkpoint,
    max_positions,
    pieces_of,
    weight_files,
)
from tfrs_distill.teachers.bert.pooling import (
    Pooling,
    check_pooling,
    combine_windows,
    pool,
    unit_length,
)
from tfrs_distill.teachers.bert.sentence_modules import module_files, read_sentence_modules
from tfrs_distill.teachers.bert.token_windows import (
    LongTexts,
    TokenWindows,
    check_long_texts,
    token_windows,
)

__all__ = ["TextEncoder", "checkpoint_fingerprint"]

MAX_LENGTH = 128  # if neither the user nor the folder sets one


class TextEncoder:
    """Vectors of texts from a BERT-family checkpoint: its last layer, pooled, scaled to length 1.

    `vector = m / |m|_2`, with m the mean, the first token or the maximum of the last layer's
    outputs h_t over the tokens that are not padding. "mean" is what sentence-transformers computes
    for all-MiniLM-L6-v2 ([Reimers and Gurevych, 2019](https://arxiv.org/abs/1908.10084)).

    A sentence-transformers folder has settings for its vectors, which are the defaults of the
    arguments: `1_Pooling` has the pooling, `sentence_bert_config.json` the maximum length and
    whether texts are converted to lower case, `2_Dense` a layer that is applied to m. Unsupported
    settings raise an error. Vectors have length 1 with or without `Normalize` in the folder; this
    does not change their direction.

    A text longer than `max_length` is cut, or read in consecutive windows without overlap, each
    with its own special tokens. The windows' m are then combined: by their mean weighted by tokens
    for "mean", the maximum for "max", the unweighted mean for "cls". For shorter texts, which have
    one window, both modes are equal. Measured with MiniLM on 60 texts of 300 to 512 wordpieces: the
    mean cosine with the vectors of the whole texts is 0.893 for windows of 128; 0.885 if they
    overlap by a quarter, which costs more; 0.800 for texts cut at 128.

    Args:
        name_or_path: a folder with `config.json`, weights and tokenizer files, or the name of a
            model on the Hugging Face Hub that has them. Weights are `model.safetensors` with the
            names of PyTorch or of TensorFlow, or else `pytorch_model.bin`, or several such files
            with their index; PyTorch itself is not needed.
        max_length: maximum length of a text, or window, in wordpieces, including special tokens;
            None for the folder's setting, or else 128.
        pooling: "mean", "cls" or "max"; None for the folder's setting, or else "mean".
        long_texts: "cut" or "windows".

    Raises:
        InputError: a file is missing in the folder, its weights do not fit its configuration, it
            has an unsupported setting, the model cannot be downloaded from the Hub, or it has fewer
            positions than `max_length`.
        ValueError: `pooling` or `long_texts` is not one of these, or `max_length` leaves no space
            in addition to the special tokens.

    Example:
    >>> encoder = TextEncoder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> encoder.encode(["Heat (1995)", "Babe (1995)"]).shape  # doctest: +SKIP
    (2, 384)
    """

    def __init__(
        self,
        name_or_path: str | os.PathLike[str],
        *,
        max_length: int | None = None,
        pooling: Pooling | None = None,
        long_texts: LongTexts = "cut",
    ) -> None:
        if pooling is not None:
            check_pooling(pooling)
        check_long_texts(long_texts)
        self.folder = checkpoint_folder(name_or_path)
        self.tokenizer, self.model = load_checkpoint(self.folder)
        self.modules = read_sentence_modules(
            self.folder, hidden_dim=self.hidden_dim, pooling=pooling
        )
        self.max_length = self._stated_length() if max_length is None else max_length
        self.pooling: Pooling = self.modules.pooling or "mean"
        self.long_texts: LongTexts = long_texts
        if self.modules.lower_case:
            self._lower_case()
        check_max_length(self.tokenizer, self.model, self.max_length)
        self._check_tokenizer()
        self._traced_for: list[tf.Variable] = []

    @property
    def hidden_dim(self) -> int:
        """Width of the model's last layer."""
        return int(self.model.config.hidden_size)

    @property
    def text_dim(self) -> int:
        """Width of the vectors: of the last layer, or of the folder's last dense layer."""
        dense = self.modules.dense
        return int(dense[-1].kernel.shape[1]) if dense else self.hidden_dim

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the encoder, including dense layers after the pooling."""
        arrays = [array for layer in self.modules.dense for array in (layer.kernel, layer.bias)]
        return int(self.model.count_params()) + sum(a.size for a in arrays if a is not None)

    @property
    def num_bytes(self) -> int:
        """Size of the weights on disk."""
        dense = [path for path in module_files(self.folder) if path.suffix != ".json"]
        return sum(path.stat().st_size for path in weight_files(self.folder) + dense)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The word pieces of its tokenizer, for `td.data.WordPieces.for_texts`.

        Raises:
            InputError: the tokenizer does not use word pieces, such as RoBERTa's.
        """
        return pieces_of(self.tokenizer, self.folder)

    @property
    def lowercase(self) -> bool:
        """Whether texts are converted to lower case before they are split."""
        return self.modules.lower_case or bool(getattr(self.tokenizer, "do_lower_case", False))

    def tokenize(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and attention mask of texts, longer ones cut, int32 [num_texts, length].

        `length` is the longest text's, rounded up to a multiple of 8, at most `max_length`, so that
        few shapes are compiled.

        Raises:
            ValueError: `texts` is one string.
        """
        tokens = token_windows(self.tokenizer, texts, max_length=self.max_length, long_texts="cut")
        return tokens.padded(np.arange(len(texts)), multiple_of=8)

    def token_windows(self, texts: Sequence[str]) -> TokenWindows:
        """Token ids of texts, longer ones cut or in windows, according to `long_texts`.

        Raises:
            ValueError: `texts` is one string.
        """
        return token_windows(
            self.tokenizer, texts, max_length=self.max_length, long_texts=self.long_texts
        )

    def pooled(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        """Vectors of tokenized texts: int32 [num_texts, length] to [num_texts, text_dim]."""
        return self.pool(self._hidden(input_ids, attention_mask), attention_mask)

    def pool(self, hidden: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        """Apply the steps of `pooled` after the model: pooling, the folder's layers, length 1.

        Args:
            hidden: the last layer's outputs, [num_texts, length, hidden_dim].
            attention_mask: [num_texts, length], 1 for a token and 0 for padding.

        Returns:
            [num_texts, text_dim], each of length 1.
        """
        return self.finished(pool(hidden, attention_mask, self.pooling))

    def finished(self, pooled: tf.Tensor) -> tf.Tensor:
        """Vectors of texts from their pooled outputs: the folder's layers, then length 1.

        Args:
            pooled: pooled outputs of whole texts, [num_texts, hidden_dim].

        Returns:
            [num_texts, text_dim], each of length 1.
        """
        return unit_length(self.modules.apply(pooled))

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        advance: Callable[[int], Any] | None = None,
    ) -> np.ndarray:
        """Vectors of texts, float32 [num_texts, text_dim], in the order given.

        Windows of similar length share a batch and are padded to the longest of them, so padding
        costs little. One graph is used for all shapes.

        Args:
            texts: the texts to encode.
            batch_size: windows at a time; a text has one unless it is long.
            advance: called with the number of texts done since the last call.

        Raises:
            ValueError: `texts` is one string.
        """
        tokens = self.token_windows(texts)
        forward = self._traced_forward()
        left = np.bincount(tokens.texts, minlength=len(texts))
        vectors = np.zeros((len(tokens.lengths), self.hidden_dim), np.float32)
        order = np.argsort(-tokens.lengths, kind="stable")  # longest first: fails early
        for start in range(0, len(order), batch_size):
            windows = order[start : start + batch_size]
            input_ids, mask = tokens.padded(windows)
            vectors[windows] = forward(tf.constant(input_ids), tf.constant(mask)).numpy()
            np.subtract.at(left, tokens.texts[windows], 1)
            if advance is not None:
                advance(int((left[np.unique(tokens.texts[windows])] == 0).sum()))
        combined = combine_windows(
            tf.constant(vectors), tokens.lengths, tokens.texts, len(texts), self.pooling
        )
        return self.finished(combined).numpy()

    def fingerprint(self) -> str:
        """sha256 of everything that decides the vectors: the checkpoint's files and the arguments.

        It does not include in-place training of `model`.
        """
        settings = {
            "checkpoint": checkpoint_fingerprint(self.folder),
            "max_length": self.max_length,
            "pooling": self.pooling,
            "long_texts": self.long_texts,
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def _traced_forward(self) -> Any:
        """Return model and pooling as one graph for all shapes; a new one if the variables change.

        Layers of the model may be trained in place, and may be replaced by others (adapters); an
        old graph would still compute with the old variables.
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
        """The last layer's outputs, [num_texts, length, hidden_dim]; segment ids are all 0."""
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, training=False)
        return outputs.last_hidden_state

    def _stated_length(self) -> int:
        """Return the folder's maximum length, limited by the model's positions."""
        stated = self.modules.max_length
        limits = [max_positions(self.model) or self.tokenizer.model_max_length]
        if stated == 0:
            limits.append(self.tokenizer.model_max_length)
        return min([MAX_LENGTH if stated is None else stated or limits[0], *limits])

    def _lower_case(self) -> None:
        """Make the tokenizer convert texts to lower case as its first step."""
        from tokenizers import normalizers

        if not self.tokenizer.is_fast:
            raise InputError(
                f"The folder {self.folder} has `do_lower_case`, but its tokenizer, "
                f"{type(self.tokenizer).__name__}, does not support it. Give a fast tokenizer "
                "(tokenizer.json)."
            )
        backend = self.tokenizer.backend_tokenizer
        steps = [normalizers.Lowercase(), *filter(None, [backend.normalizer])]
        backend.normalizer = normalizers.Sequence(steps)

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
