"""Equal training in every mode: on two replicas, in mixed precision, with loss scaling.

TensorFlow splits the processor into two devices only before it starts, so all training happens in a
separate process: this file, run as a script. It prints the results; the tests compare.
"""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf
from own_process import printed_by
from tiny_ranking import batches_of, example_columns, new_student, with_weights

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.losses.pairwise_distillation import PairwiseDistillation
from tfrs_distill.losses.soft_target_binary_cross_entropy import SoftTargetBinaryCrossEntropy
from tfrs_distill.models import GradientNormWeights

LEARNING_RATE = 0.2
# A number rounds to float16 or bfloat16 with a relative error of at most this (11 or 8 bits).
ROUNDING = {"mixed_float16": 2.0**-11, "mixed_bfloat16": 2.0**-8}


def examples():
    """Weights, rows of NaN, and queries that are on one replica; the last batch is one row."""
    data = with_weights(example_columns(num_rows=17))
    data[columns.QUERY_ID] = (np.arange(17) // 4).astype(np.int32)
    data["deep"] = np.random.default_rng(1).normal(size=(17, 4)).astype(np.float32)
    return data


def new_distiller(balance=None, dtype=None):
    initializer = tf.keras.initializers.GlorotUniform(seed=5)
    penalty = tf.keras.regularizers.L2(0.01)
    projector = tf.keras.layers.Dense(
        4, kernel_initializer=initializer, kernel_regularizer=penalty, dtype=dtype
    )
    losses = {
        "rating": SoftTargetKLDivergence(2.0, name="kl"),
        "like": [SoftTargetBinaryCrossEntropy(name="bce"), PairwiseDistillation(name="pairs")],
        "hidden": HiddenRepresentationDistillation(
            "deep", "deep", projector=projector, dtype=dtype, name="hint"
        ),
    }
    student = new_student(task_balance=balance, dtype=dtype)
    return Distiller(student, None, losses)


def training(strategy, make=new_distiller, optimizer=tf.keras.optimizers.SGD, **options):
    """Weights before and after an epoch, the logs, and an evaluation."""
    with strategy.scope():
        model = make()
        model.compile(optimizer=optimizer(LEARNING_RATE), **options)
        model.loss_terms(next(iter(batches_of(examples()))), training=False)  # makes the projector
    before = [weight.numpy().tolist() for weight in model.trainable_variables]
    history = model.fit(batches_of(examples()), verbose=0).history
    evaluation = model.evaluate(batches_of(examples()), verbose=0, return_dict=True)
    after = [weight.numpy().tolist() for weight in model.trainable_variables]
    return {"before": before, "after": after, "logs": history, "evaluation": evaluation}


def scaled(learning_rate):
    return tf.keras.mixed_precision.LossScaleOptimizer(tf.keras.optimizers.SGD(learning_rate))


BALANCES = {
    "fixed": lambda: None,
    "gradient norm": lambda: GradientNormWeights(1.0),
}


def main(names):
    """Print the results: of these balances alone, or of everything."""
    [processor] = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(processor, halves)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    eagerly = {"run_eagerly": True}  # saves the time of building graphs
    outcomes = {}
    for name in names or BALANCES:
        balance = BALANCES[name]
        make = lambda balance=balance: new_distiller(balance())  # noqa: E731
        outcomes[name] = [training(strategy, make, **eagerly) for strategy in (one, two)]
    if names:
        print(json.dumps(outcomes))
        return
    outcomes["graph"] = training(two)
    for dtype in ROUNDING:
        optimizer = scaled if dtype == "mixed_float16" else tf.keras.optimizers.SGD
        make = lambda dtype=dtype: new_distiller(dtype=dtype)  # noqa: E731
        outcomes[dtype] = training(one, make, optimizer, **eagerly)
    print(json.dumps(outcomes))


@pytest.fixture(scope="module")
def outcomes():
    return printed_by(__file__, timeout=600)


def assert_same_training(one, two, atol=1e-6, rtol=1e-5):
    """Sums of a few dozen float32 numbers of size 1 in another order."""
    assert len(one["after"]) == len(two["after"]) > 5
    for mine, yours in zip(one["after"], two["after"]):
        np.testing.assert_allclose(yours, mine, atol=atol, rtol=0)
    for kind in ("logs", "evaluation"):
        assert set(one[kind]) == set(two[kind]) > {"total_loss", "like_pairs", "hidden_hint"}
        for name, value in one[kind].items():
            np.testing.assert_allclose(two[kind][name], value, rtol=rtol, err_msg=name)


def assert_like_one(one, two):
    moved = [np.abs(np.subtract(a, b)).max() for a, b in zip(one["after"], one["before"])]
    assert min(moved) > 1e-3
    assert_same_training(one, two)


@pytest.mark.nightly
@pytest.mark.parametrize("name", BALANCES)
def test_two_replicas_train_log_and_evaluate_like_one_with_the_same_global_batch(outcomes, name):
    assert_like_one(*outcomes[name])


@pytest.mark.nightly
def test_two_replicas_with_fixed_weights_are_like_one():
    assert_like_one(*printed_by(__file__, "fixed", timeout=600)["fixed"])


@pytest.mark.nightly
def test_a_graph_of_two_replicas_trains_like_running_eagerly(outcomes):
    assert_same_training(outcomes["fixed"][0], outcomes["graph"])


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", ROUNDING)
def test_mixed_precision_trains_like_float32(outcomes, dtype):
    """Weights' changes come from three steps of some ten roundings each."""
    plain, mixed = outcomes["fixed"][0], outcomes[dtype]
    for expected, before, found in zip(plain["after"], plain["before"], mixed["after"]):
        size = np.abs(np.subtract(expected, before)).max()
        atol = 30 * ROUNDING[dtype] * size
        np.testing.assert_allclose(found, expected, atol=atol, rtol=0)
    for name, value in plain["logs"].items():
        rtol = 5 * ROUNDING[dtype]
        np.testing.assert_allclose(mixed["logs"][name], value, rtol=rtol, err_msg=name)


if __name__ == "__main__":
    main(sys.argv[1:])
