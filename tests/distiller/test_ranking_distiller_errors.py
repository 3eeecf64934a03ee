"""Every error is raised with a clear message, at construction or at the first batch."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
from nightly import nightly
from tiny_ranking import NAN, batches_of, example_columns, new_student, one_batch

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller, Schedule
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.losses.soft_target_binary_cross_entropy import SoftTargetBinaryCrossEntropy
from tfrs_distill.models import Binary, IdFeature, RankingModel

INF = float("inf")
kl, bce = SoftTargetKLDivergence(name="kl"), SoftTargetBinaryCrossEntropy(name="bce")
layer = HiddenRepresentationDistillation("deep", "deep", name="hint")
LOSSES = {"rating": kl, "like": bce}


@pytest.fixture(scope="module")
def student():
    return new_student("rating", "like")


def untrainable():
    model = new_student("like")
    model.trainable = False
    return model


def with_hidden_task():
    feature = IdFeature(columns.USER_ID, 5, 3, "query")
    return RankingModel([feature], [Binary("hidden")])


class Movielens(tfrs.Model):
    pass


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (Movielens, TypeError, "`tfrs.Model`, Movielens. .*`td.models.RankingStudent.from_tfrs"),
        (object, TypeError, "Received: builtins.object"),
        (untrainable, ValueError, "`student` has no trainable weights"),
        (with_hidden_task, ValueError, "No task of the student may be called 'hidden'"),
    ],
)
def test_an_invalid_student_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        Distiller(make(), None, bce)


@pytest.mark.parametrize(
    ("losses", "changes", "error", "words"),
    [
        ({}, {}, ValueError, "at least one loss. Received: none"),
        ({"like": []}, {}, ValueError, "at least one loss. Received: none"),
        (bce, {}, ValueError, r"`distillation_losses` must name the task: .*\['rating', 'like"),
        ({"clicks": bce}, {}, ValueError, r"names \['clicks'\], but the student has \['rating', "),
        ({"like": "bce"}, {}, TypeError, "must be `tf.keras.losses.Loss` objects.*'bce'"),
        (
            {"hidden": bce},
            {},
            TypeError,
            "Only `HiddenRepresentationDistillation` layers are allowed under 'hidden'",
        ),
        (
            {"like": [bce, bce]},
            {},
            ValueError,
            r"unique names .*These names occur twice: \['like_bce'\]",
        ),
        (
            {"like": SoftTargetBinaryCrossEntropy(name="student_loss")},
            {},
            ValueError,
            r"These names occur twice: \['like_student_loss'\]",
        ),
        (
            {"like": SoftTargetBinaryCrossEntropy(name="auc")},
            {},
            ValueError,
            r"These names occur twice: \['like_auc'\]",
        ),
        (LOSSES, {"distillation_loss_weights": 0.5}, ValueError, "weights` must name the task"),
        (
            {"like": bce},
            {"distillation_loss_weights": {"rating": 0.5}},
            ValueError,
            r"weights` names \['rating'\], but there are distillation losses of \['like'\]",
        ),
        (
            LOSSES,
            {"distillation_loss_weights": {"like": [1.0, 2.0]}},
            ValueError,
            "one number per loss. Received: 2 weights for 1 losses",
        ),
        (
            LOSSES,
            {"distillation_loss_weights": {"like": NAN}},
            ValueError,
            "finite and at least 0",
        ),
        (LOSSES, {"student_loss_weight": 1.5}, ValueError, "within 0 and 1.*1.5"),
        (LOSSES, {"student_loss_weight": NAN}, ValueError, "within 0 and 1.*nan"),
        (
            LOSSES,
            {"student_loss_weight": {"like": 0.5}},
            ValueError,
            r"a number for each task.*none for \['rating'\]",
        ),
        (
            {"like": bce},
            {"student_loss_weight": {"like": 0.5, "rating": 0.5}},
            ValueError,
            r"`student_loss_weight` names \['rating'\]",
        ),
        (
            LOSSES,
            {"teacher": 3},
            TypeError,
            r"a method `logits\(batch, candidate_ids\)`.*Received: builtins.int",
        ),
        (LOSSES, {"teacher": {"like": "gbdt"}}, TypeError, "Received: builtins.str"),
        (
            {"like": bce},
            {"teacher": {"rating": lambda batch, _: None}},
            ValueError,
            r"`teacher` names \['rating'\], but there are distillation losses of \['like'\]",
        ),
    ],
)
def test_bad_arguments_are_refused_at_construction(student, losses, changes, error, words):
    with pytest.raises(error, match=words):
        Distiller(student, **({"teacher": None, "distillation_losses": losses} | changes))


def assert_refused(distiller, examples, words, eagerly=True):
    """`fit` raises this message, and nothing was trained."""
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.1), run_eagerly=eagerly)
    before = [weight.numpy() for weight in distiller.student.trainable_variables]
    with pytest.raises(ValueError, match=words):
        distiller.fit(batches_of(examples), verbose=0)
    assert int(distiller.optimizer.iterations) == 0
    for weight, old in zip(distiller.student.trainable_variables, before):
        np.testing.assert_array_equal(weight, old)


EAGERLY = pytest.mark.parametrize("eagerly", [False, True])


def spoilt(task, row, value):
    """Teacher logits that are valid everywhere else."""
    examples = example_columns()
    output = examples[columns.teacher_logits(task)]
    output[:] = np.nan_to_num(output) - 1.0
    output[row] = value
    return examples


def reader(task):
    return {task: lambda batch, _: batch[columns.teacher_logits(task)]}


@pytest.mark.parametrize("eagerly", [nightly(False), True])
@pytest.mark.parametrize(
    ("task", "teachers", "value", "words"),
    [
        (
            "like",
            reader("like"),
            NAN,
            "The teacher of 'like' returns NaN or infinite.* example 1005",
        ),
        (
            "like",
            reader("like"),
            INF,
            "The teacher of 'like' returns NaN or infinite.* example 1005",
        ),
        ("like", None, INF, "teacher outputs of 'like' in the batch are infinite.* 1005"),
        (
            "rating",
            None,
            [NAN, 0, 0, 0, 0],
            "'rating' in the batch are infinite or partly NaN.*example 1005",
        ),
    ],
)
def test_invalid_teacher_values_are_refused(task, teachers, value, words, eagerly):
    losses = {task: LOSSES[task]}
    distiller = Distiller(new_student("rating", "like"), teachers, losses)
    assert_refused(distiller, spoilt(task, 5, value), words, eagerly)


def test_rows_without_ids_are_counted_within_the_batch():
    examples = spoilt("like", 5, INF)
    del examples[columns.EXAMPLE_ID]
    distiller = Distiller(new_student("like"), None, bce)
    assert_refused(distiller, examples, "for example 5$")


def test_probabilities_of_ratings_are_refused_also_with_rows_of_nan():
    examples = example_columns()
    output = examples[columns.teacher_logits("rating")]
    output[:] = np.exp(output) / np.exp(output).sum(axis=1, keepdims=True)
    assert np.isnan(output[:8]).any() and not np.isnan(output[:8]).all()
    distiller = Distiller(new_student("rating"), None, kl)
    assert_refused(distiller, examples, "The teacher's logits are probabilities: none is negative")


def test_probabilities_of_likes_are_warned_of_and_their_logits_are_not():
    examples = example_columns()
    logits = examples[columns.teacher_logits("like")]
    distiller = Distiller(new_student("like"), None, bce)
    distiller.compile("adam")
    distiller.check_batch(one_batch(examples))
    logits[:] = 1 / (1 + np.exp(-logits))
    with pytest.warns(UserWarning, match="All teacher logits of 'like'.*log\\(p / \\(1 - p"):
        distiller.check_batch(one_batch(examples))


@EAGERLY
def test_an_invalid_label_is_refused(eagerly):
    examples = example_columns()
    examples[columns.label("rating")][3] = 7.0
    distiller = Distiller(new_student("rating"), None, kl)
    words = "Labels of task 'rating' must be one of 1, 2, 3, 4, 5, or NaN .* 7\\.?0? in row 3"
    assert_refused(distiller, examples, words, eagerly)


def test_a_student_that_has_diverged_is_named():
    student = new_student("like")
    student.heads["like"].bias.assign([np.inf])
    distiller = Distiller(student, None, bce, student_loss_weight=0.0)
    assert_refused(distiller, spoilt("like", 0, 1.0), "student has diverged: .*`bce` is NaN")


@pytest.mark.parametrize(
    ("losses", "teachers", "absent", "words"),
    [
        ({"like": bce}, None, "teacher_logits/like", "'like' has dist.* no column 'teacher_logits"),
        ({"like": bce}, {"like": lambda batch, _: batch["user_id"][:, None] * [1, 2]}, "",
         r"of 'like' must be over the same rows and .*num_rows, 1\]. Rec.*teacher \(8, 2\)"),
        ({"like": bce}, {"like": lambda batch, _: tf.zeros([3, 1])}, "",
         r"\[num_rows, 1\]. Received: teacher \(3, 1\), student \(8, 1\)"),
        ({"like": bce}, {"like": lambda batch, _: None}, "", r"num_rows, 1\]. Received: NoneType"),
        (LOSSES, lambda batch, _: tf.zeros([8, 5]), "",
         r"teacher of the tasks \['rating', 'like'\], <lambda>, must return a dict of logits"),
        (LOSSES, lambda batch, _: {"rating": tf.zeros([8, 5])}, "",
         r"teacher of task 'like', <lambda>, returns no logits for it.* logits for: \['rating'\]"),
        ({"like": bce}, None, "label/like", "labels of task 'like', but `student_loss_weight` of"),
        ({"like": bce}, None, "label/rating", "labels of task 'rating', but the task 'rating' "),
        ({"hidden": layer}, None, "", "teacher is given for 'hidden', and the batch has no "),
        ({"hidden": layer}, lambda batch, _: None, "", "FunctionTeacher has none: it has no"),
    ],
)  # fmt: skip
def test_incompatible_shapes_are_refused_before_training(losses, teachers, absent, words):
    examples = example_columns()
    examples.pop(absent, None)
    distiller = Distiller(new_student("rating", "like"), teachers, losses)
    assert_refused(distiller, examples, words)


@EAGERLY
def test_logits_of_other_rows_that_would_broadcast_are_refused(eagerly):
    teacher = {"like": lambda batch, _: tf.reshape(batch["one"], [-1, 1])[:1]}
    examples = example_columns() | {"one": np.ones(24, np.float32)}
    distiller = Distiller(new_student("like"), teacher, bce)
    words = r"over the same rows.*Received: teacher \(1, 1\), student \(8, 1\)"
    assert_refused(distiller, examples, words, eagerly)


def test_layers_with_other_rows_are_refused():
    examples = example_columns()
    whole = HiddenRepresentationDistillation("hidden_0", "vectors", name="hint")
    teacher = Distiller(
        new_student("like"), {"hidden": _Catalogue()}, {"like": bce, "hidden": whole}
    )
    words = "hidden representation 'vectors' must have the batch's rows.* 12 rows in a batch of 8"
    assert_refused(teacher, examples, words)


class _Catalogue:
    def logits(self, batch, candidate_ids=None):
        raise AssertionError("nobody asks for its logits")

    def hidden_representations(self, batch):
        return {"vectors": tf.zeros([12, 6])}


def test_labels_may_be_absent_if_their_weight_is_0():
    examples = example_columns()
    del examples[columns.label("like")]
    student = new_student("rating", "like")
    w = {"like": 0.0, "rating": 0.5}
    distiller = Distiller(student, None, LOSSES, student_loss_weight=w)
    distiller.compile(optimizer="adam", run_eagerly=True)
    logs = distiller.fit(batches_of(examples), verbose=0).history
    assert "like_student_loss" not in logs and "rating_student_loss" in logs
    terms = distiller.loss_terms(one_batch(examples), training=False)
    expected = 0.5 * (terms["rating_student_loss"] + terms["rating_kl"]) + terms["like_bce"]
    np.testing.assert_allclose(terms["total_loss"], expected, rtol=1e-6)
    distiller = Distiller(new_student("rating", "like"), None, LOSSES, student_loss_weight=w)
    distiller.compile(optimizer="adam", run_eagerly=True)
    with pytest.raises(ValueError, match="have no labels, so `student_loss_weight` must stay 0"):
        distiller.fit(
            batches_of(examples),
            epochs=2,
            verbose=0,
            callbacks=[Schedule("student_loss_weight", 0.0, 1.0, 9, loss="like")],
        )


@pytest.mark.parametrize(
    ("argument", "value"), [("metrics", ["mse"]), ("weighted_metrics", ["mse"])]
)
def test_compile_takes_no_metrics(student, argument, value):
    distiller = Distiller(student, None, LOSSES)
    with pytest.raises(ValueError, match=f"`compile` takes no {argument}: the student has its own"):
        distiller.compile(optimizer="adam", **{argument: value})


def test_compile_takes_no_loss(student):
    distiller = Distiller(student, None, LOSSES)
    with pytest.raises(ValueError, match="`compile` takes no loss: .*loss='mse'"):
        distiller.compile(optimizer="adam", loss="mse")
