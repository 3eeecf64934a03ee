"""Features of a ranking model: outputs for known, unknown and missing values."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.models.features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NumberFeature,
    TextFeature,
)
from tfrs_distill.models.features.text_feature import pair_multiplier

NAN, INF = float("nan"), float("inf")


def planted(layer, rows):
    """The layer with every weight a known random number."""
    layer(rows)
    random = np.random.default_rng(0)
    layer.set_weights([random.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def ids(*values):
    return {"department": tf.constant(values, tf.int32)}


def items(*values):
    return {"item_id": tf.constant(values, tf.int32)}


# ---- ids


def test_an_id_has_its_row_and_every_unknown_id_row_0():
    feature = IdFeature("department", 3, 2, side="item")
    feature.table.embeddings.assign([[9, 8], [1, 2], [3, 4], [5, 6]])
    output = feature(ids(1, 3, 0, -1, 4, 2**31 - 1, -(2**31)))
    np.testing.assert_array_equal(output[:2], [[1, 2], [5, 6]])
    np.testing.assert_array_equal(output[2:], [[9, 8]] * 5)
    assert feature.dim == 2 and feature.columns == ("department",) and feature.side == "item"
    assert feature.name == "department"


def test_ids_of_another_integer_type_are_read():
    feature = IdFeature("department", 3, 2, side="item")
    one = feature({"department": tf.constant([2, 9], tf.int64)})
    np.testing.assert_array_equal(one, feature(ids(2, 0)))


def test_id_dropout_hides_ids_only_in_training_so_that_row_0_is_trained():
    feature = IdFeature("department", 1, 1, side="item", id_dropout=0.25, seed=0)
    feature.table.embeddings.assign([[0], [1]])
    rows = ids(*[1] * 4000)
    np.testing.assert_array_equal(feature(rows, training=False), np.ones((4000, 1)))
    np.testing.assert_array_equal(feature(rows), np.ones((4000, 1)))
    with tf.GradientTape() as tape:
        output = feature(rows, training=True)
        total = tf.reduce_sum(output)
    assert set(np.unique(output)) == {0, 1}  # an id is present or hidden, never scaled
    # four standard deviations of a share of 4000 draws: 4 sqrt(.25 .75 / 4000) = 0.027
    assert np.mean(output) == pytest.approx(0.75, abs=0.028)
    gradient = tf.convert_to_tensor(tape.gradient(total, feature.table.embeddings))
    assert gradient[0, 0] == 4000 - np.sum(output)


# ---- numbers


def test_a_number_is_scaled_and_a_missing_one_is_flagged():
    feature = NumberFeature("age", mean=40.0, standard_deviation=8.0, side="query")
    output = feature({"age": tf.constant([40.0, 52.0, NAN, INF, -INF])})
    np.testing.assert_array_equal(output, [[0, 1], [1.5, 1], [0, 0], [0, 0], [0, 0]])


def test_a_large_number_is_clipped_to_10_deviations():
    feature = NumberFeature("age", mean=40.0, standard_deviation=8.0, side="query")
    output = feature({"age": tf.constant([40.0 + 79, 40.0 + 81, 3e38, -3e38])})
    np.testing.assert_array_equal(output, [[79 / 8, 1], [10, 1], [10, 1], [-10, 1]])


def test_a_missing_number_gives_no_nan_to_any_gradient():
    feature = NumberFeature("age", 40.0, 8.0, side="query")
    head = tf.keras.layers.Dense(1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(feature({"age": tf.constant([NAN, 41.0])})) ** 2)
    assert all(np.isfinite(g).all() for g in tape.gradient(loss, head.trainable_variables))


def test_whole_numbers_are_read_in_full_precision():
    """In 8 bits of bfloat16 a year is a multiple of 8."""
    feature = NumberFeature("year", 2000.0, 1.0, side="item", dtype="mixed_bfloat16")
    output = feature({"year": tf.constant([2003], tf.int32)})
    assert output.dtype == tf.bfloat16 and float(output[0, 0]) == 3.0


def test_fit_uses_mean_and_deviation_of_finite_values():
    values = np.array([1.0, 5.0, NAN, 3.0, INF, 3.0])
    feature = NumberFeature.fit("age", values, "query", name="years")
    assert feature.mean == 3.0 and feature.standard_deviation == pytest.approx(np.sqrt(2))
    assert (feature.name, feature.column, feature.side) == ("years", "age", "query")


def test_fit_divides_equal_numbers_by_1():
    feature = NumberFeature.fit("age", np.full(3, 7.0), "query")
    np.testing.assert_array_equal(feature({"age": tf.constant([7.0, 9.0])}), [[0, 1], [2, 1]])


def test_fit_refuses_a_column_without_a_number():
    with pytest.raises(InputError, match="Column 'age' holds no finite number"):
        NumberFeature.fit("age", np.array([NAN, INF]), "query")


@pytest.mark.parametrize(
    "mean, deviation", [(NAN, 1), (INF, 1), (0, 0), (0, -1), (0, NAN), (0, INF)]
)
def test_invalid_scales_are_refused(mean, deviation):
    with pytest.raises(ValueError, match="`mean` must be finite and `standard_deviation`"):
        NumberFeature("age", mean, deviation, side="query")


# ---- texts


def test_a_text_is_the_mean_of_its_known_and_unknown_words():
    feature = TextFeature("words", num_words=4, embedding_dim=1, side="item")
    feature.table.embeddings.assign([[99], [10], [20], [40], [80]])
    texts = [[2, 3, 0, 0], [1, 0, 4, 0], [0, 0, 0, 0], [5, -1, 7, 2], [4, 4, 4, 4]]
    output = feature({"words": tf.constant(texts)})
    # padding is ignored anywhere, an index above the vocabulary is an unknown word
    np.testing.assert_allclose(output[:, 0], [30, 45, 0, (10 + 10 + 20) / 3, 80], rtol=1e-6)


def test_pairs_of_known_neighbours_are_hashed_and_averaged_with_the_words():
    num_words, buckets = 30, 7
    feature = planted(
        TextFeature("words", num_words, 3, "item", buckets),
        {"words": tf.ones([1, 2], tf.int32)},
    )
    table = np.float64(feature.table.embeddings)
    texts = np.random.default_rng(1).integers(0, num_words + 1, size=(50, 6))
    expected = []
    for text in texts:
        parts = [table[word] for word in text if word > 0]
        for first, second in zip(text, text[1:]):
            if first > 1 and second > 1:
                # 4 of 7 is the golden section
                parts.append(table[num_words + 1 + (4 * first + second) % buckets])
        expected.append(np.mean(parts, axis=0))
    output = feature({"words": tf.constant(texts, tf.int32)})
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)  # float32 sums


@pytest.mark.parametrize("num_words, buckets", [(65_535, 1_000), (65_535, 10**6), (2**20, 50_000)])
def test_the_largest_pair_is_hashed_within_32_bits(num_words, buckets):
    multiplier = pair_multiplier(num_words, buckets)
    assert multiplier * num_words + num_words < 2**31 and multiplier >= 1


def test_a_large_pair_is_hashed_as_python_does():
    feature = TextFeature("words", 65_535, 1, "item", 10**6)
    table = np.zeros((65_536 + 10**6, 1))
    table[65_536 + (pair_multiplier(65_535, 10**6) * 65_535 + 65_535) % 10**6] = 6.0
    feature.table.embeddings.assign(table)
    output = feature({"words": tf.constant([[65_535, 65_535]])})
    np.testing.assert_allclose(output, [[2.0]], rtol=1e-6)  # one pair of three


@pytest.mark.parametrize("buckets", [997, 1_000, 1_024, 4_096, 20_000])
def test_pairs_of_common_words_are_spread_evenly_over_the_buckets(buckets):
    """Of 40,000 pairs, a bucket has at most three times its share, or 5 more if that is few.

    Random hashing would be similar: a Poisson count of mean 2 exceeds 7 once in 1,000.
    """
    first, second = np.meshgrid(np.arange(2, 202), np.arange(2, 202))
    hashed = (pair_multiplier(5_000, buckets) * first + second) % buckets
    counts = np.bincount(hashed.ravel(), minlength=buckets)
    assert counts.max() <= max(3 * counts.mean(), counts.mean() + 5)
    assert (counts > 0).mean() > 0.85


def test_there_is_a_multiplier_for_any_number_of_buckets():
    for buckets in range(1, 50):
        assert math.gcd(pair_multiplier(10, buckets), buckets) == 1


def test_text_dropout_drops_words_only_in_training():
    feature = TextFeature("words", 3, 1, "item", dropout=0.5, seed=0)
    feature.table.embeddings.assign([[0], [1], [2], [4]])
    rows = {"words": tf.constant([[2, 3]] * 300)}
    np.testing.assert_array_equal(feature(rows, training=False), np.full((300, 1), 3.0))
    # both words (their mean), one of them, or none; never a scaled one
    assert set(np.unique(feature(rows, training=True))) == {0, 2, 3, 4}


def test_a_text_of_one_word_has_no_pair():
    feature = TextFeature("words", 3, 2, "item", 5)
    output = feature({"words": tf.constant([[2], [0]])})
    np.testing.assert_array_equal(output, [feature.table.embeddings[2], [0, 0]])


# ---- items


def test_an_item_has_its_row_and_an_unknown_one_row_0():
    feature = ItemFeature(num_items=2, embedding_dim=2)
    feature.table.embeddings.assign([[9, 8], [1, 2], [3, 4]])
    np.testing.assert_array_equal(feature(items(2, 0, 3, -5)), [[3, 4], [9, 8], [9, 8], [9, 8]])
    np.testing.assert_array_equal(feature.embed(tf.constant([[1, 7]])), [[[1, 2], [9, 8]]])
    assert (feature.columns, feature.side, feature.dim) == (("item_id",), "item", 2)


def test_item_vectors_are_constant_projected_and_added():
    vectors = np.random.default_rng(1).normal(size=(3, 4))
    vectors[1] = 0  # an item without
    feature = ItemFeature(3, 2, vectors)
    feature(items(1))
    projection = feature.vectors.projection
    projection.bias.assign([5.0, -5.0])
    expected = np.float64(feature.table.embeddings)
    output = vectors @ np.float64(projection.kernel) + [5.0, -5.0]
    expected[[1, 3]] += output[[0, 2]]
    np.testing.assert_allclose(feature(items(0, 1, 2, 3, 4)), expected[[0, 1, 2, 3, 0]], rtol=1e-5)
    trained = [weight.name for weight in feature.trainable_weights]
    assert len(trained) == 3 and not any("vectors:" in name for name in trained)


def test_a_hidden_item_keeps_its_vector_and_history_reads_every_id():
    feature = ItemFeature(1, 1, np.ones((1, 1)), id_dropout=0.5, seed=0)
    feature.table.embeddings.assign([[0], [100]])
    vector = float(feature(items(0, 1), training=False)[1, 0]) - 100
    assert vector != 0
    shown = feature(items(*[1] * 200), training=True)
    np.testing.assert_allclose(np.unique(shown), [vector, 100 + vector], rtol=1e-4)
    embedded = feature.embed(tf.ones([200], tf.int32), training=True)
    np.testing.assert_allclose(np.unique(embedded), [100 + vector], rtol=1e-6)


def test_wrong_item_vectors_are_refused():
    with pytest.raises(ValueError, match=r"one row per item, shape \(3, 4\). Received: .*\(2, 4\)"):
        ItemFeature(3, 2, np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"must be finite\. Row 1 is not"):
        ItemFeature(2, 2, np.array([[0.0], [NAN]]))


# ---- histories


def history_rows(history, ratings=None):
    rows = {"history": tf.constant(history, tf.int32)}
    if ratings is not None:
        rows["history_ratings"] = tf.constant(ratings, tf.float32)
    return rows


def history_by_hand(feature, history, ratings):
    """Float64: the last known items, oldest first, averaged with the encoder's own weights."""
    item = feature.item_feature
    table, r = np.float64(item.table.embeddings), np.float64(feature.of_ratings.kernel)
    kept = [(i, s) for i, s in zip(history, ratings) if 1 <= i <= item.num_items][
        -feature.max_history :
    ]
    scaled = [(2 * s - feature.low - feature.high) / (feature.high - feature.low) for _, s in kept]
    scaled = [x if s > 0 else 0.0 for x, (_, s) in zip(scaled, kept)]
    weights = np.exp(np.float64(feature.encoder.log_weights))[: len(kept)][::-1]
    vectors = [table[i] + x * (table[i] @ r) for x, (i, _) in zip(scaled, kept)]
    average = np.average(vectors, axis=0, weights=weights) if kept else np.zeros(table.shape[1])
    rated = [x for x, (_, s) in zip(scaled, kept) if s > 0]
    mean = np.mean(rated) if rated else 0.0
    return average, len(kept) / feature.max_history, mean


HISTORIES = np.array(
    [[0, 0, 3, 1, 2], [4, 5, 3, 1, 2], [0, 2, 0, 7, 0], [9, -1, 5, 0, 11], [0] * 5, [3, 0, 0, 0, 0]]
)
RATINGS = np.array(
    [[0, 0, 5, 1, 2], [1, 1, 4, 3, 2], [0, 5, 0, 0, 0], [5, 5, 2, 5, 5], [0] * 5, [3, 0, 0, 0, 0]]
)


def test_a_history_is_the_decayed_average_its_length_and_its_mean_rating():
    """Padding anywhere, unknown items (9, 11, -1), items without a rating, more than are read."""
    item = ItemFeature(num_items=7, embedding_dim=4)
    feature = planted(HistoryFeature(item, 3), history_rows(HISTORIES, RATINGS))
    # The block after the average is the encoder's, and tested with it.
    averages, lengths, means = zip(
        *(history_by_hand(feature, *pair) for pair in zip(HISTORIES, RATINGS))
    )
    queries = feature.encoder.feed_forward(tf.constant(averages, tf.float32))
    output = feature(history_rows(HISTORIES, RATINGS))
    assert output.shape == (6, feature.dim) == (6, 4 + 2)
    np.testing.assert_allclose(output[:, :4], queries, rtol=1e-4, atol=1e-5)  # float32 averages
    np.testing.assert_allclose(output[:, 4], lengths, rtol=1e-6)
    np.testing.assert_allclose(output[:, 5], means, rtol=1e-6)
    np.testing.assert_allclose(output[:, 5], [-1 / 6 * 1 - 0, 0, 1, -0.5, 0, 0], atol=1e-6)


def test_ratings_are_scaled_with_the_given_range():
    item = ItemFeature(3, 2)
    feature = HistoryFeature(item, 2, low=0.0, high=10.0)
    output = feature(history_rows([[1, 2]], [[10.0, 7.5]]))
    np.testing.assert_allclose(output[0, 3], (1.0 + 0.5) / 2, rtol=1e-6)


def test_a_rating_below_0_is_a_rating():
    """On a scale of -10 to 10 the ratings -10 and 5 are -1 and 0.5 of it; 0 means no rating."""
    feature = HistoryFeature(ItemFeature(3, 2), 3, low=-10.0, high=10.0)
    output = feature(history_rows([[1, 2, 3]], [[-10.0, 5.0, 0.0]]))
    np.testing.assert_allclose(output[0, 3], (-1.0 + 0.5) / 2, rtol=1e-6)


def test_a_rating_of_nan_is_a_missing_one():
    item = ItemFeature(3, 2)
    feature = HistoryFeature(item, 2)
    one = feature(history_rows([[1, 2]], [[NAN, 4.0]]))
    np.testing.assert_array_equal(one, feature(history_rows([[1, 2]], [[0.0, 4.0]])))


def test_liked_items_differ_from_items_without_rating():
    item = ItemFeature(3, 2, seed=0)
    feature = HistoryFeature(item, 2, seed=0)
    liked, disliked = feature(history_rows([[1, 2], [1, 2]], [[5.0, 1.0], [1.0, 5.0]]))
    assert np.abs(liked[:2] - disliked[:2]).max() > 1e-4
    assert liked[3] == disliked[3]


def test_without_ratings_the_column_is_not_needed():
    item = ItemFeature(3, 2, seed=0)
    feature = HistoryFeature(item, 2, reads_ratings=False, seed=0)
    output = feature(history_rows([[0, 1], [3, 2]]))
    assert output.shape == (2, 3) and feature.columns == ("history",) and feature.dim == 3
    np.testing.assert_array_equal(output[:, 2], [0.5, 1.0])
    assert feature.of_ratings is None


def test_longer_and_shorter_histories_are_read_equally():
    item = ItemFeature(7, 2, seed=0)
    feature = HistoryFeature(item, 3, seed=0)
    usual = feature(history_rows([[4, 6, 1]], [[1, 5, 2]]))
    longer = feature(history_rows([[2, 0, 4, 0, 6, 1, 0]], [[5, 0, 1, 0, 5, 2, 0]]))
    np.testing.assert_allclose(longer, usual, rtol=1e-6)
    shorter = feature(history_rows([[6]], [[5]]))
    np.testing.assert_allclose(shorter, feature(history_rows([[0, 0, 6]], [[0, 0, 5]])), rtol=1e-6)


def test_history_dropout_only_while_training():
    item = ItemFeature(5, 4, seed=0)
    feature = HistoryFeature(item, 3, dropout=0.5, seed=0)
    rows = history_rows([[1, 2, 3]] * 40, [[5, 3, 1]] * 40)
    assert len(np.unique(feature(rows, training=False), axis=0)) == 1
    assert len(np.unique(feature(rows, training=True), axis=0)) > 20


def test_a_range_of_ratings_must_have_a_width():
    with pytest.raises(ValueError, match="`low` must be below `high`. Received: low=5, high=5"):
        HistoryFeature(ItemFeature(3, 2), 2, low=5, high=5)


# ---- all of them

MADE = {
    "id": lambda **kw: IdFeature("department", 3, 2, "item", id_dropout=0.5, seed=4, **kw),
    "number": lambda **kw: NumberFeature("age", 40.0, 8.0, "query", **kw),
    "text": lambda **kw: TextFeature("words", 9, 2, "item", 5, dropout=0.5, seed=4, **kw),
    "item": lambda **kw: ItemFeature(
        7, 2, np.ones((7, 3)), id_dropout=0.5, vector_dropout=0.5, seed=4, **kw
    ),
    "plain item": lambda **kw: ItemFeature(7, 2, seed=4, **kw),
    "history": lambda **kw: HistoryFeature(
        ItemFeature(7, 2, seed=4), 3, low=0.0, high=9.0, dropout=0.5, seed=4, **kw
    ),
    "plain history": lambda **kw: HistoryFeature(ItemFeature(7, 2, seed=4), 3, False, seed=4, **kw),
}
ROWS = {
    "department": tf.constant([1, 2, 9]),
    "age": tf.constant([33.0, NAN, 50.0]),
    "words": tf.constant([[2, 3, 4], [0, 5, 1], [0, 0, 0]]),
    "item_id": tf.constant([3, 7, 0]),
    "history": tf.constant([[0, 1, 2], [3, 4, 5], [0, 0, 0]]),
    "history_ratings": tf.constant([[0.0, 5.0, 2.0], [1.0, 1.0, 4.0], [0.0, 0.0, 0.0]]),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_features_width_and_columns_are_as_declared(make):
    feature = make()
    output = feature({name: ROWS[name] for name in feature.columns})
    assert output.shape == (3, feature.dim)
    for name, spec in feature.column_specs.items():
        assert spec.is_compatible_with(ROWS[name])


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_feature_is_rebuilt_from_its_configuration(make):
    feature = planted(make(name="own"), ROWS)
    config = tf.keras.utils.serialize_keras_object(feature)
    again = tf.keras.utils.deserialize_keras_object(config)
    again(ROWS)
    again.set_weights(feature.get_weights())
    assert type(again) is type(feature) and again.name == "own"
    assert again.get_config() == feature.get_config()
    np.testing.assert_array_equal(again(ROWS), feature(ROWS))


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_reduced_precision_applies_to_the_output_alone(make):
    feature, exact = make(dtype="mixed_bfloat16"), make()
    feature(ROWS), exact(ROWS)
    exact.set_weights(feature.get_weights())
    assert feature(ROWS).dtype == tf.bfloat16
    assert all(weight.dtype == tf.float32 for weight in feature.weights)
    # bfloat16 has 8 bits; values are of size 1, and some are differences
    output = tf.cast(feature(ROWS), tf.float32)
    np.testing.assert_allclose(output, exact(ROWS), rtol=0.03, atol=0.03)


@pytest.mark.parametrize("name", ["id", "text", "item", "history"])
def test_a_seed_fixes_the_initial_weights(name):
    def weights():
        feature = MADE[name]()
        feature(ROWS)
        return feature.get_weights()

    for one, same in zip(weights(), weights()):
        np.testing.assert_array_equal(one, same)


def test_another_side_is_refused():
    with pytest.raises(ValueError, match="`side` must be 'query' or 'item'. Received: side='user'"):
        IdFeature("department", 3, 2, side="user")


@pytest.mark.parametrize(
    "make, size",
    [
        (lambda n: IdFeature("d", n, 2, "item"), "vocabulary_size"),
        (lambda n: IdFeature("d", 2, n, "item"), "embedding_dim"),
        (lambda n: TextFeature("w", n, 2, "item"), "num_words"),
        (lambda n: TextFeature("w", 2, n, "item"), "embedding_dim"),
        (lambda n: TextFeature("w", 2, 2, "item", n or -1), "num_bigram_buckets"),
        (lambda n: ItemFeature(n, 2), "num_items"),
        (lambda n: ItemFeature(2, n), "embedding_dim"),
        (lambda n: HistoryFeature(ItemFeature(2, 2), n), "max_history"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_sizes_are_whole_numbers_of_at_least_1(make, size, value):
    with pytest.raises(ValueError, match=f"`{size}` must be a whole number >= 1. Received: "):
        make(value)


def test_an_invalid_table_is_refused():
    words = (
        "`table` must be a layer with `num_rows`, `dim` and `gather`.*: a Dense without num_rows"
    )
    with pytest.raises(TypeError, match=words):
        IdFeature("a", 9, 2, "query", table=tf.keras.layers.Dense(2))
    with pytest.raises(ValueError, match="must have 10 rows of 2 numbers. Received: 4 rows of 2"):
        IdFeature("a", 9, 2, "query", table=IdFeature("b", 3, 2, "query").table)
