"""Two replicas train as one does with the same global batch.

TensorFlow splits the processor into two devices only before it starts, so all training happens in a
process of its own: this file, run as a script. It prints what came out; the tests compare.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import tiny_catalogue

import tfrs_distill
from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.distillation_layers import HiddenRepresentationDistillation
from tfrs_distill.distiller import Distiller
from tfrs_distill.gradient_accumulation import GradientAccumulation
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.students import Candidates, RetrievalStudent
from tfrs_distill.towers import DecayedAverage, HistoryTower, ItemTower

NUM_ITEMS, MAX_HISTORY, DIM, BATCH_SIZE = 12, 5, 4, 8
LEARNING_RATE = 0.2


def example_columns(num_windows=16):
    """Every batch of 8 has short windows in front: its first half holds fewer rows."""
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
    """All weights of the first batch's first half are 0: one replica has nothing to learn."""
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
    """Logits and a hidden representation from fixed tables: row = the item just met."""

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


def trainings():
    """By name: the model, its batches, and the settings of its optimizer."""
    examples = example_columns()
    labelled, weighted = batches_of(examples), batches_of(with_weights(examples))
    ragged = batches_of(example_columns(9))  # of the last batch one replica gets nothing
    clip = {"global_clipnorm": 0.2}
    return {
        "rows": (new_distiller, labelled, {}),
        "weights": (new_distiller, weighted, {}),
        "penalty": (lambda: new_distiller(penalty=0.1), labelled, {}),
        "student alone": (lambda: new_student(penalty=0.1), weighted, {}),
        "classifier": (new_classifier, classifier_batches(), {}),
        "ragged": (new_distiller, ragged, {}),
        "ragged student": (new_student, ragged, {}),
        "clipped": (new_distiller, labelled, clip),
        "batch": (lambda: new_distiller(EVERYWHERE["batch"]), labelled, {}),
        "ragged batch": (lambda: new_distiller(EVERYWHERE["batch"]), ragged, {}),
        "sampled": (lambda: new_distiller(EVERYWHERE["sampled"]), weighted, {}),
        "sampled student": (lambda: new_student(EVERYWHERE["sampled"]), weighted, {}),
    }


def as_lists(model):
    return [weight.numpy().tolist() for weight in model.trainable_variables]


def training(strategy, new_model, batches, settings, *, epochs=2, **options):
    """Weights before and after some epochs of SGD, what was logged, and an evaluation."""
    with strategy.scope():
        model = new_model()
        optimizer = tf.keras.optimizers.SGD(LEARNING_RATE, **settings)
        metrics = [tf.keras.metrics.SparseTopKCategoricalAccuracy(k=2)]
        model.compile(optimizer=optimizer, metrics=metrics, **options)
        if isinstance(model, Distiller):
            model.loss_terms(next(iter(batches)), training=False)  # creates the projector
    before = as_lists(model)
    history = model.fit(batches, epochs=epochs, verbose=0).history
    evaluation = model.evaluate(batches, verbose=0, return_dict=True)
    return {"before": before, "after": as_lists(model), "logs": history, "evaluation": evaluation}


def one_step_by_hand(batches):
    """SGD on the mean of two halves' losses, each half with the candidates of its own rows."""
    model = new_distiller(Candidates("batch"))
    batch = next(iter(batches))
    halves = [{name: values[rows] for name, values in batch.items()} for rows in HALVES]
    numbers = [np.count_nonzero(half[columns.LABELS]) for half in halves]
    with tf.GradientTape() as tape:
        losses = [model.loss_terms(half, training=True)["total_loss"] for half in halves]
        loss = sum(number / sum(numbers) * loss for number, loss in zip(numbers, losses))
    gradients = tape.gradient(loss, model.trainable_variables)
    return [
        (weight.numpy() - LEARNING_RATE * tf.convert_to_tensor(gradient).numpy()).tolist()
        for weight, gradient in zip(model.trainable_variables, gradients)
    ]


HALVES = (slice(0, BATCH_SIZE // 2), slice(BATCH_SIZE // 2, BATCH_SIZE))


def loss_scaled(strategy, batches):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    outcome = training(strategy, new_distiller, batches, {}, run_eagerly=True)
    tf.keras.mixed_precision.set_global_policy("float32")
    return outcome


def refusal(strategy, batches):
    with strategy.scope():
        model = new_student()
        model.compile(optimizer=GradientAccumulation(tf.keras.optimizers.SGD(0.1), num_steps=2))
    try:
        model.fit(batches, verbose=0)
    except ValueError as error:
        return str(error)
    return "nothing was refused"


def main():
    [processor] = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(processor, halves)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    import time
    outcomes = {}
    for name, settings in trainings().items():
        t=time.time()
        outcomes[name] = [training(strategy, *settings, run_eagerly=True) for strategy in (one, two)]
        print(name, time.time()-t, file=sys.stderr)
    labelled = batches_of(example_columns())
    everywhere = trainings()["sampled"]
    t=time.time()
    outcomes["graph"] = [outcomes["sampled"][0], training(two, *everywhere)]
    print("graph", time.time()-t, file=sys.stderr)
    outcomes["loss scaling"] = [loss_scaled(strategy, labelled) for strategy in (one, two)]
    print("ls", time.time()-t, file=sys.stderr)

    def per_replica():
        return new_distiller(Candidates("batch"))

    first = labelled.take(1)
    with_one, with_two = (
        training(strategy, per_replica, first, {}, run_eagerly=True, epochs=1)
        for strategy in (one, two)
    )
    outcomes["per replica"] = [{"after": one_step_by_hand(first)}, with_two, with_one]
    outcomes["refusal"] = refusal(two, labelled)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
