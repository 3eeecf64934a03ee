"""The query tower, and the conversion of any history to the form of training."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.models import DecayedAverage, HistoryTower, ItemTower
from tfrs_distill.models.history_tower import known_items, last_items


def last_items_in_python(history, max_history, num_items):
    """The definition of `last_items`, in a loop."""
    items = [item for item in history if 1 <= item <= num_items]
    items = items[max(len(items) - max_history, 0) :]
    return [0] * (max_history - len(items)) + items


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([0, 1, 0, 2, 0, 0], [0, 1, 2]),  # padding anywhere
        ([1, 2, 3, 4, 5], [3, 4, 5]),  # too old
        ([5, 9, -3, 10, 2147483647, 4], [0, 5, 4]),  # out of range: only 1 to 8 are items
        ([8, 8, 8, 8], [8, 8, 8]),
        ([0, 0], [0, 0, 0]),
        ([7], [0, 0, 7]),
    ],
)
def test_last_items_by_hand(history, expected):
    assert last_items(tf.constant([history]), 3, 8).numpy().tolist() == [expected]


@pytest.mark.parametrize("max_history", [1, 4, 12])
def test_last_items_against_a_loop(max_history):
    histories = np.random.default_rng(0).integers(-2, 12, (50, 9)).astype(np.int32)
    histories *= np.random.default_rng(1).integers(0, 2, histories.shape, dtype=np.int32)
    expected = [last_items_in_python(row, max_history, 8) for row in histories.tolist()]
    compact = last_items(tf.constant(histories), max_history, 8)
    assert compact.dtype == tf.int32
    np.testing.assert_array_equal(compact, expected)
    known = known_items(tf.constant(histories), 8)
    np.testing.assert_array_equal(known, np.where((histories > 0) & (histories <= 8), histories, 0))
    np.testing.assert_array_equal(last_items(known, max_history, None), expected)
    large = np.where(histories == 0, 2**32 + 3, np.int64(histories))  # 3 as int32
    np.testing.assert_array_equal(last_items(tf.constant(large), max_history, 8), expected)


def test_last_items_of_any_shape_in_a_graph():
    graph = tf.function(
        lambda history: last_items(history, 3, 8),
        input_signature=[tf.TensorSpec([None, None], tf.int32)],
    )
    np.testing.assert_array_equal(graph(tf.constant([[4, 0, 5, 6, 7]])), [[5, 6, 7]])
    np.testing.assert_array_equal(graph(tf.zeros([2, 0], tf.int32)), np.zeros((2, 3)))


def planted():
    items = ItemTower(8, 4, seed=0)
    tower = HistoryTower(items, DecayedAverage(3, 4, seed=0), name="queries")
    tower(tf.constant([[0, 1, 2]]))
    return items, tower


def test_a_query_is_the_encoded_history_and_a_1():
    items, tower = planted()
    history = tf.constant([[0, 3, 1], [5, 6, 7]])
    expected = tower.encoder(items.embed(history), tf.constant([[False, True, True], [True] * 3]))
    np.testing.assert_array_equal(tower(history)[..., :4], expected)
    np.testing.assert_array_equal(tower(history)[..., 4], np.ones((2, 3)))
    assert tower.max_history == 3


def test_last_is_the_last_position():
    _, tower = planted()
    history = tf.constant([[0, 3, 1], [5, 6, 7], [0, 0, 0]])
    np.testing.assert_allclose(tower.last(history), tower(history)[:, -1], atol=1e-6)


def test_padding_has_no_embedding():
    items, tower = planted()
    before = tower(tf.constant([[0, 3, 1]])).numpy()
    items.id_embeddings[0].assign(100.0 * tf.ones([4]))
    np.testing.assert_array_equal(tower(tf.constant([[0, 3, 1]]))[:, 1:], before[:, 1:])


def test_the_history_uses_the_item_towers_embeddings():
    items, tower = planted()
    before = tower(tf.constant([[0, 3, 1]])).numpy()
    items.id_embeddings[3].assign(tf.ones([4]))
    assert abs(tower(tf.constant([[0, 3, 1]])).numpy() - before)[0, 1:].max() > 1e-3


def test_config_round_trip():
    _, tower = planted()
    again = HistoryTower.from_config(tower.get_config())
    assert (again.item_tower.num_items, again.max_history, again.name) == (8, 3, "queries")
    assert again.item_tower is not tower.item_tower
    history = tf.constant([[0, 3, 1]])
    np.testing.assert_array_equal(again(history), tower(history))  # equal seeds, equal weights


def test_a_history_without_items_is_the_constant_and_no_other_changes():
    _, tower = planted()
    histories = tf.constant([[0, 1, 2], [0, 0, 0], [0, 0, 5]])
    before = tower(histories).numpy()
    tower.empty_query.assign([1.0, 2.0, 3.0, 4.0])
    after, expected = tower(histories).numpy(), [1.0, 2.0, 3.0, 4.0, 1.0]
    there = np.cumsum(histories.numpy() > 0, axis=1) > 0
    np.testing.assert_array_equal(after[there], before[there])
    np.testing.assert_array_equal(after[~there], np.tile(expected, [(~there).sum(), 1]))
    last = tower.last(histories).numpy()
    np.testing.assert_array_equal(last[1], expected)
    np.testing.assert_allclose(last[[0, 2]], after[[0, 2], -1], rtol=1e-6)
