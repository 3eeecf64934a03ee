"""Exact gradients of a loss over many encoded texts, with the memory of one chunk of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Chunk = tuple[tf.Tensor, ...]


class GradientCache:
    """Gradients of `loss([encode(chunk_1); ...; encode(chunk_n)])`, one chunk in memory at a time.

    All chunks except the last are encoded without a tape, the last one under a tape; their vectors
    give the loss and its gradient with respect to every vector. Then each of the other chunks is
    encoded again under a tape, and its vectors' gradients are propagated back:
    `dL/dtheta = sum_c (d encode(c)/dtheta)^T dL/d vectors_c`, the same value as without chunks. The
    cost is one more forward pass for all chunks except the last, and nothing for a single chunk.
    Reference: GradCache, [Gao et al., 2021](https://arxiv.org/abs/2101.06983).

    Encoding must be deterministic, thus without dropout.

    Args:
        encode: tensors of a chunk to vectors, `[n, dim]`.
        loss: vectors of all chunks in their order, and `loss_tensors`, to a scalar.
        variables: trained weights of `encode`; there are no gradients for its other weights.
        loss_variables: trained weights of `loss`.
        chunk_signature: `tf.TensorSpec`s of a chunk, so that all sizes share one graph.
        loss_signature: `tf.TensorSpec`s of `loss_tensors`.

    Attributes:
        gradients: one `tf.Variable` per weight in `variables`, then in `loss_variables`; `step`
            adds to them, `clear` sets them to 0.
    """

    def __init__(
        self,
        encode: Callable[..., tf.Tensor],
        loss: Callable[..., tf.Tensor],
        variables: Sequence[tf.Variable],
        loss_variables: Sequence[tf.Variable],
        *,
        chunk_signature: Sequence[tf.TensorSpec],
        loss_signature: Sequence[tf.TensorSpec],
        dim: int,
    ) -> None:
        self.variables, self.loss_variables = list(variables), list(loss_variables)
        self.gradients = [
            tf.Variable(tf.zeros_like(variable), trainable=False)
            for variable in [*self.variables, *self.loss_variables]
        ]
        self._encode, self._loss = encode, loss
        vectors = tf.TensorSpec([None, dim], tf.float32)
        self._read = tf.function(encode, input_signature=list(chunk_signature))
        self._last = tf.function(
            self._last_chunk, input_signature=[tuple(chunk_signature), vectors, *loss_signature]
        )
        self._back = tf.function(self._pull_back, input_signature=[tuple(chunk_signature), vectors])
        self._none = tf.zeros([0, dim])

    def step(self, chunks: Sequence[Chunk], *loss_tensors: tf.Tensor) -> tf.Tensor:
        """Add a step's gradients to `gradients` and return its loss.

        The last chunk, preferably the largest, is encoded only once.
        """
        others = [self._read(*chunk) for chunk in chunks[:-1]]
        vectors = tf.concat([self._none, *others], axis=0)
        loss, pulls = self._last(tuple(chunks[-1]), vectors, *loss_tensors)
        start = 0
        for chunk, read in zip(chunks, others):
            stop = start + int(read.shape[0])
            self._back(tuple(chunk), pulls[start:stop])
            start = stop
        return loss

    def clear(self) -> None:
        """Set `gradients` to 0, before another step."""
        for gradient in self.gradients:
            gradient.assign(tf.zeros_like(gradient))

    def _last_chunk(
        self, chunk: Chunk, others: tf.Tensor, *loss_tensors: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*self.variables, *self.loss_variables, others])
            vectors = tf.concat([others, self._encode(*chunk)], axis=0)
            loss = self._loss(vectors, *loss_tensors)
        *gradients, pulls = tape.gradient(loss, [*self.variables, *self.loss_variables, others])
        self._add(gradients)
        return loss, tf.convert_to_tensor(pulls)

    def _pull_back(self, chunk: Chunk, pulls: tf.Tensor) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            vectors = self._encode(*chunk)
        self._add(tape.gradient(vectors, self.variables, output_gradients=pulls))

    def _add(self, gradients: list[Any]) -> None:
        for total, gradient in zip(self.gradients, gradients):
            if isinstance(gradient, tf.IndexedSlices):
                total.scatter_add(gradient)
            elif gradient is not None:
                total.assign_add(gradient)
