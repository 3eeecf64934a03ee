"""Two replicas train as one does with the same global batch.

TensorFlow splits the processor into two devices only before it starts, so all training happens in a
separate process: this file, run as a script. It prints the results; the tests compare.
"""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf
from own_process import printed_by

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.distiller.gradient_accumulation import GradientAccumulation
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.models import (
    Candidates,
    DecayedAverage,
    HistoryTower,
    ItemTower,
    RetrievalStudent,
)

NUM_ITEMS, MAX_HISTORY, DIM, BATCH_SIZE = 12, 5, 4, 8
LEARNING_RATE = 0.2


def example_columns(num_windows=16):
    """Every batch of 8 has short windows in front: its first half has fewer rows."""
    generator = np.random.default_rng(0)
    shape = (num_windows, MAX_HISTORY)
    history = generator.integers(1, NUM_ITEMS + 1, size=shape).astype(np.int32)
    labels = generator.integers(1, NUM_ITEMS + 1, size=shape).astype(np.int32)
    short = np.arange(num_windows) % BATCH_SIZE < 3
    history[short, :2] = 0
    labels[short, :3] = 0
    return {
        columns.HISTORY: history,
        columns.LABELS: labels,
        columns.CANDIDATE_SAMPLING_PROBABILITY: generator.uniform(0.05, 0.5, shape),
        columns.NEGATIVES: generator.integers(1, NUM_ITEMS + 1, (num_windows, 2)).astype(np.int32),
        columns.NEGATIVES_SAMPLING_PROBABILITY: generator.uniform(0.05, 0.5, (num_windows, 2)),
    }


def with_weights(examples):
    """All weights of the first batch's first half are 0: one replica has no loss."""
    num_windows = len(examples[columns.HISTORY])
    weights = np.random.default_rng(4).uniform(0.1, 3.0, num_windows)
    weights[: BATCH_SIZE // 2] = 0.0
    return examples | {columns.SAMPLE_WEIGHT: weights.astype(np.float32)}


def batches_of(examples):
    examples = {
        name: values.astype(np.float32) if values.dtype == np.float64 else values
        for name, values in examples.items()
    }
    return tf.data.Dataset.from_tensor_slices(examples).batch(BATCH_SIZE)


class TableTeacher:
    """Logits and a hidden representation from fixed tables: row = the latest item."""

    def __init__(self):
        generator = np.random.default_rng(3)
        self.table = generator.normal(size=(NUM_ITEMS + 1, NUM_ITEMS)).astype(np.float32)
        self.hidden = generator.normal(size=(NUM_ITEMS + 1, 3)).astype(np.float32)

    def logits(self, batch, candidate_ids):
        labelled = batch[columns.LABELS] > 0
        rows = tf.gather(self.table, tf.boolean_mask(batch[columns.HISTORY], labelled))
        return tf.gather(rows, candidate_ids - 1, axis=1)

    def hidden_representations(self, batch):
        return {"met": tf.gather(self.hidden, batch[columns.HISTORY])}


def new_student(candidates=None, penalty=0.0):
    items = ItemTower(NUM_ITEMS, DIM, seed=1, name="item_tower")
    encoder = DecayedAverage(MAX_HISTORY, DIM, seed=1, name="decayed_average")
    if penalty:
        encoder.feed_forward.hidden.kernel_regularizer = tf.keras.regularizers.L2(penalty)
    student = RetrievalStudent(HistoryTower(items, encoder, name="tower"), items, candidates)
    student.build_towers()
    items.id_embeddings.assign(20.0 * items.id_embeddings)  # of size 1, to have real gradients
    return student


def new_distiller(candidates=None, penalty=0.0):
    initializer = tf.keras.initializers.GlorotUniform(seed=5)
    projector = tf.keras.layers.Dense(3, kernel_initializer=initializer)
    hidden = HiddenRepresentationDistillation(
        "decayed_average/feed_forward", "met", projector=projector, name="hidden"
    )
    losses = [SoftTargetKLDivergence(temperature=2.0), hidden]
    return Distiller(new_student(candidates, penalty), TableTeacher(), losses)


def new_classifier():
    initializer = tf.keras.initializers.GlorotUniform(seed=5)
    penalty = tf.keras.regularizers.L2(0.1)
    layer = tf.keras.layers.Dense(4, kernel_initializer=initializer, kernel_regularizer=penalty)
    student = tf.keras.Sequential([tf.keras.Input([3]), layer])
    teacher = tf.constant(np.random.default_rng(3).normal(size=(3, 4)), tf.float32)
    return Distiller(
        student,
        lambda batch, _: tf.matmul(batch[columns.INPUTS], teacher),
        SoftTargetKLDivergence(temperature=2.0),
    )


def classifier_batches():
    generator = np.random.default_rng(2)
    x = generator.normal(size=(16, 3)).astype(np.float32)
    weights = with_weights({columns.HISTORY: x})[columns.SAMPLE_WEIGHT]
    y = generator.integers(0, 4, 16).astype(np.int32)
    return tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(BATCH_SIZE)


EVERYWHERE = {
    "batch": Candidates("batch", across_replicas=True),
    "sampled": Candidates("sampled", num_hard_negatives=5, exclude_seen=True, across_replicas=True),
}


TRAININGS = (
    *("unequal rows", "weights", "penalty", "clipped", "classifier", "no row", "student alone"),
    *("batch", "sampled", "student of sampled", "graph"),
)


def trainings():
    """By name: the model, its batches, and the settings of its optimizer."""
    examples, ragged = example_columns(), example_columns(BATCH_SIZE + 1)
    labelled, weighted = batches_of(examples), batches_of(with_weights(examples))
    return {
        "unequal rows": (new_distiller, labelled, {}),
        "weights": (new_distiller, weighted, {}),
        "penalty": (lambda: new_distiller(penalty=0.1), labelled, {}),
        "clipped": (new_distiller, labelled, {"global_clipnorm": 0.2}),
        "classifier": (new_classifier, classifier_batches(), {}),
        # The last batch is one window: a replica gets none.
        "no row": (new_distiller, batches_of(ragged), {}),
        "student alone": (lambda: new_student(penalty=0.1), batches_of(with_weights(ragged)), {}),
        "batch": (lambda: new_distiller(EVERYWHERE["batch"]), batches_of(ragged), {}),
        "sampled": (lambda: new_distiller(EVERYWHERE["sampled"]), weighted, {}),
        "student of sampled": (lambda: new_student(EVERYWHERE["sampled"]), weighted, {}),
    }


def as_lists(model):
    return [weight.numpy().tolist() for weight in model.trainable_variables]


def training(strategy, new_model, batches, settings, **options):
    """Weights before and after an epoch of SGD, the logs, and an evaluation."""
    with strategy.scope():
        model = new_model()
        optimizer = tf.keras.optimizers.SGD(LEARNING_RATE, **settings)
        metrics = [tf.keras.metrics.SparseTopKCategoricalAccuracy(k=2)]
        model.compile(optimizer=optimizer, metrics=metrics, **options)
        if isinstance(model, Distiller):
            model.loss_terms(next(iter(batches)), training=False)  # creates the projector
    before = as_lists(model)
    history = model.fit(batches, verbose=0).history
    evaluation = model.evaluate(batches, verbose=0, return_dict=True)
    return {"before": before, "after": as_lists(model), "logs": history, "evaluation": evaluation}


def loss_scaled(strategy, batches):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    outcome = training(strategy, new_distiller, batches, {}, run_eagerly=True)
    tf.keras.mixed_precision.set_global_policy("float32")
    return outcome


def one_step_by_hand(batch):
    """SGD on the mean of two halves' losses, each half with the candidates of its own rows."""
    model = new_distiller(Candidates("batch"))
    middle = BATCH_SIZE // 2
    halves = [{name: v[rows] for name, v in batch.items()} for rows in np.s_[:middle, middle:]]
    numbers = [np.count_nonzero(half[columns.LABELS]) for half in halves]
    with tf.GradientTape() as tape:
        losses = [model.loss_terms(half, training=True)["total_loss"] for half in halves]
        loss = sum(number / sum(numbers) * loss for number, loss in zip(numbers, losses))
    variables = model.trainable_variables
    gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, variables)]
    steps = [v.numpy() - LEARNING_RATE * g for v, g in zip(variables, gradients)]
    return {"after": [weight.tolist() for weight in steps]}


def refusal(strategy, batches):
    with strategy.scope():
        model = new_student()
        optimizer = GradientAccumulation(tf.keras.optimizers.SGD(LEARNING_RATE), num_steps=2)
        model.compile(optimizer=optimizer, run_eagerly=True)
    try:
        model.fit(batches, verbose=0)
    except ValueError as error:
        return str(error)
    return "nothing was refused"


def main(names):
    """Print the results: of these trainings alone, or of everything."""
    [processor] = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(processor, halves)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    eagerly = {"run_eagerly": True}  # saves the time of building graphs
    outcomes = {
        name: [training(strategy, *settings, **eagerly) for strategy in (one, two)]
        for name, settings in trainings().items()
        if not names or name in names
    }
    if names:
        print(json.dumps(outcomes))
        return
    outcomes["graph"] = [outcomes["sampled"][0], training(two, *trainings()["sampled"])]
    labelled = batches_of(example_columns())
    outcomes["loss scaling"] = [loss_scaled(strategy, labelled) for strategy in (one, two)]
    first = labelled.take(1)
    in_batch = (lambda: new_distiller(Candidates("batch")), first, {})
    outcomes["per replica"] = [
        one_step_by_hand(next(iter(first))),
        training(two, *in_batch, **eagerly),
        training(one, *in_batch, **eagerly),
    ]
    outcomes["refusal"] = refusal(two, labelled)
    print(json.dumps(outcomes))


@pytest.fixture(scope="module")
def outcomes():
    return printed_by(__file__, timeout=600)


def largest_difference(one, other, key="after"):
    """Of each weight."""
    assert len(one[key]) == len(other[key]) > 1
    return [np.abs(np.subtract(a, b)).max() for a, b in zip(one[key], other[key])]


def assert_same_logs(one, two):
    assert set(one) == set(two) and "sparse_top_k_categorical_accuracy" in one
    for name in one:
        # Means of up to 40 float32 numbers in another order.
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5, err_msg=name)


def assert_like_one(name, one, two):
    assert largest_difference(one, two, "before") == [0.0] * len(one["before"])
    moved = [np.abs(np.subtract(a, b)).max() for a, b in zip(one["after"], one["before"])]
    assert min(moved) > 1e-3
    # Two steps; weights are below 2, gradients sums of some 40 float32 numbers in another order.
    assert max(largest_difference(one, two)) < 1e-6
    assert_same_logs(one["logs"], two["logs"])
    assert_same_logs(one["evaluation"], two["evaluation"])
    if "student" not in name:
        assert {"total_loss", "agreement@10", "soft_target_kl_divergence"} <= set(two["evaluation"])


@pytest.mark.nightly
@pytest.mark.parametrize("name", TRAININGS)
def test_two_replicas_train_log_and_evaluate_like_one_with_the_same_global_batch(outcomes, name):
    assert_like_one(name, *outcomes[name])


def test_two_replicas_with_weights_are_like_one():
    assert_like_one("weights", *printed_by(__file__, "weights", timeout=600)["weights"])


@pytest.mark.nightly
def test_loss_scaling_unscales_the_sum_over_replicas(outcomes):
    """In mixed_float16 as in float32, up to ten roundings to 11 bits."""
    one, two = outcomes["loss scaling"]
    plain = outcomes["unequal rows"][0]
    for weights in zip(one["after"], two["after"], plain["after"], plain["before"]):
        of_one, of_two, expected, before = map(np.array, weights)
        atol = 10 * 2.0**-11 * np.abs(expected - before).max()
        np.testing.assert_allclose(of_one, expected, atol=atol, rtol=0)
        np.testing.assert_allclose(of_two, expected, atol=atol, rtol=0)


@pytest.mark.nightly
def test_in_batch_negatives_are_of_the_replica_by_default(outcomes):
    by_hand, two, one = outcomes["per replica"]
    assert max(largest_difference(by_hand, two)) < 1e-6  # float32, one step
    assert max(largest_difference(one, two)) > 1e-3  # one replica has more negatives


@pytest.mark.nightly
def test_gradient_accumulation_refuses_several_replicas(outcomes):
    words = "GradientAccumulation does not support several replicas. Received: 2 replicas."
    assert words in outcomes["refusal"]


if __name__ == "__main__":
    main(sys.argv[1:])
