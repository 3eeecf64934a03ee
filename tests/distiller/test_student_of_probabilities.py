"""A student, or teacher, that ends in a softmax or sigmoid is refused before the first step."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
from tiny_ranking import example_columns, new_student

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import (
    LogitMeanSquaredError,
    SoftTargetBinaryCrossEntropy,
    SoftTargetKLDivergence,
)
from tfrs_distill.models import RankingStudent

NUM_ROWS, NUM_CLASSES = 12, 5
RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(NUM_ROWS, 3)).astype(np.float32)
OUTPUTS = RANDOM.normal(size=(NUM_ROWS, NUM_CLASSES)).astype(np.float32)
FIRST_ROW_COUNTS_NOTHING = np.float32([0] + [1] * (NUM_ROWS - 1))
softmax, sigmoid, Dense = tf.nn.softmax, tf.nn.sigmoid, tf.keras.layers.Dense


def batch_of(output=OUTPUTS, **more):
    labels = np.arange(NUM_ROWS) % NUM_CLASSES
    data = {columns.INPUTS: INPUTS, columns.LABELS: labels, "said": output, **more}
    return {name: tf.constant(column) for name, column in data.items()}


def weighted(**more):
    """Row 0, of weight 0, is not a distribution."""
    inputs = INPUTS.copy()
    inputs[0] = np.nan
    more = {columns.INPUTS: inputs, columns.SAMPLE_WEIGHT: FIRST_ROW_COUNTS_NOTHING} | more
    return batch_of(**more)


def functional(last):
    inputs = tf.keras.Input([3])
    return tf.keras.Model(inputs, last(Dense(NUM_CLASSES)(inputs)))


class Subclass(tf.keras.Model):
    """A model whose last layer Keras cannot determine."""

    def __init__(self, last):
        super().__init__()
        self.inner, self.last = Dense(NUM_CLASSES), last

    def call(self, inputs, training=None):
        return self.last(self.inner(inputs))


def by_hand(logits):
    exponents = tf.exp(logits)
    return exponents / tf.reduce_sum(exponents, axis=-1, keepdims=True)


def teacher(batch, candidate_ids):
    return batch["said"]


def distiller_of(student, teacher=teacher, loss=None):
    return Distiller(student, teacher, loss or SoftTargetKLDivergence())


@pytest.mark.parametrize(
    ("make", "activation"),
    [
        (lambda: functional(softmax), "softmax"),
        (lambda: functional(sigmoid), "sigmoid"),
        (lambda: functional(tf.keras.layers.Softmax()), "softmax"),
        (lambda: functional(tf.keras.layers.Activation("sigmoid")), "sigmoid"),
        (lambda: tf.keras.Sequential([Dense(5, activation="softmax")]), "softmax"),
        (lambda: tf.keras.Sequential([Dense(1, activation="sigmoid")]), "sigmoid"),
        (lambda: tf.keras.Sequential([tf.keras.Input([3]), functional(softmax)]), "softmax"),
    ],
)
def test_a_last_softmax_layer_is_refused_at_construction(make, activation):
    words = f"The student's logits are probabilities: it ends in a {activation}. Return logits"
    with pytest.raises(ValueError, match=words):
        distiller_of(make())


@pytest.mark.parametrize("make", [functional, Subclass])
@pytest.mark.parametrize("last", [tf.identity, tf.nn.relu, lambda logits: 3.0 * sigmoid(logits)])
def test_other_last_layers_are_accepted(make, last):
    terms = distiller_of(make(last)).loss_terms(batch_of(), training=False)
    assert np.isfinite(terms["total_loss"])


@pytest.mark.parametrize("batch", [batch_of(), weighted()], ids=["", "weighted"])
@pytest.mark.parametrize("last", [softmax, by_hand])
def test_values_that_are_a_distribution_are_refused(last, batch):
    distiller = distiller_of(Subclass(last))
    distiller.compile("sgd", run_eagerly=True)
    words = "^The student's logits are probabilities: none is negative and every row sums to 1"
    with pytest.raises(ValueError, match=words):
        distiller.train_on_batch(batch)
    assert int(distiller.optimizer.iterations) == 0


@pytest.mark.parametrize(
    "last", [softmax, sigmoid, lambda logits: tf.cast(sigmoid(logits), tf.float16)]
)
def test_in_a_graph_the_operation_is_detected_for_any_values(last):
    distiller = distiller_of(Subclass(last))
    traced = tf.function(lambda batch: distiller.loss_terms(batch, training=True), autograph=False)
    with pytest.raises(ValueError, match="student's logits are probabilities: it ends in a s"):
        traced.get_concrete_function(batch_of())


@pytest.mark.parametrize("last", [softmax, sigmoid])
def test_a_teacher_with_a_last_softmax_is_refused_in_a_graph(last):
    distiller = distiller_of(functional(tf.identity), Subclass(last))
    traced = tf.function(lambda batch: distiller.loss_terms(batch, training=True), autograph=False)
    with pytest.raises(ValueError, match="teacher's logits are probabilities: it ends in a s"):
        traced.get_concrete_function(batch_of())


def test_a_row_of_weight_0_does_not_hide_a_teachers_probabilities():
    distiller = distiller_of(functional(tf.identity))
    distiller.compile("sgd", run_eagerly=True)
    for zeros in (1, 9):  # of the checked rows, all
        weights = np.float32([0] * zeros + [1] * (NUM_ROWS - zeros))
        batch = batch_of(softmax(OUTPUTS).numpy(), **{columns.SAMPLE_WEIGHT: weights})
        with pytest.raises(ValueError, match="^The teacher's logits are probabilities: none is"):
            distiller.train_on_batch(batch)
    assert int(distiller.optimizer.iterations) == 0


def test_a_ranking_students_distribution_is_refused():
    student = new_student("rating")
    head = student.heads["rating"]
    logits = head.call
    head.call = lambda hidden: softmax(logits(hidden))
    distiller = Distiller(student, None, SoftTargetKLDivergence())
    distiller.compile("sgd", run_eagerly=True)
    examples = example_columns() | {columns.SAMPLE_WEIGHT: np.float32([0] + [1] * 23)}
    with pytest.raises(ValueError, match="^The student's logits are probabilities: none is"):
        distiller.train_on_batch({name: tf.constant(c) for name, c in examples.items()})
    assert int(distiller.optimizer.iterations) == 0


class RankingModel(tfrs.Model):
    """One value per row, in 0 to 1."""

    def __init__(self, loss):
        super().__init__()
        self.score = tf.keras.Sequential([Dense(1, activation="sigmoid")])
        self.task = tfrs.tasks.Ranking(loss=loss)

    def call(self, features):
        return self.score(features["inputs"])


def trace_adopted(own_loss, loss):
    student = RankingStudent.from_tfrs(RankingModel(own_loss), task="like", inputs={"inputs": "x"})
    distiller = Distiller(student, {"like": lambda batch, _: batch["said"]}, loss)
    batch = {
        "x": INPUTS,
        "said": OUTPUTS[:, :1],
        columns.label("like"): np.float32(OUTPUTS[:, 1] > 0),
    }
    traced = tf.function(lambda batch: distiller.loss_terms(batch, training=True), autograph=False)
    traced.get_concrete_function({name: tf.constant(column) for name, column in batch.items()})


def test_an_adopted_ranking_model_that_ends_in_a_sigmoid_is_refused():
    own = tf.keras.losses.BinaryCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match="student's logits are probabilities: it ends in a sig"):
        trace_adopted(own, SoftTargetBinaryCrossEntropy())


def test_a_regression_may_be_limited_to_0_to_1_by_a_sigmoid():
    trace_adopted(tf.keras.losses.MeanSquaredError(), LogitMeanSquaredError())
