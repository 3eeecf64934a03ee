"""The sum of an item's weights from the history, against dense weights in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.export.ranking_columns import describe_columns
from tfrs_distill.models.features import (
    HistoryFeature,
    ItemFeature,
    NeighbourFeature,
)
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import Binary

NUM_ITEMS = 9
WEIGHTS = np.random.default_rng(0).normal(size=[NUM_ITEMS + 1, NUM_ITEMS + 1])
HISTORIES = np.array(
    [[0, 0, 0, 0, 0], [0, 0, 3, 1, 7], [2, 4, 6, 8, 9], [5, 0, 5, 10, -1], [0, 0, 0, 0, 1]],
    np.int32,
)
ITEMS = np.array([4, 2, 1, 8, 0], np.int32)


def rows(histories=HISTORIES, items=ITEMS):
    return {"history": tf.constant(histories), "item_id": tf.constant(items)}


def by_hand(weights, histories, items, max_history):
    """Sums of `weights` in float64; each distinct item counts once."""
    output = []
    for history, item in zip(histories, items):
        interacted = [i for i in history if 1 <= i <= NUM_ITEMS][-max_history:]
        known = 1 <= item <= NUM_ITEMS
        output.append(sum(weights[i, item] for i in set(interacted)) if known else 0.0)
    return np.array(output)[:, None]


@pytest.mark.parametrize("max_history", [1, 3, 5, 50])
def test_with_all_neighbours_it_is_the_sum_of_the_historys_weights(max_history):
    feature = NeighbourFeature.from_weights(WEIGHTS, 50, max_history)
    assert feature.num_neighbours == NUM_ITEMS
    expected = by_hand(WEIGHTS, HISTORIES, ITEMS, max_history)
    np.testing.assert_allclose(feature(rows()), expected, rtol=1e-5, atol=1e-7)


def test_of_few_neighbours_those_with_the_largest_weights_are_used():
    weights = np.zeros([4, 4])
    weights[:, 1] = [9.0, 0.0, -3.0, 2.0]  # row 0 is of no item
    weights[:, 2] = [9.0, 0.5, 0.0, 0.25]
    feature = NeighbourFeature.from_weights(weights, 1, 3, scale=10.0)
    requested = rows(np.array([[1, 2, 3]] * 4, np.int32), np.array([1, 2, 3, 0], np.int32))
    np.testing.assert_array_equal(feature(requested), [[-30.0], [5.0], [0.0], [0.0]])


def test_one_history_is_compared_with_many_items():
    feature = NeighbourFeature.from_weights(WEIGHTS, 4, 5)
    every = np.arange(NUM_ITEMS + 2, dtype=np.int32)
    repeated = np.repeat(HISTORIES[2:3], len(every), axis=0)
    one = feature(rows(HISTORIES[2:3], every))
    assert one.shape == (NUM_ITEMS + 2, 1)
    np.testing.assert_array_equal(one, feature(rows(repeated, every)))


def model_of(weights, num_neighbours=3):
    item = ItemFeature(NUM_ITEMS, 2, seed=0)
    features = [item, NeighbourFeature.from_weights(weights, num_neighbours, 5)]
    return RankingModel(features, [Binary("like")], hidden_units=(4,), seed=0)


def test_the_tables_are_constants_that_are_saved(tmp_path):
    model = model_of(WEIGHTS)
    model.compile(tf.keras.optimizers.Adam(0.1))
    before = [values.numpy() for values in model.features[1].weights]
    model.fit(tf.data.Dataset.from_tensors(rows() | {"label/like": tf.ones([5])}), verbose=0)
    for old, new in zip(before, model.features[1].weights):
        np.testing.assert_array_equal(old, new)
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.features[1](rows()), model.features[1](rows()))
    np.testing.assert_array_equal(
        again.predictions(rows())["like"], model.predictions(rows())["like"]
    )


def test_the_history_is_a_query_column_and_the_item_an_item_column():
    model = model_of(WEIGHTS)
    assert model.features[1].column_sides == {"history": "query", "item_id": "item"}
    result = describe_columns(model.features, {"item_id": [str(i) for i in range(NUM_ITEMS)]})
    assert result["history"]["kind"] == "history" and result["history"]["side"] == "query"
    assert result["history"]["vocabulary"] == "item_id" and result["history"]["shape"] == [-1, -1]
    assert result["item_id"]["kind"] == "id" and result["item_id"]["side"] == "item"
    with_history = [*model.features, HistoryFeature(model.features[0], 5, reads_ratings=False)]
    assert describe_columns(with_history, {})["history"] == {
        key: value for key, value in result["history"].items() if key != "vocabulary"
    }
    output = model.rank(rows(HISTORIES[2:3]))["like"]
    pairs = rows(np.repeat(HISTORIES[2:3], 5, axis=0))
    np.testing.assert_allclose(output, model.predictions(pairs)["like"], rtol=1e-6)


def test_a_table_of_other_items_is_refused():
    features = [ItemFeature(NUM_ITEMS + 1, 2), NeighbourFeature(NUM_ITEMS, 2, 5)]
    for some in (features, features[::-1]):
        with pytest.raises(InputError, match="have (10 and 9|9 and 10) indices of .*item_id"):
            describe_columns(some, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_neighbours": 0}, "`num_neighbours` must be a whole number >= 1"),
        ({"max_history": 1.5}, "`max_history` must be a whole number >= 1"),
        ({"scale": 0.0}, "`scale` must be finite and above 0.*scale=0.0"),
        ({"weights": WEIGHTS[:, 1:]}, r"num_items \+ 1\]. Received: shape \[10, 9\]"),
        ({"weights": WEIGHTS * np.nan}, "must be finite"),
    ],
)
def test_invalid_arguments_are_refused(change, words):
    given = {"weights": WEIGHTS, "num_neighbours": 3, "max_history": 4} | change
    with pytest.raises(ValueError, match=words):
        NeighbourFeature.from_weights(**given)
