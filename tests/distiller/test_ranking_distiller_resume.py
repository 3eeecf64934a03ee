"""Saving, loading and continuing; schedules and balances; equal to training without a break."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tiny_ranking import batches_of, example_columns, new_student, one_batch, with_weights

from tfrs_distill import columns
from tfrs_distill.distiller import (
    Distiller,
    GradientNormBalance,
    LossRatioBalance,
    Schedule,
)
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.losses.over_lists import OverLists
from tfrs_distill.losses.soft_target_binary_cross_entropy import SoftTargetBinaryCrossEntropy
from tfrs_distill.models import GradientNormWeights

TEACHER_DIM = 2003  # a width that nothing else has


class Teacher:
    """Returns columns of the batch; its layer is wider than the complete student."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.table = tf.Variable(random.normal(size=(13, TEACHER_DIM)), dtype=tf.float32)

    def logits(self, batch, candidate_ids=None):
        return {"rating": 0.5 * tf.gather(self.table[:, :5], batch[columns.ITEM_ID])}

    def hidden_representations(self, batch):
        return {"deep": tf.gather(self.table, batch[columns.ITEM_ID])}


def losses():
    return {
        "rating": SoftTargetKLDivergence(2.5, name="kl"),
        "like": [
            SoftTargetBinaryCrossEntropy(1.5, name="bce"),
            OverLists(SoftTargetKLDivergence(3.0), name="lists"),
        ],
        "hidden": HiddenRepresentationDistillation("deep", "deep", loss="cosine", name="hint"),
    }


def new_distiller(teacher, optimizer=None, **arguments):
    """No argument has its default."""
    distiller = Distiller(
        new_student(task_balance=GradientNormWeights(1.0)),
        {"rating": teacher, "hidden": teacher},
        losses(),
        {"rating": 0.75, "like": [0.5, 0.125], "hidden": 0.25},
        student_loss_weight={"rating": 0.375, "like": 0.625, "hidden": 0.5},
        name="master",
    )
    optimizer = optimizer or tf.keras.optimizers.Adam(0.03, beta_1=0.8, clipnorm=0.7)
    distiller.compile(optimizer=optimizer, **arguments)
    return distiller


def batches():
    return batches_of(with_weights(example_columns()))


def numbers(distiller):
    balance = distiller.student.task_balance
    return [
        *distiller.trainable_variables,
        balance.task_weights,
        balance.first_losses,
        *distiller.student_loss_weights.values(),
        *distiller.distillation_loss_weights.values(),
        *distiller.temperatures.values(),
        *distiller.optimizer.variables,
    ]


def state(distiller):
    return [variable.numpy() for variable in numbers(distiller)]


def assert_equal_bits(one, other):
    assert len(one) == len(other) > 20
    for mine, yours in zip(one, other):
        np.testing.assert_array_equal(mine, yours)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A distiller trained for an epoch and saved, whose variables a callback has changed."""
    path = tmp_path_factory.mktemp("saved") / "distiller.keras"
    teacher = Teacher()
    distiller = new_distiller(teacher, run_eagerly=True)
    distiller.loss_terms(next(iter(batches())), training=False)  # creates the projector
    distiller.fit(batches(), verbose=0)
    distiller.student_loss_weights["like"].assign(0.4375)
    distiller.distillation_loss_weights["like_lists"].assign(0.5625)
    distiller.temperatures["like_lists"].assign(1.75)
    distiller.save(path)
    return path, distiller, teacher, state(distiller)


@pytest.mark.nightly
def test_save_load_fit_gives_the_same_next_steps_as_no_save(saved):
    path, distiller, teacher, at_save = saved
    loaded = tf.keras.models.load_model(path)
    assert_equal_bits(state(loaded), at_save)
    assert loaded.teacher is None
    loaded.set_teacher({"rating": teacher, "hidden": teacher})
    loaded.run_eagerly = True
    after_load = loaded.fit(batches(), epochs=2, verbose=0, validation_data=batches()).history
    after_no_save = distiller.fit(batches(), epochs=2, verbose=0, validation_data=batches()).history
    assert after_load == after_no_save
    assert {"hidden_hint", "like_lists", "val_like_auc"} <= set(after_load)
    assert_equal_bits(state(loaded), state(distiller))
    moved = [np.abs(a - b).max() for a, b in zip(state(loaded), at_save)]
    assert min(moved[: len(loaded.trainable_variables)]) > 0


def test_arguments_are_restored_by_value_and_type(saved):
    loaded = tf.keras.models.load_model(saved[0])
    assert (loaded.name, loaded.student.name) == ("master", "pupil")
    assert list(loaded.distillation_losses) == [
        "rating_kl",
        "like_bce",
        "like_lists",
        "hidden_hint",
    ]
    weights = {name: float(weight) for name, weight in loaded.distillation_loss_weights.items()}
    assert weights == {
        "rating_kl": 0.75, "like_bce": 0.5, "like_lists": 0.5625, "hidden_hint": 0.25
    }  # fmt: skip
    w = {task: float(weight) for task, weight in loaded.student_loss_weights.items()}
    assert w == {"rating": 0.375, "like": 0.4375, "hidden": 0.5}
    temperatures = {name: float(t) for name, t in loaded.temperatures.items()}
    assert temperatures == {"rating_kl": 2.5, "like_bce": 1.5, "like_lists": 1.75}
    lists = loaded.distillation_losses["like_lists"]
    assert isinstance(lists, OverLists)
    assert lists.loss.temperature is loaded.temperatures["like_lists"]
    assert loaded.student.task_balance.alpha == 1.0
    assert_written(loaded.get_config())
    assert loaded.get_config()["taught"] == ["hidden", "rating"]


def assert_written(config):
    """Arguments that are in a file in addition to its variables."""
    lists = config["distillation_losses"]["like"][1]["config"]["loss"]["config"]
    assert lists["temperature"] == 1.75
    weights = {"rating": [0.75], "like": [0.5, 0.5625], "hidden": [0.25]}
    assert config["distillation_loss_weights"] == weights
    assert config["student_loss_weight"] == {"rating": 0.375, "like": 0.4375, "hidden": 0.5}


def test_a_loaded_distiller_needs_its_teachers(saved):
    loaded = tf.keras.models.load_model(saved[0])
    words = r"teacher of \['hidden', 'rating'\] is missing.*`distiller.set_teacher\(teacher\)`"
    with pytest.raises(ValueError, match=words):
        loaded.fit(batches(), verbose=0)
    loaded.set_teacher(None)  # from here columns of the batch replace them
    with pytest.raises(ValueError, match="no teacher is given for 'hidden'"):
        loaded.loss_terms(next(iter(batches())), training=False)


def test_no_file_holds_a_teacher(saved):
    path, distiller, _, _ = saved
    assert "teachers" not in dir(distiller)
    sizes = [TEACHER_DIM in variable.shape for variable in distiller.variables]
    assert sum(sizes) == 2  # the projector's kernel and bias
    # The teacher's table alone has 13 x 2003 numbers; the projector has 7 x 2003.
    assert path.stat().st_size < 13 * TEACHER_DIM * 4 + 3 * 7 * TEACHER_DIM * 4 + 200_000
    largest = max(variable.shape.num_elements() for variable in distiller.variables)
    assert largest == 6 * TEACHER_DIM


def test_the_callers_losses_keep_their_temperature():
    mine = losses()
    distiller = Distiller(new_student(), None, {"like": mine["like"]})
    for name in distiller.temperatures:
        distiller.temperatures[name].assign(9.0)
    assert [loss.temperature for loss in mine["like"]] == [1.5, 3.0]
    assert [
        float(distiller.distillation_losses[n].temperature) for n in distiller.temperatures
    ] == [
        9.0,
        9.0,
    ]


# Callbacks, with a learning rate of 0: only they can change the loss


def still(*tasks, **arguments):
    own = {key: loss for key, loss in losses().items() if key in tasks}
    distiller = Distiller(new_student("rating", "like"), None, own, **arguments)
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0), run_eagerly=True)
    return distiller


def fit(distiller, *callbacks, **arguments):
    """One batch, and so one step, per epoch."""
    data = batches_of(example_columns(), 24)
    return distiller.fit(data, verbose=0, callbacks=list(callbacks), **arguments).history


def test_each_target_changes_its_variable_and_so_the_loss():
    distiller = still("rating", "like", student_loss_weight=0.5)
    logs = fit(
        distiller,
        Schedule("temperature", 5.0, 1.0, 4, loss="like_lists"),
        Schedule("distillation_loss_weight", 0.5, 1.5, 4, loss="rating_kl"),
        Schedule("student_loss_weight", 1.0, 0.0, 4, curve="cosine", loss="like"),
        epochs=6,
    )
    first = distiller.loss_terms(one_batch(example_columns()), training=False)
    for step in range(6):
        p = min(step / 4, 1)
        w = (1 + math.cos(math.pi * p)) / 2
        assert logs["like_lists_temperature"][step] == pytest.approx(5 - 4 * p)
        rating = 0.5 * first["rating_student_loss"] + 0.5 * (0.5 + p) * first["rating_kl"]
        distilled = first["like_bce"] + logs["like_lists"][step]
        expected = rating + w * first["like_student_loss"] + (1 - w) * distilled
        np.testing.assert_allclose(logs["total_loss"][step], expected, rtol=1e-5)
        np.testing.assert_allclose(logs["like_student_loss_weight"][step], w, atol=1e-6)
    assert logs["like_lists"][0] != logs["like_lists"][4] == logs["like_lists"][5]


def test_a_schedule_without_a_task_changes_all_student_loss_weights():
    distiller = still("rating", "like")
    logs = fit(distiller, Schedule("student_loss_weight", 0.25, 0.75, 2), epochs=3)
    assert logs["student_loss_weight"] == [0.25, 0.5, 0.75]
    assert [float(w) for w in distiller.student_loss_weights.values()] == [0.75, 0.75]
    with pytest.raises(ValueError, match=r"one of \['like', 'rating'\], or be None for all.*'x'"):
        fit(distiller, Schedule("student_loss_weight", 0.25, 0.75, 2, loss="x"))


def test_loss_ratio_balance_balances_each_tasks_losses_against_its_labels():
    distiller = still("rating", "like", student_loss_weight=0.25)
    fit(distiller, LossRatioBalance(0.5, every=1), epochs=2)
    terms = distiller.loss_terms(one_batch(example_columns()), training=False)
    for name, losses_of_task in {"rating": ["kl"], "like": ["bce", "lists"]}.items():
        for loss in losses_of_task:
            weight = 0.5 * terms[f"{name}_student_loss"] / len(losses_of_task)
            expected = weight / terms[f"{name}_{loss}"]
            found = distiller.distillation_loss_weights[f"{name}_{loss}"]
            np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.nightly
def test_gradient_norm_balance_balances_layers_against_all_labels():
    examples = example_columns() | {
        "deep": np.random.default_rng(1).normal(size=(24, 6)).astype(np.float32)
    }
    distiller = still("rating", "hidden")
    data = batches_of(examples, 24)
    distiller.fit(data, verbose=0, callbacks=[GradientNormBalance(data, 0.5, every=1)])
    with tf.GradientTape(persistent=True) as tape:
        terms = distiller.loss_terms(one_batch(examples), training=False)
        labels = terms["rating_student_loss"] + terms["like_student_loss"]
    variables = distiller.student.trainable_variables

    def norm(term):
        gradients = [
            tf.convert_to_tensor(g) for g in tape.gradient(term, variables) if g is not None
        ]
        return np.sqrt(sum((np.float64(g) ** 2).sum() for g in gradients))

    references = {"rating_kl": terms["rating_student_loss"], "hidden_hint": labels}
    for name, reference in references.items():
        expected = 0.5 * norm(reference) / norm(terms[name])
        np.testing.assert_allclose(
            distiller.distillation_loss_weights[name], expected, rtol=1e-4, err_msg=name
        )
