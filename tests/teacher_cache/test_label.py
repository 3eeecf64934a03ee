"""What a teacher is asked, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from planted_teachers import PlantedTeacher
from tiny_data import random_windows

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.teacher_cache.label import label_windows

NUM_ITEMS = 9


@pytest.fixture
def windows():
    return random_windows(num_items=NUM_ITEMS)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_every_position_of_every_window(windows, batch_size):
    teacher = PlantedTeacher(NUM_ITEMS)
    arrays = label_windows(teacher, windows, 3, (1.0, 2.0), batch_size=batch_size)
    shape = windows.history.shape
    queries = arrays[columns.TEACHER_QUERY_EMBEDDINGS]
    assert queries.shape == (*shape, 5)
    assert arrays[columns.TEACHER_TAIL].shape == (*shape, 2)
    np.testing.assert_array_equal(arrays["item_embeddings"], teacher.candidates)
    for row, position in np.argwhere(windows.labels > 0):
        latest = windows.history[row, position]
        np.testing.assert_array_equal(queries[row, position], teacher.queries[latest])
        scores = {item: teacher.score(latest, item) for item in range(1, NUM_ITEMS + 1)}
        best = sorted(scores, key=lambda item: -scores[item])
        ids = arrays[columns.TEACHER_TOP_K_IDS][row, position]
        assert ids.tolist() == best[:3]
        np.testing.assert_allclose(
            arrays[columns.TEACHER_TOP_K_LOGITS][row, position],
            [scores[item] for item in best[:3]],
            atol=1e-5,
        )
        for column, temperature in enumerate((1.0, 2.0)):
            tail = np.log(sum(np.exp(scores[item] / temperature) for item in best[3:]))
            found = arrays[columns.TEACHER_TAIL][row, position, column]
            np.testing.assert_allclose(found, tail, atol=1e-5)


def poisoned(teacher, windows, *, row, position, value):
    """The teacher's query for what the window holds at that place becomes `value`."""
    item = windows.history[row, position]
    queries = teacher.queries.numpy()
    queries[item] = value
    teacher.queries = tf.constant(queries)
    return item


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_teacher_that_gives_nan_is_refused_and_the_user_named(windows, value):
    teacher = PlantedTeacher(NUM_ITEMS)
    windows = windows.subset(windows.users >= 3)  # no user has the number of their row
    row, position = np.argwhere(windows.labels > 0)[5]
    item = poisoned(teacher, windows, row=row, position=position, value=value)
    asked = (windows.history == item) & (windows.labels > 0)
    first_row, first_position = np.argwhere(asked)[0]
    user = windows.users[first_row]
    with pytest.raises(
        InputError,
        match=rf"NaN or infinite.*user {user} at position {first_position} .*Nothing was",
    ):
        label_windows(teacher, windows, 3, (1.0,))


def test_nan_at_padding_is_nobodys_business(windows):
    teacher = PlantedTeacher(NUM_ITEMS)
    queries = teacher.queries.numpy()
    queries[0] = np.nan
    teacher.queries = tf.constant(queries)
    assert (windows.history == 0).any()
    label_windows(teacher, windows, 3, (1.0,))


def test_a_teacher_whose_items_are_nan_is_refused(windows):
    teacher = PlantedTeacher(NUM_ITEMS)
    candidates = teacher.candidates.numpy()
    candidates[4] = np.nan
    teacher.candidates = tf.constant(candidates)
    with pytest.raises(InputError, match="NaN or infinite.*Nothing was written"):
        label_windows(teacher, windows, 3, (1.0,))
