"""The rows of each batch."""

import numpy as np
import pytest

from tfrs_distill.data.column_batches import batches_of_lists, batches_of_rows

ARRAYS = {
    "row": np.arange(10, dtype=np.int64),
    "pair": np.stack([np.arange(10), np.arange(10) ** 2], axis=1).astype(np.float32),
}
LISTS = np.array([7, 3, 7, 5, 3, 7, 9, 3, 7, 5])  # rows 0 2 5 8; 1 4 7; 3 9; 6


def rows_of(batches):
    return [batch["row"].numpy().tolist() for batch in batches]


def test_rows_are_in_order_and_the_last_batch_is_smaller():
    batches = batches_of_rows(ARRAYS, 4, None)
    assert rows_of(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert int(batches.cardinality()) == 3


def test_every_column_has_the_rows_of_its_batch():
    for seed in (None, 3):
        for batches in (batches_of_rows(ARRAYS, 4, seed), batches_of_lists(ARRAYS, LISTS, 2, seed)):
            for batch in batches:
                np.testing.assert_array_equal(batch["pair"], ARRAYS["pair"][batch["row"].numpy()])
                assert batch["pair"].dtype == "float32" and batch["row"].dtype == "int64"


def test_complete_lists_are_in_the_order_of_their_first_rows():
    batches = batches_of_lists(ARRAYS, LISTS, 3, None)
    assert rows_of(batches) == [[0, 2, 5, 8, 1, 4, 7, 3, 9], [6]]
    assert int(batches.cardinality()) == 2


@pytest.mark.parametrize(
    "make", [batches_of_rows, lambda a, n, s: batches_of_lists(a, LISTS, n, s)]
)
def test_a_seed_fixes_an_order_that_changes_every_epoch(make):
    def epochs(batches, count):
        return [rows_of(batches) for _ in range(count)]

    first = epochs(make(ARRAYS, 3, 1), 4)
    assert epochs(make(ARRAYS, 3, 1), 4) == first
    assert epochs(make(ARRAYS, 3, 2), 4) != first
    assert len({str(epoch) for epoch in first}) > 1
    for epoch in first:
        assert sorted(sum(epoch, [])) == list(range(10))
    assert epochs(make(ARRAYS, 3, None), 2) == epochs(make(ARRAYS, 3, None), 2)


def test_repeating_covers_all_rows_again_in_another_order():
    rows = sum(rows_of(batches_of_rows(ARRAYS, 5, 4).repeat(3)), [])
    epochs = [rows[:10], rows[10:20], rows[20:]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_shuffled_lists_stay_complete_and_in_order():
    of_list = {7: [0, 2, 5, 8], 3: [1, 4, 7], 5: [3, 9], 9: [6]}
    for batch in batches_of_lists(ARRAYS, LISTS, 2, 5):
        rows = batch["row"].numpy().tolist()
        numbers = list(dict.fromkeys(LISTS[rows].tolist()))
        assert len(numbers) == 2
        assert rows == sum((of_list[number] for number in numbers), [])
