"""Planted data with a known truth: a teacher that predicts it must help."""

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly
from tiny_ranking import sigmoid

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses.pairwise_distillation import PairwiseDistillation
from tfrs_distill.losses.soft_target_binary_cross_entropy import SoftTargetBinaryCrossEntropy
from tfrs_distill.models import Binary, IdFeature, RankingModel

NUM_USERS, NUM_ITEMS, PER_USER = 30, 20, 8


def planted(seed):
    """True logits of all (user, item) pairs; 8 labels per user, each drawn from its probability."""
    random = np.random.default_rng(seed)
    user, item = random.normal(size=NUM_USERS), random.normal(size=(2, NUM_ITEMS))
    logits = item[0] + user[:, None] * item[1]
    items = np.stack([random.permutation(NUM_ITEMS)[:PER_USER] for _ in range(NUM_USERS)])
    users = np.repeat(np.arange(NUM_USERS), PER_USER)
    output = logits[users, items.ravel()]
    return logits, {
        columns.USER_ID: users.astype(np.int32) + 1,
        columns.ITEM_ID: items.ravel().astype(np.int32) + 1,
        columns.QUERY_ID: users.astype(np.int32),
        columns.label("like"): (random.random(output.shape) < sigmoid(output)).astype(np.float32),
        columns.teacher_logits("like"): output[:, None].astype(np.float32),
    }


def new_student(seed):
    features = [
        IdFeature(columns.USER_ID, NUM_USERS, 4, "query", seed=seed),
        IdFeature(columns.ITEM_ID, NUM_ITEMS, 4, "item", seed=seed + 1),
    ]
    return RankingModel(
        features, [Binary("like")], num_cross_layers=1, hidden_units=(16,), seed=seed
    )


def unseen_pairs(logits, examples):
    """Every pair without a label, and its true logit."""
    seen = np.zeros(logits.shape, bool)
    seen[examples[columns.USER_ID] - 1, examples[columns.ITEM_ID] - 1] = True
    users, items = np.nonzero(~seen)
    batch = {
        columns.USER_ID: users.astype(np.int32) + 1,
        columns.ITEM_ID: items.astype(np.int32) + 1,
    }
    return {name: tf.constant(values) for name, values in batch.items()}, logits[users, items]


def excess_log_loss(student, logits, examples):
    """Expected log loss on unseen pairs, minus that of the truth: the mean KL divergence."""
    batch, true = unseen_pairs(logits, examples)
    q = np.clip(np.float64(student.predictions(batch)["like"]), 1e-6, 1 - 1e-6)
    p = sigmoid(true)
    return np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))


def share_in_order(student, logits, examples):
    """The share of correctly ordered pairs of unseen items of one user, equally weighted."""
    batch, true = unseen_pairs(logits, examples)
    output = np.float64(student.predictions(batch)["like"])
    users = batch[columns.USER_ID].numpy()
    same = (users[:, None] == users) & (true[:, None] > true)
    return np.mean((output[:, None] > output)[same])


def trained(model, examples, epochs=30):
    model.compile(optimizer=tf.keras.optimizers.Adam(0.02))
    data = tf.data.Dataset.from_tensor_slices(examples).batch(len(examples[columns.USER_ID]))
    model.fit(data.repeat(epochs), verbose=0)
    return getattr(model, "student", model)


@pytest.mark.parametrize("seed", [0, nightly(1), nightly(2)])
def test_a_teacher_with_the_true_logits_beats_few_noisy_labels(seed):
    """The same student, seed, rows and steps; only the losses differ."""
    logits, examples = planted(seed)
    twin = trained(new_student(seed), examples)
    losses = {
        "soft": (SoftTargetBinaryCrossEntropy(), 0.0),
        "lists": (PairwiseDistillation(), 0.5),
    }
    students = {
        name: trained(Distiller(new_student(seed), None, loss, student_loss_weight=w), examples)
        for name, (loss, w) in losses.items()
    }
    excess = {k: excess_log_loss(m, logits, examples) for k, m in students.items()}
    order = {k: share_in_order(m, logits, examples) for k, m in students.items()}
    of_twin = share_in_order(twin, logits, examples)
    assert excess["soft"] < 0.5 * excess_log_loss(twin, logits, examples)
    assert min(order.values()) > of_twin + 0.04
