"""The ranking model: its equation, losses, missing labels, saving, learning planted data."""

import copy

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.models.candidates import MASKED
from tfrs_distill.models.features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NumberFeature,
    TextFeature,
)
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.task_balance import FixedWeights, GradientNormWeights, UncertaintyWeights
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RatingDistribution,
    Regression,
)

NAN, NUM_ITEMS = float("nan"), 9


def new_model(tasks=None, balance=None, **arguments):
    item = ItemFeature(NUM_ITEMS, 3, np.eye(NUM_ITEMS)[:, :4], seed=1)
    features = [
        IdFeature("user_id", 5, 2, "query", seed=2),
        item,
        NumberFeature("age", 40.0, 10.0, "query"),
        TextFeature("words", 20, 2, "item", 7, seed=3),
        HistoryFeature(item, 4, seed=4),
    ]
    tasks = tasks or [
        Regression("rating", 1, 5),
        Binary("like"),
        Ordinal("stars"),
        RatingDistribution("dist"),
        NextItem("next_item", NUM_ITEMS),
    ]
    arguments = {"num_cross_layers": 2, "hidden_units": (6, 5), "seed": 0, **arguments}
    return RankingModel(features, tasks, task_balance=balance, **arguments)


def small_model(balance=None, **arguments):
    """Two tasks on two features, for tests that train."""
    features = [IdFeature("user_id", 5, 2, "query", seed=2), ItemFeature(NUM_ITEMS, 3, seed=1)]
    tasks = [Regression("rating", 1, 5), Binary("like")]
    arguments = {"num_cross_layers": 1, "hidden_units": (6,), "seed": 0, **arguments}
    return RankingModel(features, tasks, task_balance=balance, **arguments)


def new_rows(num_rows=12, seed=0):
    random = np.random.default_rng(seed)
    history = np.tile([0, 1, 2, 3], (num_rows, 1))
    rating = random.integers(1, 6, num_rows).astype(np.float32)
    rows = {
        "user_id": random.integers(0, 7, num_rows).astype(np.int32),
        "item_id": random.integers(4, NUM_ITEMS + 1, num_rows).astype(np.int32),
        "age": np.where(random.random(num_rows) < 0.3, NAN, 44.0).astype(np.float32),
        "words": random.integers(0, 23, (num_rows, 5)).astype(np.int32),
        "history": history.astype(np.int32),
        "history_ratings": random.integers(0, 6, (num_rows, 4)).astype(np.float32),
        "label/rating": rating,
        "label/stars": rating,
        "label/dist": rating,
        "label/like": (rating > 3).astype(np.float32),
    }
    return {name: tf.constant(values) for name, values in rows.items()}


def planted(model, size=0.5):
    """Every weight a known random number of this size."""
    random = np.random.default_rng(0)
    for weight in model.prediction_weights:
        if "presence" not in weight.name:
            weight.assign(random.normal(scale=size, size=weight.shape))
    return model


# ---- the network


@pytest.mark.parametrize("projection_dim", [None, 2])
@pytest.mark.parametrize(
    "num_cross_layers, hidden_units", [(2, (6, 5)), (0, (4,)), (1, ()), (0, ())]
)
def test_features_pass_crosses_hidden_layers_and_a_head(
    num_cross_layers, hidden_units, projection_dim
):
    tasks = [Regression("rating", 1, 5), RatingDistribution("dist")]
    model = planted(
        new_model(
            tasks,
            num_cross_layers=num_cross_layers,
            hidden_units=hidden_units,
            projection_dim=projection_dim,
        )
    )
    rows = new_rows()
    first = np.concatenate([feature(rows) for feature in model.features], axis=1).astype(np.float64)
    crossed = first
    for cross in model.crosses:
        weights = [np.float64(weight) for weight in cross.get_weights()]
        *kernels, bias = [weights[0], weights[1]] if projection_dim is None else _u_v_bias(weights)
        output = crossed
        for kernel in kernels:
            output = output @ kernel
        crossed = first * (output + bias) + crossed
    deep = crossed
    for layer in model.hidden_layers:
        kernel, bias = (np.float64(weight) for weight in layer.get_weights())
        deep = np.maximum(deep @ kernel + bias, 0)
    outputs = model(rows)
    np.testing.assert_allclose(
        outputs.hidden_representations["cross"], crossed, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(outputs.hidden_representations["deep"], deep, rtol=1e-3, atol=1e-3)
    for name, head in model.heads.items():
        kernel, bias = (np.float64(weight) for weight in head.get_weights())
        expected = deep @ kernel + bias
        size = np.abs(deep).max() * 10  # float32 sums of a dozen terms of this size
        assert outputs.heads[name].logits.shape == (12, model.tasks[name].width)
        np.testing.assert_allclose(outputs.heads[name].logits, expected, atol=1e-5 * size)


def _u_v_bias(weights):
    """U [d, r], V [r, d] and the bias, however Keras orders them."""
    kernels = sorted((w for w in weights if w.ndim == 2), key=lambda w: w.shape[1])
    return [*kernels, next(w for w in weights if w.ndim == 1)]


def test_one_feature_of_one_number_is_enough():
    model = RankingModel(
        [IdFeature("user_id", 5, 1, "query")], [Binary("like")], num_cross_layers=1, hidden_units=()
    )
    output = model.predictions({"user_id": tf.constant([1, 2])})
    assert output["like"].shape == (2,)


def test_next_item_logits_are_of_the_history_query_and_mask_the_history():
    model = planted(new_model())
    rows = new_rows(3) | {"history": tf.constant([[0, 1, 2, 3], [9, 0, 0, 0], [0, 12, 12, 8]])}
    logits = model(rows).heads["next_item"].logits.numpy()
    history = next(f for f in model.features if f.name == "history")
    query = np.float64(history(rows))[:, :3]
    items = np.float64(history.item_feature.embed(tf.range(1, NUM_ITEMS + 1)))
    expected = query @ items.T + np.float64(model.heads["next_item"].biases)
    masked = np.zeros((3, NUM_ITEMS), bool)
    masked[0, :3] = masked[1, 8] = masked[2, 7] = True  # item 12 is not in the catalogue
    np.testing.assert_array_equal(logits == np.float32(MASKED), masked)
    np.testing.assert_allclose(logits[~masked], expected[~masked], rtol=1e-4, atol=1e-4)
    output = model.predictions(rows)["next_item"].numpy()
    shares = np.where(masked, 0, np.exp(expected))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(output, shares[np.arange(3), rows["item_id"] - 1], rtol=1e-3)


def test_ranking_the_items_of_one_query_equals_scoring_every_pair():
    model = planted(new_model(), size=0.2)
    query = {name: values[:1] for name, values in new_rows(1).items()}
    items = new_rows(8, seed=5)
    sides = {
        name: side for feature in model.features for name, side in feature.column_sides.items()
    }
    assert sides == {
        **dict.fromkeys(["user_id", "age", "history", "history_ratings"], "query"),
        **dict.fromkeys(["item_id", "words"], "item"),
    }
    one_query = {name: query[name] for name, side in sides.items() if side == "query"}
    its_items = {name: items[name] for name, side in sides.items() if side == "item"}
    pairs = {name: tf.repeat(row, 8, axis=0) for name, row in one_query.items()} | its_items
    output = model.rank(one_query | its_items)
    expected = model.predictions(pairs)
    assert set(output) == set(expected) == set(model.tasks)
    for task in expected:
        assert output[task].shape == (8,)
        np.testing.assert_allclose(output[task], expected[task], rtol=1e-4, atol=1e-6)
    for task in ("like", "stars", "dist", "next_item"):  # a rating may be below the lowest for all
        assert len(np.unique(expected[task])) > 1


def test_unknown_ids_and_missing_numbers_give_finite_predictions():
    model = planted(new_model())
    rows = {
        "user_id": tf.constant([-7, 10**9]),
        "item_id": tf.constant([0, 10**9]),
        "age": tf.constant([NAN, float("inf")]),
        "words": tf.zeros([2, 5], tf.int32),
        "history": tf.constant([[0, 0, 0, 0], [-1, 99, 99, 0]]),
        "history_ratings": tf.constant([[0.0, 0, 0, 0], [1.0, NAN, 5.0, 3.0]]),
    }
    for values in model.predictions(rows).values():
        assert np.isfinite(values).all()
        assert values[0] == values[1]  # both are missing or unknown


def test_every_columns_type_and_shape_is_declared():
    specs = new_model().column_specs
    assert list(specs) == ["user_id", "item_id", "age", "words", "history", "history_ratings"]
    assert new_model().input_columns == tuple(specs)
    assert specs["history"].shape.as_list() == [None, None] and specs["history"].dtype == tf.int32
    assert specs["age"].shape.as_list() == [None] and specs["age"].dtype == tf.float32


def test_hidden_representations_are_named_by_path_and_by_role():
    model = planted(new_model())
    rows = new_rows()
    hidden = model.hidden_representations(rows)
    assert {"cross", "deep", "hidden_0", "cross_1", "history/decayed_average"} - set(hidden) <= {
        "history/decayed_average"  # its `last` is called, not the layer itself
    }
    np.testing.assert_array_equal(hidden["hidden_1"], hidden["deep"])
    np.testing.assert_array_equal(hidden["cross_1"], hidden["cross"])


def test_dropout_only_while_training():
    model = new_model(dropout=0.5, hidden_units=(64,))
    rows = new_rows()
    still = model(rows).hidden_representations["deep"]
    np.testing.assert_array_equal(model(rows, training=False).hidden_representations["deep"], still)
    dropped = model(rows, training=True).hidden_representations["deep"].numpy()
    active = np.asarray(still) > 0
    assert 0.3 < (dropped[active] == 0).mean() < 0.7


# ---- losses

ROWS_OF_NAN = {"label/rating": [0, 3], "label/like": [1], "label/stars": range(12)}


def with_missing_labels(rows):
    rows = dict(rows)
    for name, places in ROWS_OF_NAN.items():
        labels = rows[name].numpy()
        labels[list(places)] = NAN
        rows[name] = tf.constant(labels)
    return rows


def test_rows_without_a_label_have_weight_0_and_others_their_sample_weight():
    model = planted(new_model())
    sample_weight = np.linspace(0, 2, 12, dtype=np.float32)
    rows = with_missing_labels(new_rows())
    for weights in (np.ones(12), sample_weight):
        if weights is sample_weight:
            rows[columns.SAMPLE_WEIGHT] = tf.constant(sample_weight)
        outputs = model(rows)
        losses = model.hard_losses(rows, outputs, model.task_names)
        assert list(losses) == list(model.tasks)
        for name, (values, output) in losses.items():
            expected = np.array(weights)
            expected[list(ROWS_OF_NAN.get(f"label/{name}", []))] = 0
            np.testing.assert_allclose(output, expected, rtol=1e-6)
            assert np.isfinite(values).all()
            task = model.tasks[name]
            labels = rows["item_id" if name == "next_item" else f"label/{name}"]
            counted = expected > 0
            if counted.any():
                alone = task.loss(labels[counted], outputs.heads[name].logits[counted])
                np.testing.assert_allclose(values[counted], alone, rtol=1e-6)


def test_a_next_item_that_is_unknown_or_in_the_history_is_ignored():
    model = planted(new_model())
    rows = new_rows(4) | {
        "item_id": tf.constant([4, 2, 0, 12]),
        "history": tf.constant([[0, 1, 2, 3]] * 4),
    }
    values, weights = model.hard_losses(rows, model(rows), model.task_names)["next_item"]
    np.testing.assert_array_equal(weights, [1, 0, 0, 0])
    assert np.isfinite(values).all()


def gradients(model, rows):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(rows, training=True)
    return loss, [
        None if g is None else tf.convert_to_tensor(g).numpy()
        for g in tape.gradient(loss, model.trainable_variables)
    ]


def test_a_row_without_label_leaves_no_gradient_not_even_nan():
    """As if the row did not exist."""
    tasks = [Regression("rating", 1, 5), Binary("like")]
    model = planted(new_model(tasks))
    rows = new_rows()
    missing = {
        name: tf.constant(np.where(np.arange(12) % 3 == 0, NAN, rows[name]), tf.float32)
        for name in ("label/rating", "label/like")
    }
    kept = {name: values.numpy()[np.arange(12) % 3 != 0] for name, values in rows.items()}
    loss, with_missing = gradients(model, rows | missing)
    expected_loss, expected = gradients(model, kept)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for one, other in zip(with_missing, expected):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_the_total_is_the_balanced_sum_of_weighted_means():
    model = planted(new_model(balance=FixedWeights({"rating": 0.5, "like": 2.0, "next_item": 0.0})))
    rows = with_missing_labels(new_rows())
    rows[columns.SAMPLE_WEIGHT] = tf.constant(np.linspace(0, 2, 12), tf.float32)
    losses = model.hard_losses(rows, model(rows), model.task_names)
    factors = {"rating": 0.5, "like": 2.0, "stars": 1.0, "dist": 1.0, "next_item": 0.0}
    expected = 0.0
    for name, (values, weights) in losses.items():
        if np.sum(weights) > 0:
            expected += factors[name] * np.average(np.float64(values), weights=weights)
    np.testing.assert_allclose(model.compute_loss(rows), expected, rtol=1e-5)


def test_a_task_without_a_labelled_row_in_the_batch_adds_nothing():
    model = planted(new_model([Ordinal("stars"), Binary("like")]))
    rows = with_missing_labels(new_rows())  # no stars at all
    loss, found = gradients(model, rows)
    expected, _ = gradients(planted(new_model([Binary("like")])), rows)
    np.testing.assert_allclose(loss, expected, rtol=2)  # other weights: only finiteness matters
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in found if g is not None)


# ---- training


@pytest.mark.parametrize("balance", [None, UncertaintyWeights, GradientNormWeights])
def test_a_step_is_gradient_descent_on_the_total_and_evaluation_takes_none(balance):
    model = planted(new_model(balance=balance and balance()))
    rows = with_missing_labels(new_rows())
    before = [weight.numpy() for weight in model.trainable_variables]
    loss, slopes = gradients(model, rows)
    model.compile(tf.keras.optimizers.SGD(0.1), run_eagerly=True)
    evaluated = model.evaluate(rows, batch_size=12, verbose=0, return_dict=True)
    assert evaluated["loss"] == pytest.approx(float(loss), rel=1e-5)
    logged = model.fit(rows, batch_size=12, verbose=0).history
    assert logged["loss"][0] == pytest.approx(float(loss), rel=1e-5)
    assert set(logged) == set(evaluated)
    assert {f"{name}_loss" for name in model.tasks} | {"loss"} < set(logged)
    for weight, was, slope in zip(model.trainable_variables, before, slopes):
        moved = was if slope is None else was - 0.1 * slope
        np.testing.assert_allclose(weight, moved, rtol=1e-3, atol=1e-4)


def test_logged_losses_are_means_over_the_epochs_labelled_rows():
    model = planted(new_model())
    rows = with_missing_labels(new_rows())
    model.compile(tf.keras.optimizers.SGD(0.0), run_eagerly=True)
    logged = model.fit(rows, batch_size=5, shuffle=False, verbose=0).history
    for name, (values, weights) in model.hard_losses(rows, model(rows), model.task_names).items():
        expected = np.average(values, weights=weights) if np.sum(weights) else 0.0
        assert logged[f"{name}_loss"][0] == pytest.approx(expected, rel=1e-4)
    batches = [slice(0, 5), slice(5, 10), slice(10, 12)]
    parts = [{name: values[rows_] for name, values in rows.items()} for rows_ in batches]
    totals = [float(model.compute_loss(part)) for part in parts]
    assert logged["loss"][0] == pytest.approx(np.average(totals, weights=[5, 5, 2]), rel=1e-4)


def test_metrics_are_updated_and_reset_every_epoch():
    model = planted(new_model([Regression("rating", 1, 5)]))
    rows = new_rows()
    model.compile(tf.keras.optimizers.SGD(0.0), run_eagerly=True)
    logged = model.fit(rows, batch_size=5, epochs=2, verbose=0).history
    error = model.predictions(rows)["rating"] - rows["label/rating"]
    expected = float(np.sqrt(np.mean(np.square(error))))
    assert logged["rating_root_mean_squared_error"] == pytest.approx([expected] * 2, rel=1e-4)
    assert [metric.name for metric in model.evaluation_metrics] == [
        "rating_root_mean_squared_error",
        "rating_mean_absolute_error",
    ]
    model.evaluate(rows, verbose=0)
    model.update_evaluation_metrics(rows, model(rows))
    np.testing.assert_allclose(model.evaluation_metrics[0].result(), expected, rtol=1e-4)


def test_regularisation_is_part_of_the_step_and_not_of_the_loss():
    model = planted(small_model())
    layer = model.hidden_layers[0]
    layer.add_loss(lambda: 3.0 * tf.reduce_sum(layer.kernel))
    rows = new_rows()
    loss, slopes = gradients(model, rows)
    place = [v is layer.kernel for v in model.trainable_variables].index(True)
    before = layer.kernel.numpy()
    model.compile(tf.keras.optimizers.SGD(0.1), run_eagerly=True)
    assert model.train_on_batch(rows, return_dict=True)["loss"] == pytest.approx(float(loss), 1e-5)
    np.testing.assert_allclose(
        layer.kernel, before - 0.1 * (slopes[place] + 3.0), rtol=1e-3, atol=1e-4
    )


def test_predict_returns_the_predictions_of_all_tasks():
    model = planted(small_model())
    rows = new_rows()
    output = model.predict(rows, batch_size=5, verbose=0)
    for name, values in model.predictions(rows).items():
        np.testing.assert_allclose(output[name], values, rtol=1e-5)


def test_a_teachers_output_is_the_logits_without_dropout():
    model = planted(new_model(dropout=0.5))
    output = model.logits(new_rows())
    for name, task in model.tasks.items():
        np.testing.assert_array_equal(
            output[name], model(new_rows(), training=False).heads[name].logits
        )
        assert output[name].shape == (12, task.width)


@pytest.mark.parametrize("argument", ["loss", "metrics", "loss_weights", "weighted_metrics"])
def test_compile_takes_an_optimizer_alone(argument):
    with pytest.raises(ValueError, match=f"`compile` takes no {argument}: every task has its loss"):
        new_model().compile("adam", **{argument: ["mse"]})


@pytest.mark.nightly
def test_under_xla_a_step_gives_the_same():
    rows, outcomes = new_rows(), []
    for jit_compile in (False, True):
        model = planted(small_model())
        model.compile(tf.keras.optimizers.SGD(0.1), jit_compile=jit_compile)
        model.fit(rows, batch_size=12, epochs=2, verbose=0)
        outcomes.append(model.get_weights())
    for one, other in zip(*outcomes):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_layers_in_reduced_precision_give_float32_logits_and_train():
    model = new_model(dtype="mixed_bfloat16")
    rows = new_rows()
    outputs = model(rows)
    assert outputs.hidden_representations["deep"].dtype == tf.bfloat16
    assert all(logits.dtype == tf.float32 for logits in model.logits(rows).values())
    exact = new_model()
    exact.set_weights(model.get_weights())
    for name, logits in exact.logits(rows).items():
        # bfloat16 has 8 bits; logits are of size 1
        np.testing.assert_allclose(outputs.heads[name].logits, logits, atol=0.05)
    model.compile("adam", run_eagerly=True)
    losses = model.fit(rows, epochs=5, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    again = RankingModel.from_config(model.get_config())
    assert again(rows).hidden_representations["deep"].dtype == tf.bfloat16


# ---- labels


@pytest.mark.parametrize("run", ["fit", "evaluate"])
@pytest.mark.parametrize("eagerly", [False, True])
def test_a_label_out_of_range_stops_before_any_weight_changes(run, eagerly):
    model = planted(small_model())
    rows = new_rows()
    ratings = rows["label/rating"].numpy()
    ratings[7] = 5.5
    model.compile(tf.keras.optimizers.SGD(0.1), run_eagerly=eagerly)
    before = [weight.numpy() for weight in model.prediction_weights]
    words = (
        "^Labels of task 'rating' must be within 1 and 5, or NaN for none. Received: 5.5 in row 7"
    )
    with pytest.raises(InputError, match=words):
        batches = tf.data.Dataset.from_tensors(rows | {"label/rating": tf.constant(ratings)})
        getattr(model, run)(batches, verbose=0)
    for weight, was in zip(model.prediction_weights, before):
        np.testing.assert_array_equal(weight, was)
    model.fit(rows, batch_size=12, verbose=0)  # a corrected call works


def test_a_label_column_that_is_missing_is_named():
    rows = new_rows()
    del rows["label/stars"]
    with pytest.raises(ValueError, match="Task 'stars' has no labels: .* no column 'label/stars'"):
        new_model().hard_losses(rows, new_model()(rows), ["stars"])


def test_a_missing_column_is_named_with_its_feature():
    rows = new_rows()
    del rows["history_ratings"]
    words = r"Feature 'history' reads the columns .* no \['history_ratings'\]. It has: \['age'"
    with pytest.raises(ValueError, match=words):
        new_model()(rows)


# ---- invalid arguments


def test_invalid_arguments_are_refused():
    item, binary = ItemFeature(NUM_ITEMS, 3), Binary("like")
    other = ItemFeature(NUM_ITEMS, 3, name="other")
    history = HistoryFeature(item, 4)
    next_item = NextItem("next", NUM_ITEMS)
    for features in ([], [item, item], [item, ItemFeature(3, 2)], [ItemFeature(3, 2), history]):
        with pytest.raises(ValueError, match="`features` must have different names, at least one"):
            RankingModel(features, [binary])
    for tasks in ([], [binary, Ordinal("like")]):
        with pytest.raises(ValueError, match="`tasks` must have different names, at least one"):
            RankingModel([item], tasks)
    for features in ([item], [history], [item, other, history]):
        with pytest.raises(ValueError, match="needs one `ItemFeature` and one `HistoryFeature`"):
            RankingModel(features, [next_item])
    with pytest.raises(ValueError, match="reads? with the model's `ItemFeature`"):
        RankingModel([other, history], [next_item])
    with pytest.raises(ValueError, match=f"is over 4 items, but the `ItemFeature` has {NUM_ITEMS}"):
        RankingModel([item, history], [NextItem("next", 4)])
    with pytest.raises(ValueError, match="`num_cross_layers` must be at least 0. Received: .*=-1"):
        RankingModel([item], [binary], num_cross_layers=-1)
    with pytest.raises(ValueError, match="`projection_dim` must be at least 1. Received: .*=0"):
        RankingModel([item], [binary], projection_dim=0)
    with pytest.raises(ValueError, match="`hidden_units` must be at least 1 each. Received: "):
        RankingModel([item], [binary], hidden_units=(4, 0))
    with pytest.raises(ValueError, match=r"`task_balance` weighs \['click'\]"):
        RankingModel([item], [binary], task_balance=FixedWeights({"click": 1}))


def test_a_history_may_have_a_separate_item_feature():
    item, own = ItemFeature(NUM_ITEMS, 3), ItemFeature(NUM_ITEMS, 2, name="met")
    model = RankingModel([item, HistoryFeature(own, 4)], [Binary("like")])
    rows = new_rows()
    again = RankingModel.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        again(rows).heads["like"].logits, model(rows).heads["like"].logits
    )


def test_histories_share_an_item_feature_that_is_not_a_feature_of_the_model():
    item = ItemFeature(NUM_ITEMS, 3, seed=1)
    histories = [HistoryFeature(item, size, name=f"last_{size}", seed=size) for size in (4, 2)]
    model = planted(RankingModel(histories, [Binary("like")], seed=0))
    again = RankingModel.from_config(copy.deepcopy(model.get_config()))
    first, second = again.features
    assert first.item_feature is second.item_feature and first.item_feature is not item
    again.set_weights(model.get_weights())
    rows = new_rows()
    np.testing.assert_array_equal(again.predictions(rows)["like"], model.predictions(rows)["like"])


def test_a_table_belongs_to_one_feature():
    item = ItemFeature(5, 2)
    user = IdFeature("user_id", 5, 2, "query", table=item.table)
    for features in ([user, item], [user, HistoryFeature(item, 3)]):
        with pytest.raises(ValueError, match=r"Received: one table for \['user_id', 'item'\]"):
            RankingModel(features, [Binary("like")])


# ---- saving


@pytest.mark.parametrize(
    "balance", [nightly(None), nightly(UncertaintyWeights), GradientNormWeights]
)
def test_a_loaded_model_predicts_and_trains_the_same(balance, tmp_path):
    if balance is None:
        model = new_model(dropout=0.1, projection_dim=2)
    else:
        model = small_model(balance(), dropout=0.1)
    rows = new_rows()
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(5)
    model.compile(tf.keras.optimizers.Adam(0.01), run_eagerly=True)
    model.fit(batches, verbose=0)
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is RankingModel and again.fingerprint() == model.fingerprint()
    for name, values in model.predictions(rows).items():
        np.testing.assert_array_equal(again.predictions(rows)[name], values)
    for one, other in zip(model.task_balance.variables, again.task_balance.variables):
        np.testing.assert_array_equal(one, other)
    if balance is None:
        items, histories = (
            next(f for f in again.features if f.name == name) for name in ("item", "history")
        )
        assert histories.item_feature is items
    assert int(again.optimizer.iterations) == 3
    losses = [m.evaluate(batches, verbose=0, return_dict=True) for m in (model, again)]
    assert losses[0] == losses[1]
    for trained in (
        model,
        again,
    ):  # without dropout, whose random numbers continue in one model only
        for layer in trained.dropouts:
            layer.rate = 0.0
        trained.fit(batches, verbose=0)
    for one, other in zip(model.get_weights(), again.get_weights()):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_configurations_make_equal_models():
    model = new_model(
        balance=GradientNormWeights(0.5), projection_dim=3, dropout=0.2, name="own", dtype="float32"
    )
    again = RankingModel.from_config(copy.deepcopy(model.get_config()))
    assert again.get_config() == model.get_config() and again.name == "own"
    assert [type(f) for f in again.features] == [type(f) for f in model.features]
    assert again.tasks == model.tasks
    assert (again.hidden_units, again.projection_dim, again.dropout_rate) == ((6, 5), 3, 0.2)


@pytest.mark.nightly
def test_a_seed_fixes_a_training():
    rows, outcomes = new_rows(), []
    for seed in (0, 0, 1):
        model = small_model(seed=seed, dropout=0.3)
        model.compile(tf.keras.optimizers.SGD(0.1))
        model.fit(rows, batch_size=12, epochs=2, shuffle=False, verbose=0)
        outcomes.append(np.concatenate([w.numpy().ravel() for w in model.prediction_weights]))
    np.testing.assert_array_equal(outcomes[0], outcomes[1])
    assert not np.allclose(outcomes[0], outcomes[2])


def test_the_fingerprint_depends_on_weights_and_arguments_only():
    model = new_model(balance=UncertaintyWeights())
    before = model.fingerprint()
    assert before == new_model(balance=UncertaintyWeights()).fingerprint()
    model.compile("adam", run_eagerly=True)
    model.evaluate(new_rows(), verbose=0)
    model.task_balance.log_variances.assign_add(tf.ones(5))
    assert model.fingerprint() == before
    model.hidden_layers[0].bias.assign_add(tf.ones(6))
    assert model.fingerprint() != before
    assert new_model(balance=UncertaintyWeights(), dropout=0.1).fingerprint() != before


def test_parameters_are_those_used_at_inference():
    model = RankingModel(
        [IdFeature("user_id", 5, 2, "query"), ItemFeature(3, 4, np.ones((3, 7)))],
        [Ordinal("stars"), Binary("like")],
        num_cross_layers=1,
        hidden_units=(5,),
        task_balance=GradientNormWeights(),
    )
    ids, items = 6 * 2, 4 * 4 + (4 * 7 + 4) + (7 * 4 + 4)  # id table; vectors, presence; projection
    cross, hidden = 6 * 6 + 6, 6 * 5 + 5
    assert model.num_parameters == ids + items + cross + hidden + (5 + 4) + (5 + 1)


# ---- learning


def test_it_learns_a_planted_rating_and_click_from_ids_and_a_number_to_near_the_optimum():
    """rating = user + item effect + noise of 0.3; like ~ Bernoulli of a logit in user x item."""
    tf.keras.utils.set_random_seed(0)  # `fit` shuffles by it
    random = np.random.default_rng(0)
    num_rows, num_users, num_items = 6000, 30, 40
    users = random.integers(1, num_users + 1, num_rows)
    items = random.integers(1, num_items + 1, num_rows)
    user_taste = random.choice([-1.0, 1.0], num_users + 1)
    item_kind = random.choice([-1.0, 1.0], num_items + 1)
    base = 3 + 0.5 * random.normal(size=num_items + 1)
    age = random.normal(40, 10, num_rows)
    mean = base[items] + 0.04 * (age - 40) + 0.3 * user_taste[users]
    rating = np.clip(mean + random.normal(scale=0.3, size=num_rows), 1, 5)
    probability = 1 / (1 + np.exp(-1.5 * user_taste[users] * item_kind[items]))
    like = (random.random(num_rows) < probability).astype(np.float32)
    rows = {
        "user_id": users.astype(np.int32),
        "item_id": items.astype(np.int32),
        "age": age.astype(np.float32),
        "label/rating": rating.astype(np.float32),
        "label/like": like,
    }
    train = {name: values[:4500] for name, values in rows.items()}
    test = {name: tf.constant(values[4500:]) for name, values in rows.items()}
    train["label/like"] = np.where(np.arange(4500) % 4 == 0, NAN, train["label/like"])
    model = RankingModel(
        [
            IdFeature("user_id", num_users, 8, "query", seed=0),
            ItemFeature(num_items, 8, seed=0),
            NumberFeature.fit("age", train["age"], "query"),
        ],
        [Regression("rating", 1, 5), Binary("like")],
        hidden_units=(16,),
        seed=0,
    )
    model.compile(tf.keras.optimizers.Adam(0.01))
    model.fit(train, batch_size=200, epochs=8, verbose=0)
    output = model.predictions(test)
    error = np.asarray(output["rating"]) - rating[4500:]
    best = np.sqrt(np.mean((np.clip(mean, 1, 5) - rating)[4500:] ** 2))
    assert np.std(rating) > 0.6 > 1.15 * best > np.sqrt(np.mean(error**2))
    yes, shares = like[4500:] > 0.5, np.asarray(output["like"])
    known = probability[4500:]
    # calibrated: in the two halves of the predictable part, the mean is that of the labels, within
    # three standard errors of 750 draws, 0.05, and what the training draws leave
    for half in (known > 0.5, known < 0.5):
        assert shares[half].mean() == pytest.approx(yes[half].mean(), abs=0.06)
    best_loss = -np.mean(np.log(np.where(yes, known, 1 - known)))
    loss = -np.mean(np.log(np.where(yes, shares, 1 - shares)))
    assert best_loss < np.log(2) - 0.15 and loss < best_loss + 0.05
