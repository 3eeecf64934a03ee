"""Every term is a mean over the same rows: weights, padding, batch sizes and forms of labels."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.models import Candidates, RetrievalStudent

NUM_ITEMS, MAX_HISTORY, DIM, TEACHER_DIM = 12, 4, 4, 3
TEMPERATURE, K = 2.0, 3
LOSS_WEIGHTS = {"kl": 0.5, "squares": 0.25, "hint": 2.0}
STUDENT_LOSS_WEIGHT = 0.3
KL_ALONE = {"losses": ["kl"], "loss_weights": [1.0]}
# float32 sums of a few dozen numbers of the size of 10, against float64.
CLOSE = {"rtol": 2e-5, "atol": 1e-5}
# The same numbers summed in another order, in float32.
REORDERED = {"rtol": 1e-5, "atol": 2e-6}


def student_of(candidates=None):
    """A student with weights as large as trained ones."""
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=MAX_HISTORY, embedding_dim=DIM, candidates=candidates
    )
    random = np.random.default_rng(1)
    tower = student.query_tower
    tower.set_weights([random.normal(size=w.shape, scale=0.7) for w in tower.get_weights()])
    return student


class TableTeacher:
    """Logits and a hidden representation by the latest item, plus values of the batch's columns."""

    def __init__(self):
        random = np.random.default_rng(3)
        self.table = random.normal(size=[NUM_ITEMS + 1] * 2, scale=2.0)
        self.memory = random.normal(size=[NUM_ITEMS + 1, TEACHER_DIM])

    def logits(self, batch, candidate_ids):
        logits = tf.gather(tf.constant(self.table, tf.float32), batch[columns.HISTORY])
        if "surprise" in batch:
            logits += batch["surprise"] * tf.cast(tf.range(NUM_ITEMS + 1) % 3, tf.float32)
        labels = batch.get(columns.LABELS, batch[columns.HISTORY])  # unlabelled: every item
        row = labels > 0 if labels.shape.rank == 2 else tf.reduce_any(labels > 0, axis=-1)
        return tf.gather(tf.boolean_mask(logits, row), candidate_ids, axis=1)

    def hidden_representations(self, batch):
        memory = tf.gather(tf.constant(self.memory, tf.float32), batch[columns.HISTORY])
        return {"memory": memory + batch.get("surprise", 0.0)}


def distiller_of(candidates=None, *, losses=LOSS_WEIGHTS, loss_weights=None, **arguments):
    """A student, a teacher, and a loss of every kind."""
    every = {
        "kl": SoftTargetKLDivergence(TEMPERATURE, name="kl"),
        "squares": tf.keras.losses.MeanSquaredError(name="squares"),
        "hint": HiddenRepresentationDistillation("query_embeddings", "memory", name="hint"),
    }
    arguments = {"student_loss_weight": STUDENT_LOSS_WEIGHT, "agreement_k": K} | arguments
    distiller = Distiller(
        student_of(candidates),
        TableTeacher(),
        [every[name] for name in losses],
        [LOSS_WEIGHTS[name] for name in losses] if loss_weights is None else loss_weights,
        **arguments,
    )
    if "hint" in losses:
        hint = distiller.distillation_losses["hint"]
        hint.build_from_config({"widths": [DIM + 1, TEACHER_DIM]})
        random = np.random.default_rng(2)
        hint.set_weights([random.normal(size=w.shape) for w in hint.get_weights()])
    return distiller


def batch_of(num_examples=5, seed=7):
    """Windows whose numbers of labels differ: padding in front, and missing labels inside."""
    random = np.random.default_rng(seed)
    history = random.integers(1, NUM_ITEMS + 1, [num_examples, MAX_HISTORY])
    labels = random.integers(1, NUM_ITEMS + 1, [num_examples, MAX_HISTORY])
    for example in range(num_examples):
        history[example, : example % MAX_HISTORY] = 0
    labels[history == 0] = 0
    labels[::4, 1] = 0
    return {
        columns.HISTORY: tf.constant(history, tf.int32),
        columns.LABELS: tf.constant(labels, tf.int32),
    }


def part(batch, examples):
    """Some of a batch's examples."""
    return {name: tf.gather(column, examples) for name, column in batch.items()}


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum())


def label_distribution(label):
    """A label in any form, as a distribution over the items."""
    return np.eye(NUM_ITEMS)[label - 1] if np.ndim(label) == 0 else np.float64(label)


def expected_rows(distiller, batch):
    """Every term of every row in float64, by a loop over the batch: `name -> [num_rows]`."""
    student, teacher = distiller.student, distiller.teacher
    history = batch[columns.HISTORY].numpy()
    labels = batch[columns.LABELS].numpy() if columns.LABELS in batch else None
    labelled = history if labels is None else labels
    positions = np.argwhere(labelled if labelled.ndim == 2 else labelled.sum(axis=-1))
    kernel, bias = np.zeros([DIM + 1, TEACHER_DIM]), 0.0
    if "hint" in distiller.distillation_losses:
        kernel, bias = map(np.float64, distiller.distillation_losses["hint"].get_weights())
    so_far = np.zeros([len(positions), MAX_HISTORY], np.int32)
    for row, (example, position) in enumerate(positions):
        so_far[row, : position + 1] = history[example, : position + 1]
    queries = student.encode_histories(tf.constant(so_far)).numpy().astype(np.float64)
    items = student.catalogue_embeddings().numpy().astype(np.float64)[1:]
    rows = {name: [] for name in ("student_loss", "kl", "squares", "hint", "agreement")}
    for query, (example, position) in zip(queries, positions):
        interacted = history[example, position]
        logits, output = items @ query, teacher.table[interacted][1:]
        if labels is not None:
            distribution = label_distribution(labels[example, position])
            rows["student_loss"].append(-distribution @ log_softmax(logits))
        p, q = log_softmax(output / TEMPERATURE), log_softmax(logits / TEMPERATURE)
        rows["kl"].append(TEMPERATURE**2 * np.sum(np.exp(p) * (p - q)))
        rows["squares"].append(np.mean((output - logits) ** 2))
        rows["hint"].append(np.mean((query @ kernel + bias - teacher.memory[interacted]) ** 2))
        best = [set(np.argsort(-each)[:K]) for each in (output, logits)]
        rows["agreement"].append(len(best[0] & best[1]) / K)
    return {name: np.array(values) for name, values in rows.items() if values}


def expected_terms(rows, weights=None):
    """The equation on the weighted means of the rows."""
    terms = {name: np.average(values, weights=weights) for name, values in rows.items()}
    terms["distillation_loss"] = sum(LOSS_WEIGHTS[name] * terms[name] for name in LOSS_WEIGHTS)
    terms["total_loss"] = (
        STUDENT_LOSS_WEIGHT * terms["student_loss"]
        + (1 - STUDENT_LOSS_WEIGHT) * terms["distillation_loss"]
    )
    return terms


TERMS = {"student_loss", "kl", "squares", "hint", "distillation_loss", "total_loss"}


def assert_terms(terms, expected, **tolerance):
    for name in TERMS:
        np.testing.assert_allclose(terms[name], expected[name], **tolerance, err_msg=name)


def terms_and_gradients(distiller, batch):
    """Every term, and the gradient of the total for student and projector."""
    with tf.GradientTape() as tape:
        terms = distiller.loss_terms(batch, training=True)
    gradients = tape.gradient(terms["total_loss"], distiller.trainable_variables)
    return terms, [None if g is None else tf.convert_to_tensor(g).numpy() for g in gradients]


def assert_same_step(one, other, **tolerance):
    """Equal terms and equal gradients."""
    assert set(one[0]) == set(other[0])
    for name in one[0]:
        np.testing.assert_allclose(one[0][name], other[0][name], **tolerance, err_msg=name)
    for ours, theirs in zip(one[1], other[1]):
        np.testing.assert_allclose(ours, theirs, **tolerance)
        assert np.isfinite(ours).all()


def still(distiller, **arguments):
    """Compiled for steps that change nothing; eager, because tracing would take longer."""
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0), run_eagerly=True, **arguments)
    return distiller


def stream(batches):
    """A data set of batches of different sizes."""
    return tf.data.Dataset.from_generator(
        lambda: iter(batches),
        output_signature={
            name: tf.TensorSpec([None, *column.shape[1:]], column.dtype)
            for name, column in batches[0].items()
        },
    )


# Means over rows


@pytest.mark.parametrize("num_examples", [1, 5, 9])
def test_terms_are_means_over_the_labelled_positions(num_examples):
    distiller, batch = distiller_of(), batch_of(num_examples)
    rows = expected_rows(distiller, batch)
    assert len(rows["kl"]) == np.count_nonzero(batch[columns.LABELS])
    assert_terms(distiller.loss_terms(batch, training=True), expected_terms(rows), **CLOSE)


def test_a_layer_on_flattened_positions_is_read_at_the_labelled_ones():
    """Inside the feed-forward block the axes of batch and history are one."""
    hint = HiddenRepresentationDistillation("feed_forward/out", "memory", name="hint")
    distiller = Distiller(student_of(), TableTeacher(), hint)
    batch, weights = weights_of(batch_of(), "positions")
    value = distiller.loss_terms(batch, training=True)["hint"]
    tower = distiller.student.query_tower
    table = tower.item_tower.id_embeddings.numpy().astype(np.float64)
    decay = np.exp(tower.encoder.log_weights.numpy().astype(np.float64))
    kernel, bias = map(np.float64, hint.get_weights())
    expected = []
    for example, position in np.argwhere(batch[columns.LABELS].numpy()):
        history = batch[columns.HISTORY].numpy()[example, : position + 1]
        items = history[history > 0]
        query = distiller.student.encode_histories(tf.constant(items[None]))[0, :DIM].numpy()
        # The block adds this layer's output to the decayed average of the history.
        output = query - np.average(table[items], axis=0, weights=decay[: len(items)][::-1])
        memory = distiller.teacher.memory[items[-1]]
        expected.append(np.mean((output @ kernel + bias - memory) ** 2))
    np.testing.assert_allclose(value, np.average(expected, weights=weights), **CLOSE)


def test_a_batch_of_64_is_the_mean_of_4_of_16():
    distiller, batch = distiller_of(), batch_of(64)  # the same number of rows in each 16
    whole = terms_and_gradients(distiller, batch)
    parts = [
        terms_and_gradients(distiller, part(batch, range(start, start + 16)))
        for start in range(0, 64, 16)
    ]
    means = {name: np.mean([terms[name] for terms, _ in parts]) for name in TERMS}
    gradients = [np.mean(each, axis=0) for each in zip(*(gradients for _, gradients in parts))]
    assert_same_step(whole, (means, gradients), **REORDERED)
    assert np.ptp([terms["total_loss"] for terms, _ in parts]) > 0.01


WEIGHTINGS = ["none", "examples", "positions"]


def weights_of(batch, weighting, seed=11):
    """`(the batch with its column, the weight of each row)`; a third of the weights is 0."""
    if weighting == "none":
        return batch, None
    shape = batch[columns.HISTORY].shape[: 1 if weighting == "examples" else 2]
    random = np.random.default_rng(seed)
    weights = (random.random(shape) * random.integers(0, 3, shape)).astype(np.float32)
    at_each = np.broadcast_to(weights.reshape([len(weights), -1]), batch[columns.HISTORY].shape)
    labelled = batch[columns.LABELS].numpy() > 0
    return batch | {columns.SAMPLE_WEIGHT: tf.constant(weights)}, at_each[labelled]


@pytest.mark.parametrize(
    ("weighting", "batch_size"), [("none", 8), ("none", 3), ("examples", 3), ("positions", 3)]
)
def test_epoch_logs_are_means_over_all_rows_for_any_last_batch(weighting, batch_size):
    distiller = still(distiller_of())
    batch, weights = weights_of(batch_of(8), weighting)
    expected = expected_terms(expected_rows(distiller, batch), weights)
    parts = [part(batch, range(i, min(i + batch_size, 8))) for i in range(0, 8, batch_size)]
    logs = distiller.fit(stream(parts), verbose=0).history
    assert_terms({name: values[0] for name, values in logs.items()}, expected, **CLOSE)
    logs = distiller.evaluate(stream(parts), verbose=0, return_dict=True)
    assert_terms(logs, expected, **CLOSE)
    np.testing.assert_allclose(logs["agreement@3"], expected["agreement"], rtol=1e-6)
    # And the student without a teacher.
    student = distiller.student
    student.compile(run_eagerly=True)
    loss = student.evaluate(stream(parts), verbose=0)
    np.testing.assert_allclose(loss, expected["student_loss"], **CLOSE)


# Sample weights


@pytest.mark.parametrize("weighting", ["examples", "positions"])
def test_sample_weights_apply_to_every_term(weighting):
    distiller = distiller_of()
    batch, weights = weights_of(batch_of(), weighting)
    rows = expected_rows(distiller, batch)
    weighted, plain = expected_terms(rows, weights), expected_terms(rows)
    assert_terms(distiller.loss_terms(batch, training=True), weighted, **CLOSE)
    for name in TERMS:
        assert abs(weighted[name] - plain[name]) > 0.01


@pytest.mark.parametrize("dtype", [tf.int32, tf.float16, tf.float64])
def test_sample_weights_may_be_of_any_type(dtype):
    distiller, batch = distiller_of(), batch_of()
    weights = tf.constant([2, 0, 1, 3, 1])
    terms = [
        distiller.loss_terms(batch | {columns.SAMPLE_WEIGHT: tf.cast(weights, d)}, training=True)
        for d in (dtype, tf.float32)
    ]
    for name in TERMS:
        np.testing.assert_array_equal(terms[0][name], terms[1][name])


def test_a_plain_classifiers_weights_may_be_whole_numbers():
    model = tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=[2])])
    distiller = Distiller(
        model, lambda batch, _: batch["inputs"] @ tf.eye(2, 3), SoftTargetKLDivergence()
    )
    x, y = np.float32([[1, 2], [3, -1], [0, 1]]), np.array([0, 2, 1])
    data = tuple(map(tf.constant, (x, y, [1, 0, 3])))
    terms = distiller.loss_terms(data, training=True)
    p, q = (np.float64(each) for each in (x @ np.eye(2, 3), model(x)))
    p, q = (np.array([log_softmax(row) for row in each]) for each in (p, q))
    expected = np.average(-q[range(3), y], weights=[1, 0, 3])
    np.testing.assert_allclose(terms["student_loss"], expected, **CLOSE)
    expected = np.average(np.sum(np.exp(p) * (p - q), axis=1), weights=[1, 0, 3])
    np.testing.assert_allclose(terms["distillation_loss"], expected, **CLOSE)


def test_doubled_weights_give_the_same_means():
    distiller = distiller_of()
    batch, _ = weights_of(batch_of(), "positions")
    doubled = batch | {columns.SAMPLE_WEIGHT: 2 * batch[columns.SAMPLE_WEIGHT]}
    assert_same_step(*(terms_and_gradients(distiller, b) for b in (batch, doubled)), **REORDERED)


def test_a_weight_of_2_equals_the_example_twice():
    distiller, batch = distiller_of(), batch_of()
    weighted = batch | {columns.SAMPLE_WEIGHT: tf.constant([1.0, 2.0, 1.0, 1.0, 2.0])}
    repeated = part(batch, [0, 1, 1, 2, 3, 4, 4])
    assert_same_step(
        *(terms_and_gradients(distiller, b) for b in (weighted, repeated)), **REORDERED
    )


@pytest.mark.parametrize("surprise", [0.0, 1e6, 1e15])
def test_an_example_of_weight_0_equals_no_example(surprise):
    distiller, batch = distiller_of(), batch_of()
    kept = [0, 2, 4]
    weighted = batch | {
        columns.SAMPLE_WEIGHT: tf.constant([1.0, 0.0, 1.0, 0.0, 1.0]),
        # The teacher's outputs there are as large as float32's squares allow.
        "surprise": tf.reshape(tf.constant([0.0, 1.0, 0.0, 1.0, 0.0]) * surprise, [5, 1, 1]),
    }
    assert_same_step(
        terms_and_gradients(distiller, weighted),
        terms_and_gradients(distiller, part(batch, kept)),
        **REORDERED,
    )


@pytest.mark.parametrize("surprise", [0.0, 1e15])
def test_a_position_of_weight_0_equals_no_label(surprise):
    distiller, batch = distiller_of(), batch_of()
    labels = batch[columns.LABELS].numpy()
    out = (np.cumsum(labels > 0).reshape(labels.shape) % 3 == 0) & (labels > 0)
    assert 0 < out.sum() < np.count_nonzero(labels)
    weighted = batch | {
        columns.SAMPLE_WEIGHT: tf.constant(np.where(out, 0.0, 1.0), tf.float32),
        "surprise": tf.constant(np.where(out, surprise, 0.0)[..., None], tf.float32),
    }
    dropped = batch | {columns.LABELS: tf.constant(np.where(out, 0, labels))}
    assert_same_step(*(terms_and_gradients(distiller, b) for b in (weighted, dropped)), **REORDERED)


@pytest.mark.parametrize("source", ["catalogue", "batch", "sampled"])
def test_extreme_outputs_at_rows_of_weight_0_change_no_bit(source):
    """In a batch such a row stays a candidate, but its outputs are ignored."""
    distiller, batch = distiller_of(Candidates(source)), batch_of()
    batch |= {
        columns.SAMPLE_WEIGHT: tf.constant([1.0, 0.0, 2.0, 0.0, 1.0]),
        columns.NEGATIVES: tf.constant([[3, 4]] * 5),
        columns.NEGATIVES_SAMPLING_PROBABILITY: tf.fill([5, 2], 0.1),
        columns.CANDIDATE_SAMPLING_PROBABILITY: tf.fill([5, MAX_HISTORY], 0.2),
    }
    out = tf.reshape(tf.constant([0.0, 1.0, 0.0, 1.0, 0.0]), [5, 1, 1])
    calm, wild = (
        terms_and_gradients(distiller, batch | {"surprise": out * size}) for size in (0.0, 1e15)
    )
    assert_same_step(calm, wild, rtol=0, atol=0)


def test_in_batch_rows_of_weight_0_stay_candidates_as_in_tfrs():
    distiller, batch = distiller_of(Candidates("batch"), **KL_ALONE), batch_of()
    batch, weights = weights_of(batch, "positions")
    outputs = distiller.student(batch)
    task = tfrs.tasks.Retrieval(
        loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True), remove_accidental_hits=True
    )
    expected = task(
        outputs.hidden_representations["query_embeddings"],
        outputs.hidden_representations["candidate_embeddings"],
        candidate_ids=outputs.candidates.ids,
        sample_weight=weights,
    )
    # Keras divides the weighted sum by the number of rows, this package by the sum of their
    # weights.
    expected = expected * len(weights) / weights.sum()
    terms = distiller.loss_terms(batch, training=True)
    np.testing.assert_allclose(terms["student_loss"], expected, rtol=1e-5)


def test_a_batch_of_weight_0_alone_changes_nothing():
    distiller, batch = distiller_of(), batch_of()
    batch[columns.SAMPLE_WEIGHT] = tf.zeros([5])
    terms, gradients = terms_and_gradients(distiller, batch)
    assert {float(terms[name]) for name in TERMS} == {0.0}
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0.0)


def test_a_batch_of_weight_0_is_not_in_the_logs():
    distiller, batch = still(distiller_of()), batch_of(8)
    weights, kept = np.float32([1, 2, 0, 0, 1, 1, 3, 1]), [0, 1, 4, 5, 6, 7]
    num_labels = np.count_nonzero(batch[columns.LABELS].numpy()[kept], axis=1)
    rows = expected_rows(distiller, part(batch, kept))
    expected = expected_terms(rows, np.repeat(weights[kept], num_labels))
    batch[columns.SAMPLE_WEIGHT] = tf.constant(weights)
    parts = [part(batch, range(start, start + 2)) for start in range(0, 8, 2)]
    logs = distiller.evaluate(stream(parts), verbose=0, return_dict=True)
    assert_terms(logs, expected, **CLOSE)
    np.testing.assert_allclose(logs["agreement@3"], expected["agreement"], rtol=1e-6)


def accuracies(distiller, batch):
    """Whether the student's top item is the label, one value per row, in float64."""
    labels = batch[columns.LABELS].numpy()
    logits = distiller.student(batch).logits.numpy()
    return logits.argmax(axis=1) + 1 == labels[labels > 0]


def test_the_users_weighted_metrics_are_weighted_and_plain_ones_are_not():
    """As in `compile(metrics=..., weighted_metrics=...)` of any Keras model."""
    batch, weights = weights_of(batch_of(8), "positions")
    distiller = distiller_of()
    logits = distiller.student(batch).logits.numpy()
    labels = batch[columns.LABELS].numpy()
    # Half of the rows are right.
    best = np.where(np.arange(len(logits)) % 2, labels[labels > 0], 1 + logits.argmax(axis=1))
    batch[columns.LABELS] = tf.constant(_put(labels, best), tf.int32)
    right = accuracies(distiller, batch)
    assert 0.3 < right.mean() < 0.9
    still(
        distiller,
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy(name="plain")],
        weighted_metrics=[tf.keras.metrics.SparseCategoricalAccuracy(name="weighted")],
    )
    parts = [part(batch, range(start, min(start + 3, 8))) for start in range(0, 8, 3)]
    fitted = {n: v[0] for n, v in distiller.fit(stream(parts), verbose=0).history.items()}
    for logs in (fitted, distiller.evaluate(stream(parts), verbose=0, return_dict=True)):
        np.testing.assert_allclose(logs["plain"], right.mean(), rtol=1e-6)
        np.testing.assert_allclose(logs["weighted"], np.average(right, weights=weights), rtol=1e-6)
    assert abs(np.average(right, weights=weights) - right.mean()) > 0.01


def _put(labels, values):
    changed = labels.copy()
    changed[labels > 0] = values
    return changed


def test_labels_and_weights_may_be_keras_second_and_third():
    distiller = still(distiller_of())
    batch, weights = weights_of(batch_of(), "examples")
    x = {columns.HISTORY: batch[columns.HISTORY]}
    data = tf.data.Dataset.from_tensors((x, batch[columns.LABELS], batch[columns.SAMPLE_WEIGHT]))
    logs = distiller.evaluate(data, verbose=0, return_dict=True)
    assert_terms(logs, expected_terms(expected_rows(distiller, batch), weights), **CLOSE)


# Padding


def test_positions_without_a_label_have_no_influence():
    distiller, batch = distiller_of(), batch_of()
    batch, _ = weights_of(batch, "positions")
    none = batch[columns.LABELS].numpy() == 0
    mask = np.random.default_rng(0).random([*none.shape, NUM_ITEMS]) < 0.7
    batch |= {columns.SCORE_MASK: tf.constant(mask), "surprise": tf.zeros([*none.shape, 1])}
    wild = batch | {
        columns.SAMPLE_WEIGHT: tf.where(none, np.nan, batch[columns.SAMPLE_WEIGHT]),
        columns.SCORE_MASK: tf.constant(np.where(none[..., None], False, mask)),
        "surprise": tf.constant(np.where(none, np.nan, 0.0)[..., None], tf.float32),
    }
    assert_same_step(*(terms_and_gradients(distiller, b) for b in (batch, wild)), rtol=0, atol=0)


@pytest.mark.parametrize("source", ["batch", "sampled"])
def test_their_sampling_probabilities_have_no_influence(source):
    distiller, batch = distiller_of(Candidates(source)), batch_of()
    none = batch[columns.LABELS].numpy() == 0
    probability = tf.constant(np.random.default_rng(0).random(none.shape), tf.float32)
    batch |= {
        columns.CANDIDATE_SAMPLING_PROBABILITY: probability,
        columns.NEGATIVES: tf.constant([[3, 4]] * 5),
        columns.NEGATIVES_SAMPLING_PROBABILITY: tf.fill([5, 2], 0.1),
    }
    wild = batch | {columns.CANDIDATE_SAMPLING_PROBABILITY: tf.where(none, np.nan, probability)}
    assert_same_step(*(terms_and_gradients(distiller, b) for b in (batch, wild)), rtol=0, atol=0)


@pytest.mark.parametrize("source", ["catalogue", "batch"])
def test_an_example_of_only_padding_has_no_influence(source):
    distiller, batch = distiller_of(Candidates(source)), batch_of()
    longer = {name: tf.pad(column, [[2, 1], [0, 0]]) for name, column in batch.items()}
    assert_same_step(*(terms_and_gradients(distiller, b) for b in (batch, longer)), **REORDERED)


@pytest.mark.parametrize("source", ["catalogue", "batch"])
def test_the_embedding_of_padding_has_no_influence_and_is_not_trained(source):
    distiller, batch = distiller_of(Candidates(source)), batch_of()
    items = distiller.student.candidate_tower
    steps = []
    for value in (0.0, 50.0):
        items.id_embeddings[0].assign(tf.fill([DIM], value))
        items.biases[0].assign(value)
        steps.append(terms_and_gradients(distiller, batch))
    assert_same_step(*steps, rtol=0, atol=0)
    for variable, gradient in zip(distiller.trainable_variables, steps[0][1]):
        if variable is items.id_embeddings or variable is items.biases:
            np.testing.assert_array_equal(gradient[0], 0.0)
            assert abs(gradient[1:]).max() > 1e-3


# Forms of labels


def soft(batch, smoothing=0.3, seed=4):
    """Labels that are mostly one item, the rest spread unevenly; all 0 if there is none."""
    random = np.random.default_rng(seed)
    ids = batch[columns.LABELS].numpy()
    spread = random.dirichlet(np.ones(NUM_ITEMS), ids.shape)
    labels = (1 - smoothing) * np.eye(NUM_ITEMS + 1)[ids][..., 1:] + smoothing * spread
    labels *= (ids > 0)[..., None]
    return batch | {columns.LABELS: tf.constant(labels, tf.float32)}


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_soft_labels_are_distributions_over_the_items(weighting):
    batch, weights = weights_of(batch_of(), weighting)
    distiller, batch = distiller_of(), soft(batch)
    rows = expected_rows(distiller, batch)
    terms = distiller.loss_terms(batch, training=True)
    assert_terms(terms, expected_terms(rows, weights), **CLOSE)


def test_one_hot_labels_equal_ids():
    distiller, batch = distiller_of(), batch_of()
    one_hot = soft(batch, smoothing=0.0)
    assert set(np.unique(one_hot[columns.LABELS])) == {0.0, 1.0}
    # Two kernels of TensorFlow, so not bit for bit.
    assert_same_step(*(terms_and_gradients(distiller, b) for b in (batch, one_hot)), **REORDERED)


def test_labels_of_two_items_by_hand():
    distiller = distiller_of(**KL_ALONE)
    items = distiller.student.candidate_tower
    items.id_embeddings.assign(tf.zeros([NUM_ITEMS + 1, DIM]))
    items.biases.assign([0.0, math.log(6), *[math.log(0.5)] * 10, math.log(1)])
    # Softmax: 6, ten times 0.5 and 1, over 12.
    label = np.zeros([1, MAX_HISTORY, NUM_ITEMS], np.float32)
    label[0, -1, [0, 11]] = 0.75, 0.25
    batch = {columns.HISTORY: tf.constant([[0, 0, 2, 5]]), columns.LABELS: tf.constant(label)}
    expected = 0.75 * math.log(12 / 6) + 0.25 * math.log(12 / 1)
    terms = distiller.loss_terms(batch, training=True)
    np.testing.assert_allclose(terms["student_loss"], expected, rtol=1e-6)


def test_soft_labels_train():
    """With labels of 0.75 and 0.25 alone the student learns these probabilities."""
    distiller = distiller_of(**KL_ALONE, student_loss_weight=1.0)
    label = np.zeros([1, MAX_HISTORY, NUM_ITEMS], np.float32)
    label[0, -1, [0, 11]] = 0.75, 0.25
    batch = {columns.HISTORY: tf.constant([[0, 0, 2, 5]]), columns.LABELS: tf.constant(label)}
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.2))
    distiller.fit(tf.data.Dataset.from_tensors(batch).repeat(80), verbose=0)
    learnt = tf.nn.softmax(distiller.student(batch).logits)[0].numpy()
    # The other ten approach zero, and are within a hundredth of it.
    np.testing.assert_allclose(learnt[[0, 11]], [0.75, 0.25], atol=0.01)


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_soft_labels_keep_every_item_with_probability(exclude_seen):
    candidates = Candidates(exclude_seen=exclude_seen)
    distiller = distiller_of(candidates, **KL_ALONE)
    distiller.student.candidate_tower.id_embeddings.assign(tf.zeros([NUM_ITEMS + 1, DIM]))
    distiller.student.candidate_tower.biases.assign(tf.zeros([NUM_ITEMS + 1]))
    label = np.zeros([1, MAX_HISTORY, NUM_ITEMS], np.float32)
    label[0, -1, [4, 8]] = 0.5  # items 5, which is in the history, and 9
    batch = {columns.HISTORY: tf.constant([[0, 3, 2, 5]]), columns.LABELS: tf.constant(label)}
    # Of 12 equal items 3 and 2 are excluded.
    expected = math.log(10 if exclude_seen else 12)
    terms = distiller.loss_terms(batch, training=True)
    np.testing.assert_allclose(terms["student_loss"], expected, rtol=1e-6)


def test_labels_of_another_width_are_refused():
    distiller, batch = distiller_of(), soft(batch_of())
    batch[columns.LABELS] = batch[columns.LABELS][..., :-1]
    words = r"Labels must be ids.*distribution over the 12 candidates.*Received: .*11"
    with pytest.raises(ValueError, match=words):
        distiller.loss_terms(batch, training=True)


# No labels


def unlabelled(batch):
    return {name: column for name, column in batch.items() if name != columns.LABELS}


@pytest.mark.parametrize("weighting", ["none", "examples", "positions"])
def test_without_labels_every_position_with_an_item_is_a_row(weighting):
    batch, _ = weights_of(batch_of(), weighting)
    batch, weights = unlabelled(batch), None
    if weighting != "none":
        at_each = batch[columns.SAMPLE_WEIGHT].numpy().reshape([5, -1])
        history = batch[columns.HISTORY].numpy()
        weights = np.broadcast_to(at_each, history.shape)[history > 0]
    distiller = distiller_of(student_loss_weight=0.0)
    rows = expected_rows(distiller, batch)
    assert len(rows["kl"]) == np.count_nonzero(batch[columns.HISTORY])
    terms = distiller.loss_terms(batch, training=True)
    assert set(terms) == TERMS - {"student_loss"}
    means = {name: np.average(values, weights=weights) for name, values in rows.items()}
    for name in LOSS_WEIGHTS:
        np.testing.assert_allclose(terms[name], means[name], **CLOSE, err_msg=name)
    expected = sum(LOSS_WEIGHTS[name] * means[name] for name in LOSS_WEIGHTS)
    np.testing.assert_allclose(terms["distillation_loss"], expected, **CLOSE)
    np.testing.assert_allclose(terms["total_loss"], expected, **CLOSE)


def test_unlabelled_batches_train_and_log_no_student_loss():
    distiller = distiller_of(student_loss_weight=0.0)
    distiller.compile(
        optimizer=tf.keras.optimizers.Adam(0.05),
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
    )
    data = tf.data.Dataset.from_tensors(unlabelled(batch_of())).repeat(30)
    curve = distiller.fit(data, epochs=2, verbose=0).history
    assert set(curve) == TERMS - {"student_loss"}
    assert curve["distillation_loss"][1] < 0.8 * curve["distillation_loss"][0]
    logs = distiller.evaluate(data.take(1), verbose=0, return_dict=True)
    assert set(logs) == TERMS - {"student_loss"} | {"agreement@3"}
    rows = expected_rows(distiller, unlabelled(batch_of()))
    np.testing.assert_allclose(logs["agreement@3"], rows["agreement"].mean(), rtol=1e-6)


def test_weight_0_takes_the_step_of_no_labels_if_every_item_has_one():
    batch = batch_of()
    history = batch[columns.HISTORY]
    batch[columns.LABELS] = tf.where(history > 0, 1 + history % NUM_ITEMS, 0)
    distiller = distiller_of(student_loss_weight=0.0)
    labelled, without = (terms_and_gradients(distiller, b) for b in (batch, unlabelled(batch)))
    del labelled[0]["student_loss"]
    assert_same_step(labelled, without, **REORDERED)


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_unlabelled_batches_are_refused_if_labels_are_needed(weight):
    distiller = distiller_of(student_loss_weight=weight)
    before = distiller.student.get_weights()
    distiller.compile(optimizer="adam")
    words = f"no labels of task 'next_item', but `student_loss.* is {weight:g}. .* the weight to 0"
    with pytest.raises(ValueError, match=words):
        distiller.fit(tf.data.Dataset.from_tensors(unlabelled(batch_of())), verbose=0)
    for now, then in zip(distiller.student.get_weights(), before):
        np.testing.assert_array_equal(now, then)


def test_a_student_without_teacher_refuses_unlabelled_batches():
    student = student_of()
    student.compile(run_eagerly=True)
    with pytest.raises(ValueError, match="no labels.*Only a `Distiller` with `student_loss_weight"):
        student.evaluate(tf.data.Dataset.from_tensors(unlabelled(batch_of())), verbose=0)


@pytest.mark.parametrize("wild", [np.nan, np.inf, 1e30])
def test_a_row_of_weight_0_may_have_invalid_teacher_outputs(wild):
    random = np.random.default_rng(0)
    x, output = random.normal(size=(6, 3)), random.normal(size=(6, 4))
    output[2] = wild
    counts = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    weights = []
    for rows in (np.arange(6), np.flatnonzero(counts)):
        tf.keras.utils.set_random_seed(0)
        student = tf.keras.Sequential([tf.keras.layers.Dense(4)])
        losses = [SoftTargetKLDivergence(), tf.keras.losses.MeanSquaredError(name="mse")]
        distiller = Distiller(student, lambda batch, _: batch["said"], losses)
        distiller.compile(optimizer=tf.keras.optimizers.SGD(0.1))
        batch = {
            columns.INPUTS: tf.constant(x[rows], tf.float32),
            columns.LABELS: tf.constant(np.arange(6)[rows] % 4),
            columns.SAMPLE_WEIGHT: tf.constant(counts[rows], tf.float32),
            "said": tf.constant(output[rows], tf.float32),
        }
        distiller.fit(tf.data.Dataset.from_tensors(batch), epochs=2, verbose=0)
        weights.append(student.get_weights())
    for whole, without in zip(*weights):
        np.testing.assert_allclose(whole, without, rtol=1e-6)  # one row's zeros in the sums
