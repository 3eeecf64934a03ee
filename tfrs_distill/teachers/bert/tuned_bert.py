"""A BERT whose layers are trained in place, with a head on its pooled output."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.files import content_sha256, whole_folder
from tfrs_distill.teachers.bert.checkpoint import check_max_length, checkpoint_fingerprint
from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.bert.pooling import pool
from tfrs_distill.teachers.bert.resumable_training import Groups
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.whole_number import check_whole_number

FORMAT = 2  # raised when a change makes older files unreadable


class TunedBert:
    """The encoder's layers with a head: their outputs, weights and files.

    The embeddings are frozen.

    Args:
        encoder: a `TextEncoder`, changed by training.
        max_length: maximum number of tokens that are read.
        batch_size: texts read at a time.

    Raises:
        InputError: `max_length` is larger than the checkpoint supports.
        ValueError: the encoder is not of the BERT family, or an argument is out of its range.
    """

    kind: ClassVar[str]  # used in file names, such as "text ranker"
    head: tf.keras.layers.Layer

    def __init__(self, encoder: TextEncoder, *, max_length: int, batch_size: int) -> None:
        check_whole_number("batch_size", batch_size)
        check_max_length(encoder.tokenizer, encoder.model, max_length)
        self.encoder, self.max_length, self.batch_size = encoder, max_length, batch_size
        self.stack = LayerStack(encoder.model)
        self.base = base_fingerprint(encoder)

    @property
    def _arguments(self) -> dict[str, Any]:
        """The arguments, as JSON values, that build an equal object with the encoder."""
        raise NotImplementedError

    @property
    def _head_weights(self) -> dict[str, tf.Variable]:
        """The head's weights by name."""
        raise NotImplementedError

    @property
    def _identity(self) -> str:
        """What decides the scores in addition to the weights."""
        raise NotImplementedError

    @property
    def weights(self) -> dict[str, tf.Variable]:
        """The weights that training may change: the layers' and the head's, by name."""
        layers = {
            f"layers/{number}/{place}": variable
            for number, variables in enumerate(self.stack.layer_variables())
            for place, variable in enumerate(variables)
        }
        return layers | self._head_weights

    def _pooled(self, inputs: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Pooled outputs of tokenized texts in one forward pass, [n, hidden_dim]."""
        hidden = self.encoder.model(**inputs, training=training).last_hidden_state
        return pool(hidden, inputs["attention_mask"], self.encoder.pooling)

    def groups(self, settings: dict[str, Any]) -> Groups:
        """The top `num_layers` layers (None: all) and the head, with their learning rates."""
        layers = self.stack.layer_variables()[-(settings["num_layers"] or 0) :]
        return [
            (settings["learning_rate"], [v for variables in layers for v in variables]),
            (settings["head_learning_rate"], list(self.head.trainable_variables)),
        ]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write configuration and trained weights, without the base checkpoint."""
        weights = {name: variable.numpy() for name, variable in self.weights.items()}
        write_tuned_bert(folder, self.kind, self.base, self._arguments, weights)

    def _assign(self, weights: dict[str, np.ndarray]) -> None:
        for name, variable in self.weights.items():
            variable.assign(weights[name])

    def fingerprint(self) -> str:
        """sha256 of the base checkpoint, the configuration and the weights."""
        digest = hashlib.sha256(self._identity.encode())
        for name, variable in self.weights.items():
            digest.update(f"{name} {variable.shape}".encode() + variable.numpy().tobytes())
        return digest.hexdigest()


def check_num_layers(num_layers: int | None, of: int) -> None:
    """Raise a ValueError unless `num_layers` is None or within 1 to `of`."""
    if num_layers is not None and not 1 <= num_layers <= of:
        raise ValueError(
            f"`num_layers` must be None or within 1 to {of}, the encoder's layers. "
            f"Received: num_layers={num_layers!r}."
        )


def write_tuned_bert(
    folder: str | os.PathLike[str],
    kind: str,
    base: str,
    arguments: dict[str, Any],
    weights: dict[str, np.ndarray],
) -> None:
    """Write a folder atomically.

    Args:
        folder: the folder to write.
        kind: the kind of the tuned BERT, such as "text ranker"; used in file names.
        base: fingerprint of the checkpoint that was trained, from `base_fingerprint`.
        arguments: the arguments, as JSON values, that build an equal object.
        weights: the trained weights, by name.
    """
    facts = {"format": FORMAT, "base": base, "arguments": arguments}
    facts["sha256"] = content_sha256(facts, weights)
    weights_file, facts_file = _files(kind)
    with whole_folder(folder) as partial:
        (partial / facts_file).write_text(json.dumps(facts, indent=1) + "\n")
        safetensors.numpy.save_file(weights, partial / weights_file)


def read_tuned_bert(
    folder: str | os.PathLike[str], kind: str, encoder: TextEncoder
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read arguments and weights that `write_tuned_bert` wrote.

    Raises:
        InputError: a file is missing, truncated, changed or of another format, or was trained from
            another checkpoint than the encoder's.
    """
    folder = Path(folder)
    weights_file, facts_file = _files(kind)
    try:
        facts = json.loads((folder / facts_file).read_text())
        format_, base, arguments = facts["format"], facts["base"], dict(facts["arguments"])
        weights = safetensors.numpy.load_file(folder / weights_file)
        whole = facts.pop("sha256", "") == content_sha256(facts, weights)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{folder} holds no complete {kind} ({type(error).__name__}: {error}). Save it again."
        ) from error
    if format_ != FORMAT:
        raise InputError(
            f"The {kind} in {folder} has format {format_}, this version reads format {FORMAT}. "
            "Train it again."
        )
    if not whole:
        raise InputError(
            f"The {kind} in {folder} was changed after saving: its sha256 differs. Save it again."
        )
    if base != base_fingerprint(encoder):
        raise InputError(
            f"The {kind} in {folder} was trained from another checkpoint than {encoder.folder}, or "
            "with another pooling. Give the encoder it was trained from."
        )
    return arguments, weights


def base_fingerprint(encoder: TextEncoder) -> str:
    """sha256 of everything unchanged by tuning: files, pooling, and the current embeddings."""
    digest = hashlib.sha256(f"{checkpoint_fingerprint(encoder.folder)} {encoder.pooling}".encode())
    for variable in LayerStack(encoder.model).other_variables():
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def _files(kind: str) -> tuple[str, str]:
    name = kind.replace(" ", "_").replace("-", "_")
    return f"{name}.safetensors", f"{name}.json"
