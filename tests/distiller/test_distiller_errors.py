"""Every error is raised with a clear message, at construction or at the first batch."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
from nightly import nightly
from tiny_data import random_windows

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.errors import DivergedError
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS, MAX_HISTORY = 9, 4
NUM_EXAMPLES, WIDTH, NUM_CLASSES = 12, 3, 5
GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(NUM_EXAMPLES, WIDTH)).astype(np.float32)
LABELS = GENERATOR.integers(0, NUM_CLASSES, NUM_EXAMPLES)
OUTPUTS = GENERATOR.normal(size=(NUM_EXAMPLES, NUM_CLASSES)).astype(np.float32)
NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def windows():
    return random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)


def classifier(units=NUM_CLASSES):
    inputs = tf.keras.Input([WIDTH])
    inner = tf.keras.layers.Dense(4, activation="relu", name="inner")(inputs)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(units, name="classes")(inner))


def retrieval_student(**changed):
    return RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=MAX_HISTORY, embedding_dim=4, seed=0, **changed
    )


def hint():
    return HiddenRepresentationDistillation("inner", "deep", name="hint")


class FixedTeacher:
    """A teacher whose outputs are columns of the batch."""

    def logits(self, batch, candidate_ids):
        return batch["said"]

    def hidden_representations(self, batch):
        return {"deep": batch["said"]}


def batches_of(output=OUTPUTS, size=NUM_EXAMPLES, **more):
    data = {columns.INPUTS: INPUTS, columns.LABELS: LABELS, "said": output, **more}
    return tf.data.Dataset.from_tensor_slices(data).batch(size)


def assert_refused(distiller, batches, words, *, eagerly=False, error=ValueError, steps=0):
    """`fit` raises this message, and no weight moved after `steps` steps."""
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.1), run_eagerly=eagerly)
    before = [weight.numpy().copy() for weight in distiller.student.trainable_variables]
    with pytest.raises(error, match=words):
        distiller.fit(batches, verbose=0)
    assert int(distiller.optimizer.iterations) == steps
    for weight, old in zip(distiller.student.trainable_variables, before):
        moved = np.abs(weight.numpy() - old).max()
        assert (moved > 0.05) if steps else (moved == 0)  # Adam's first step is its learning rate


def distiller_of(student=None, teacher=None, losses=None, *more, **changed):
    return Distiller(
        classifier() if student is None else student,
        FixedTeacher() if teacher is None else teacher,
        SoftTargetKLDivergence() if losses is None else losses,
        *more,
        **changed,
    )


EAGERLY = pytest.mark.parametrize("eagerly", [False, True])


def eagerly_and_once_in_a_graph(name, values):
    """Each value eagerly and in a graph; by default only the first in a graph."""
    in_a_graph = [(False, values[0]), *(nightly(False, value) for value in values[1:])]
    eagerly = [(True, value) for value in values]
    return pytest.mark.parametrize(("eagerly", name), in_a_graph + eagerly)


EVERY_LOSS = eagerly_and_once_in_a_graph("loss", [SoftTargetKLDivergence, hint])


# At construction: students and teachers


def model_of_keras_3():
    """An object that looks like one of a Keras 3 class."""

    class Functional:
        def __call__(self, inputs):
            return inputs

    Functional.__module__ = "keras.src.models.functional"
    return Functional()


def subclass_of_keras_3():
    """The same, as a subclass in a user module."""
    return type("Mine", (type(model_of_keras_3()),), {})()


@pytest.mark.parametrize("make", [model_of_keras_3, subclass_of_keras_3])
@pytest.mark.parametrize("place", ["student", "teacher"])
def test_a_keras_3_model_is_recognised(make, place):
    words = f"`{place}` must .*Received: .*{type(make()).__name__}. This is Keras 3: build it with"
    with pytest.raises(TypeError, match=words):
        distiller_of(**{place: make()})


@pytest.mark.parametrize("student", ["small", tf.keras.layers.Dense(2), tf.keras.Model, object()])
def test_a_student_that_is_not_a_keras_model_is_refused(student):
    with pytest.raises(TypeError, match="`student` must be a Keras 2 model") as caught:
        distiller_of(student)
    assert "Keras 3" not in str(caught.value)


def test_a_tfrs_model_must_be_adopted_first():
    class Movielens(tfrs.Model):
        pass

    words = "`tfrs.Model`, Movielens. Adapt it first: .*from_tfrs"
    with pytest.raises(TypeError, match=words):
        distiller_of(Movielens())


@pytest.mark.parametrize("teacher", ["large", 3, object(), [classifier]])
def test_a_teacher_without_logits_is_refused(teacher):
    with pytest.raises(TypeError, match=r"`teacher` must have a method `logits\(batch, candidate"):
        distiller_of(teacher=teacher)
    distiller = distiller_of()
    kept = distiller.teacher
    with pytest.raises(TypeError, match="`teacher` must have a method"):
        distiller.set_teacher(teacher)
    assert distiller.teacher is kept


def frozen():
    model = classifier()
    model.trainable = False
    return model


def frozen_layer_by_layer():
    model = classifier()
    for layer in model.layers:
        layer.trainable = False
    return model


def without_weights():
    inputs = tf.keras.Input([WIDTH])
    return tf.keras.Model(inputs, tf.keras.layers.Flatten()(inputs))


@pytest.mark.parametrize("make", [frozen, frozen_layer_by_layer, without_weights])
def test_a_built_student_without_trainable_weights_is_refused(make):
    with pytest.raises(ValueError, match="`student` has no trainable weights"):
        distiller_of(make())


@EAGERLY
def test_an_unbuilt_student_without_trainable_weights_is_refused_at_the_first_batch(eagerly):
    model = tf.keras.Sequential([tf.keras.layers.Dense(NUM_CLASSES)])
    model.trainable = False
    distiller = distiller_of(model)
    distiller.compile(optimizer="adam", run_eagerly=eagerly)
    with pytest.raises(ValueError, match="`student` has no trainable weights"):
        distiller.fit(batches_of(), verbose=0)
    assert int(distiller.optimizer.iterations) == 0


# At construction: losses and weights


@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, NAN, INF, -INF, "2", None])
def test_a_temperature_that_is_not_above_0_is_refused(temperature):
    with pytest.raises(ValueError, match=f"`temperature` must .*temperature={temperature!r}"):
        SoftTargetKLDivergence(temperature=temperature)


@pytest.mark.parametrize("weights", [[-0.1], [NAN], [INF], [-INF]])
def test_distillation_loss_weights_out_of_range_are_refused(weights):
    with pytest.raises(
        ValueError, match="`distillation_loss_weights` must be finite and at least 0"
    ):
        distiller_of(None, None, None, weights)


@pytest.mark.parametrize("weights", [[], [1.0, 1.0], [1.0] * 3])
def test_another_number_of_weights_than_losses_is_refused(weights):
    words = f"one number per loss. Received: {len(weights)} weights for 1 losses"
    with pytest.raises(ValueError, match=words):
        distiller_of(None, None, None, weights)


@pytest.mark.parametrize("weight", [-0.01, 1.01, NAN, INF])
def test_a_student_loss_weight_out_of_range_is_refused(weight):
    with pytest.raises(ValueError, match="`student_loss_weight` must be within 0 and 1"):
        distiller_of(student_loss_weight=weight)


@pytest.mark.parametrize(
    "loss", ["mse", tf.keras.losses.mse, tf.keras.losses.MeanSquaredError, tf.keras.layers.Dense(2)]
)
def test_an_object_that_is_not_a_loss_is_refused(loss):
    with pytest.raises(TypeError, match="must be `tf.keras.losses.Loss` objects"):
        distiller_of(losses=[SoftTargetKLDivergence(), loss])


@pytest.mark.parametrize("name", ["KLDivergence", "BinaryCrossentropy", "CategoricalCrossentropy"])
def test_a_loss_of_probabilities_is_refused(name):
    """Keras' distillation tutorial has a KL divergence of softmax outputs; these are logits."""
    with pytest.raises(TypeError, match=f"{name}. compares.*logits. Use `td.losses.SoftTargetKL"):
        distiller_of(losses=getattr(tf.keras.losses, name)())
    distiller_of(losses=tf.keras.losses.MeanSquaredError())


def test_no_loss_is_refused():
    with pytest.raises(ValueError, match="at least one loss"):
        distiller_of(losses=[])


@pytest.mark.parametrize("name", ["total_loss", "student_loss", "distillation_loss"])
@pytest.mark.parametrize(
    "make",
    [
        SoftTargetKLDivergence,
        lambda name: HiddenRepresentationDistillation("inner", "deep", name=name),
    ],
)
def test_reserved_names_of_terms_are_refused(name, make):
    with pytest.raises(ValueError, match=rf"unique names.*These names occur twice: \['{name}'\]"):
        distiller_of(losses=make(name=name))


def test_two_losses_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"unique names.*These names occur twice: \['kl'\]"):
        distiller_of(losses=[SoftTargetKLDivergence(t, name="kl") for t in (1.0, 2.0)])


# At the first batch: shapes


@EAGERLY
@pytest.mark.parametrize("width", [NUM_CLASSES - 1, NUM_CLASSES + 1, 1])
def test_logits_of_another_width_are_refused(eagerly, width):
    output = GENERATOR.normal(size=(NUM_EXAMPLES, width)).astype(np.float32)
    words = f"Teacher and student logits .*over the same .* {width}.*student.* {NUM_CLASSES}"
    for loss in (SoftTargetKLDivergence(), tf.keras.losses.MeanSquaredError(name="scores")):
        assert_refused(distiller_of(losses=loss), batches_of(output), words, eagerly=eagerly)


class Movielens(tfrs.Model):
    def __init__(self):
        super().__init__()
        self.user_model, self.movie_model = (tf.keras.layers.Embedding(9, 3) for _ in range(2))
        self.task = tfrs.tasks.Retrieval()


def columns_too_few(logits):
    return logits[:, 1:]


def one_column(logits):
    return logits[:, :1]


def one_row(logits):
    return logits[:1]


def rows_too_many(logits):
    return tf.repeat(logits, 2, axis=0)


def one_more_axis(logits):
    return logits[:, :, None]


@eagerly_and_once_in_a_graph(
    "spoil", [columns_too_few, one_column, one_row, rows_too_many, one_more_axis]
)
def test_logits_of_a_dynamic_shape_are_checked_at_run_time(eagerly, spoil):
    """In-batch candidates are as many as the batch has rows; one column or row would broadcast."""
    model = Movielens()
    student = RetrievalStudent.from_tfrs(
        model,
        query_tower=model.user_model,
        candidate_tower=model.movie_model,
        query_column="user",
        candidate_column="movie",
    )
    data = {"user": np.arange(6), "movie": np.arange(6)[::-1].copy()}
    batches = tf.data.Dataset.from_tensor_slices(data).batch(4)
    student(next(iter(batches)))  # its weights exist, to be compared

    def teacher(batch, candidate_ids):
        scores = tf.cast(batch["user"][:, None] * candidate_ids[None, :], tf.float32)
        return spoil(scores)

    distiller = distiller_of(student, teacher)
    words = "Teacher and student logits .*must be over the same .*candidates, .*Received: teacher"
    assert_refused(distiller, batches, words, eagerly=eagerly)


@EAGERLY
def test_a_softmax_over_one_logit_is_refused(eagerly):
    distiller = distiller_of(classifier(units=1))
    words = "SoftTargetKLDivergence needs at least 2 candidates"
    assert_refused(distiller, batches_of(OUTPUTS[:, :1]), words, eagerly=eagerly)


# At the first batch: values of the teacher


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


@EAGERLY
def test_probabilities_in_place_of_logits_are_detected(eagerly):
    words = "logits are probabilities: none is negative and every row sums to 1. Return logits"
    assert_refused(distiller_of(), batches_of(softmax(OUTPUTS)), words, eagerly=eagerly)


def test_probabilities_of_a_catalogue_are_detected(windows):
    student = retrieval_student()

    def teacher(batch, candidate_ids):
        return tf.nn.softmax(student(batch).logits + 1.0)

    assert_refused(distiller_of(student, teacher), windows.batches(4), "logits are probabilities")


ALMOST = {
    "log-probabilities": np.log(softmax(OUTPUTS)),
    "logits above 0": np.abs(OUTPUTS),
    "one row of logits, all above 0": np.concatenate([np.abs(OUTPUTS[:1]), softmax(OUTPUTS[1:])]),
    "rows that sum to 1 with a negative": OUTPUTS - OUTPUTS.mean(axis=1, keepdims=True) + 0.2,
    "all zero": np.zeros_like(OUTPUTS),
}


@pytest.mark.parametrize("kind", ALMOST)
def test_logits_that_resemble_probabilities_are_accepted(kind):
    distiller = distiller_of()
    distiller.compile(optimizer="adam", run_eagerly=True)
    distiller.fit(batches_of(ALMOST[kind].astype(np.float32)), verbose=0)
    assert int(distiller.optimizer.iterations) == 1


IDS = np.arange(100, 100 + NUM_EXAMPLES)


@pytest.mark.parametrize(
    ("value", "eagerly"),
    [nightly(NAN, False), (NAN, True), nightly(INF, False), (-INF, True)],
)
@pytest.mark.parametrize("loss", [SoftTargetKLDivergence, hint])
def test_a_value_that_is_not_finite_names_its_example(eagerly, value, loss):
    output = OUTPUTS.copy()
    output[7, 2] = value
    for more, example in (({columns.EXAMPLE_ID: IDS}, 107), ({}, 7)):
        distiller = distiller_of(losses=loss())
        words = f"^The teacher returns NaN or infinite values for example {example}$"
        assert_refused(distiller, batches_of(output, **more), words, eagerly=eagerly)


@EAGERLY
def test_of_several_bad_examples_the_first_is_named(eagerly):
    """Also if every one is bad, which no check takes for probabilities."""
    output = np.full_like(OUTPUTS, NAN)
    words = "^The teacher returns NaN or infinite values for example 100$"
    batches = batches_of(output, **{columns.EXAMPLE_ID: IDS})
    assert_refused(distiller_of(), batches, words, eagerly=eagerly)


@EVERY_LOSS
def test_at_a_later_batch_as_well(eagerly, loss):
    """One step is taken, the second is not."""
    output = OUTPUTS.copy()
    output[9, 0] = NAN
    for more in ({columns.EXAMPLE_ID: IDS}, {}):
        distiller = distiller_of(losses=loss())
        words = "^The total_loss became nan in batch 2 of the epoch, after 1 steps, and the weights"
        batches = batches_of(output, size=6, **more)
        assert_refused(distiller, batches, words, eagerly=eagerly, steps=1)


def test_callbacks_given_by_position_leave_the_check_on():
    output = OUTPUTS.copy()
    output[9, 0] = NAN
    distiller, calls = distiller_of(), []
    distiller.compile(optimizer="adam")
    seen = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: calls.append(1))
    with pytest.raises(DivergedError, match="became nan in batch 2"):
        distiller.fit(batches_of(output, size=6), None, None, 1, 0, [seen])
    assert calls == [1]


@pytest.mark.parametrize("eagerly", [nightly(False), True])
def test_an_example_of_several_rows_is_named_by_its_id(eagerly, windows):
    """Rows are positions; the error is at the last one of the third example."""
    labelled = (windows.labels > 0).sum(axis=1)
    bad = int(labelled[:3].sum()) - 1

    def teacher(batch, candidate_ids):
        rows = tf.size(tf.where(batch[columns.LABELS] > 0)[:, 0])
        shape = [rows, tf.size(candidate_ids)]
        return tf.where(tf.range(rows)[:, None] == bad, NAN, tf.zeros(shape))

    student = retrieval_student()
    words = "^The teacher returns NaN or infinite values for example {}$"
    numbered = windows.batches(len(windows)).map(
        lambda batch: batch | {columns.EXAMPLE_ID: 50 + tf.range(len(windows))}
    )
    distiller = distiller_of(student, teacher)
    assert_refused(distiller, numbered, words.format(52), eagerly=eagerly)

    def unnumbered(batch):
        return {name: column for name, column in batch.items() if name != columns.EXAMPLE_ID}

    distiller = distiller_of(retrieval_student(), teacher)
    batches = windows.batches(len(windows)).map(unnumbered)
    assert_refused(distiller, batches, words.format(2), eagerly=eagerly)


def test_evaluate_and_train_on_batch_raise_it_as_well():
    output = OUTPUTS.copy()
    output[7, 2] = NAN
    distiller = distiller_of()
    distiller.compile(optimizer="adam")
    words = "^The teacher returns NaN or infinite values for example 7$"
    with pytest.raises(ValueError, match=words):
        distiller.evaluate(batches_of(output), verbose=0)
    with pytest.raises(ValueError, match=words):
        distiller.train_on_batch(next(iter(batches_of(output))))
    assert int(distiller.optimizer.iterations) == 0


@EVERY_LOSS
def test_a_diverged_student_is_distinguished_from_a_bad_teacher(eagerly, loss):
    distiller = distiller_of(losses=loss())
    layer = distiller.student.get_layer("inner")
    layer.set_weights([np.zeros([WIDTH, 4]), np.full([4], INF)])
    distiller.compile(optimizer="adam", run_eagerly=eagerly)
    name = loss().name
    words = f"^The student has diverged: its distillation loss `{name}` is NaN.* Example 100$"
    with pytest.raises(ValueError, match=words):
        distiller.fit(batches_of(**{columns.EXAMPLE_ID: IDS}), verbose=0)
    assert int(distiller.optimizer.iterations) == 0


def test_other_errors_of_a_step_keep_their_type():
    """Only errors of the step's own checks are reworded."""

    def teacher(batch, candidate_ids):
        with tf.control_dependencies([tf.debugging.Assert(False, ["out of coffee"])]):
            return tf.identity(batch["said"])

    distiller = distiller_of(teacher=teacher)
    error = tf.errors.InvalidArgumentError
    assert_refused(distiller, batches_of(), "out of coffee", error=error)


@EAGERLY
def test_a_distiller_without_a_teacher_is_refused(eagerly):
    distiller = Distiller(classifier(), None, SoftTargetKLDivergence())
    assert_refused(distiller, batches_of(), "no teacher is given.*set_teacher", eagerly=eagerly)
    distiller.set_teacher(FixedTeacher())
    distiller.compile(optimizer="adam")
    distiller.fit(batches_of(), verbose=0)


def test_after_a_refused_batch_a_corrected_one_trains():
    student = tf.keras.Sequential([tf.keras.layers.Dense(4)])
    distiller = Distiller(student, lambda batch, _: batch["said"], SoftTargetKLDivergence())
    distiller.compile(optimizer="adam")
    batch = {"inputs": tf.ones([3, 2]), "labels": tf.constant([0, 1, 2]), "said": tf.ones([3, 5])}
    with pytest.raises(ValueError, match="must be over the same"):
        distiller.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    batch["said"] = tf.ones([3, 4])
    history = distiller.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    assert np.isfinite(history["total_loss"][0])


LEAST = np.finfo(np.float32).min


def test_a_teacher_may_mask_with_the_lowest_float32():
    """At temperature 0.5 it overflows; masked candidates have a soft target of 0."""
    output = np.float32([[LEAST, 0.0, 0.0]])
    student = tf.keras.Sequential([tf.keras.Input([1]), tf.keras.layers.Dense(3, use_bias=False)])
    student.set_weights([np.log(np.float32([[2.0, 1.0, 1.0]])) / 2])
    distiller = distiller_of(student, losses=SoftTargetKLDivergence(0.5, name="kl"))
    batch = {columns.INPUTS: np.ones([1, 1], np.float32), columns.LABELS: [1], "said": output}
    terms = distiller.loss_terms({k: tf.constant(v) for k, v in batch.items()}, training=True)
    np.testing.assert_allclose(terms["kl"], 0.25 * np.log(2.0), rtol=1e-6)  # 1/2, 1/4, 1/4


@pytest.mark.parametrize("value", [-LEAST, [LEAST] * NUM_CLASSES])
def test_a_teacher_that_overflows_or_masks_everything_is_not_a_diverged_student(value):
    output = OUTPUTS.copy()
    output[7, :] = value
    distiller = distiller_of(losses=SoftTargetKLDivergence(0.5))
    words = "^The teacher returns NaN or infinite values for example 7$"
    assert_refused(distiller, batches_of(output), words, eagerly=True)
