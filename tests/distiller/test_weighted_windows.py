"""Ratings as weights: from a table to every term of the student's loss, and to the twin's."""

from dataclasses import replace

import numpy as np
import tensorflow as tf
from tiny_data import random_windows, with_weights

from tfrs_distill import columns
from tfrs_distill.data import Windows, from_dataframe, split_by_time
from tfrs_distill.distiller import Distiller
from tfrs_distill.knowledge import cache_teacher, cross_fit
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.teachers import BertTwoTower

NUM_ITEMS, MAX_HISTORY, SMOOTHING, TEMPERATURE, SHARE = 9, 4, 0.2, 2.0, 0.3
CLOSE = {"rtol": 2e-5, "atol": 2e-6}  # float32 sums of a few dozen numbers against float64


def student_of(**given):
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=MAX_HISTORY, embedding_dim=4, seed=0, **given
    )
    random = np.random.default_rng(1)
    tower = student.query_tower
    tower.set_weights([random.normal(size=w.shape, scale=0.7) for w in tower.get_weights()])
    return student


def teacher_of(seed=0):
    return BertTwoTower(np.eye(NUM_ITEMS), max_history=MAX_HISTORY, embedding_dim=8, seed=seed)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def whole(windows):
    return next(iter(windows.batches(len(windows))))


def test_both_terms_are_weighted_means_over_labels_from_a_table_of_ratings(tmp_path):
    random = np.random.default_rng(0)
    rows = [(user, item) for user in range(6) for item in random.permutation(NUM_ITEMS)]
    frame = {
        "user": [user for user, _ in rows],
        "item": [f"i{item}" for _, item in rows],
        "rating": random.integers(1, 6, len(rows)),
    }
    data = from_dataframe(frame, weigh_by_rating=True)
    train = split_by_time(data, max_history=MAX_HISTORY).train
    rated = dict(zip(zip(frame["user"], frame["item"]), frame["rating"]))
    weights = np.array(
        [
            rated[user, data.catalogue.item_ids[item - 1]] / np.mean(frame["rating"])
            for user, items in zip(train.users, train.labels)
            for item in items[items > 0]
        ]
    )
    teacher, student = teacher_of(), student_of(label_smoothing=SMOOTHING)
    knowledge = cache_teacher(teacher, train, tmp_path, top_k=3)
    loss = SoftTargetKLDivergence(temperature=TEMPERATURE, name="kl")
    distiller = Distiller(student, knowledge, loss, student_loss_weight=SHARE)
    batch = whole(knowledge.join(train))
    items = tf.range(1, NUM_ITEMS + 1)
    logits, output = (np.float64(model.logits(batch, items)) for model in (student, teacher))
    labels = train.labels[train.labels > 0] - 1
    smooth = (1 - SMOOTHING) * np.eye(NUM_ITEMS)[labels] + SMOOTHING / NUM_ITEMS
    hard = -(smooth * log_softmax(logits)).sum(axis=1)
    p, q = log_softmax(output / TEMPERATURE), log_softmax(logits / TEMPERATURE)
    soft = TEMPERATURE**2 * (np.exp(p) * (p - q)).sum(axis=1)
    terms = distiller.loss_terms(batch, training=False)
    expected = {name: np.average(of, weights=weights) for name, of in (("s", hard), ("k", soft))}
    np.testing.assert_allclose(terms["student_loss"], expected["s"], **CLOSE)
    np.testing.assert_allclose(terms["kl"], expected["k"], **CLOSE)
    total = SHARE * expected["s"] + (1 - SHARE) * expected["k"]
    np.testing.assert_allclose(terms["total_loss"], total, **CLOSE)
    assert abs(expected["s"] - hard.mean()) > 1e-3 and abs(expected["k"] - soft.mean()) > 1e-3
    # without teacher, it minimises the same student loss
    twin = student_of(label_smoothing=SMOOTHING)
    twin.compile(optimizer=tf.keras.optimizers.SGD(0.0), run_eagerly=True)
    history = twin.fit(train.batches(len(train)), verbose=0).history
    np.testing.assert_allclose(history["loss"], [expected["s"]], **CLOSE)


def one_label_per_window(windows):
    """A window for each label."""
    places = np.argwhere(windows.labels)
    labels = np.zeros((len(places), windows.max_history), np.int32)
    rows = np.arange(len(places))
    labels[rows, places[:, 1]] = windows.labels[tuple(places.T)]
    return Windows(
        windows.catalogue, windows.users[places[:, 0]], windows.history[places[:, 0]], labels
    )


def test_a_label_of_weight_2_equals_the_label_twice():
    """In the loss and in its step, of the twin and of the distilled student."""
    windows = one_label_per_window(random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY))
    twice = np.arange(len(windows)) % 3 == 0
    weights = np.where(windows.labels > 0, 1.0 + twice[:, None], 0.0)
    weighted = replace(windows, weights=weights)
    doubled = windows.subset(
        np.sort(np.concatenate([np.arange(len(windows)), np.flatnonzero(twice)]))
    )
    steps = []
    for examples in (weighted, doubled):
        twin, student = student_of(), student_of()
        distiller = Distiller(student, teacher_of(), SoftTargetKLDivergence(temperature=2.0))
        losses = []
        for model in (twin, distiller):
            model.compile(optimizer=tf.keras.optimizers.SGD(1.0), run_eagerly=True)
            fitted = model.fit(examples.batches(len(examples)), verbose=0)
            losses += [fitted.history[name][0] for name in fitted.history]
        steps.append([losses, *twin.get_weights(), *student.get_weights()])
    for one, other in zip(*steps):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_fold_teachers_train_with_weights_and_knowledge_is_joined_by_row(tmp_path):
    windows = with_weights(random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY))
    seen = []

    def train(examples, fold):
        seen.append(examples)
        return teacher_of(fold)

    knowledge = cross_fit(train, windows, tmp_path, fingerprint="a", num_folds=2, top_k=3)
    for examples in seen:
        whose = np.isin(windows.users, examples.users)
        np.testing.assert_array_equal(examples.weights, windows.weights[whose])
    order = np.random.default_rng(0).permutation(len(windows))
    joined = knowledge.join(windows.subset(order))
    np.testing.assert_array_equal(joined.weights, windows.weights[order])
    unweighted = knowledge.join(replace(windows, weights=None))  # knowledge is of the examples
    for name, rows in knowledge.join(windows).knowledge.items():
        np.testing.assert_array_equal(rows[np.arange(7)], unweighted.knowledge[name][np.arange(7)])
    # Other weights train other teachers: existing ones are not reused.
    cross_fit(
        train, replace(windows, weights=None), tmp_path, fingerprint="a", num_folds=2, top_k=3
    )
    assert len(seen) == 4 and seen[-1].weights is None


def test_without_weights_batches_and_steps_are_unchanged():
    windows = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)
    batch = whole(windows)
    assert set(batch) == {columns.EXAMPLE_ID, columns.USER_ID, columns.HISTORY, columns.LABELS}
    assert student_of().row_weights(batch) is None
