"""Restores a tuned encoder from a file of trained weights."""

from __future__ import annotations

import os

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.parameter_efficient.attached import (
    Attached,
    ParameterEfficient,
    SavedWeights,
)
from tfrs_distill.teachers.bert.parameter_efficient.bottleneck_adapters import BottleneckAdapters
from tfrs_distill.teachers.bert.parameter_efficient.low_rank import LoRA
from tfrs_distill.teachers.bert.parameter_efficient.prefix_vectors import PrefixVectors
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

METHODS: dict[str, type[LoRA | BottleneckAdapters | PrefixVectors]] = {
    method.__name__: method for method in (LoRA, BottleneckAdapters, PrefixVectors)
}


def attach_saved(encoder: TextEncoder, path: str | os.PathLike[str]) -> Attached:
    """Attach the layers of a file, with its weights, to restore the tuned encoder.

    Args:
        encoder: the text encoder in its state before the training.
        path: a file that `Attached.save` wrote.

    Returns:
        The layers attached by `LoRA`, `BottleneckAdapters` or `PrefixVectors`.

    Raises:
        InputError: the file cannot be read, or belongs to another base checkpoint; the encoder is
            then unchanged.
        ValueError: the encoder already has added layers, or is of another family.
    """
    saved = SavedWeights.read(path)
    try:
        method: ParameterEfficient = METHODS[saved.method](**saved.arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} holds weights of {saved.method} with {saved.arguments}, which this version "
            f"does not have ({error})."
        ) from error
    attached = method.attach(encoder)
    try:
        attached.load(path)
    except InputError:
        attached.detach()
        raise
    return attached
