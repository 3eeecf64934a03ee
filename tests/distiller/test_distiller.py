"""The distillation step against float64 NumPy, and plain training of the student."""

import numpy as np
import pytest
import tensorflow as tf

import tfrs_distill as td
from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS, MAX_HISTORY = 12, 5


class TableTeacher:
    """Logits from a fixed table: row = the latest item."""

    def __init__(self, seed=3, scale=2.0):
        generator = np.random.default_rng(seed)
        shape = (NUM_ITEMS + 1, NUM_ITEMS)
        self.table = generator.normal(size=shape).astype(np.float32) * scale
        self.requested = 0

    def logits(self, batch, candidate_ids):
        self.requested += 1
        labelled = batch[columns.LABELS] > 0
        rows = tf.gather(tf.constant(self.table), tf.boolean_mask(batch[columns.HISTORY], labelled))
        return tf.gather(rows, candidate_ids - 1, axis=1)


@pytest.fixture
def windows():
    catalogue = td.data.Catalogue(
        tuple(map(str, range(NUM_ITEMS))), ("t",) * NUM_ITEMS, ("x",) * NUM_ITEMS
    )
    generator = np.random.default_rng(0)
    history = generator.integers(1, NUM_ITEMS + 1, size=(16, MAX_HISTORY)).astype(np.int32)
    labels = generator.integers(1, NUM_ITEMS + 1, size=(16, MAX_HISTORY)).astype(np.int32)
    history[:4, :2] = 0
    labels[:4, :3] = 0
    return Windows(catalogue, np.arange(16, dtype=np.int32), history, labels)


def new_student(seed=1, dropout=0.0):
    return RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=MAX_HISTORY, embedding_dim=4, dropout=dropout, seed=seed
    )


def whole_batch(windows):
    return next(iter(windows.batches(len(windows))))


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def expected_terms(student, teacher, windows, temperature):
    """Mean cross-entropy and mean KL over labelled positions, float64, row by row."""
    cross_entropies, divergences = [], []
    catalogue = student.catalogue_embeddings().numpy().astype(np.float64)[1:]
    for history, labels in zip(windows.history, windows.labels):
        for position in np.flatnonzero(labels):
            seen = history[: position + 1]
            query = student.encode_histories(tf.constant(seen[None])).numpy()[0]
            logits = catalogue @ query.astype(np.float64)
            cross_entropies.append(-log_softmax(logits)[labels[position] - 1])
            p = log_softmax(teacher.table[history[position]] / temperature)
            q = log_softmax(logits / temperature)
            divergences.append(temperature**2 * np.sum(np.exp(p) * (p - q)))
    return np.mean(cross_entropies), np.mean(divergences)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_terms_are_the_equation(windows, weight, temperature):
    student, teacher = new_student(), TableTeacher()
    loss = SoftTargetKLDivergence(temperature=temperature)
    distiller = Distiller(student, teacher, [loss], [0.5], student_loss_weight=weight)
    terms = distiller.loss_terms(whole_batch(windows), training=False)
    cross_entropy, divergence = expected_terms(student, teacher, windows, temperature)
    np.testing.assert_allclose(terms["student_loss"], cross_entropy, rtol=1e-5)
    np.testing.assert_allclose(terms["soft_target_kl_divergence"], divergence, rtol=1e-5)
    np.testing.assert_allclose(terms["distillation_loss"], 0.5 * divergence, rtol=1e-5)
    expected = weight * cross_entropy + (1 - weight) * 0.5 * divergence
    np.testing.assert_allclose(terms["total_loss"], expected, rtol=1e-5)


def test_student_loss_weight_1_trains_bit_for_bit_like_the_student_alone(windows):
    alone, distilled = new_student(dropout=0.3), new_student(dropout=0.3)
    alone.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    alone.fit(windows.batches(4, seed=5), epochs=3, verbose=0)
    distiller = Distiller(
        distilled, TableTeacher(), SoftTargetKLDivergence(), student_loss_weight=1.0
    )
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    distiller.fit(windows.batches(4, seed=5), epochs=3, verbose=0)
    towers = [student.query_tower.weights for student in (alone, distilled, new_student())]
    for one, other, initial in zip(*towers):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
        if "embeddings" in one.name:
            assert np.abs(one.numpy() - initial.numpy()).max() > 1e-3  # it did train


@pytest.mark.nightly
def test_student_loss_weight_0_learns_from_the_teacher_and_ignores_the_labels(windows):
    permuted = np.where(windows.labels > 0, NUM_ITEMS + 1 - windows.labels, 0)
    other_labels = Windows(windows.catalogue, windows.users, windows.history, permuted)
    students = []
    for data in (windows, other_labels):
        student = new_student()
        distiller = Distiller(
            student, TableTeacher(), SoftTargetKLDivergence(), student_loss_weight=0.0
        )
        distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05))
        history = distiller.fit(data.batches(8, seed=1), epochs=60, verbose=0).history
        assert history["distillation_loss"][-1] < 0.3 * history["distillation_loss"][0]
        students.append(student)
    for one, other in zip(*(student.query_tower.weights for student in students)):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_student_runs_once_per_step(windows):
    student = new_student()
    calls = []
    forward = student.query_tower.call
    student.query_tower.call = lambda *args, **kwargs: calls.append(1) or forward(*args, **kwargs)
    distiller = Distiller(student, TableTeacher(), SoftTargetKLDivergence())
    distiller.compile(optimizer="adam", run_eagerly=True)
    distiller.train_on_batch(whole_batch(windows))  # checks the batch first
    calls.clear()
    distiller.train_on_batch(whole_batch(windows))
    assert len(calls) == 1


def test_evaluate_is_deterministic_with_dropout_and_fit_logs_every_term(windows):
    distiller = Distiller(new_student(dropout=0.5), TableTeacher(), SoftTargetKLDivergence())
    distiller.compile(optimizer="adam")
    history = distiller.fit(windows.batches(8), epochs=1, verbose=0).history
    names = {"total_loss", "student_loss", "distillation_loss", "soft_target_kl_divergence"}
    assert set(history) == names
    first = distiller.evaluate(windows.batches(8), verbose=0, return_dict=True)
    assert distiller.evaluate(windows.batches(8), verbose=0, return_dict=True) == first


def test_a_keras_teacher_is_neither_tracked_nor_changed(windows):
    text = np.random.default_rng(0).normal(size=(NUM_ITEMS, 6)).astype(np.float32)
    teacher = td.teachers.BertTwoTower(text, max_history=MAX_HISTORY, embedding_dim=4, seed=0)
    before = [weight.numpy().copy() for weight in teacher.weights]
    fingerprint, trainable = teacher.fingerprint(), teacher.trainable
    student = new_student()
    distiller = Distiller(student, teacher, SoftTargetKLDivergence())
    distiller.compile(optimizer="adam")
    distiller.fit(windows.batches(8), epochs=1, verbose=0)
    for weight, old in zip(teacher.weights, before):
        np.testing.assert_array_equal(weight.numpy(), old)
    assert (teacher.fingerprint(), teacher.trainable) == (fingerprint, trainable)
    assert teacher.optimizer is None
    assert distiller.teacher is teacher
    tracked = {id(weight) for weight in distiller.weights}
    assert not tracked & {id(weight) for weight in teacher.weights}
    assert len(distiller.trainable_variables) == len(student.trainable_variables)


def test_no_gradient_reaches_a_teacher_that_shares_the_students_table(windows):
    """The teacher's logits are constants even if they come from the student's own variable."""
    student = new_student()

    class Mirror:
        def logits(self, batch, candidate_ids):
            return student(batch).logits + 1.0  # a shift: the same distribution

    distiller = Distiller(student, Mirror(), SoftTargetKLDivergence(), student_loss_weight=0.0)
    with tf.GradientTape() as tape:
        loss = distiller.loss_terms(whole_batch(windows), training=True)["total_loss"]
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)
    for gradient in tape.gradient(loss, student.trainable_variables):
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), 0.0, atol=1e-6)


def test_regularisation_losses_of_the_student_are_added_once(windows):
    student = new_student()
    student.query_tower.encoder.feed_forward.hidden.kernel_regularizer = tf.keras.regularizers.L2(1)
    student.query_tower.encoder.feed_forward.hidden.add_loss(lambda: tf.constant(7.0))
    distiller = Distiller(student, TableTeacher(), SoftTargetKLDivergence())
    terms = distiller.loss_terms(whole_batch(windows), training=False)
    mixed = 0.5 * terms["student_loss"] + 0.5 * terms["distillation_loss"]
    np.testing.assert_allclose(terms["total_loss"] - mixed, 7.0, rtol=1e-5)


def cached(windows, tmp_path, **arguments):
    text = np.random.default_rng(0).normal(size=(NUM_ITEMS, 6)).astype(np.float32)

    def train_teacher(_, fold):
        return td.teachers.BertTwoTower(text, max_history=MAX_HISTORY, embedding_dim=4, seed=fold)

    return td.cross_fit(
        train_teacher, windows, tmp_path, fingerprint="untrained", num_folds=2, **arguments
    )


def test_top_k_of_all_but_one_item_gives_the_exact_loss(windows, tmp_path):
    """With one item in the tail its log-sum-exp is its logit: both forms must agree."""
    teacher = cached(windows, tmp_path, top_k=NUM_ITEMS - 1, temperatures=(1.0, 2.0))
    for temperature in (1.0, 2.0):
        loss = SoftTargetKLDivergence(temperature=temperature)
        distiller = Distiller(new_student(), teacher, loss)
        terms = [
            distiller.loss_terms(whole_batch(teacher.join(windows, form=form)), training=False)
            for form in ("embeddings", "top_k")
        ]
        np.testing.assert_allclose(
            terms[0]["distillation_loss"], terms[1]["distillation_loss"], rtol=1e-4
        )
        assert terms[0]["distillation_loss"] > 1e-4


def test_top_k_at_a_temperature_the_cache_did_not_sum_is_refused(windows, tmp_path):
    teacher = cached(windows, tmp_path, top_k=3)
    distiller = Distiller(new_student(), teacher, SoftTargetKLDivergence(temperature=3.0))
    batch = whole_batch(teacher.join(windows, form="top_k"))
    words = r"temperatures \[1\.0\], but the loss .* has temperature 3"
    with pytest.raises(ValueError, match=words):
        distiller.loss_terms(batch, training=False)


def test_batches_without_knowledge_are_refused(windows, tmp_path):
    teacher = cached(windows, tmp_path, top_k=3)
    distiller = Distiller(new_student(), teacher, SoftTargetKLDivergence())
    distiller.compile(optimizer="adam")
    with pytest.raises(ValueError, match="has no teacher outputs"):
        distiller.fit(windows.batches(8), verbose=0)


def untrainable():
    student = new_student()
    student.trainable = False
    return student


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"student": object()}, TypeError, "`student` must be a Keras 2 model"),
        ({"student": untrainable}, ValueError, "no trainable weights"),
        ({"teacher": object()}, TypeError, r"`teacher` must have a method `logits\(batch"),
        ({"distillation_losses": []}, ValueError, "at least one loss"),
        ({"distillation_loss_weights": [1.0, 2.0]}, ValueError, "2 weights for 1 losses"),
        ({"distillation_loss_weights": [-1.0]}, ValueError, "finite and at least 0"),
        ({"distillation_loss_weights": [float("nan")]}, ValueError, "finite and at least 0"),
        ({"student_loss_weight": 1.5}, ValueError, "`student_loss_weight` must be within 0 and 1"),
        ({"student_loss_weight": float("nan")}, ValueError, "Received: student_loss_weight=nan"),
        (
            {"distillation_losses": [SoftTargetKLDivergence(), SoftTargetKLDivergence()]},
            ValueError,
            "must have unique names",
        ),
    ],
)
def test_bad_arguments_are_refused_at_construction(changes, error, words):
    arguments = {
        "student": new_student(),
        "teacher": TableTeacher(),
        "distillation_losses": [SoftTargetKLDivergence()],
    } | changes
    if callable(arguments["student"]) and not isinstance(arguments["student"], tf.keras.Model):
        arguments["student"] = arguments["student"]()
    with pytest.raises(error, match=words):
        Distiller(**arguments)
