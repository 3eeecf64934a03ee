"""Quantized embeddings: their error bounds."""

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.quantise import dequantise, quantise

VALUES = np.random.default_rng(0).normal(size=(40, 3, 7)).astype(np.float32)
VALUES *= 10.0 ** np.random.default_rng(1).integers(-6, 4, size=(40, 3, 1))  # rows of many sizes


def test_float32_is_unchanged():
    stored, scales = quantise(VALUES, "float32")
    assert scales is None and stored.dtype == np.float32
    np.testing.assert_array_equal(stored, VALUES)
    np.testing.assert_array_equal(dequantise(stored, scales), VALUES)


def test_int8_is_within_half_a_scale_of_each_row():
    stored, scales = quantise(VALUES, "int8")
    assert (stored.dtype, stored.shape) == (np.int8, VALUES.shape)
    assert (scales.dtype, scales.shape) == (np.float32, VALUES.shape[:-1])
    bound = np.abs(np.float64(VALUES)).max(axis=-1) / 127
    np.testing.assert_allclose(scales, bound, rtol=1e-6)
    apart = np.abs(np.float64(dequantise(stored, scales)) - VALUES)
    # float32 products are off by 2**-24 of 127 scales beside the rounding itself
    assert (apart <= bound[..., None] * (0.5 + 127 * 2.0**-22)).all()
    assert (apart.max(axis=-1) > 0.1 * bound).mean() > 0.9  # 8 bits, not more


def test_int8_uses_both_ends_and_is_symmetric():
    stored, _ = quantise(VALUES, "int8")
    assert (np.abs(stored).max(axis=-1) == 127).all()
    np.testing.assert_array_equal(quantise(-VALUES, "int8")[0], -stored)


def test_int8_of_zeros_is_zeros():
    with np.errstate(all="raise"):  # no 0 / 0 on the way
        stored, scales = quantise(np.zeros((2, 3), np.float32), "int8")
    assert not stored.any() and not scales.any()
    np.testing.assert_array_equal(dequantise(stored, scales), np.zeros((2, 3)))


def test_float16_is_within_half_a_unit_of_its_last_place():
    values = VALUES[np.abs(VALUES).max(axis=(1, 2)) < 60000]
    stored, scales = quantise(values, "float16")
    assert stored.dtype == np.float16 and scales is None
    apart = np.abs(np.float64(dequantise(stored, scales)) - values)
    # 11 bits of precision; below 2**-14 the steps are 2**-24
    assert (apart <= np.maximum(np.abs(np.float64(values)) * 2.0**-11, 2.0**-25)).all()
    assert apart.max() > 0


@pytest.mark.parametrize("value", [65520.0, -1e6])
def test_a_value_beyond_half_precision_is_refused(value):
    with pytest.raises(
        InputError, match="half precision holds at most 65504. Cache with dtype='float32'"
    ):
        quantise(np.array([[1.0, value]]), "float16")
    quantise(np.array([[1.0, 65504.0]]), "float16")
