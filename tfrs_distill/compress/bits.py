"""Tables with 8, 4 or 2 bits per number, in formats that LiteRT's own lookup does not support.

TensorFlow's converter supports tables of 8 bits with one scale in total, and none of fewer bits.

A number is stored as a code, `x = (code - (2^bits - 1) / 2) scale`: the levels are symmetric
around 0, and none is 0. There is one scale per row, per column or per table,
`exp(least + STEP exponent)`; the exponent is a byte, and `least` belongs to the table. Codes are
packed into bytes, and the graph unpacks them with operators that are built into LiteRT.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf

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

    Byte j of a row holds the codes of columns j, j + width, j + 2 width, ..., the first in the
    highest bits; width is `ceil(dim bits / 8)`.

    Args:
        table: float [num_rows, dim].
        log_scales: see `log_scales_of`.
        least: see `least_of`.
        bits: one of `PACKED`.
    """

    def __init__(self, table: np.ndarray, log_scales: np.ndarray, least: float, bits: int) -> None:
        self.bits, self.dim, self.least = bits, table.shape[1], np.float32(least)
        exponents = _exponents(tf.constant(log_scales), self.least)
        self.exponents: np.ndarray = exponents.numpy().astype(np.uint8)
        scales = np.exp(self.least + STEP * np.float32(self.exponents))
        codes = _codes(tf.constant(table, tf.float32), scales, bits).numpy().astype(np.uint8)
        num_codes = 8 // bits
        self.width = -(-self.dim // num_codes)
        codes = np.pad(codes, [(0, 0), (0, self.width * num_codes - self.dim)])
        self.codes: np.ndarray = np.zeros([len(codes), self.width], np.uint8)
        for part in np.split(codes, num_codes, axis=1):
            self.codes = (self.codes << bits) | part
        # Create constants once; otherwise every function of a file gets a copy.
        self._codes, self._exponents = tf.constant(self.codes), tf.constant(self.exponents)

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows by index: int32 `[...]` to float32 `[..., dim]`."""
        left = tf.cast(tf.gather(self._codes, rows), tf.float32)
        codes = []
        for place in range(8 // self.bits - 1, 0, -1):
            base = float(2 ** (self.bits * place))
            codes.append(tf.floor(left * (1.0 / base)))
            left -= codes[-1] * base
        numbers = tf.concat([*codes, left], axis=-1)
        if numbers.shape[-1] != self.dim:
            numbers = numbers[..., : self.dim]
        return (numbers - _middle(self.bits)) * self._scales(rows)

    def scores(self, queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Dot products with rows, without unpacking the rows: float32 [num_queries, num_rows].

        With bytes `b`, `f_p = floor(b / 2^(bits p))` and `q_p` the queries' columns for the code at
        place p, `sum_p q_p code_p = sum_p (q_p - 2^bits q_(p - 1)) f_p`.

        Args:
            queries: float32 [num_queries, dim].
            rows: int32 [num_rows].
        """
        if len(self.exponents) == 1:
            queries *= self._scales(rows)
        left = tf.cast(tf.gather(self._codes, rows), tf.float32)
        of_all = _middle(self.bits) * tf.reduce_sum(queries, axis=1, keepdims=True)
        num_codes = 8 // self.bits
        padded = tf.pad(queries, [[0, 0], [0, self.width * num_codes - self.dim]])
        places = tf.split(padded, num_codes, axis=1)[::-1]
        scores = tf.matmul(places[0], left, transpose_b=True) - of_all
        for place in range(1, num_codes):
            floors = tf.floor(left * 2.0 ** (-self.bits * place))
            meets = places[place] - 2.0**self.bits * places[place - 1]
            scores += tf.matmul(meets, floors, transpose_b=True)
        if len(self.exponents) > 1:
            scores *= tf.transpose(self._scales(rows))
        return scores

    def _scales(self, rows: tf.Tensor) -> tf.Tensor:
        if len(self.exponents) == 1:  # one scale per column or per table
            return tf.constant(np.exp(self.least + STEP * np.float32(self.exponents[0])))
        exponents = tf.cast(tf.gather(self._exponents, rows), tf.float32)
        return tf.exp(self.least + STEP * exponents)


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
