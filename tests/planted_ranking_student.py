"""Ranking students that need no training, rows for them, and expected predictions."""

import numpy as np
import tensorflow as tf

from tfrs_distill.models.features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NeighbourFeature,
    NumberFeature,
    TextFeature,
)
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.models.tasks import Binary, NextItem, Ordinal, Regression
from tfrs_distill.serving.word_vocabulary import WordVocabulary

NUM_USERS, NUM_ITEMS, MAX_HISTORY, VECTOR_DIM = 300, 400, 6, 50
WORDS = WordVocabulary(tuple(f"word{n}" for n in range(60)), max_words=9)
USER_IDS = tuple(f"u{n}" for n in range(1, NUM_USERS + 1))
ITEM_IDS = tuple(f"i{n}" for n in range(1, NUM_ITEMS + 1))
VOCABULARIES = {"user_id": USER_IDS, "item_id": ITEM_IDS, "words": WORDS}
TASKS = ("rating", "like", "stars", "next_item")


def full_student(seed=0):
    """Every kind of feature and task; random weights, items with constant vectors."""
    random = np.random.default_rng(seed)
    item = ItemFeature(NUM_ITEMS, 8, random.normal(size=[NUM_ITEMS, VECTOR_DIM]))
    features = [
        IdFeature("user_id", NUM_USERS, 8, side="query"),
        NumberFeature("age", mean=40.0, standard_deviation=10.0, side="query"),
        HistoryFeature(item, MAX_HISTORY),
        item,
        TextFeature("words", WORDS.num_words, 8, side="item", num_bigram_buckets=64),
        NeighbourFeature.from_weights(
            random.normal(size=[NUM_ITEMS + 1, NUM_ITEMS + 1]), 7, MAX_HISTORY
        ),
    ]
    tasks = [
        Regression("rating", low=-3, high=3),
        Binary("like"),
        Ordinal("stars"),
        NextItem("next_item", NUM_ITEMS),
    ]
    student = RankingStudent(features, tasks, hidden_units=(16,), seed=seed)
    for weight in student.trainable_weights:
        weight.assign(random.normal(0.0, 0.2, weight.shape))
    return student


def rows_for(num_rows, seed=1):
    """Rows for `full_student`: known and unknown ids, missing numbers, empty histories."""
    random = np.random.default_rng(seed)
    rows = {
        "user_id": random.integers(-1, NUM_USERS + 2, num_rows),
        "age": np.where(random.random(num_rows) < 0.3, np.nan, random.normal(40, 10, num_rows)),
        "history": random.integers(0, NUM_ITEMS + 2, [num_rows, MAX_HISTORY]),
        "history_ratings": random.integers(0, 6, [num_rows, MAX_HISTORY]),
        "item_id": random.integers(0, NUM_ITEMS + 2, num_rows),
        "words": random.integers(0, WORDS.num_words + 2, [num_rows, WORDS.max_words]),
    }
    rows["history"][0] = 0
    floats = ("age", "history_ratings")
    return {name: v.astype(np.float32 if name in floats else np.int32) for name, v in rows.items()}


def predictions(student, rows):
    """The Keras model's predictions of rows."""
    output = student.predictions({name: tf.constant(values) for name, values in rows.items()})
    return {task: values.numpy() for task, values in output.items()}


USER_TASTE, ITEM_TASTE = (0.5, 1.0, -2.0, 3.0), (0.25, -1.0, 2.0, 0.5, 1.5)  # row 0 is unknown


def hand_student():
    """`P(like) = sigmoid(2 u + 3 i - 1)`, u and i from the tables above; 3 users, 4 items."""
    user, item = IdFeature("user_id", 3, 1, side="query"), ItemFeature(4, 1)
    student = RankingStudent([user, item], [Binary("like")], num_cross_layers=0, hidden_units=())
    user.table.embeddings.assign(np.array(USER_TASTE)[:, None])
    item.table.embeddings.assign(np.array(ITEM_TASTE)[:, None])
    kernel, bias = student.heads["like"].weights
    kernel.assign([[2.0], [3.0]])
    bias.assign([-1.0])
    return student


def by_hand(user, item):
    """The expected output of `hand_student`, in float64."""
    return 1 / (1 + np.exp(1 - 2 * USER_TASTE[user] - 3 * ITEM_TASTE[item]))
