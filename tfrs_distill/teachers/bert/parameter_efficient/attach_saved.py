"""From a file of trained weights back to a tuned encoder."""

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
    """Attach the layers that a file names, with its weights: the encoder is then the tuned one.

    Args:
        encoder: the text encoder the file was trained on, as it was then.
        path: a file that `Attached.save` wrote.

    Returns:
        What `LoRA`, `BottleneckAdapters` or `PrefixVectors` attached.

    Raises:
        InputError: the file cannot be read, or belongs to another base checkpoint; the encoder is
            then what it was.
        ValueError: the encoder carries added layers already, or is of another family.
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
