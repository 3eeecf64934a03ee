"""Prefix vectors: learned keys and values before those of every layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfrs_distill.teachers.bert.checkpoint import max_positions
from tfrs_distill.teachers.bert.parameter_efficient.attached import AddedLayer, Attached
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.whole_number import check_whole_number


@dataclass(frozen=True)
class PrefixVectors:
    """Prefix tuning: every layer attends to `length` learned keys and values before the text's.

    `softmax(q [P_k; k]^T / sqrt(head_dim)) [P_v; v]`: the attention mask is extended by the prefix;
    the text's position ids do not change. The initial prefix is the keys and values that each layer
    computes for a text of `length` tokens drawn from the vocabulary: the paper found real words a
    better initialisation than random numbers. The paper's reparametrisation by a network, used only
    in training, is omitted: for a small model it is larger than the budget of parameters. An
    encoder with a prefix returns other vectors even before training. The prefix cannot be merged:
    it stays in the forward pass. Reference: [Li & Liang, 2021](https://arxiv.org/abs/2101.00190).

    Args:
        length: number of vectors before each layer's, at least 1.
        seed: seed of the tokens of the initial prefix.

    Raises:
        ValueError: `length` is not a whole number of at least 1.

    Example:
    >>> PrefixVectors(length=4)
    PrefixVectors(length=4, seed=0)
    """

    length: int = 16
    seed: int = 0

    default_learning_rate: ClassVar[float] = 5e-3

    def __post_init__(self) -> None:
        check_whole_number("length", self.length)

    def attach(self, encoder: TextEncoder) -> Attached:
        """Add a prefix before the keys and values of every layer of the encoder.

        Args:
            encoder: a text encoder of the BERT or DistilBERT family; its model is changed in place.

        Returns:
            The attached layers, which can be trained, saved and detached.

        Raises:
            ValueError: the encoder already has added layers; its attention does not support a
                prefix (MPNet); or it reads fewer tokens than `length`.
        """
        attached = Attached(encoder, self)
        stack = attached.stack
        if stack.family.name not in ONTO:
            raise ValueError(
                f"PrefixVectors cannot be attached to {type(encoder.model).__name__}: its "
                "attention adds a bias for the distance of every two tokens, and a prefix has no "
                "distance. Use LoRA or BottleneckAdapters."
            )
        for number, (layer, start) in enumerate(zip(stack.layers, self._start(encoder, attached))):
            keys, values = ONTO[stack.family.name](attached, layer, *start)
            attached.train(f"layer.{number}.prefix.keys", keys)
            attached.train(f"layer.{number}.prefix.values", values)
        return attached.ready()

    def _start(
        self, encoder: TextEncoder, attached: Attached
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return every layer's keys and values for drawn tokens, float [length, width] each."""
        special = set(encoder.tokenizer.all_special_ids)
        words = [i for i in range(encoder.model.config.vocab_size) if i not in special]
        longest = min(max_positions(encoder.model) or self.length, len(words))
        if self.length > longest:
            raise ValueError(
                f"`length` must be at most {longest}, what this encoder can read. Received: "
                f"length={self.length}."
            )
        drawn = np.random.default_rng(self.seed).choice(words, self.length, replace=False)
        hidden = encoder.model(
            input_ids=tf.constant(drawn[None], tf.int32),
            attention_mask=tf.ones([1, self.length], tf.int32),
            output_hidden_states=True,
            training=False,
        ).hidden_states
        stack = attached.stack
        return [
            (
                stack.dense(layer, "key")(inputs)[0].numpy(),
                stack.dense(layer, "value")(inputs)[0].numpy(),
            )
            for layer, inputs in zip(stack.layers, hidden)
        ]


class BertPrefixAttention(AddedLayer):
    """The attention of BERT: it reads a prefix as the keys and values of earlier tokens.

    `keys` and `values`, float [length, width], are the initial prefix.
    """

    def __init__(self, attention: Any, keys: np.ndarray, values: np.ndarray) -> None:
        super().__init__(name=attention.name)
        self.attention, self.length = attention, len(keys)
        self.keys = _vectors(self, "prefix_keys", keys)
        self.values = _vectors(self, "prefix_values", values)

    def call(
        self, hidden_states: tf.Tensor, attention_mask: tf.Tensor, **others: Any
    ) -> tuple[tf.Tensor, ...]:
        """The attention's arguments; the prefix is passed as the past keys and values."""
        num_texts = tf.shape(hidden_states)[0]
        seen = tf.zeros([num_texts, 1, 1, self.length], attention_mask.dtype)  # added to logits

        def of_every_text(vectors: tf.Variable) -> tf.Tensor:
            shape = [1, self.length, self.attention.num_attention_heads, -1]
            heads = tf.reshape(tf.cast(vectors, hidden_states.dtype), shape)
            return tf.tile(tf.transpose(heads, [0, 2, 1, 3]), [num_texts, 1, 1, 1])

        prefix = of_every_text(self.keys), of_every_text(self.values)
        return self.attention(
            hidden_states=hidden_states,
            attention_mask=tf.concat([seen, attention_mask], axis=-1),
            **(others | {"past_key_value": prefix}),
        )


class DistilBertPrefixAttention(AddedLayer):
    """The attention of DistilBERT, given `length` rows of zeros that `PrefixedDense` replaces."""

    def __init__(self, attention: Any, length: int) -> None:
        super().__init__(name=attention.name)
        self.attention, self.length = attention, length

    def call(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        mask: tf.Tensor,
        head_mask: Any,
        output_attentions: bool,
        training: bool = False,
    ) -> tuple[tf.Tensor, ...]:
        """The attention's arguments; the mask is extended like the keys."""
        rows = tf.pad(key, [[0, 0], [self.length, 0], [0, 0]])
        mask = tf.pad(mask, [[0, 0], [self.length, 0]], constant_values=1)
        return self.attention(
            query, rows, rows, mask, head_mask, output_attentions, training=training
        )


class PrefixedDense(AddedLayer):
    """A dense layer whose first outputs are learned; `vectors` [length, out] initialises them."""

    def __init__(self, dense: Any, vectors: np.ndarray) -> None:
        super().__init__(name=dense.name)
        self.dense, self.length = dense, len(vectors)
        self.vectors = _vectors(self, "prefix", vectors)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """`[n, length + m, in]` to `[n, length + m, out]`."""
        outputs = self.dense(inputs[:, self.length :])
        prefix = tf.cast(self.vectors, outputs.dtype)[None]
        return tf.concat([tf.tile(prefix, [tf.shape(outputs)[0], 1, 1]), outputs], axis=1)


def _vectors(layer: tf.keras.layers.Layer, name: str, start: np.ndarray) -> tf.Variable:
    initializer = tf.keras.initializers.Constant(start)
    return layer.add_weight(name=name, shape=start.shape, initializer=initializer)


def _onto_bert(
    attached: Attached, layer: Any, keys: np.ndarray, values: np.ndarray
) -> tuple[tf.Variable, tf.Variable]:
    owner, attribute = attached.stack.attention_owner(layer)
    attention = BertPrefixAttention(getattr(owner, attribute), keys, values)
    attached.replace(owner, attribute, attention)
    return attention.keys, attention.values


def _onto_distilbert(
    attached: Attached, layer: Any, keys: np.ndarray, values: np.ndarray
) -> tuple[tf.Variable, tf.Variable]:
    vectors = []
    for target, start in (("key", keys), ("value", values)):
        owner, attribute = attached.stack.owner(layer, target)
        dense = PrefixedDense(getattr(owner, attribute), start)
        attached.replace(owner, attribute, dense)
        vectors.append(dense.vectors)
    owner, attribute = attached.stack.attention_owner(layer)
    attention = DistilBertPrefixAttention(getattr(owner, attribute), len(keys))
    attached.replace(owner, attribute, attention)
    return vectors[0], vectors[1]


ONTO: dict[str, Callable[..., tuple[tf.Variable, tf.Variable]]] = {
    "BERT": _onto_bert,
    "DistilBERT": _onto_distilbert,
}
