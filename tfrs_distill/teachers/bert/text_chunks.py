"""Windows of many texts in chunks of similar length: as tokens, or as a frozen layer's outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.bert.pooling import combine_windows, pool
from tfrs_distill.teachers.bert.text_encoder import TextEncoder


class TokenChunks:
    """The items' texts as token ids, read by the whole encoder."""

    def __init__(self, encoder: TextEncoder, texts: Sequence[str]) -> None:
        self.encoder = encoder
        self.tokens = encoder.token_windows(texts)
        tokens = tf.TensorSpec([None, None], tf.int32)
        self.signature: tuple[tf.TensorSpec, ...] = (tokens, tokens)

    def chunks_of(self, rows: np.ndarray, chunk_size: int) -> list[np.ndarray]:
        """Return windows in chunks of increasing length; only the first chunk may be smaller."""
        windows = np.flatnonzero(np.isin(self.tokens.texts, rows))
        ordered = windows[np.argsort(self.tokens.lengths[windows], kind="stable")]
        return np.split(
            ordered, range(len(ordered) % chunk_size or chunk_size, len(ordered), chunk_size)
        )

    def chunk(self, windows: np.ndarray) -> tuple[tf.Tensor, ...]:
        """Return token ids and attention mask of some windows, padded to the longest."""
        input_ids, mask = self.tokens.padded(windows)
        return tf.constant(input_ids), tf.constant(mask)

    def encode(self, input_ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Pooled outputs of a chunk, `[num_windows, hidden_dim]`, not scaled."""
        outputs = self.encoder.model(input_ids=input_ids, attention_mask=mask, training=False)
        return pool(outputs.last_hidden_state, mask, self.encoder.pooling)

    def combine(
        self, pooled: tf.Tensor, texts: tf.Tensor, num_tokens: tf.Tensor, num_texts: tf.Tensor
    ) -> tf.Tensor:
        """Return texts' vectors from those of their windows, as in `TextEncoder.encode`."""
        pooling = self.encoder.pooling
        return self.encoder.finished(combine_windows(pooled, num_tokens, texts, num_texts, pooling))


class LayerChunks(TokenChunks):
    """The items' texts as stored outputs of the lower layers; only `num_layers` top layers run."""

    def __init__(
        self, encoder: TextEncoder, texts: Sequence[str], num_layers: int, chunk_size: int
    ) -> None:
        super().__init__(encoder, texts)
        self.stack = LayerStack(encoder.model)
        self.layers = self.stack.layers[-num_layers:]
        self.stored = np.zeros((self.tokens.lengths.sum(), self.stack.width), np.float32)
        below = tf.function(
            lambda input_ids, mask: encoder.model(
                input_ids=input_ids, attention_mask=mask, output_hidden_states=True, training=False
            ).hidden_states[-1 - num_layers],
            input_signature=self.signature,
        )
        for windows in self.chunks_of(np.arange(len(texts)), chunk_size):
            input_ids, mask = super().chunk(windows)
            seen = mask.numpy() == 1
            self.stored[self._places(windows, seen)] = below(input_ids, mask).numpy()[seen]
        hidden = tf.TensorSpec([None, None, self.stack.width], tf.float32)
        self.signature = (hidden, self.signature[1])

    def chunk(self, windows: np.ndarray) -> tuple[tf.Tensor, ...]:
        """Stored outputs and attention mask of some windows."""
        mask = super().chunk(windows)[1]
        seen = mask.numpy() == 1
        hidden = np.zeros((*seen.shape, self.stack.width), np.float32)
        hidden[seen] = self.stored[self._places(windows, seen)]
        return tf.constant(hidden), mask

    def encode(self, hidden: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Pooled outputs of a chunk, `[num_windows, hidden_dim]`, not scaled."""
        return pool(self.stack.run(self.layers, hidden, mask), mask, self.encoder.pooling)

    def _places(self, windows: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return the rows of `stored` of all tokens that are not padding."""
        return (self.tokens.starts[windows, None] + np.arange(seen.shape[1]))[seen]
