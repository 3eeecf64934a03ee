"""An item's mean and count, by hand."""

import numpy as np
import pytest

from tfrs_distill.data.item_statistics import item_statistics
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError


def rows(items, ratings, name="item_id"):
    count = np.ones(len(items), np.int32)
    return RankingExamples(
        {name: np.array(items, np.int32)},
        {"rating": np.array(ratings, np.float32)},
        users=count,
        queries=count,
    )


def test_means_are_shrunken_and_both_columns_standardised():
    # Global mean 3. Item 1: (9 + 15) / (2 + 5); item 2: (0 + 15) / 5; item 3: (3 + 15) / (2 + 5).
    found = item_statistics(rows([1, 1, 3, 3], [4, 5, 2, 1]), 3)
    means, counts = np.array([24 / 7, 3, 18 / 7]), np.log([3, 1, 3])
    expected = np.stack([means, counts], 1)
    expected = (expected - expected.mean(0)) / expected.std(0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_rows_without_label_and_unknown_items_do_not_count():
    whole = item_statistics(rows([1, 2, 2], [5, 1, 2]), 2)
    more = item_statistics(rows([1, 2, 2, 2, 0], [5, 1, 2, np.nan, 5]), 2)
    np.testing.assert_array_equal(whole, more)


def test_equal_items_have_zeros():
    np.testing.assert_array_equal(item_statistics(rows([1, 2], [3, 3]), 2), np.zeros([2, 2]))


def test_an_item_above_the_catalogue_is_named():
    with pytest.raises(InputError, match="within 1 to 2. Received: 7"):
        item_statistics(rows([1, 7], [3, 4]), 2)


def test_rows_without_items_are_refused():
    with pytest.raises(InputError, match="'item_id'"):
        item_statistics(rows([1, 2], [3, 4], name="film"), 2)
