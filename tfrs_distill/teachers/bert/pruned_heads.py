"""Layers with fewer attention heads than in the configuration, as in PyTorch's BERT."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.errors import InputError

HEADS = {"BERT": "num_attention_heads", "DistilBERT": "n_heads"}


def shrink_heads(model: Any) -> None:
    """Change a built model, in place, to the shapes of its configuration's `pruned_heads`.

    A layer of h heads of width d, n of them pruned, has query, key and value matrices
    [width, (h - n) d] and an output matrix [(h - n) d, width]; transformers' TensorFlow classes
    ignore `pruned_heads`.

    Args:
        model: a `TFPreTrainedModel` without head, before its weights are read.

    Raises:
        InputError: the model's family does not support pruned heads.
        ValueError: the model has no stack of layers.
    """
    from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack

    if not getattr(model.config, "pruned_heads", None):
        return
    stack = LayerStack(model)
    name = HEADS.get(stack.family.name)
    if name is None:
        raise InputError(
            f"Heads can be pruned from BERT-like models and DistilBERT. Received: pruned_heads of "
            f"{type(model).__name__}. Give a checkpoint with all heads."
        )
    width = stack.width
    for number, heads in model.config.pruned_heads.items():
        layer = stack.layers[number]
        owner, attribute = stack.attention_owner(layer)
        attention = getattr(owner, attribute)
        total = getattr(attention, name)
        left = total - len(set(heads))
        inner = left * (width // total)
        setattr(attention, name, left)
        setattr(attention, "all_head_size" if name == HEADS["BERT"] else "dim", inner)
        for target in ("query", "key", "value"):
            _replace(stack, layer, target, width, inner)
        _replace(stack, layer, "attention_output", inner, width)


def _replace(stack: Any, layer: Any, target: str, inputs: int, outputs: int) -> None:
    old = stack.dense(layer, target)
    new = tf.keras.layers.Dense(outputs, name=old.name)
    with tf.name_scope(old.kernel.name.rpartition("/")[0] + "/"):  # weights are read by name
        new.build([None, None, inputs])
    owner, attribute = stack.owner(layer, target)
    setattr(owner, attribute, new)
