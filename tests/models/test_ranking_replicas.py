"""Two replicas train a ranking model as one does with the same global batch.

TensorFlow splits the processor into two devices only before it starts, so all training happens in a
separate process: this file, run as a script. It prints the results; the tests compare.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
from own_process import printed_by

from tfrs_distill.models.features import IdFeature, ItemFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.task_balance import GradientNormWeights, UncertaintyWeights
from tfrs_distill.models.tasks import Binary, Regression

BALANCES = {"fixed": None, "uncertainty": UncertaintyWeights, "gradient norm": GradientNormWeights}
BATCH_SIZE, NUM_ROWS = 8, 17  # the last batch is one row: a replica gets none


def batches():
    """Labels are missing unevenly: a batch's first half has few ratings, its second no like."""
    random = np.random.default_rng(0)
    place = np.arange(NUM_ROWS) % BATCH_SIZE
    rating = random.integers(1, 6, NUM_ROWS).astype(np.float32)
    like = (rating > 3).astype(np.float32)
    rating[place < 3], like[place >= 4] = np.nan, np.nan
    rows = {
        "user_id": random.integers(0, 6, NUM_ROWS).astype(np.int32),
        "item_id": random.integers(1, 8, NUM_ROWS).astype(np.int32),
        "label/rating": rating,
        "label/like": like,
        "sample_weight": random.uniform(0.5, 2.0, NUM_ROWS).astype(np.float32),
    }
    return tf.data.Dataset.from_tensor_slices(rows).batch(BATCH_SIZE)


def new_model(balance):
    features = [IdFeature("user_id", 5, 3, "query", seed=0), ItemFeature(7, 3, seed=1)]
    model = RankingModel(
        features,
        [Regression("rating", 1, 5), Binary("like")],
        num_cross_layers=1,
        hidden_units=(4,),
        task_balance=balance and balance(),
        seed=2,
    )
    for feature in features:  # of size 1, to have real gradients
        feature.weights[0].assign(20.0 * feature.weights[0])
    model.hidden_layers[0].add_loss(lambda: 0.1 * tf.reduce_sum(model.hidden_layers[0].kernel ** 2))
    return model


def training(strategy, balance):
    with strategy.scope():
        model = new_model(balance)
        model.compile(tf.keras.optimizers.SGD(0.1), run_eagerly=True)
    before = [weight.numpy().tolist() for weight in model.prediction_weights]
    logs = model.fit(batches(), verbose=0).history
    evaluation = model.evaluate(batches(), verbose=0, return_dict=True)
    return {
        "before": before,
        "after": [weight.numpy().tolist() for weight in model.prediction_weights],
        "balance": [weight.numpy().tolist() for weight in model.task_balance.variables],
        "logs": logs,
        "evaluation": evaluation,
    }


def main():
    [processor] = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(processor, halves)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(
        json.dumps(
            {
                name: [training(strategy, balance) for strategy in (one, two)]
                for name, balance in BALANCES.items()
            }
        )
    )


@pytest.fixture(scope="module")
def outcomes():
    return printed_by(__file__, timeout=500)


@pytest.mark.nightly
@pytest.mark.parametrize("name", BALANCES)
def test_two_replicas_train_as_one(outcomes, name):
    one, two = outcomes[name]
    for first, second in zip(one["after"], two["after"]):
        # float32 sums in another order
        np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-5)
    moved = [np.abs(np.subtract(a, b)).max() for a, b in zip(one["after"], one["before"])]
    assert max(moved) > 0.05
    for first, second in zip(one["balance"], two["balance"]):
        np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-5)


@pytest.mark.nightly
@pytest.mark.parametrize("name", BALANCES)
def test_two_replicas_log_the_same_as_one(outcomes, name):
    one, two = outcomes[name]
    for kind in ("logs", "evaluation"):
        assert set(one[kind]) == set(two[kind])
        for metric, values in one[kind].items():
            np.testing.assert_allclose(two[kind][metric], values, rtol=1e-4, err_msg=metric)


if __name__ == "__main__":
    main()
