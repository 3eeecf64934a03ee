"""Schedules and balances: closed forms, the variables they change, and the resulting losses."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tiny_data
from nightly import nightly

import tfrs_distill as td
from tfrs_distill.distiller import Distiller, GradientNormBalance, LossRatioBalance, Schedule
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS, MAX_HISTORY = 12, 5


def teacher_table():
    return np.random.default_rng(3).normal(size=(NUM_ITEMS + 1, NUM_ITEMS)).astype(np.float32) * 2


def table_teacher(batch, candidate_ids):
    """Logits from a fixed table: row = the latest item."""
    last = tf.boolean_mask(batch["history"], batch["labels"] > 0)
    return tf.gather(tf.gather(teacher_table(), last), candidate_ids - 1, axis=1)


@pytest.fixture(scope="module")
def windows():
    return tiny_data.random_windows(num_users=16, num_items=NUM_ITEMS, max_history=MAX_HISTORY)


def new_student(dropout=0.0):
    return RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=MAX_HISTORY, embedding_dim=4, dropout=dropout, seed=1
    )


def new_distiller(*losses, learning_rate=0.0, student=None, **arguments):
    """With a learning rate of 0 only a callback can change the loss."""
    losses = losses or (SoftTargetKLDivergence(name="soft"),)
    distiller = Distiller(student or new_student(), table_teacher, losses, **arguments)
    distiller.compile(optimizer=tf.keras.optimizers.SGD(learning_rate))
    return distiller


def fit(distiller, windows, *callbacks, batch_size=None, **arguments):
    """By default one batch, and so one step, per epoch."""
    batches = windows.batches(batch_size or len(windows))
    return distiller.fit(batches, verbose=0, callbacks=list(callbacks), **arguments).history


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def rows(student, windows):
    """Float64 logits of teacher and student at every labelled position, and the labels."""
    labelled = windows.labels > 0
    queries = student.query_tower(windows.history, training=False).numpy()[labelled]
    items = student.catalogue_embeddings().numpy()[1:]
    logits = queries.astype(np.float64) @ items.astype(np.float64).T
    teacher = teacher_table()[windows.history[labelled]].astype(np.float64)
    return teacher, logits, windows.labels[labelled] - 1


def cross_entropies(logits, labels):
    return -log_softmax(logits)[np.arange(len(labels)), labels]


def divergences(teacher, logits, temperature):
    p, q = log_softmax(teacher / temperature), log_softmax(logits / temperature)
    return temperature**2 * (np.exp(p) * (p - q)).sum(axis=-1)


class Recorder(tf.keras.callbacks.Callback):
    """The result of a function of the distiller before and after every execution of steps."""

    def __init__(self, look):
        super().__init__()
        self.look, self.before, self.after = look, [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.before.append(float(self.look(self.model)))

    def on_train_batch_end(self, batch, logs=None):
        self.after.append(float(self.look(self.model)))


CURVES = [
    # From 4 to 1 in 6 steps: at 0, 1/3, 1/2, 2/3 of the way, at the end and far past it.
    ("constant", 4.0, None, None, [4, 4, 4, 4, 4, 4]),
    ("constant", 4.0, 1.0, 6, [4, 4, 4, 4, 4, 4]),  # has no end, given or not
    ("linear", 4.0, 1.0, 6, [4, 3, 2.5, 2, 1, 1]),
    ("cosine", 4.0, 1.0, 6, [4, 1 + 3 * 3 / 4, 2.5, 1 + 3 * 1 / 4, 1, 1]),  # cos(pi / 3) = 1/2
    ("exponential", 4.0, 1.0, 6, [4, 4 ** (2 / 3), 2, 4 ** (1 / 3), 1, 1]),
    # and increasing
    ("linear", 0.25, 1.0, 6, [0.25, 0.5, 0.625, 0.75, 1, 1]),
    ("cosine", 0.25, 1.0, 6, [0.25, 0.4375, 0.625, 0.8125, 1, 1]),
    ("exponential", 0.125, 8.0, 6, [0.125, 0.5, 1, 2, 8, 8]),
]


@pytest.mark.parametrize(("curve", "start", "end", "num_steps", "expected"), CURVES)
def test_values_are_the_closed_forms(curve, start, end, num_steps, expected):
    schedule = Schedule("temperature", start, end, num_steps, curve=curve)
    values = [schedule.value(step) for step in (0, 2, 3, 4, 6, 1000)]
    np.testing.assert_allclose(values, expected, rtol=1e-14)  # float64


def test_linear_is_the_default_curve():
    assert Schedule("temperature", 4.0, 1.0, 6).value(2) == 3.0


def two_losses():
    return (
        SoftTargetKLDivergence(temperature=2.0, name="soft"),
        SoftTargetKLDivergence(temperature=3.0, name="other"),
    )


def test_each_target_changes_its_variable_and_so_the_loss(windows):
    """Three schedules at once, of 4 steps, against float64 NumPy at every step."""
    losses = two_losses()
    distiller = new_distiller(
        *losses, distillation_loss_weights=[0.5, 0.25], student_loss_weight=0.5
    )
    schedules = [
        Schedule("temperature", 5.0, 1.0, 4, loss="other"),
        Schedule("distillation_loss_weight", 0.5, 1.5, 4, loss="soft"),
        Schedule("student_loss_weight", 1.0, 0.0, 4, curve="cosine"),
    ]
    logs = fit(distiller, windows, *schedules, epochs=6)
    teacher, logits, labels = rows(distiller.student, windows)
    student_loss = cross_entropies(logits, labels).mean()
    soft = divergences(teacher, logits, 2.0).mean()
    for step in range(6):
        p = min(step / 4, 1)
        temperature, weight, w = 5 - 4 * p, 0.5 + p, (1 + math.cos(math.pi * p)) / 2
        other = divergences(teacher, logits, temperature).mean()
        expected = {
            "other_temperature": temperature,
            "soft_distillation_loss_weight": weight,
            "student_loss_weight": w,
            "student_loss": student_loss,
            "soft": soft,
            "other": other,
            "distillation_loss": weight * soft + 0.25 * other,
            "total_loss": w * student_loss + (1 - w) * (weight * soft + 0.25 * other),
        }
        assert {name for name in logs} == expected.keys()
        for name, value in expected.items():
            # Tolerance: float32's error in a KL grows with temperature**2, at most 25 here.
            np.testing.assert_allclose(logs[name][step], value, rtol=1e-5, atol=3e-5, err_msg=name)
    # Variables without a schedule are unchanged.
    assert float(distiller.temperatures["soft"]) == 2.0
    assert float(distiller.distillation_loss_weights["other"]) == 0.25
    # The caller's losses are unchanged.
    for loss, temperature in zip(losses, (2.0, 3.0)):
        assert type(loss.temperature) is float and loss.temperature == temperature


def test_a_single_loss_needs_no_name(windows):
    distiller = new_distiller()
    schedules = [
        Schedule("temperature", 3.0, curve="constant"),
        Schedule("distillation_loss_weight", 0.125, curve="constant"),
    ]
    logs = fit(distiller, windows, *schedules)
    assert logs["soft_temperature"] == [3.0]
    assert logs["soft_distillation_loss_weight"] == [0.125]
    teacher, logits, _ = rows(distiller.student, windows)
    expected = divergences(teacher, logits, 3.0).mean()
    np.testing.assert_allclose(logs["soft"], [expected], rtol=1e-5)  # float32, 22 rows
    np.testing.assert_allclose(logs["distillation_loss"], [0.125 * expected], rtol=1e-5)


def test_the_step_is_the_optimizers_own_count(windows):
    """Three batches per epoch; a second `fit` continues where the first stopped."""
    distiller = new_distiller()
    weight = Recorder(lambda model: model.student_loss_weights_of(None)[0])
    for _ in range(2):
        schedule = Schedule("student_loss_weight", 1.0, 0.0, 8)
        fit(distiller, windows, schedule, weight, batch_size=8, epochs=1)
    assert int(distiller.optimizer.iterations) == 6
    assert weight.before == weight.after == [1 - step / 8 for step in range(6)]


@pytest.mark.nightly
def test_several_steps_per_execution_share_the_value_of_the_first(windows):
    distiller = new_distiller()
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0), steps_per_execution=2)
    weight = Recorder(lambda model: model.student_loss_weights_of(None)[0])
    schedule = Schedule("student_loss_weight", 1.0, 0.0, 8)
    logs = fit(distiller, windows, schedule, weight, batch_size=4, epochs=1)
    assert int(distiller.optimizer.iterations) == 6
    assert weight.before == weight.after == [1 - step / 8 for step in (0, 2, 4)]
    assert logs["student_loss_weight"] == [0.5]  # the value of the epoch's last steps


def test_the_log_holds_the_value_of_the_epochs_last_step(windows):
    distiller = new_distiller()
    logs = fit(distiller, windows, Schedule("temperature", 9.0, 1.0, 8), batch_size=8, epochs=3)
    assert logs["soft_temperature"] == [9.0 - last for last in (2, 5, 8)]


def test_a_loaded_model_continues_its_schedule(windows, tmp_path):
    """Saved after 3 of 8 steps; with and without the schedule given again."""

    def schedule():
        return Schedule("temperature", 9.0, 1.0, 8)

    distiller = new_distiller(learning_rate=0.5)
    fit(distiller, windows, schedule(), epochs=3)
    distiller.save(tmp_path / "distiller.keras")
    loaded = tf.keras.models.load_model(tmp_path / "distiller.keras")
    assert float(loaded.temperatures["soft"]) == 7.0  # of step 2, the last one taken
    loaded.set_teacher(table_teacher)
    logs = [fit(model, windows, schedule(), epochs=2) for model in (loaded, distiller)]
    assert logs[0]["soft_temperature"] == [6.0, 5.0]
    assert logs[0] == logs[1]
    # Without a schedule the value is constant.
    logs = fit(loaded, windows)
    assert "soft_temperature" not in logs and float(loaded.temperatures["soft"]) == 5.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("heat", 1.0, 2.0, 3),
            r"`target` must be one of .*'temperature'.*Received: target='heat'",
        ),
        (("temperature", 1.0, 2.0, 3, "step"), r"`curve` must be one of .*'cosine'.*curve='step'"),
        (("temperature", 1.0), r"A linear schedule needs `end` and `num_steps` >= 1.*end=None"),
        (("temperature", 1.0, 2.0), r"needs `end` and `num_steps` >= 1.*num_steps=None"),
        (("temperature", 1.0, 2.0, 0), r"needs `end` and `num_steps` >= 1.*num_steps=0"),
        (("temperature", 0.0, 2.0, 3), r"of temperature needs values above 0\. .*start=0\.0"),
        (("temperature", 1.0, -2.0, 3), r"of temperature needs values above 0\. .*end=-2\.0"),
        (("temperature", math.nan, 2.0, 3), r"needs values above 0\. Received: start=nan"),
        (("temperature", 1.0, math.inf, 3), r"Values must be finite\. .*end=inf"),
        (("temperature", 0.0, None, None, "constant"), r"constant schedule of temperature needs"),
        (("distillation_loss_weight", -0.5, 2.0, 3), r"needs values at least 0\. .*start=-0\.5"),
        (("distillation_loss_weight", 0.0, 2.0, 3, "exponential"), r"exponential.*above 0\. "),
        (("distillation_loss_weight", 1.0, math.inf, 3), r"Values must be finite"),
        (("student_loss_weight", 0.5, 1.5, 3), r"at least 0 and at most 1\. .*end=1\.5"),
        (("student_loss_weight", -0.1, 1.0, 3), r"at least 0 and at most 1\. .*start=-0\.1"),
        (("student_loss_weight", 1.0, 0.0, 3, "exponential"), r"above 0 and at most 1\. .*end=0"),
        (("student_loss_weight", 0.5, math.nan, 3), r"at most 1\. .*end=nan"),
    ],
)
def test_impossible_schedules_are_refused_at_construction(arguments, words):
    names = ("target", "start", "end", "num_steps", "curve")
    with pytest.raises(ValueError, match=words):
        Schedule(**dict(zip(names, arguments)))


def test_the_bounds_are_allowed():
    assert Schedule("student_loss_weight", 0.0, 1.0, 2).value(1) == 0.5
    assert Schedule("distillation_loss_weight", 0.0, 3.0, 3).value(0) == 0.0


@pytest.mark.parametrize(
    ("target", "loss", "words"),
    [
        ("temperature", None, r"loss whose temperature is meant, one of \['other', 'soft'\]"),
        ("distillation_loss_weight", None, r"one of \['mse', 'other', 'soft'\]. Received: loss=No"),
        ("temperature", "mse", r"one of \['other', 'soft'\]. Received: loss='mse'"),
        ("distillation_loss_weight", "hard", r"`loss` must name .*Received: loss='hard'"),
    ],
)
def test_a_schedule_of_an_ambiguous_loss_is_refused_before_training(windows, target, loss, words):
    distiller = new_distiller(*two_losses(), tf.keras.losses.MeanSquaredError(name="mse"))
    with pytest.raises(ValueError, match=words):
        fit(distiller, windows, Schedule(target, 1.0, 2.0, 3, loss=loss))
    assert int(distiller.optimizer.iterations) == 0


@pytest.fixture(scope="module")
def cache(windows, tmp_path_factory):
    """Top-K of all items but one, so that both forms are exact, at temperatures 1 and 4."""
    text = np.random.default_rng(0).normal(size=(NUM_ITEMS, 6)).astype(np.float32)
    teacher = td.teachers.BertTwoTower(text, max_history=MAX_HISTORY, embedding_dim=4, seed=0)
    teacher.candidate_tower.id_embeddings.assign(20 * teacher.candidate_tower.id_embeddings)
    folder = tmp_path_factory.mktemp("cache")
    cached = td.cache_teacher(
        teacher, windows, folder, top_k=NUM_ITEMS - 1, temperatures=(1.0, 4.0)
    )
    return teacher, cached


def cached_distiller(cached, temperature=1.0):
    distiller = Distiller(new_student(), cached, SoftTargetKLDivergence(temperature, name="soft"))
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.1))
    return distiller


def test_a_top_k_cache_allows_a_temperature_for_which_it_has_a_tail(windows, cache):
    teacher, cached = cache
    distiller = cached_distiller(cached)
    distiller.optimizer.learning_rate = 0.0
    joined = cached.join(windows, form="top_k")
    logs = fit(distiller, joined, Schedule("temperature", 4.0, curve="constant"))
    _, logits, _ = rows(distiller.student, windows)
    _, teacher_logits, _ = rows(teacher, windows)
    expected = divergences(teacher_logits, logits, 4.0).mean()
    # Tolerance: float32's error in a KL grows with temperature**2, here 16.
    np.testing.assert_allclose(logs["soft"], [expected], rtol=1e-5, atol=2e-5)
    assert abs(divergences(teacher_logits, logits, 1.0).mean() - expected) > 0.1


def test_a_scheduled_temperature_is_refused_with_a_top_k_cache(windows, cache):
    _, cached = cache
    distiller = cached_distiller(cached, temperature=4.0)
    joined, moving = cached.join(windows, form="top_k"), Schedule("temperature", 4.0, 1.0, 6)
    before = distiller.student.get_weights()
    for _ in range(2):  # and again, after the distiller has seen the data
        with pytest.raises(ValueError, match="tails at fixed temperatures.*form='embeddings'"):
            fit(distiller, joined, moving)
        assert int(distiller.optimizer.iterations) == 0
    for weight, old in zip(distiller.student.get_weights(), before):
        np.testing.assert_array_equal(weight, old)
    # The message's advice works, in the same distiller.
    logs = fit(distiller, cached.join(windows), moving, epochs=2)
    assert logs["soft_temperature"] == [4.0, 3.5]


def test_a_temperature_without_a_tail_is_refused_with_a_top_k_cache(windows, cache):
    _, cached = cache
    distiller = cached_distiller(cached)
    joined = cached.join(windows, form="top_k")
    words = r"tails at temperatures \[1.0, 4.0\].*temperature 2\."
    for steps in (0, 1):  # before the step is compiled, and when it is
        with pytest.raises(ValueError, match=words):
            fit(distiller, joined, Schedule("temperature", 2.0, curve="constant"))
        assert int(distiller.optimizer.iterations) == steps
        distiller.temperatures["soft"].assign(1.0)
        fit(distiller, joined)


def test_data_without_a_spec_are_refused_at_the_second_step(windows, cache):
    _, cached = cache
    distiller = cached_distiller(cached, temperature=4.0)
    batches = list(cached.join(windows, form="top_k").batches(len(windows)))
    with pytest.raises(ValueError, match="tails at fixed temperatures"):
        distiller.fit(
            (batch for batch in batches * 3),
            verbose=0,
            callbacks=[Schedule("temperature", 4.0, 1.0, 6)],
        )
    assert int(distiller.optimizer.iterations) == 1


@pytest.mark.nightly
def test_loss_ratio_balance_is_the_formula_with_one_loss(windows):
    """With one batch per epoch: `c = ratio * student_loss / loss`."""
    distiller = new_distiller()
    fit(distiller, windows, LossRatioBalance(0.25, every=1))
    teacher, logits, labels = rows(distiller.student, windows)
    student_loss = cross_entropies(logits, labels).mean()
    expected = 0.25 * student_loss / divergences(teacher, logits, 1.0).mean()
    weight = distiller.distillation_loss_weights["soft"]
    np.testing.assert_allclose(float(weight), expected, rtol=1e-5)  # float32
    # The next step's distillation loss is then the given ratio of the student's.
    logs = fit(distiller, windows)
    np.testing.assert_allclose(logs["distillation_loss"], [0.25 * student_loss], rtol=1e-5)


@pytest.mark.parametrize("steps_per_execution", [1, nightly(3)])
def test_loss_ratio_balance_counts_optimizer_steps_over_epochs(windows, steps_per_execution):
    """Two losses, 3 batches an epoch and `every=2`: running means at steps 2, 4 and 6."""
    distiller = new_distiller(*two_losses(), distillation_loss_weights=[5.0, 7.0])
    distiller.compile(
        optimizer=tf.keras.optimizers.SGD(0.0), steps_per_execution=steps_per_execution
    )
    names = ("soft", "other")
    recorders = [
        Recorder(lambda model, name=name: model.distillation_loss_weights[name]) for name in names
    ]
    balance = LossRatioBalance(3.0, every=2)
    # In the second epoch the windows differ, so that a mean of both epochs would be detected.
    for part in (windows, windows.subset(np.arange(len(windows))[::-1])):
        fit(distiller, part, balance, *recorders, batch_size=8)

    expected = [[5.0, 7.0]]
    for epoch in (windows, windows.subset(np.arange(len(windows))[::-1])):
        for last_batch in range(3):
            seen = epoch.subset(np.arange(min(8 * (last_batch + 1), len(windows))))
            teacher, logits, labels = rows(distiller.student, seen)
            student_loss = cross_entropies(logits, labels).mean()
            sizes = [divergences(teacher, logits, t).mean() for t in (2.0, 3.0)]
            step = len(expected)
            set_now = [3.0 * student_loss / (2 * size) for size in sizes]
            due = step % 2 == 0 if steps_per_execution == 1 else step % 3 == 0
            expected.append(set_now if due else expected[-1])
    for index, recorder in enumerate(recorders):
        values = [weights[index] for weights in expected[1:]][
            steps_per_execution - 1 :: steps_per_execution
        ]
        np.testing.assert_allclose(recorder.after, values, rtol=1e-5)  # float32


def test_a_loss_of_size_0_keeps_its_weight():
    distiller = new_distiller(*two_losses(), distillation_loss_weights=[5.0, 7.0])
    balance = LossRatioBalance(2.0)
    balance.set_model(distiller)
    balance.set_weights(3.0, {"soft": 0.0, "other": 0.5})
    weights = {name: float(w) for name, w in distiller.distillation_loss_weights.items()}
    assert weights == {"soft": 5.0, "other": 2.0 * 3.0 / (2 * 0.5)}
    balance.set_weights(3.0, {"soft": math.nan, "other": math.inf})
    balance.set_weights(math.nan, {"soft": 1.0, "other": 1.0})
    assert {name: float(w) for name, w in distiller.distillation_loss_weights.items()} == weights


def gradient_norms(student, windows, temperatures):
    """Length of each term's gradient over all weights of the student, with terms written here."""
    labelled = windows.labels > 0
    teacher = tf.constant(teacher_table()[windows.history[labelled]])
    with tf.GradientTape(persistent=True) as tape:
        queries = tf.boolean_mask(student.query_tower(windows.history, training=False), labelled)
        logits = queries @ tf.transpose(student.candidate_tower(np.arange(1, NUM_ITEMS + 1)))
        hard = tf.nn.sparse_softmax_cross_entropy_with_logits(windows.labels[labelled] - 1, logits)
        terms = [tf.reduce_mean(hard)]
        for t in temperatures:
            p, q = tf.nn.log_softmax(teacher / t), tf.nn.log_softmax(logits / t)
            terms.append(t**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(p) * (p - q), axis=-1)))
    norms = []
    for term in terms:
        gradients = tape.gradient(term, student.trainable_variables)
        arrays = [tf.convert_to_tensor(g).numpy().astype(np.float64) for g in gradients]
        norms.append(math.sqrt(sum((array**2).sum() for array in arrays)))
    return norms


@pytest.mark.nightly
def test_gradient_norm_balance_is_the_formula(windows):
    """Two losses, dropout, `every=2`: measured before steps 0, 2 and 4, on the next batch each."""
    student = new_student(dropout=0.5)
    distiller = new_distiller(*two_losses(), student=student, distillation_loss_weights=[5.0, 7.0])
    halves = [windows.subset(np.arange(len(windows))[part::2]) for part in (0, 1)]
    size = len(halves[0])
    assert len(halves[1]) == size
    joined = windows.subset(np.r_[np.arange(len(windows))[0::2], np.arange(len(windows))[1::2]])
    recorders = [
        Recorder(lambda model, name=name: model.distillation_loss_weights[name])
        for name in ("soft", "other")
    ]
    balance = GradientNormBalance(joined.batches(size), 0.5, every=2)
    before = student.get_weights()
    fit(distiller, windows, balance, *recorders, batch_size=8, epochs=2)  # 3 steps each
    for weight, old in zip(student.get_weights(), before):
        np.testing.assert_array_equal(weight, old)  # measuring changes nothing

    norms = [gradient_norms(student, half, (2.0, 3.0)) for half in halves]
    for index, recorder in enumerate(recorders):
        of_half = [0.5 * hard / (2 * soft[index]) for hard, *soft in norms]
        expected = [of_half[half] for half in (0, 0, 1, 1, 0, 0)]
        # Tolerance: float32 gradients, summed in another order.
        np.testing.assert_allclose(recorder.before, expected, rtol=1e-4)
        assert abs(of_half[0] / of_half[1] - 1) > 0.01  # the halves are distinguishable


@pytest.mark.nightly
def test_gradient_norm_balance_with_one_loss(windows):
    distiller = new_distiller(SoftTargetKLDivergence(2.0, name="soft"))
    fit(distiller, windows, GradientNormBalance(windows.batches(len(windows)), 2.0))
    hard, soft = gradient_norms(distiller.student, windows, (2.0,))
    weight = float(distiller.distillation_loss_weights["soft"])
    np.testing.assert_allclose(weight, 2.0 * hard / soft, rtol=1e-4)  # as above


@pytest.mark.nightly
def test_a_second_fit_continues_the_balances_count(windows):
    """After 3 steps, `every=4`: the next setting comes with step 4, not at the start."""
    distiller = new_distiller()
    weight = Recorder(lambda model: model.distillation_loss_weights["soft"])
    fit(distiller, windows, batch_size=8)
    fit(distiller, windows, GradientNormBalance(windows.batches(8), every=4), weight, batch_size=8)
    assert weight.before[0] == 1.0 and weight.before[1] == weight.before[2] != 1.0


def test_balanced_weights_are_saved_with_the_model(windows, tmp_path):
    distiller = new_distiller()
    fit(distiller, windows, LossRatioBalance(0.25, every=1))
    weight = float(distiller.distillation_loss_weights["soft"])
    assert weight != 1.0
    distiller.save(tmp_path / "distiller.keras")
    loaded = tf.keras.models.load_model(tmp_path / "distiller.keras")
    assert float(loaded.distillation_loss_weights["soft"]) == weight


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.nan, math.inf])
def test_a_ratio_out_of_range_is_refused(ratio):
    words = "`ratio` must be finite and above 0. Received: ratio="
    with pytest.raises(ValueError, match=words):
        LossRatioBalance(ratio)
    with pytest.raises(ValueError, match=words):
        GradientNormBalance(None, ratio)


@pytest.mark.parametrize("every", [0, -3])
def test_fewer_than_one_step_between_settings_is_refused(every):
    words = f"`every` must be at least 1 step. Received: every={every}"
    with pytest.raises(ValueError, match=words):
        LossRatioBalance(every=every)
    with pytest.raises(ValueError, match=words):
        GradientNormBalance(None, every=every)


@pytest.mark.parametrize("kind", [LossRatioBalance, GradientNormBalance])
def test_balancing_against_absent_labels_is_refused(windows, kind):
    def teacher(batch, _):
        return tf.gather(teacher_table(), tf.boolean_mask(batch["history"], batch["history"] > 0))

    def unlabelled(batch):
        return {name: column for name, column in batch.items() if name != "labels"}

    batches = windows.batches(8).map(unlabelled)
    balance = kind(every=1) if kind is LossRatioBalance else kind(batches)
    distiller = Distiller(new_student(), teacher, SoftTargetKLDivergence(), student_loss_weight=0.0)
    distiller.compile(optimizer="sgd")
    with pytest.raises(ValueError, match="needs labels, but the batches have no column 'labels'"):
        distiller.fit(batches, verbose=0, callbacks=[balance])


def test_a_student_loss_weight_cannot_increase_with_batches_without_labels():
    student = tf.keras.Sequential([tf.keras.layers.Dense(4)])
    distiller = td.Distiller(
        student, lambda batch, _: batch["inputs"], SoftTargetKLDivergence(), student_loss_weight=0.0
    )
    distiller.compile(optimizer="sgd")
    schedule = td.Schedule("student_loss_weight", 0.0, 1.0, num_steps=10)
    with pytest.raises(ValueError, match="batches have no labels.* a schedule from 0 to 1"):
        distiller.fit(tf.zeros([8, 4]), batch_size=2, verbose=0, callbacks=[schedule])
    # With labels the same distiller can follow it; the step before was taken.
    labels = tf.zeros([8], tf.int32)
    distiller.fit(tf.zeros([8, 4]), labels, batch_size=2, verbose=0, callbacks=[schedule])
    np.testing.assert_allclose(
        float(distiller.student_loss_weights_of(None)[0]), 0.4, rtol=1e-6
    )  # float32
