"""Embeddings in fewer bytes: half precision, or 8-bit integers with a scale per row."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError

DTYPES = ("float32", "float16", "int8")


def check_dtype(dtype: str) -> None:
    """Raise a ValueError if embeddings cannot be stored as `dtype`."""
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {list(DTYPES)}. Received: dtype={dtype!r}.")


def quantise(values: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return embeddings in their storage dtype.

    int8 is symmetric, with a scale per row: `scale = max_d |value_d| / 127`,
    `stored_d = round(value_d / scale)`, so that `|stored_d * scale - value_d| <= scale / 2`.

    Args:
        values: float32 [..., dim], finite.
        dtype: `"float32"`, `"float16"` or `"int8"`.

    Returns:
        The stored values [..., dim] and their scales float32 [...], None unless int8.

    Raises:
        InputError: a value is too large for half precision.

    Example:
    >>> stored, scales = quantise(np.array([[127.0, -63.4, 0.0]], np.float32), "int8")
    >>> stored.tolist(), scales.tolist()
    ([[127, -63, 0]], [1.0])
    """
    values = np.asarray(values, np.float32)
    if dtype == "int8":
        scales = np.abs(values).max(axis=-1, initial=0.0) / np.float32(127)
        divisor = np.where(scales > 0, scales, np.float32(1))[..., None]
        return np.clip(np.rint(values / divisor), -127, 127).astype(np.int8), scales
    if dtype == "float16" and np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        raise InputError(
            f"An embedding holds {np.abs(values).max():g}, but half precision holds at most 65504. "
            "Cache with dtype='float32' or 'int8'."
        )
    return values.astype(dtype), None


def dequantise(stored: tf.Tensor, scales: tf.Tensor | None) -> tf.Tensor:
    """Return stored embeddings as float32 [..., dim]."""
    values = tf.cast(stored, tf.float32)
    return values if scales is None else values * scales[..., None]
