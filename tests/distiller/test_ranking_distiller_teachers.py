"""Kinds of teachers and their tasks; teachers are not changed."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_ranking import (
    NAN,
    batches_of,
    bernoulli,
    divergence,
    example_columns,
    new_student,
    one_batch,
    with_weights,
)

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.losses.soft_target_binary_cross_entropy import SoftTargetBinaryCrossEntropy
from tfrs_distill.models.ranking_student import RankingStudent

kl, bce = SoftTargetKLDivergence(name="kl"), SoftTargetBinaryCrossEntropy(name="bce")
LOSSES = {"rating": kl, "like": bce}


def examples_with_teacher():
    """Every row has teacher logits."""
    examples = example_columns()
    for task in ("rating", "like", "next_item"):
        output = examples[columns.teacher_logits(task)]
        output[:] = np.nan_to_num(output)
    return examples


def without_teacher(examples):
    return {name: v for name, v in examples.items() if not name.startswith("teacher_logits")}


def expected_losses(examples, student, rating, like):
    logits = student.logits(one_batch(examples))
    return (
        divergence(np.float64(rating), logits["rating"].numpy()).mean(),
        bernoulli(np.float64(like), logits["like"].numpy()).mean(),
    )


class Reader:
    """Returns columns of the batch that no student reads."""

    def logits(self, batch, candidate_ids=None):
        return {"rating": batch["privileged_rating"], "like": batch["privileged_like"]}


def keras_teacher():
    """A functional model of one column."""
    inputs = {"privileged_like": tf.keras.Input([1], name="privileged_like")}
    same = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    kept = tf.keras.layers.Dropout(0.5)(inputs["privileged_like"])  # in training half of it is 0
    return tf.keras.Model(inputs, same(kept))


def privileged(examples):
    return without_teacher(examples) | {
        "privileged_rating": examples[columns.teacher_logits("rating")],
        "privileged_like": examples[columns.teacher_logits("like")],
    }


FORMS = {
    "one object": lambda: Reader(),
    "one function of all tasks": lambda: Reader().logits,
    "an object a task": lambda: {"rating": Reader(), "like": Reader()},
    "functions of one task": lambda: {
        "rating": lambda batch, _: batch["privileged_rating"],
        "like": lambda batch, _: batch["privileged_like"][:, 0],
    },
    "a Keras model": lambda: {"rating": Reader(), "like": keras_teacher()},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_teacher_of_any_form_can_read_columns_that_the_student_does_not(form):
    examples = examples_with_teacher()
    rating, like = (examples[columns.teacher_logits(task)] for task in ("rating", "like"))
    student = new_student("rating", "like")
    teachers = FORMS[form]()
    distiller = Distiller(student, teachers, LOSSES)
    assert distiller.teacher is teachers
    terms = distiller.loss_terms(one_batch(privileged(examples)), training=False)
    expected = expected_losses(examples, student, rating, like)
    np.testing.assert_allclose([terms["rating_kl"], terms["like_bce"]], expected, rtol=1e-5)


def test_one_task_can_have_a_teacher_and_another_a_column():
    examples = examples_with_teacher()
    student = new_student("rating", "like")
    rating, like = (examples[columns.teacher_logits(task)] for task in ("rating", "like"))
    teachers = {"like": lambda batch, _: 2.0 * batch[columns.teacher_logits("like")]}
    distiller = Distiller(student, teachers, LOSSES)
    terms = distiller.loss_terms(one_batch(examples), training=False)
    expected = expected_losses(examples, student, rating, 2.0 * like)
    np.testing.assert_allclose([terms["rating_kl"], terms["like_bce"]], expected, rtol=1e-5)


def test_a_student_of_one_task_needs_no_dict():
    examples = examples_with_teacher()
    student = new_student("like")
    distiller = Distiller(student, Reader(), bce, 0.5)
    terms = distiller.loss_terms(one_batch(privileged(examples)), training=False)
    expected = bernoulli(
        np.float64(examples[columns.teacher_logits("like")]),
        student(one_batch(examples)).heads["like"].logits.numpy(),
    ).mean()
    np.testing.assert_allclose(terms["bce"], expected, rtol=1e-5)
    np.testing.assert_allclose(terms["distillation_loss"], 0.5 * expected, rtol=1e-5)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:All teacher logits of")  # untrained, they may look so
def test_a_ranking_model_teacher_is_neither_tracked_nor_changed_and_runs_without_dropout():
    teacher = new_student(dropout=0.5, seed=7)
    before = [weight.numpy() for weight in teacher.weights]
    output = teacher.fingerprint(), teacher.trainable
    student = new_student()
    losses = LOSSES | {"next_item": SoftTargetKLDivergence(name="kl")}
    distiller = Distiller(student, teacher, losses)
    batches = batches_of(without_teacher(example_columns()))
    distiller.compile(optimizer="adam")
    first = distiller.evaluate(batches, verbose=0, return_dict=True)
    assert distiller.evaluate(batches, verbose=0, return_dict=True) == first
    distiller.fit(batches, verbose=0)
    for weight, old in zip(teacher.weights, before):
        np.testing.assert_array_equal(weight.numpy(), old)
    assert (teacher.fingerprint(), teacher.trainable) == output
    assert teacher.optimizer is None
    tracked = {id(weight) for weight in distiller.weights}
    assert not tracked & {id(weight) for weight in teacher.weights}
    assert len(distiller.trainable_variables) == len(student.trainable_variables)


def test_no_gradient_reaches_a_teacher_that_is_the_student_itself():
    student = new_student()
    distiller = Distiller(student, student, {"next_item": kl}, student_loss_weight=0.0)
    with tf.GradientTape() as tape:
        loss = distiller.loss_terms(one_batch(example_columns()), training=True)["next_item_kl"]
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)
    for gradient in tape.gradient(loss, student.trainable_variables):
        if gradient is not None:  # only what this head reads
            np.testing.assert_allclose(tf.convert_to_tensor(gradient), 0.0, atol=1e-6)


def test_no_gradient_goes_through_the_teachers_logits():
    """`mean (s - t)^2` with t = s + 1: -2 for the head's bias, and 0 if t moved along."""
    student = new_student("like")

    def ahead(batch, _):
        return student(batch).heads["like"].logits + 1.0

    loss = tf.keras.losses.MeanSquaredError(name="mse")
    distiller = Distiller(student, ahead, loss)
    with tf.GradientTape() as tape:
        value = distiller.loss_terms(one_batch(example_columns()), training=False)["mse"]
    gradient = tape.gradient(value, student.heads["like"].bias)
    np.testing.assert_allclose(gradient, [-2.0], rtol=1e-5)


# Hidden representations


def hidden_layer(**arguments):
    return HiddenRepresentationDistillation("deep", "deep", name="hint", **arguments)


@pytest.mark.parametrize("weighted", [False, True])
def test_hidden_representations_are_those_of_numpy(weighted):
    """In addition to the tasks' losses, with a separate weight and student_loss_weight."""
    examples = example_columns()
    examples = with_weights(examples) if weighted else examples
    student, teacher = new_student(), new_student(seed=7)
    distiller = Distiller(
        student,
        {"hidden": teacher},
        {"like": bce, "hidden": hidden_layer()},
        {"hidden": 4.0},
        student_loss_weight={"like": 1.0, "hidden": 0.25},
    )
    batch = one_batch(examples)
    terms = distiller.loss_terms(batch, training=False)
    kernel, bias = (
        np.float64(w) for w in distiller.distillation_losses["hidden_hint"].get_weights()
    )
    deep = [model(batch).hidden_representations["deep"].numpy() for model in (student, teacher)]
    distances = ((np.float64(deep[0]) @ kernel + bias - deep[1]) ** 2).mean(axis=1)
    expected = np.average(distances, weights=examples.get(columns.SAMPLE_WEIGHT))
    np.testing.assert_allclose(terms["hidden_hint"], expected, rtol=1e-5)
    np.testing.assert_allclose(terms["hidden_distillation_loss"], 4.0 * expected, rtol=1e-5)
    labels = sum(terms[f"{task}_student_loss"] for task in student.tasks)
    np.testing.assert_allclose(terms["total_loss"], labels + 0.75 * 4.0 * expected, rtol=1e-5)


def test_a_column_can_replace_a_teachers_layer():
    """Rows of NaN are of weight 0."""
    examples = example_columns()
    output = np.random.default_rng(1).normal(size=(24, 6)).astype(np.float32)
    output[:5] = NAN
    student = new_student("like")
    layer = HiddenRepresentationDistillation("deep", "bert", projector="identity", name="hint")
    distiller = Distiller(student, None, {"hidden": layer})
    terms = distiller.loss_terms(one_batch(examples | {"bert": output}), training=False)
    deep = student(one_batch(examples)).hidden_representations["deep"].numpy()
    expected = ((np.float64(deep) - output) ** 2).mean(axis=1)[5:].mean()
    np.testing.assert_allclose(terms["hidden_hint"], expected, rtol=1e-5)


def test_layers_of_a_keras_teacher_are_found_by_name():
    inputs = {"privileged_like": tf.keras.Input([1], name="privileged_like")}
    wide = tf.keras.layers.Dense(6, name="wide")(inputs["privileged_like"])
    teacher = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(wide))
    layer = HiddenRepresentationDistillation("deep", "wide", projector="identity", name="hint")
    student = new_student("like")
    examples = privileged(examples_with_teacher())
    distiller = Distiller(student, teacher, {"like": bce, "hidden": layer})
    terms = distiller.loss_terms(one_batch(examples), training=False)
    kernel, bias = (np.float64(weight) for weight in teacher.get_weights()[:2])
    deep = student(one_batch(examples)).hidden_representations["deep"].numpy()
    expected = ((deep - (examples["privileged_like"] @ kernel + bias)) ** 2).mean()
    np.testing.assert_allclose(terms["hidden_hint"], expected, rtol=1e-5)


@pytest.mark.nightly
def test_projectors_are_trained_and_not_part_of_the_student():
    tf.keras.utils.set_random_seed(0)  # the projector starts by it
    student, teacher = new_student("like"), new_student("like", seed=7)
    layer = hidden_layer()
    distiller = Distiller(student, {"hidden": teacher}, {"hidden": layer})
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05), run_eagerly=True)
    batches = batches_of(without_teacher(example_columns()))
    logs = distiller.fit(batches, epochs=12, verbose=0).history
    assert logs["hidden_hint"][-1] < 0.7 * logs["hidden_hint"][0]
    assert len(distiller.trainable_variables) == len(student.trainable_variables) + 2


# An adopted student


def test_a_tfrs_ranking_model_is_distilled_into_unchanged():
    import tensorflow_recommenders as tfrs

    class MovielensModel(tfrs.models.Model):
        def __init__(self):
            super().__init__()
            self.users = tf.keras.layers.Embedding(6, 4)
            self.rating_model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
            self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())

        def call(self, features):
            return self.rating_model(self.users(features["user"]))

    from tfrs_distill.losses.logit_mean_squared_error import LogitMeanSquaredError

    model = MovielensModel()
    student = RankingStudent.from_tfrs(model, task="rating", inputs={"user": columns.USER_ID})
    examples = example_columns()
    output = examples[columns.teacher_logits("rating")] = examples[columns.teacher_logits("like")]
    distiller = Distiller(student, None, LogitMeanSquaredError(name="mse"))
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05), run_eagerly=True)
    batches = batches_of(examples)
    logs = distiller.fit(batches, epochs=10, verbose=0).history
    assert logs["total_loss"][-1] < logs["total_loss"][0]
    given = model({"user": tf.constant(examples[columns.USER_ID])}).numpy()
    expected = np.nanmean((np.float64(output) - given) ** 2)
    terms = distiller.loss_terms(one_batch(examples), training=False)
    np.testing.assert_allclose(terms["mse"], expected, rtol=1e-5)
