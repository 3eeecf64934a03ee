"""Ranking rows small enough to count by hand, and their losses in float64."""

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.models import (
    Binary,
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NextItem,
    RankingModel,
    RatingDistribution,
    Regression,
)

NUM_USERS, NUM_ITEMS, NUM_ROWS, MAX_HISTORY = 5, 12, 24, 3
WIDTHS = {"rating": 5, "like": 1, "next_item": NUM_ITEMS}
NAN = float("nan")


def example_columns(seed=0, num_rows=NUM_ROWS):
    """Users, items, histories; labels and teacher logits of which some are missing."""
    random = np.random.default_rng(seed)
    rating = random.integers(1, 6, num_rows).astype(np.float32)
    like = (rating >= 4).astype(np.float32)
    rating[random.random(num_rows) < 0.25] = NAN
    like[random.random(num_rows) < 0.25] = NAN
    item = random.integers(1, NUM_ITEMS + 1, num_rows)
    history = random.integers(0, NUM_ITEMS + 1, (num_rows, MAX_HISTORY))
    history[history == item[:, None]] = 0  # otherwise the row would have no next item
    output = {
        task: random.normal(scale=2.0, size=(num_rows, width)) for task, width in WIDTHS.items()
    }
    silent = random.random(num_rows) < 0.25
    return {
        columns.EXAMPLE_ID: np.arange(1000, 1000 + num_rows),
        columns.USER_ID: random.integers(1, NUM_USERS + 1, num_rows).astype(np.int32),
        columns.QUERY_ID: random.integers(0, num_rows // 3, num_rows).astype(np.int32),
        columns.ITEM_ID: item.astype(np.int32),
        columns.HISTORY: history.astype(np.int32),
        columns.label("rating"): rating,
        columns.label("like"): like,
        **{
            columns.teacher_logits(task): np.where(silent[:, None], NAN, values).astype(np.float32)
            for task, values in output.items()
        },
    }


def with_weights(examples, seed=4):
    """Sample weights, 0 for a quarter of the rows."""
    random = np.random.default_rng(seed)
    num_rows = len(examples[columns.ITEM_ID])
    weights = random.uniform(0.1, 3.0, num_rows) * (random.random(num_rows) > 0.25)
    return examples | {columns.SAMPLE_WEIGHT: weights.astype(np.float32)}


def batches_of(examples, batch_size=8):
    """In order, so that every run has the same batches."""
    return tf.data.Dataset.from_tensor_slices(examples).batch(batch_size)


def one_batch(examples):
    """All rows at once."""
    return {name: tf.constant(values) for name, values in examples.items()}


def tasks_of(*names):
    known = {
        "rating": lambda: RatingDistribution("rating"),
        "stars": lambda: Regression("stars", low=1, high=5),
        "like": lambda: Binary("like"),
        "next_item": lambda: NextItem("next_item", NUM_ITEMS),
    }
    return [known[name]() for name in names]


def new_student(*names, dropout=0.0, seed=1, kind=RankingModel, **arguments):
    """A student of these tasks; by default of all three."""
    item = ItemFeature(NUM_ITEMS, 3, seed=seed)
    features = [
        IdFeature(columns.USER_ID, NUM_USERS, 3, "query", seed=seed),
        item,
        HistoryFeature(item, MAX_HISTORY, reads_ratings=False, seed=seed),
    ]
    return kind(
        features,
        tasks_of(*(names or ("rating", "like", "next_item"))),
        num_cross_layers=1,
        hidden_units=(6,),
        dropout=dropout,
        seed=seed,
        name="pupil",
        **arguments,
    )


def log_softmax(logits):
    shifted = np.float64(logits) - np.float64(logits).max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-np.float64(x)))


def divergence(teacher, student, temperature=1.0):
    """KL divergence of softmaxes, one value per row."""
    p, q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    return temperature**2 * (np.exp(p) * (p - q)).sum(axis=-1)


def bernoulli(teacher, student, temperature=1.0):
    """Cross-entropy of Bernoulli soft targets, one value per row."""
    p, q = sigmoid(teacher / temperature), sigmoid(student / temperature)
    values = -(p * np.log(q) + (1 - p) * np.log(1 - q))
    return temperature**2 * values.reshape(len(values), -1).mean(axis=1)
