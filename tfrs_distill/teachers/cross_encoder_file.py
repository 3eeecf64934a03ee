"""A trained cross-encoder on disk: its arguments, and the weights that training changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from tfrs_distill.atomic import whole_folder
from tfrs_distill.errors import InputError

FORMAT = 1  # raised when a change makes older files unreadable
WEIGHTS_FILE, FACTS_FILE = "cross_encoder.safetensors", "cross_encoder.json"


def write_cross_encoder(
    folder: str | os.PathLike[str],
    base: str,
    arguments: dict[str, Any],
    weights: dict[str, np.ndarray],
) -> None:
    """Write a folder, whole or not at all.

    Args:
        folder: where to.
        base: fingerprint of the checkpoint that was trained.
        arguments: keyword arguments of an equal `BertCrossEncoder`.
        weights: what was trained, by name.
    """
    facts = {"format": FORMAT, "base": base, "arguments": arguments, "weights": sorted(weights)}
    with whole_folder(folder) as partial:
        (partial / FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n")
        safetensors.numpy.save_file(weights, partial / WEIGHTS_FILE)


def read_cross_encoder(
    folder: str | os.PathLike[str],
) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """What `write_cross_encoder` wrote: base, arguments and weights.

    Raises:
        InputError: something is missing, truncated, or of another format.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / FACTS_FILE).read_text())
        format_, base, arguments = facts["format"], facts["base"], dict(facts["arguments"])
        weights = safetensors.numpy.load_file(folder / WEIGHTS_FILE)
        whole = sorted(weights) == facts["weights"]
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{folder} holds no whole cross-encoder ({type(error).__name__}: {error}). Save it "
            "again."
        ) from error
    if format_ != FORMAT:
        raise InputError(
            f"The cross-encoder in {folder} has format {format_}, this version reads format "
            f"{FORMAT}. Train it again."
        )
    if not whole:
        raise InputError(f"{folder} holds weights of another cross-encoder. Save it again.")
    return base, arguments, weights
