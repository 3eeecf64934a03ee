"""Pseudo-perplexity of a masked language model: each token is masked in turn and predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.masked_language_head import MaskedLanguageHead
from tfrs_distill.teachers.bert.text_encoder import TextEncoder


def pseudo_perplexity(
    encoder: TextEncoder,
    head: MaskedLanguageHead,
    texts: Sequence[str],
    *,
    max_tokens: int | None = None,
    chunk_size: int = 64,
    seed: int = 0,
) -> float:
    """`exp(-mean_t log p(token_t | all other tokens of its text))` over the tokens of all texts.

    Every token except special tokens is replaced by the mask in turn, which needs one forward pass
    per token. It is 1 for a perfect model, and the size of the vocabulary for uniform predictions.
    Reference: [Salazar et al., 2019](https://arxiv.org/abs/1910.14659), section 2.3.

    Args:
        encoder: the text encoder, without dropout here.
        head: its masked-language head.
        texts: the texts; long texts are read as by the encoder.
        max_tokens: if there are more tokens, the mean is over this many, drawn uniformly; None for
            all.
        chunk_size: masked texts at a time.
        seed: seed of the drawn tokens.

    Raises:
        InputError: the texts have only special tokens.
    """
    tokens = encoder.token_windows(texts)
    places = np.flatnonzero(~np.isin(tokens.ids, encoder.tokenizer.all_special_ids))
    if not len(places):
        raise InputError("The texts hold no words to predict. Give texts that are not empty.")
    if max_tokens is not None and len(places) > max_tokens:
        places = np.random.default_rng(seed).choice(places, max_tokens, replace=False)
    windows = np.searchsorted(tokens.starts, places, side="right") - 1
    order = np.argsort(tokens.lengths[windows], kind="stable")
    shape = tf.TensorSpec([None, None], tf.int32)
    row = tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[shape, shape, row, row])
    def log_probability(
        input_ids: tf.Tensor, mask: tf.Tensor, positions: tf.Tensor, targets: tf.Tensor
    ) -> tf.Tensor:
        outputs = encoder.model(input_ids=input_ids, attention_mask=mask, training=False)
        hidden = tf.gather(outputs.last_hidden_state, positions, batch_dims=1)
        log_probabilities = tf.nn.log_softmax(head.logits(hidden))
        return tf.gather(log_probabilities, targets, batch_dims=1)

    total = 0.0
    for start in range(0, len(order), chunk_size):
        rows = order[start : start + chunk_size]
        input_ids, mask = tokens.padded(windows[rows])
        positions = (places[rows] - tokens.starts[windows[rows]]).astype(np.int32)
        input_ids[np.arange(len(rows)), positions] = encoder.tokenizer.mask_token_id
        targets = tokens.ids[places[rows]]
        arguments = map(tf.constant, (input_ids, mask, positions, targets))
        total += float(np.sum(log_probability(*arguments).numpy(), dtype=np.float64))
    return float(np.exp(-total / len(order)))
