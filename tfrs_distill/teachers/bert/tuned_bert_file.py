"""A tuned BERT on disk: its configuration, and the weights that training changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from tfrs_distill.errors import InputError
from tfrs_distill.files import content_sha256, whole_folder
from tfrs_distill.teachers.bert.checkpoint import checkpoint_fingerprint
from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

FORMAT = 2  # raised when a change makes older files unreadable


def write_tuned_bert(
    folder: str | os.PathLike[str],
    kind: str,
    base: str,
    arguments: dict[str, Any],
    weights: dict[str, np.ndarray],
) -> None:
    """Write a folder, whole or not at all.

    Args:
        folder: where to.
        kind: what the BERT was tuned to be, as in "text ranker"; names the files.
        base: fingerprint of the checkpoint that was trained, from `base_fingerprint`.
        arguments: JSON values that an equal object is made of.
        weights: what was trained, by name.
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
    """What `write_tuned_bert` wrote: arguments and weights.

    Raises:
        InputError: something is missing, truncated, changed, of another format, or was trained
            from another checkpoint than the encoder's.
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
            f"{folder} holds no whole {kind} ({type(error).__name__}: {error}). Save it again."
        ) from error
    if format_ != FORMAT:
        raise InputError(
            f"The {kind} in {folder} has format {format_}, this version reads format {FORMAT}. "
            "Train it again."
        )
    if not whole:
        raise InputError(
            f"The {kind} in {folder} is not what was saved: its sha256 differs. Save it again."
        )
    if base != base_fingerprint(encoder):
        raise InputError(
            f"The {kind} in {folder} was trained from another checkpoint than {encoder.folder}, or "
            "with another pooling. Give the encoder it was trained from."
        )
    return arguments, weights


def base_fingerprint(encoder: TextEncoder) -> str:
    """sha256 of what tuning leaves alone: files, pooling, and embeddings as they are in memory."""
    digest = hashlib.sha256(f"{checkpoint_fingerprint(encoder.folder)} {encoder.pooling}".encode())
    for variable in LayerStack(encoder.model).other_variables():
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def _files(kind: str) -> tuple[str, str]:
    name = kind.replace(" ", "_").replace("-", "_")
    return f"{name}.safetensors", f"{name}.json"
