"""Tables with 8, 4 or 2 bits per number, which TensorFlow's converter does not write.

The converter writes tables of 8 bits with one scale in total, and none of fewer bits.

A number is stored as a code, `x = (code + 1 / 2) scale`, with codes from `-2^(bits - 1)`: the
levels are symmetric around 0, and none is 0. There is one scale per row, per column or per table,
`exp(least + STEP exponent)`; the exponent is a byte, and `least` belongs to the table. LiteRT's
own scales per row take 12 bytes each.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfrs_distill.models.stored_constant import stored_codes, take

Scale = Literal["row", "column", "tensor"]
SMALLEST = 1024  # numbers from which TensorFlow's converter stores a matrix with 8 bits
PACKED = (8, 4, 2)  # bits that are packed here
STEP = 0.06  # of the logarithms of scales; a rounded scale is at most 6 % too large
RANGE = float(np.log(1e-6))  # logarithm of the ratio of a table's least scale to its largest number
AXES: dict[Scale, int | None] = {"row": 1, "column": 0, "tensor": None}
SEARCHED = np.linspace(0.1, 1.0, 46)  # candidate clipping points, as shares of the largest number


def least_of(table: np.ndarray) -> float:
    """Return the logarithm of the least scale that can be stored for a table.

    The largest scale, after 255 steps, is 4 times the table's largest number.
    """
    return float(np.log(max(float(np.abs(table).max()), 1e-30))) + RANGE


def log_scales_of(table: np.ndarray, bits: int, scale: Scale) -> np.ndarray:
    """Return the scales with the least squared error: logs, float32 [num_rows or 1, dim or 1].

    Args:
        table: float [num_rows, dim].
        bits: one of `PACKED`.
        scale: whether there is one per row, per column or per table.
    """
    axis, middle, least = AXES[scale], _middle(bits), np.exp(least_of(table))
    largest = np.abs(table).max(axis=axis, keepdims=True)
    best = errors_of_best = None
    for share in SEARCHED:
        scales = np.maximum(share * largest / middle, least)
        codes = np.clip(np.round(table / scales + middle), 0, 2 * middle)
        errors = np.square((codes - middle) * scales - table).sum(axis=axis, keepdims=True)
        if best is None or errors_of_best is None:
            best, errors_of_best = scales, errors
        best = np.where(errors < errors_of_best, scales, best)
        errors_of_best = np.minimum(errors, errors_of_best)
    assert best is not None  # of the first share
    return np.log(best).astype(np.float32)


def as_converted(values: tf.Tensor, bits: int) -> tf.Tensor:
    """Round a table as TensorFlow's converter does, which supports no fewer than 8 bits."""
    if bits == 32:
        return values
    if bits == 16:
        return tf.cast(tf.cast(values, tf.float16), values.dtype)
    scale = tf.maximum(tf.reduce_max(tf.abs(values)), 1e-12) / 127.0
    return tf.round(values / scale) * scale


def quantized(table: tf.Tensor, log_scales: tf.Tensor, least: tf.Tensor, bits: int) -> tf.Tensor:
    """Return the quantized numbers of a table, with straight-through gradients.

    The gradient passes unchanged to numbers within the levels and, since rounding counts as the
    identity, to the scales.

    Reference: [Esser et al., 2020](https://arxiv.org/abs/1902.08153) (learned step size).

    Args:
        table: float [num_rows, dim].
        log_scales: see `log_scales_of`.
        least: see `least_of`.
        bits: one of `PACKED`.
    """
    scales = tf.exp(least + STEP * _exponents(log_scales, least))
    codes = _codes(table, scales, bits)
    return (codes - _middle(bits)) * scales


class PackedTable:
    """A packed table in a graph, as constants: codes and exponents of the scales.

    LiteRT unpacks both once, when it opens the file.

    Args:
        table: float [num_rows, dim].
        log_scales: see `log_scales_of`.
        least: see `least_of`.
        bits: one of `PACKED`.
    """

    def __init__(self, table: np.ndarray, log_scales: np.ndarray, least: float, bits: int) -> None:
        self.bits, self.least = bits, float(np.float32(least))
        self.exponents: np.ndarray = _exponents(tf.constant(log_scales), self.least).numpy()
        scales = np.exp(self.least + STEP * np.float32(self.exponents))
        codes = _codes(tf.constant(table, tf.float32), scales, bits).numpy() - 2.0 ** (bits - 1)
        # Create constants once; otherwise every function of a file gets a copy.
        self.codes = tf.constant(codes.astype(np.int8))
        self._exponents = tf.constant((self.exponents - 128.0).astype(np.int8))
        self._scales: np.ndarray = scales[0]  # if there is one per column or per table

    def gather(self, rows: tf.Tensor | None) -> tf.Tensor:
        """Rows by index: int32 `[...]` to float32 `[..., dim]`; None for all rows."""
        if self.exponents.size == 1:
            scale = float(self._scales[0])
            return take(stored_codes(self.codes, self.bits, scale), rows) + 0.5 * scale
        scales = self._scales_of_rows(rows) if len(self.exponents) > 1 else self._scales
        return (take(stored_codes(self.codes, self.bits), rows) + 0.5) * scales

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products with all rows, which are not computed: float32 [num_queries, num_rows].

        `sum_j q_j (code_ij + 1/2) s_i = s_i (q . code_i + 1/2 sum_j q_j)`.

        Args:
            queries: float32 [num_queries, dim].
        """
        has_row_scales = len(self.exponents) > 1
        if not has_row_scales:
            queries *= self._scales
        half = 0.5 * tf.reduce_sum(queries, axis=1, keepdims=True)
        scores = tf.matmul(queries, stored_codes(self.codes, self.bits), transpose_b=True) + half
        return scores * tf.transpose(self._scales_of_rows(None)) if has_row_scales else scores

    def _scales_of_rows(self, rows: tf.Tensor | None) -> tf.Tensor:
        exponents = take(stored_codes(self._exponents, 8, STEP), rows)
        return tf.exp(exponents + (self.least + 128.0 * STEP))


def bytes_of_matrix(numbers: int, bits: int) -> int:
    """Return the bytes of a matrix in a file: at 8 bits, small matrices stay in 32 bits.

    Example:
    >>> bytes_of_matrix(1024, 8), bytes_of_matrix(1023, 8)
    (1024, 4092)
    """
    return numbers * (bits // 8 if bits >= 16 else 1 if numbers >= SMALLEST else 4)


def _middle(bits: int) -> float:
    return (2**bits - 1) / 2


def _exponents(log_scales: tf.Tensor, least: tf.Tensor) -> tf.Tensor:
    """Return the bytes of scales, as floats, with straight-through gradients."""
    exact = tf.clip_by_value((log_scales - least) / STEP, 0.0, 255.0)
    # Round up: a smaller scale would clip the largest numbers of a row.
    return exact + tf.stop_gradient(tf.math.ceil(exact - 1e-3) - exact)


def _codes(table: tf.Tensor, scales: tf.Tensor, bits: int) -> Any:
    exact = tf.clip_by_value(table / scales + _middle(bits), 0.0, 2 * _middle(bits))
    return exact + tf.stop_gradient(tf.round(exact) - exact)
