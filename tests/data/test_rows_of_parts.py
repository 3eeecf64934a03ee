"""Rows over several shards equal those of one array."""

import numpy as np
import pytest

from tfrs_distill.data.example_rows import RowsOfParts

WHOLE = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float16)
BORDERS = [0, 4, 5, 20]


@pytest.fixture
def rows():
    part = np.repeat(np.arange(3, dtype=np.int32), np.diff(BORDERS))
    place = np.concatenate([np.arange(size) for size in np.diff(BORDERS)])
    parts = [WHOLE[low:high] for low, high in zip(BORDERS, BORDERS[1:])]
    return RowsOfParts(parts, part, place)


@pytest.mark.parametrize(
    "requested", [[0], [3, 4, 5], [19, 0, 19, 4], list(range(20)), []], ids=str
)
def test_rows_are_in_the_requested_order(rows, requested):
    found = rows[np.array(requested, np.int64)]
    np.testing.assert_array_equal(found, WHOLE[requested])
    assert (found.dtype, found.shape) == (np.float16, (len(requested), 2, 3))


def test_it_is_an_array(rows):
    assert (len(rows), rows.shape, rows.dtype) == (20, (20, 2, 3), np.float16)
    np.testing.assert_array_equal(np.asarray(rows), WHOLE)
    assert np.asarray(rows, np.float32).dtype == np.float32


def test_rows_may_repeat_and_be_in_any_order():
    found = RowsOfParts([np.array([5, 6]), np.array([7])], np.array([1, 0, 0]), np.array([0, 1, 1]))
    np.testing.assert_array_equal(np.asarray(found), [7, 6, 6])
