"""Labels of a weight below 0: in the twin and in a distiller, for every source of candidates."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import random_windows, tiny_catalogue, with_dislikes, with_weights

from tfrs_distill import columns
from tfrs_distill.data import Interactions, split_by_time
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import Candidates, RetrievalStudent
from tfrs_distill.teachers import BertTwoTower

NUM_ITEMS, MAX_HISTORY, SMOOTHING, TEMPERATURE, SHARE = 9, 4, 0.2, 2.0, 0.3
CLOSE = {"rtol": 2e-5, "atol": 2e-6}  # float32 sums of a few dozen numbers against float64
SGD = tf.keras.optimizers.SGD


def student_of(source="catalogue", **given):
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS,
        max_history=MAX_HISTORY,
        embedding_dim=4,
        candidates=Candidates(source),
        seed=0,
        **given,
    )
    random = np.random.default_rng(1)
    tower = student.query_tower
    tower.set_weights([random.normal(size=w.shape, scale=0.7) for w in tower.get_weights()])
    return student


def signed_windows():
    windows = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)
    return with_dislikes(with_weights(windows))


def whole(windows, source="catalogue"):
    drawn = {"catalogue": None, "batch": 0, "sampled": 3}[source]
    return next(iter(windows.batches(len(windows), num_negatives=drawn)))


def log_softmax(logits):
    logits = np.float64(logits)
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("source", ["catalogue", "batch", "sampled"])
def test_all_terms_are_weighted_by_the_absolute_values(source):
    windows, student = signed_windows(), student_of(source, label_smoothing=SMOOTHING)
    teacher = BertTwoTower(np.eye(NUM_ITEMS), max_history=MAX_HISTORY, embedding_dim=8, seed=0)
    loss = SoftTargetKLDivergence(temperature=TEMPERATURE, name="kl")
    distiller = Distiller(student, teacher, loss, student_loss_weight=SHARE)
    batch = whole(windows, source)
    weights = windows.weights[windows.labels > 0]
    outputs = student(batch, training=False)
    chosen = outputs.candidates
    logits = outputs.logits.numpy()
    there = logits > -1e20
    log_p, label = log_softmax(logits), np.asarray(chosen.label_columns)
    rows = np.arange(len(label))
    even = np.where(there, 1 / there.sum(axis=1, keepdims=True), 0.0)
    smooth = (1 - SMOOTHING) * np.eye(logits.shape[1])[label] + SMOOTHING * even
    liked = -np.where(there, smooth * log_p, 0.0).sum(axis=1)
    disliked = -np.log1p(-np.exp(log_p[rows, label]))
    hard = np.where(weights < 0, disliked, liked)
    output = chosen.adjust(teacher.logits(batch, chosen.ids)).numpy()
    p, q = log_softmax(output / TEMPERATURE), log_softmax(logits / TEMPERATURE)
    soft = TEMPERATURE**2 * np.where(there, np.exp(p) * (p - q), 0.0).sum(axis=1)
    expected = [np.average(of, weights=np.abs(weights)) for of in (hard, soft)]
    terms = distiller.loss_terms(batch, training=False)
    np.testing.assert_allclose(terms["student_loss"], expected[0], **CLOSE)
    np.testing.assert_allclose(terms["kl"], expected[1], **CLOSE)
    total = SHARE * expected[0] + (1 - SHARE) * expected[1]
    np.testing.assert_allclose(terms["total_loss"], total, **CLOSE)
    twin = student_of(source, label_smoothing=SMOOTHING)  # without teacher, it minimises the same
    np.testing.assert_allclose(twin.compute_loss(batch), expected[0], **CLOSE)


@pytest.mark.parametrize(
    "source, jit_compile",
    [("catalogue", False), ("batch", False), ("sampled", False), ("catalogue", True)],
)
def test_a_step_makes_a_disliked_label_less_likely_and_a_liked_one_more(source, jit_compile):
    windows = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY).subset([0, 1])
    labelled = windows.labels > 0
    for sign in (-1.0,) if jit_compile else (1.0, -1.0):  # compiling takes seconds
        student = student_of(source)
        examples = replace(windows, weights=sign * labelled)
        batch = whole(examples, source)
        student.compile(SGD(0.02), jit_compile=jit_compile, run_eagerly=not jit_compile)

        def likelihood(student=student, batch=batch):
            outputs = student(batch, training=False)
            columns_of = np.asarray(outputs.candidates.label_columns)
            shares = tf.nn.softmax(outputs.logits).numpy()
            return np.mean(shares[np.arange(len(columns_of)), columns_of])

        before = likelihood()
        student.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
        assert (likelihood() - before) * sign > 1e-5


def test_label_metrics_exclude_dislikes_and_agreement_includes_them():
    windows, student = signed_windows(), student_of()
    teacher = BertTwoTower(np.eye(NUM_ITEMS), max_history=MAX_HISTORY, embedding_dim=8, seed=0)
    distiller = Distiller(student, teacher, SoftTargetKLDivergence(), agreement_k=3)
    weights = windows.weights[windows.labels > 0]
    batch = whole(windows)
    logits = student(batch, training=False).logits.numpy()
    label = windows.labels[windows.labels > 0] - 1
    found = (logits > np.take_along_axis(logits, label[:, None], axis=1)).sum(axis=1) < 3
    top = [np.argsort(-of, axis=1)[:, :3] for of in (logits, teacher.logits(batch, range(1, 10)))]
    shared = [len(set(mine) & set(its)) / 3 for mine, its in zip(*top)]
    expected = np.average(found, weights=np.maximum(weights, 0))
    for model in (distiller, student_of()):
        metric = tf.keras.metrics.SparseTopKCategoricalAccuracy(3, name="top")
        model.compile(SGD(0.0), weighted_metrics=[metric], run_eagerly=True)
        logs = model.evaluate(windows.batches(len(windows)), return_dict=True, verbose=0)
        np.testing.assert_allclose(logs["top"], expected, rtol=1e-6)
        assert abs(expected - np.average(found, weights=np.abs(weights))) > 1e-3
        if model is distiller:
            agreed = np.average(shared, weights=np.abs(weights))
            np.testing.assert_allclose(logs["agreement@3"], agreed, rtol=1e-6)


def test_weights_above_0_change_nothing():
    """Steps of a graph with dislikes and of one without are the same."""
    windows = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)
    ones = replace(windows, weights=(windows.labels > 0) * 1.0)
    after = []
    for examples in (windows, ones):
        student = student_of(label_smoothing=SMOOTHING)
        student.compile(SGD(0.5))
        student.fit(examples.batches(len(examples)), epochs=2, verbose=0)
        after.append(student.get_weights())
    for one, other in zip(*after):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_a_dislike_of_a_distribution_is_refused_before_any_step():
    windows, student = signed_windows(), student_of()
    batch = whole(windows)
    batch[columns.LABELS] = tf.one_hot(batch[columns.LABELS] - 1, NUM_ITEMS)
    student.compile(SGD(0.1))
    with pytest.raises(
        ValueError, match=r"below 0 .* one item per row as label.*in row 0, with lab"
    ):
        student.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    batch[columns.SAMPLE_WEIGHT] = tf.abs(batch[columns.SAMPLE_WEIGHT])
    student.fit(tf.data.Dataset.from_tensors(batch), verbose=0)


def planted():
    """Item 2 is liked after any item, but always disliked after item 1."""
    random = np.random.default_rng(0)
    users, items, ratings = [], [], []
    for user in range(80):
        others = random.permutation(np.arange(3, 11)).tolist()
        pair = [1, 2] if user % 2 else [2, 1]
        sequence = [*others[:2], pair[0], pair[1], *others[2:5]]
        users += [user] * len(sequence)
        items += sequence
        ratings += [1.0 if user % 2 and item == 2 else 4.0 for item in sequence]
    names = tuple(map(str, range(80)))
    times = np.arange(len(users))
    return Interactions("planted", tiny_catalogue(10), names, users, items, ratings, times)


def test_a_dislike_is_ranked_lower_than_without_the_label_or_as_a_like():
    """Item 2 after item 1: as a like, without the label, as a dislike."""
    data = planted()
    signed = split_by_time(data.with_dislikes(data.ratings < 3), max_history=8).train
    liked = replace(signed, weights=None)
    left_out = replace(signed, labels=signed.liked_labels, weights=None)
    likelihoods = []
    for train in (liked, left_out, signed):
        student = RetrievalStudent.from_history(
            num_items=10, max_history=8, embedding_dim=8, dropout=0.0, seed=0
        )
        student.compile(tf.keras.optimizers.Adam(0.03))
        student.fit(train.batches(len(train)), epochs=20, verbose=0)
        query = student.encode_histories(tf.constant([[5, 7, 1]]))
        logits = tf.matmul(query, student.catalogue_embeddings()[1:], transpose_b=True)
        likelihoods.append(float(tf.nn.softmax(logits)[0, 1]))
    assert likelihoods[0] > 3 * likelihoods[1] and likelihoods[1] > 3 * likelihoods[2]
