"""Rows for a teacher to label: other items, drawn by the square root of their row counts."""

import numpy as np
import pytest

from tfrs_distill.data import RankingExamples, unlabelled_rows
from tfrs_distill.errors import InputError


def rows(items, users, **more):
    number = len(items)
    return RankingExamples(
        {"item_id": np.array(items), "history": np.arange(number)[:, None] + 1} | more,
        {"like": np.ones(number, np.float32)},
        users=np.array(users),
        queries=np.array(users) + 100,
        teacher_logits={"like": np.ones(number, np.float32)},
        weights=np.arange(number, dtype=np.float32),
    )


def test_only_the_item_of_a_row_changes_and_it_has_no_label():
    given = rows([1, 2], [5, 6])
    drawn = unlabelled_rows(given, 20, seed=3)
    # User 5 has item 1, so 2 is drawn for it, and vice versa.
    first = drawn.users == 5
    np.testing.assert_array_equal(drawn.features["item_id"], np.where(first, 2, 1))
    np.testing.assert_array_equal(drawn.features["history"][:, 0], np.where(first, 1, 2))
    np.testing.assert_array_equal(drawn.queries, np.where(first, 105, 106))
    np.testing.assert_array_equal(drawn.weights, np.where(first, 0.0, 1.0))
    assert np.isnan(drawn.labels["like"]).all()
    assert not drawn.teacher_logits
    assert 5 < first.sum() < 20


def test_items_are_drawn_by_the_square_root_of_their_row_counts():
    # Items 1, 2, 3 have 1, 4 and 16 rows; 2,000 users of item 4 get draws.
    items = [1] + [2] * 4 + [3] * 16 + [0] * 3000
    users = [1] * 21 + list(range(2, 3002))
    drawn = unlabelled_rows(rows(items, users))
    count = np.bincount(drawn.features["item_id"], minlength=4)
    assert count[0] == 0
    assert len(drawn) == 3000  # none for user 1, who has all of them
    np.testing.assert_allclose(count[1:] / 3000, [1 / 7, 2 / 7, 4 / 7], atol=0.03)


def test_columns_of_the_item_are_those_of_the_drawn_item():
    kinds = np.array([10, 20, 30])
    drawn = unlabelled_rows(rows([1, 2, 3], [1, 2, 3], kind=kinds), 30, item_columns=["kind"])
    np.testing.assert_array_equal(drawn.features["kind"], 10 * drawn.features["item_id"])
    assert set(drawn.features["item_id"].tolist()) == {1, 2, 3}


def test_a_seed_fixes_the_rows():
    given = rows([1, 2, 3, 4], [1, 2, 3, 4])
    items = [unlabelled_rows(given, 9, seed=s).features["item_id"].tolist() for s in (1, 1, 2)]
    assert items[0] == items[1] != items[2]


@pytest.mark.parametrize(
    ("given", "arguments", "words"),
    [
        (rows([1, 2], [1, 2]), {"per_row": 0}, "`per_row` must be a whole number >= 1.*per_row=0"),
        (rows([1, 2], [1, 2]), {"item_columns": ("kind",)}, "no feature 'kind'.*have: history, it"),
        (rows([0, 0], [1, 2]), {}, "every `item_id` is 0"),
        (
            rows([1, -2], [1, 2]),
            {},
            r"one index of at least 0 .* shape \[2\], lowest -2",
        ),
        (rows([[1], [2]], [1, 2]), {}, r"Received: shape \[2, 1\]"),
        (rows([1, 2], [1, 1]), {}, "No row remains"),
        (
            RankingExamples(
                {"item_id": np.array([1])},
                {"like": [1.0]},
                users=np.array([1]),
                queries=np.array([1]),
                texts={"text": ["a"]},
            ),
            {},
            "rows with texts: text",
        ),
    ],
)
def test_impossible_draws_are_refused(given, arguments, words):
    with pytest.raises(InputError, match=words):
        unlabelled_rows(given, **arguments)
