"""Tables in 8, 4 or 2 bits a number, which LiteRT's own operators do not look up in.

TensorFlow's converter has tables of 8 bits with one scale in all, and none of fewer bits.

A number is kept as a code, `x = (code - (2^bits - 1) / 2) scale`: levels lie evenly around 0, and
none is 0. The scale is that of a row, a column or the table, `exp(least + STEP exponent)`, whose
exponent is a byte and whose `least` belongs to the table. Codes stand side by side in bytes, and
the graph takes them apart with operators that are built into LiteRT.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf

Scale = Literal["row", "column", "tensor"]
SMALLEST = 1024  # numbers of a matrix that TensorFlow's converter makes 8-bit integers of
PACKED = (8, 4, 2)  # bits that are packed here
STEP = 0.06  # of the logarithms of scales, which are at most 6 % above what they should be
RANGE = float(np.log(1e-6))  # from the largest number of a table to its least scale
AXES: dict[Scale, int | None] = {"row": 1, "column": 0, "tensor": None}
SEARCHED = np.linspace(0.1, 1.0, 46)  # shares of the largest number that the levels may end at


def least_of(table: np.ndarray) -> float:
    """The logarithm of the least scale that a table's numbers can have.

    The largest, after 255 steps, is 4 times the table's largest number.
    """
    return float(np.log(max(float(np.abs(table).max()), 1e-30))) + RANGE


def log_scales_of(table: np.ndarray, bits: int, scale: Scale) -> np.ndarray:
    """The scales with the least squared error: logarithms, float32 [num_rows or 1, dim or 1].

    Args:
        table: float [num_rows, dim].
        bits: one of `PACKED`.
        scale: what has one of its own.
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
    return np.float32(np.log(best))


def as_converted(values: tf.Tensor, bits: int) -> tf.Tensor:
    """A table as TensorFlow's converter rounds it, which has no fewer than 8 bits."""
    if bits == 32:
        return values
    if bits == 16:
        return tf.cast(tf.cast(values, tf.float16), values.dtype)
    scale = tf.maximum(tf.reduce_max(tf.abs(values)), 1e-12) / 127.0
    return tf.round(values / scale) * scale


def quantized(table: tf.Tensor, log_scales: tf.Tensor, least: tf.Tensor, bits: int) -> tf.Tensor:
    """The numbers that are left of a table, with gradients as if it were left as it was.

    The gradient passes to numbers within the levels and, as rounding counts as the identity, to
    the scales.

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
    """A table of a graph, of constants: codes and exponents of the scales.

    The codes of byte j of a row are those of columns j, j + width, j + 2 width, ..., the first in
    the highest bits; width is `ceil(dim bits / 8)`.

    Args:
        table: float [num_rows, dim].
        log_scales: see `log_scales_of`.
        least: see `least_of`.
        bits: one of `PACKED`.
    """

    def __init__(self, table: np.ndarray, log_scales: np.ndarray, least: float, bits: int) -> None:
        self.bits, self.dim, self.least = bits, table.shape[1], np.float32(least)
        self.exponents = np.uint8(_exponents(tf.constant(log_scales), self.least).numpy())
        scales = np.exp(self.least + STEP * np.float32(self.exponents))
        codes = np.uint8(_codes(tf.constant(table, tf.float32), scales, bits).numpy())
        num_codes = 8 // bits
        self.width = -(-self.dim // num_codes)
        codes = np.pad(codes, [(0, 0), (0, self.width * num_codes - self.dim)])
        self.codes = np.zeros([len(codes), self.width], np.uint8)
        for part in np.split(codes, num_codes, axis=1):
            self.codes = (self.codes << bits) | part
        # Once, or every function of a file has its copy.
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
        """Dot products with rows, whose numbers are not made: float32 [num_queries, num_rows].

        With bytes `b`, `f_p = floor(b / 2^(bits p))` and the queries' columns `q_p` that meet the
        code at place p, `sum_p q_p code_p = sum_p (q_p - 2^bits q_(p - 1)) f_p`.

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
        if len(self.exponents) == 1:  # a column's or the table's
            return tf.constant(np.exp(self.least + STEP * np.float32(self.exponents[0])))
        exponents = tf.cast(tf.gather(self._exponents, rows), tf.float32)
        return tf.exp(self.least + STEP * exponents)


def bytes_of_matrix(numbers: int, bits: int) -> int:
    """The bytes of a matrix in a file: those of few numbers stay in 32 bits where others have 8.

    Example:
    >>> bytes_of_matrix(1024, 8), bytes_of_matrix(1023, 8)
    (1024, 4092)
    """
    return numbers * (bits // 8 if bits >= 16 else 1 if numbers >= SMALLEST else 4)


def _middle(bits: int) -> float:
    return (2**bits - 1) / 2


def _exponents(log_scales: tf.Tensor, least: tf.Tensor) -> tf.Tensor:
    """The bytes of scales, as floats, with gradients as if they were not rounded."""
    exact = tf.clip_by_value((log_scales - least) / STEP, 0.0, 255.0)
    # Up: with a smaller scale the largest numbers of a row would be cut off.
    return exact + tf.stop_gradient(tf.math.ceil(exact - 1e-3) - exact)


def _codes(table: tf.Tensor, scales: tf.Tensor, bits: int) -> Any:
    exact = tf.clip_by_value(table / scales + _middle(bits), 0.0, 2 * _middle(bits))
    return exact + tf.stop_gradient(tf.round(exact) - exact)
