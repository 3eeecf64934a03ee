"""The logs of `fit` and `evaluate`, against NumPy: losses, the user's metrics, agreement@k."""

import numpy as np
import pytest
import tensorflow as tf
import tiny_data

import tfrs_distill as td
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.models import Candidates, RetrievalStudent

NUM_ITEMS, MAX_HISTORY = 12, 5
# Float32 means of a few rows; a KL's error grows with temperature**2, here 4.
TOLERANCE = {"rtol": 1e-5, "atol": 4e-6}


@pytest.fixture(scope="module")
def windows():
    return tiny_data.random_windows(num_users=16, num_items=NUM_ITEMS, max_history=MAX_HISTORY)


@pytest.fixture(scope="module")
def other_windows():
    return tiny_data.random_windows(
        num_users=9, num_items=NUM_ITEMS, max_history=MAX_HISTORY, seed=4
    )


def teacher_table():
    return np.random.default_rng(3).normal(size=(NUM_ITEMS + 1, NUM_ITEMS)).astype(np.float32) * 2


def table_teacher(batch, candidate_ids):
    """Logits from a fixed table: row = the latest item."""
    last = tf.boolean_mask(batch["history"], batch["labels"] > 0)
    return tf.gather(tf.gather(teacher_table(), last), candidate_ids - 1, axis=1)


def new_student(dropout=0.0, candidates=None):
    """With embeddings large enough that no two items have equal scores."""
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS,
        max_history=MAX_HISTORY,
        embedding_dim=4,
        dropout=dropout,
        candidates=candidates,
        seed=1,
    )
    table = student.candidate_tower.id_embeddings
    table.assign(np.random.default_rng(2).normal(size=table.shape))
    return student


def new_distiller(student=None, teacher=table_teacher, losses=None, **arguments):
    arguments = {"agreement_k": 3} | arguments
    return Distiller(
        student or new_student(),
        teacher,
        losses or SoftTargetKLDivergence(2.0, name="soft"),
        **arguments,
    )


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def rows(model, windows):
    """Float64 logits over the catalogue at every labelled position."""
    labelled = windows.labels > 0
    queries = model.query_tower(windows.history, training=False).numpy()[labelled]
    items = model.catalogue_embeddings().numpy()[1:]
    return queries.astype(np.float64) @ items.astype(np.float64).T


def teacher_rows(windows):
    return teacher_table()[windows.history[windows.labels > 0]].astype(np.float64)


def labels_of(windows):
    return windows.labels[windows.labels > 0] - 1


def best(logits, k):
    """The k best columns of each row, as sets."""
    return [set(row.tolist()) for row in np.argsort(-logits, axis=1)[:, :k]]


def agreement(teacher, student, k):
    """Share of the teacher's k best among the student's, one value per row."""
    return np.array([len(t & s) / len(t) for t, s in zip(best(teacher, k), best(student, k))])


def top_k_accuracy(logits, labels, k):
    return np.array([label in chosen for label, chosen in zip(labels, best(logits, k))])


def expected_logs(student_logits, windows, w=0.5, k=3, weights=None):
    """Every number that is logged, for the table teacher and the loss at temperature 2."""
    labels, teacher = labels_of(windows), teacher_rows(windows)
    hard = -log_softmax(student_logits)[np.arange(len(labels)), labels]
    p, q = log_softmax(teacher / 2), log_softmax(student_logits / 2)
    soft = 4 * (np.exp(p) * (p - q)).sum(axis=-1)
    terms = {
        "student_loss": hard,
        "soft": soft,
        "distillation_loss": soft,
        "total_loss": w * hard + (1 - w) * soft,
        f"agreement@{k}": agreement(teacher, student_logits, k),
        "top_2": top_k_accuracy(student_logits, labels, 2),
    }
    return {name: np.average(values, weights=weights) for name, values in terms.items()}


def top_2():
    return tf.keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top_2")


def evaluate(distiller, data, batch_size=8):
    """Over batches of different numbers of rows, the last of them smaller."""
    batches = data.batches(batch_size) if hasattr(data, "batches") else data
    return distiller.evaluate(batches, verbose=0, return_dict=True)


class Snapshots(tf.keras.callbacks.Callback):
    """The student's logits on two sets of windows, before and after every epoch."""

    def __init__(self, student, train, validation):
        super().__init__()
        self.student, self.parts = student, (train, validation)
        self.before, self.after = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.before.append(rows(self.student, self.parts[0]))

    def on_epoch_end(self, epoch, logs=None):
        self.after.append(rows(self.student, self.parts[1]))


def test_fit_logs_every_term_of_each_epoch_alone(windows, other_windows):
    """One large step per epoch: training logs are from before it, validation's from after it."""
    student = new_student()
    distiller = new_distiller(student, student_loss_weight=0.25)
    distiller.compile(optimizer=tf.keras.optimizers.SGD(1.0), metrics=[top_2()])
    snapshots = Snapshots(student, windows, other_windows)
    logs = distiller.fit(
        windows.batches(len(windows)),
        validation_data=other_windows.batches(4),
        epochs=4,
        verbose=0,
        callbacks=[snapshots],
    ).history
    names = {"total_loss", "student_loss", "distillation_loss", "soft", "top_2"}
    assert set(logs) == names | {f"val_{name}" for name in names} | {"val_agreement@3"}
    for epoch in range(4):
        train = expected_logs(snapshots.before[epoch], windows, w=0.25)
        validation = expected_logs(snapshots.after[epoch], other_windows, w=0.25)
        for name in names:
            np.testing.assert_allclose(logs[name][epoch], train[name], **TOLERANCE, err_msg=name)
        for name, value in validation.items():
            logged = logs[f"val_{name}"][epoch]
            np.testing.assert_allclose(logged, value, **TOLERANCE, err_msg=name)
    # Every value changes, so that an epoch's differs from the mean of all.
    for name, values in logs.items():
        assert np.ptp(values) > 0.02, name


def test_means_over_batches_are_means_over_rows(windows):
    """Batches of 8, 8 and 6 windows with unequal numbers of labels; nothing is trained."""
    numbers = [np.count_nonzero(windows.labels[start : start + 8]) for start in (0, 8, 16)]
    assert len(set(numbers)) == 3
    distiller = new_distiller()
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0), metrics=[top_2()])
    expected = expected_logs(rows(distiller.student, windows), windows)
    logs = distiller.fit(windows.batches(8), verbose=0).history
    for name, (value,) in logs.items():
        np.testing.assert_allclose(value, expected[name], **TOLERANCE, err_msg=name)
    evaluated = evaluate(distiller, windows)
    assert evaluated.keys() == expected.keys()
    for name, value in evaluated.items():
        np.testing.assert_allclose(value, expected[name], **TOLERANCE, err_msg=name)


@pytest.mark.parametrize("shape", ["example", "position"])
def test_sample_weights_apply_to_every_logged_mean(windows, shape):
    """As in Keras, `metrics` are unweighted and `weighted_metrics` weighted."""
    random = np.random.default_rng(5)
    size = [len(windows)] if shape == "example" else windows.labels.shape
    weights = random.choice([0.0, 0.5, 2.0], size=size).astype(np.float32)
    batches = windows.batches(8).map(
        lambda batch: batch | {"sample_weight": tf.gather(weights, batch["example_id"])}
    )
    of_rows = np.broadcast_to(
        weights[:, None] if shape == "example" else weights, windows.labels.shape
    )
    of_rows = of_rows[windows.labels > 0]
    distiller = new_distiller()
    weighted = tf.keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="weighted")
    distiller.compile(
        optimizer=tf.keras.optimizers.SGD(0.0), metrics=[top_2()], weighted_metrics=[weighted]
    )
    logits = rows(distiller.student, windows)
    expected = expected_logs(logits, windows, weights=of_rows)
    unweighted = expected_logs(logits, windows)
    expected |= {"weighted": expected["top_2"], "top_2": unweighted["top_2"]}
    for name in unweighted.keys() - {"top_2"}:
        assert abs(expected[name] - unweighted[name]) > 1e-3, name  # the weights have an effect
    evaluated = evaluate(distiller, batches)
    assert evaluated.keys() == expected.keys()
    for name, value in evaluated.items():
        np.testing.assert_allclose(value, expected[name], **TOLERANCE, err_msg=name)
    logs = distiller.fit(batches, verbose=0).history
    assert logs.keys() == expected.keys() - {"agreement@3"}
    for name, (value,) in logs.items():
        np.testing.assert_allclose(value, expected[name], **TOLERANCE, err_msg=name)


def test_the_users_metric_over_hard_negatives_ranks_the_label_among_them(windows):
    """Three hardest negatives: the label is in the top 2 of 4 if it is in the top 2 of all."""
    student = new_student(candidates=Candidates(num_hard_negatives=3))
    distiller = new_distiller(student)
    distiller.compile(optimizer="sgd", metrics=[top_2()])
    expected = top_k_accuracy(rows(student, windows), labels_of(windows), 2).mean()
    assert 0.1 < expected < 0.9
    np.testing.assert_allclose(evaluate(distiller, windows)["top_2"], expected, rtol=1e-6)


def test_every_loss_is_logged_by_its_name_unweighted(windows):
    losses = [
        SoftTargetKLDivergence(2.0, name="soft"),
        tf.keras.losses.MeanSquaredError(name="squares"),
    ]
    distiller = new_distiller(losses=losses, distillation_loss_weights=[0.5, 0.125])
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0))
    student, teacher = rows(distiller.student, windows), teacher_rows(windows)
    soft = expected_logs(student, windows)["soft"]
    squares = ((teacher - student) ** 2).mean()
    for logged in (
        evaluate(distiller, windows),
        distiller.fit(windows.batches(8), verbose=0).history,
    ):
        logged = {name: float(np.squeeze(value)) for name, value in logged.items()}
        np.testing.assert_allclose(logged["soft"], soft, **TOLERANCE)
        np.testing.assert_allclose(logged["squares"], squares, rtol=1e-5)
        both = 0.5 * soft + 0.125 * squares
        np.testing.assert_allclose(logged["distillation_loss"], both, rtol=1e-5)


@pytest.fixture(scope="module")
def factorised(windows):
    """A two-tower teacher with separated items, so that rounding swaps none."""
    text = np.random.default_rng(0).normal(size=(NUM_ITEMS, 6)).astype(np.float32)
    teacher = td.teachers.BertTwoTower(text, max_history=MAX_HISTORY, embedding_dim=4, seed=0)
    teacher.candidate_tower.id_embeddings.assign(40 * teacher.candidate_tower.id_embeddings)
    logits = np.sort(rows(teacher, windows), axis=1)
    assert np.diff(logits, axis=1).min() > 1e-5
    return teacher


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("form", ["live", "embeddings", "top_k"])
def test_agreement_is_the_share_of_the_teachers_best(windows, factorised, tmp_path, form, k):
    teacher, data = factorised, windows
    if form != "live":
        teacher = td.cache_teacher(factorised, windows, tmp_path, top_k=5, temperatures=(2.0,))
        data = teacher.join(windows, form=form)
    distiller = new_distiller(teacher=teacher, agreement_k=k)
    distiller.compile(optimizer="sgd", run_eagerly=True)  # faster than compiling it once
    each = agreement(rows(factorised, windows), rows(distiller.student, windows), k)
    assert 0.05 < each.mean() < 0.95
    logged = evaluate(distiller, data)[f"agreement@{k}"]
    np.testing.assert_allclose(logged, each.mean(), rtol=1e-6)  # a mean of a few fractions


def test_agreement_with_a_shorter_top_k_list_is_over_that_list(windows, factorised, tmp_path):
    """The cache has 2 items per row, `agreement_k` is 3."""
    teacher = td.cache_teacher(factorised, windows, tmp_path, top_k=2, temperatures=(2.0,))
    distiller = new_distiller(teacher=teacher)
    distiller.compile(optimizer="sgd", run_eagerly=True)
    expected = agreement(rows(factorised, windows), rows(distiller.student, windows), 2).mean()
    logged = evaluate(distiller, teacher.join(windows, form="top_k"))["agreement@3"]
    np.testing.assert_allclose(logged, expected, rtol=1e-6)


def test_agreement_over_more_items_than_exist_is_1(windows):
    distiller = new_distiller(agreement_k=50)
    distiller.compile(optimizer="sgd", run_eagerly=True)
    assert evaluate(distiller, windows)["agreement@50"] == 1.0


def test_agreement_excludes_masked_candidates(windows):
    """Items of the history, except the label, are in neither list."""
    student = new_student(candidates=Candidates(exclude_seen=True))
    distiller = new_distiller(student)
    distiller.compile(optimizer="sgd", run_eagerly=True)
    labelled = np.argwhere(windows.labels > 0)
    seen = np.zeros((len(labelled), NUM_ITEMS + 1), bool)
    for row, (example, position) in zip(seen, labelled):
        row[windows.history[example, : position + 1]] = True
        row[windows.labels[example, position]] = False
    masked = [
        np.where(seen[:, 1:], -1e9, x) for x in (teacher_rows(windows), rows(student, windows))
    ]
    expected = agreement(*masked, 3).mean()
    assert abs(agreement(teacher_rows(windows), rows(student, windows), 3).mean() - expected) > 0.01
    np.testing.assert_allclose(evaluate(distiller, windows)["agreement@3"], expected, rtol=1e-6)


def test_agreement_with_a_plain_classifiers_teacher():
    """A classifier of 6 classes and a Keras teacher over other, wider inputs."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(20, 3)).astype(np.float32)
    labels = random.integers(0, 6, 20)
    teacher = tf.keras.Sequential([tf.keras.layers.Dense(6, input_shape=(3,))])
    student = tf.keras.Sequential([tf.keras.layers.Dense(6, input_shape=(3,))])
    for model in (teacher, student):
        model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    distiller = Distiller(student, teacher, SoftTargetKLDivergence(), agreement_k=2)
    distiller.compile(optimizer="sgd", metrics=[top_2()])
    logged = distiller.evaluate(inputs, labels, batch_size=7, verbose=0, return_dict=True)
    kernels = [[w.astype(np.float64) for w in model.get_weights()] for model in (teacher, student)]
    logits = [inputs @ kernel + bias for kernel, bias in kernels]
    np.testing.assert_allclose(logged["agreement@2"], agreement(*logits, 2).mean(), rtol=1e-6)
    expected = top_k_accuracy(logits[1], labels, 2).mean()
    np.testing.assert_allclose(logged["top_2"], expected, rtol=1e-6)


def test_without_a_loss_of_logits_there_is_no_agreement(windows):
    """The teacher may have no logits."""

    class Hidden:
        def logits(self, batch, candidate_ids):
            raise AssertionError("nobody needs them")

        def hidden_representations(self, batch):
            return {"last": tf.ones([tf.shape(batch["history"])[0], MAX_HISTORY, 3])}

    loss = HiddenRepresentationDistillation("query_embeddings", "last", name="hidden")
    distiller = new_distiller(teacher=Hidden(), losses=loss)
    distiller.compile(optimizer="sgd", run_eagerly=True)
    logged = evaluate(distiller, windows)
    assert logged.keys() == {"total_loss", "student_loss", "distillation_loss", "hidden"}


def test_evaluate_is_without_dropout_and_the_same_every_time(windows):
    student = new_student(dropout=0.5)
    distiller = new_distiller(student)
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0), metrics=[top_2()])
    expected = expected_logs(rows(student, windows), windows)
    first = evaluate(distiller, windows)
    before = [weight.numpy() for weight in distiller.student.weights]
    assert evaluate(distiller, windows) == first
    for weight, old in zip(distiller.student.weights, before):
        np.testing.assert_array_equal(weight.numpy(), old)
    for name, value in first.items():
        np.testing.assert_allclose(value, expected[name], **TOLERANCE, err_msg=name)
    # Training does drop, differently in every epoch.
    losses = distiller.fit(windows.batches(8), epochs=2, verbose=0).history["student_loss"]
    assert len({*np.round([*losses, expected["student_loss"]], 3)}) == 3


def test_evaluate_returns_the_values_of_metrics_names(windows):
    distiller = new_distiller()
    distiller.compile(optimizer="sgd", metrics=[top_2()])
    named = evaluate(distiller, windows)
    listed = distiller.evaluate(windows.batches(8), verbose=0)
    assert dict(zip(distiller.metrics_names, listed)) == named
    assert len(listed) == len(distiller.metrics_names)
