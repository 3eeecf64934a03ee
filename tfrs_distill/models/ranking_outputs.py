"""What a ranking model's forward pass gives to the losses."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class RankingOutputs(NamedTuple):
    """What a forward pass gives; rows are (query, item) pairs.

    Args:
        logits: of each task, float32 [num_rows, width].
        hidden_representations: what the layers between features and heads put out, by name.
    """

    logits: dict[str, tf.Tensor]
    hidden_representations: dict[str, tf.Tensor] = {}
