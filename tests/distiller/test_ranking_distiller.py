"""The ranking step against float64 NumPy, and the twin's training bit for bit."""

import numpy as np
import pytest
import tensorflow as tf
from nightly import one_in
from tiny_ranking import (
    NUM_ITEMS,
    batches_of,
    bernoulli,
    divergence,
    example_columns,
    log_softmax,
    new_student,
    one_batch,
    sigmoid,
    with_weights,
)

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.losses.logit_mean_squared_error import LogitMeanSquaredError
from tfrs_distill.losses.soft_target_binary_cross_entropy import SoftTargetBinaryCrossEntropy
from tfrs_distill.models import FixedWeights, GradientNormWeights, UncertaintyWeights

Adam = tf.keras.optimizers.Adam


def three_losses():
    return {
        "rating": [SoftTargetKLDivergence(2.0, name="kl"), LogitMeanSquaredError(name="mse")],
        "like": SoftTargetBinaryCrossEntropy(1.5, name="bce"),
    }


def mean(values, weights):
    counts = weights > 0
    return np.sum(np.float64(values)[counts] * weights[counts]) / np.sum(weights[counts])


def teacher_rows(examples, task):
    """Weights of the rows with teacher logits, and the logits; 0 elsewhere."""
    output = np.float64(examples[columns.teacher_logits(task)])
    weights = np.float64(examples.get(columns.SAMPLE_WEIGHT, np.ones(len(output))))
    weights = np.where(np.isnan(output).all(axis=1), 0.0, weights)
    return weights, np.where(np.isnan(output), 0.0, output)


def label_weights(examples, task):
    weights = np.float64(examples.get(columns.SAMPLE_WEIGHT, np.ones(len(examples["item_id"]))))
    return np.where(np.isnan(examples[columns.label(task)]), 0.0, weights)


def student_losses_by_hand(examples, logits):
    """Each task's own loss, row by row."""
    rows = np.arange(len(examples["item_id"]))
    rating = np.nan_to_num(examples[columns.label("rating")], nan=1.0).astype(int)
    like = np.nan_to_num(np.float64(examples[columns.label("like")]))
    output = np.float64(logits["like"][:, 0])
    return {
        "rating": -log_softmax(logits["rating"])[rows, rating - 1],
        "like": -(like * np.log(sigmoid(output)) + (1 - like) * np.log(sigmoid(-output))),
        "next_item": -log_softmax(logits["next_item"])[rows, examples["item_id"] - 1],
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("w", [0.3, {"rating": 0.25, "like": 0.0}])
def test_terms_are_the_equation(w, weighted):
    """NaN rows, sample weights, a task without losses and fixed task weights, all at once."""
    examples = with_weights(example_columns()) if weighted else example_columns()
    balance = FixedWeights({"rating": 2.0, "like": 0.5})
    student = new_student(task_balance=balance)
    distiller = Distiller(
        student,
        None,
        three_losses(),
        {"rating": [0.5, 0.125], "like": 3.0},
        student_loss_weight=w,
    )
    terms = distiller.loss_terms(one_batch(examples), training=False)
    logits = {task: output.numpy() for task, output in student.logits(one_batch(examples)).items()}

    weights, output = teacher_rows(examples, "rating")
    kl = mean(divergence(output, logits["rating"], 2.0), weights)
    mse = mean(((output - logits["rating"]) ** 2).mean(axis=1), weights)
    weights, output = teacher_rows(examples, "like")
    bce = mean(bernoulli(output, logits["like"], 1.5), weights)
    by_hand = student_losses_by_hand(examples, logits)
    own = {task: mean(by_hand[task], label_weights(examples, task)) for task in ("rating", "like")}
    all_rows = np.float64(examples.get(columns.SAMPLE_WEIGHT, np.ones(len(output))))
    own["next_item"] = mean(by_hand["next_item"], all_rows)
    w = w if isinstance(w, dict) else {"rating": w, "like": w}
    rating = w["rating"] * own["rating"] + (1 - w["rating"]) * (0.5 * kl + 0.125 * mse)
    like = w["like"] * own["like"] + (1 - w["like"]) * 3.0 * bce
    expected = {
        "rating_student_loss": own["rating"],
        "like_student_loss": own["like"],
        "next_item_student_loss": own["next_item"],
        "rating_kl": kl,
        "rating_mse": mse,
        "like_bce": bce,
        "rating_distillation_loss": 0.5 * kl + 0.125 * mse,
        "like_distillation_loss": 3.0 * bce,
        "total_loss": 2.0 * rating + 0.5 * like + own["next_item"],
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=2e-6, err_msg=name)  # float32 sums


BALANCES = {
    "fixed": lambda: FixedWeights({"rating": 0.5}),
    "uncertainty": UncertaintyWeights,
    "gradient norm": lambda: GradientNormWeights(1.5),
}


def trained(model, examples, **options):
    tf.random.set_seed(3)  # eager dropout would continue where another model of its seed ended
    model.compile(optimizer=Adam(0.02), **options)
    model.fit(batches_of(examples), epochs=2, verbose=0)
    student = getattr(model, "student", model)
    return [
        weight.numpy() for weight in student.trainable_variables + student.non_trainable_weights
    ]


@pytest.mark.parametrize(("balance",), one_in(3, [(balance,) for balance in BALANCES]))
def test_student_loss_weight_1_trains_bit_for_bit_like_the_twin(balance):
    examples = with_weights(example_columns())
    make = BALANCES[balance]
    twin = new_student(dropout=0.3, task_balance=make())
    distilled = new_student(dropout=0.3, task_balance=make())
    initial = [weight.numpy() for weight in twin.trainable_variables]
    distiller = Distiller(distilled, None, three_losses(), student_loss_weight=1.0)
    eagerly = {"run_eagerly": balance != "gradient norm"}  # one in a graph: building it takes long
    of_twin, of_taught = trained(twin, examples, **eagerly), trained(distiller, examples, **eagerly)
    metrics = {id(v) for metric in twin.metrics for v in metric.variables}
    variables = twin.trainable_variables + twin.non_trainable_weights
    for variable, one, other in zip(variables, of_twin, of_taught):
        if id(variable) not in metrics:
            np.testing.assert_array_equal(one, other, err_msg=variable.name)
    moved = [np.abs(one - other).max() for one, other in zip(of_twin, initial)]
    assert np.median(moved) > 0.01  # they did train


@pytest.mark.parametrize("balance", BALANCES)
def test_the_students_own_balance_combines_the_totals(balance):
    """After some steps, so that the balance's weights differ from the initial ones."""
    examples = example_columns()
    student = new_student(task_balance=BALANCES[balance]())
    distiller = Distiller(student, None, three_losses(), student_loss_weight=0.25)
    distiller.compile(optimizer=Adam(0.05), run_eagerly=True)
    distiller.fit(batches_of(examples), epochs=2, verbose=0)
    terms = {k: float(v) for k, v in distiller.loss_terms(one_batch(examples), False).items()}
    totals = {
        task: 0.25 * terms[f"{task}_student_loss"] + 0.75 * terms[f"{task}_distillation_loss"]
        for task in ("rating", "like")
    } | {"next_item": terms["next_item_student_loss"]}
    of_task = np.array([totals[task] for task in student.tasks])
    if balance == "fixed":
        expected = 0.5 * totals["rating"] + totals["like"] + totals["next_item"]
    elif balance == "uncertainty":
        s = student.task_balance.log_variances.numpy().astype(np.float64)
        assert np.abs(s).min() > 0.01
        expected = np.sum(np.exp(-s) * of_task + s / 2)
    else:
        weights = student.task_balance.task_weights.numpy().astype(np.float64)
        assert np.abs(weights - 1.0).max() > 0.01
        expected = np.sum(weights * of_task)
    np.testing.assert_allclose(terms["total_loss"], expected, rtol=1e-5)


@pytest.mark.nightly
def test_student_loss_weight_0_learns_from_the_teacher_for_any_labels():
    examples = example_columns()
    other = examples | {
        columns.label("rating"): 6.0 - examples[columns.label("rating")],
        columns.label("like"): 1.0 - examples[columns.label("like")],
    }
    outcomes = []
    for data in (examples, other):
        student = new_student("rating", "like")
        distiller = Distiller(student, None, three_losses(), student_loss_weight=0.0)
        distiller.compile(optimizer=Adam(0.1))
        logs = distiller.fit(batches_of(data), epochs=20, verbose=0).history
        assert logs["rating_kl"][-1] < 0.5 * logs["rating_kl"][0]
        outcomes.append([weight.numpy() for weight in student.trainable_variables])
    for one, same in zip(*outcomes):
        np.testing.assert_array_equal(one, same)


def test_a_row_of_weight_0_or_of_nan_equals_no_row():
    """Rows of weight 0 may hold any values; rows with NaN teacher logits train on their label."""
    examples = with_weights(example_columns())
    spoilt = {name: values.copy() for name, values in examples.items()}
    nothing = examples[columns.SAMPLE_WEIGHT] == 0
    assert 0 < nothing.sum() < 12
    for task in ("rating", "like"):
        spoilt[columns.teacher_logits(task)][nothing] = np.inf
        spoilt[columns.teacher_logits(task)][nothing, 0] = np.nan
    without = {name: values[~nothing] for name, values in examples.items()}
    all_terms = [
        Distiller(new_student(), None, three_losses()).loss_terms(one_batch(data), False)
        for data in (spoilt, without)
    ]
    for name, value in all_terms[1].items():
        np.testing.assert_allclose(all_terms[0][name], value, rtol=1e-6, err_msg=name)


def test_a_batch_without_teacher_logits_trains_on_its_labels():
    examples = example_columns()
    silent = examples | {
        columns.teacher_logits(task): np.full_like(examples[columns.teacher_logits(task)], np.nan)
        for task in ("rating", "like")
    }
    terms = Distiller(new_student(), None, three_losses()).loss_terms(one_batch(silent), False)
    assert float(terms["rating_distillation_loss"]) == float(terms["like_bce"]) == 0.0
    expected = 0.5 * terms["rating_student_loss"] + 0.5 * terms["like_student_loss"]
    np.testing.assert_allclose(
        terms["total_loss"], expected + terms["next_item_student_loss"], rtol=1e-6
    )


def test_epoch_logs_are_means_over_the_rows_of_each_term_for_any_last_batch():
    """With a learning rate of 0, an epoch of batches of 7, 7, 7 and 3 is one batch of 24."""
    examples = with_weights(example_columns())
    distiller = Distiller(new_student(), None, three_losses())
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = distiller.fit(batches_of(examples, 7), verbose=0).history
    terms = distiller.loss_terms(one_batch(examples), training=True)
    assert set(logs) == set(terms)
    for name in set(terms) - {"total_loss"}:  # a ratio of sums is not a mean of ratios
        np.testing.assert_allclose(logs[name], [terms[name]], rtol=1e-5, err_msg=name)


def test_evaluate_is_without_dropout_and_adds_the_tasks_metrics():
    examples = with_weights(example_columns())
    student = new_student(dropout=0.5)
    distiller = Distiller(student, None, three_losses())
    distiller.compile(optimizer="adam", run_eagerly=True)
    first = distiller.evaluate(batches_of(examples), verbose=0, return_dict=True)
    assert distiller.evaluate(batches_of(examples), verbose=0, return_dict=True) == first
    output = student.predictions(one_batch(examples))["rating"].numpy().astype(np.float64)
    weights = label_weights(examples, "rating")
    errors = (output - np.nan_to_num(examples[columns.label("rating")])) ** 2
    expected = np.sqrt(mean(errors, weights))
    np.testing.assert_allclose(first["rating_root_mean_squared_error"], expected, rtol=1e-5)
    logs = distiller.fit(
        batches_of(examples), validation_data=batches_of(examples), verbose=0
    ).history
    assert "val_rating_root_mean_squared_error" in logs
    assert "rating_root_mean_squared_error" not in logs


def test_predict_returns_the_students_predictions():
    examples = example_columns()
    distiller = Distiller(new_student(), None, three_losses())
    output = distiller.predict(batches_of(examples), verbose=0)
    expected = distiller.student.predictions(one_batch(examples))
    assert set(output) == {"rating", "like", "next_item"}
    for task in output:
        np.testing.assert_allclose(output[task], expected[task], rtol=1e-5)


def test_the_student_and_each_teacher_run_once_per_step():
    calls = []

    def teacher(batch, _):
        calls.append("teacher")
        return {
            task: tf.nn.relu(batch[columns.teacher_logits(task)]) for task in ("rating", "like")
        }

    examples = example_columns()
    for task in ("rating", "like"):
        examples[columns.teacher_logits(task)] = np.nan_to_num(
            examples[columns.teacher_logits(task)]
        )
    student = new_student()
    forward = student.call
    student.call = lambda *args, **kwargs: calls.append("student") or forward(*args, **kwargs)
    distiller = Distiller(student, teacher, three_losses())
    distiller.compile(optimizer="adam", run_eagerly=True)
    distiller.train_on_batch(one_batch(examples))  # checks the batch first
    calls.clear()
    distiller.train_on_batch(one_batch(examples))
    assert sorted(calls) == ["student", "teacher"]


def test_items_of_the_history_are_masked_in_the_teachers_logits_too():
    """Float64: both softmaxes are over the items outside the history."""
    examples = example_columns()
    output = np.nan_to_num(examples[columns.teacher_logits("next_item")])
    examples[columns.teacher_logits("next_item")] = output
    student = new_student("next_item")
    distiller = Distiller(student, None, SoftTargetKLDivergence(2.0, name="kl"))
    terms = distiller.loss_terms(one_batch(examples), training=False)
    logits = student(one_batch(examples)).heads["next_item"].logits.numpy()
    values = []
    for row, history in enumerate(examples[columns.HISTORY]):
        left = [item - 1 for item in range(1, NUM_ITEMS + 1) if item not in history]
        assert len(left) < NUM_ITEMS or not history.any()
        values.append(divergence(output[row : row + 1, left], logits[row : row + 1, left], 2.0)[0])
    np.testing.assert_allclose(terms["kl"], np.mean(values), rtol=1e-5)


def test_regularisation_is_added_once():
    student = new_student()
    student.hidden_layers[0].add_loss(lambda: tf.constant(7.0))
    distiller = Distiller(student, None, three_losses())
    terms = distiller.loss_terms(one_batch(example_columns()), training=False)
    totals = [
        0.5 * (terms[f"{task}_student_loss"] + terms[f"{task}_distillation_loss"])
        for task in ("rating", "like")
    ]
    mixed = sum(totals) + terms["next_item_student_loss"]
    np.testing.assert_allclose(terms["total_loss"] - mixed, 7.0, rtol=1e-5)
