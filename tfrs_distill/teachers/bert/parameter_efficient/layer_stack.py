"""The layers of BERT-family models, and the names of their parts."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

TARGETS = ("query", "key", "value", "attention_output", "intermediate", "output")


@dataclass(frozen=True)
class Family:
    """The names of the parts of a layer in one family of models."""

    name: str
    stack: str  # path of the list of layers below the model's core
    dense: dict[str, str]  # path of each of a layer's matrices, by the names in `TARGETS`
    norms: tuple[str, str]
    attention: str
    run: Callable[[Any, Any, tf.Tensor, tf.Tensor], tf.Tensor]  # core, layer, hidden, mask


def _additive(attention_mask: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return the mask added to attention logits, `[n, 1, 1, length]`: 0; -1e9 for padding."""
    return (1.0 - tf.cast(attention_mask, dtype))[:, None, None, :] * -1e9


def _run_bert(core: Any, layer: Any, hidden: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
    return layer(
        hidden_states=hidden,
        attention_mask=_additive(attention_mask, hidden.dtype),
        head_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        past_key_value=None,
        output_attentions=False,
        training=False,
    )[0]


def _run_distilbert(
    core: Any, layer: Any, hidden: tf.Tensor, attention_mask: tf.Tensor
) -> tf.Tensor:
    return layer(hidden, attention_mask, None, False, training=False)[-1]


def _run_mpnet(core: Any, layer: Any, hidden: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
    return layer(
        hidden,
        _additive(attention_mask, hidden.dtype),
        None,
        False,
        position_bias=core.encoder.compute_position_bias(hidden),
        training=False,
    )[0]


FAMILIES = (
    Family(
        "BERT",
        "encoder.layer",
        {
            "query": "attention.self_attention.query",
            "key": "attention.self_attention.key",
            "value": "attention.self_attention.value",
            "attention_output": "attention.dense_output.dense",
            "intermediate": "intermediate.dense",
            "output": "bert_output.dense",
        },
        ("attention.dense_output.LayerNorm", "bert_output.LayerNorm"),
        "attention.self_attention",
        _run_bert,
    ),
    Family(
        "DistilBERT",
        "transformer.layer",
        {
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "attention_output": "attention.out_lin",
            "intermediate": "ffn.lin1",
            "output": "ffn.lin2",
        },
        ("sa_layer_norm", "output_layer_norm"),
        "attention",
        _run_distilbert,
    ),
    Family(
        "MPNet",
        "encoder.layer",
        {
            "query": "attention.attn.q",
            "key": "attention.attn.k",
            "value": "attention.attn.v",
            "attention_output": "attention.attn.o",
            "intermediate": "intermediate.dense",
            "output": "out.dense",
        },
        ("attention.LayerNorm", "out.LayerNorm"),
        "attention.attn",
        _run_mpnet,
    ),
)


class LayerStack:
    """The layers of a BERT-family model, lowest first.

    MiniLM, RoBERTa, XLM-RoBERTa, CamemBERT and ELECTRA use the same names as BERT; DistilBERT and
    MPNet use other names.

    Args:
        model: a Hugging Face TensorFlow model, as in `TextEncoder.model`.

    Raises:
        ValueError: the model is of another family.
    """

    def __init__(self, model: Any) -> None:
        self.core: Any = getattr(model, getattr(model, "base_model_prefix", ""), None)
        for family in FAMILIES:
            layers = found(self.core, family.stack)
            parts = (*family.dense.values(), *family.norms)
            if layers and all(found(layer, path) is not None for layer in layers for path in parts):
                self.family, self.layers = family, list(layers)
                return
        raise ValueError(
            "Tuning needs a BERT-family model with a stack of layers: BERT, MiniLM, RoBERTa, "
            "XLM-RoBERTa, CamemBERT, ELECTRA, DistilBERT or MPNet. Received: "
            f"{type(model).__name__}."
        )

    @property
    def width(self) -> int:
        """Width of the hidden states."""
        return int(self.dense(self.layers[0], "query").kernel.shape[0])

    def dense(self, layer: Any, target: str) -> Any:
        """One of a layer's matrices, by its name in `TARGETS`."""
        return found(layer, self.family.dense[target])

    def owner(self, layer: Any, target: str) -> tuple[Any, str]:
        """The object and the attribute that hold one of a layer's matrices."""
        return self._owner(layer, self.family.dense[target])

    def attention_owner(self, layer: Any) -> tuple[Any, str]:
        """The object and the attribute that hold a layer's self-attention."""
        return self._owner(layer, self.family.attention)

    def norms(self, layer: Any) -> list[Any]:
        """A layer's two normalisations."""
        return [found(layer, path) for path in self.family.norms]

    def _owner(self, layer: Any, path: str) -> tuple[Any, str]:
        *parents, attribute = path.split(".")
        return functools.reduce(getattr, parents, layer), attribute

    def run(self, layers: list[Any], hidden: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        """Run consecutive layers, without dropout: `[n, length, width]` to the same shape."""
        for layer in layers:
            hidden = self.family.run(self.core, layer, hidden, attention_mask)
        return hidden

    def layer_variables(self) -> list[list[tf.Variable]]:
        """The weights of every layer, lowest first."""
        return [list(layer.trainable_variables) for layer in self.layers]

    def other_variables(self) -> list[tf.Variable]:
        """The weights below and between the layers (embeddings), without the pooler."""
        inside = {id(v) for variables in self.layer_variables() for v in variables}
        return [v for v in self._variables() if id(v) not in inside]

    def _variables(self) -> list[tf.Variable]:
        """Sorted by name: Keras' order changes if a part was replaced and restored."""
        named = {v.name.split("/", 1)[1]: v for v in self.core.trainable_variables}
        return [named[name] for name in sorted(named) if "/pooler/" not in name]

    def fingerprint(self) -> str:
        """sha256 of the current values of every weight that text vectors depend on."""
        digest = hashlib.sha256()
        for variable in self._variables():
            digest.update(str((variable.shape, variable.dtype)).encode())
            digest.update(variable.numpy().tobytes())
        return digest.hexdigest()


def found(root: Any, path: str) -> Any:
    """Return the object at a dotted path, or None."""
    for name in path.split("."):
        root = getattr(root, name, None)
    return root
