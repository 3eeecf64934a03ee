"""A student that needs no training, its expected output in float64, and a catalogue for it."""

import numpy as np
import tensorflow as tf

from tfrs_distill.data.catalogue import Catalogue

LOWEST = -3.4028234663852886e38  # the lowest finite float32


class PlantedStudent(tf.Module):
    """Query = mean of the last `max_history` items' embeddings; every item has a bias."""

    def __init__(self, num_items=60, embedding_dim=4, max_history=5, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.max_history = max_history
        self.table = tf.Variable(rng.normal(size=[num_items + 1, embedding_dim]), dtype=tf.float32)
        self.bias = tf.Variable(rng.normal(size=[num_items + 1, 1]), dtype=tf.float32)
        self.not_for_serving = tf.Variable(tf.zeros([50_000]))  # such as an optimizer's slot

    def catalogue_embeddings(self):
        return tf.concat([self.table, self.bias], axis=1)

    def encode_histories(self, history):
        mask = tf.cast(history > 0, tf.float32)
        items_after = tf.cumsum(mask, axis=1, exclusive=True, reverse=True)
        mask *= tf.cast(items_after < self.max_history, tf.float32)
        total = tf.reduce_sum(tf.gather(self.table, history) * tf.expand_dims(mask, 2), axis=1)
        mean = tf.math.divide_no_nan(total, tf.reduce_sum(mask, axis=1, keepdims=True))
        return tf.concat([mean, tf.ones_like(mean[:, :1])], axis=1)


def two_blocks(num_items=200, embedding_dim=8, max_history=5, seed=0):
    """A student that likes even items after even ones and odd items after odd ones."""
    student = PlantedStudent(num_items, embedding_dim, max_history, seed)
    table = 0.3 * student.table.numpy()
    table[:, 0] += np.where(np.arange(num_items + 1) % 2, -3.0, 3.0)
    student.table.assign(table)
    student.bias.assign(0.3 * student.bias)
    return student


def expected(student, history, k):
    """`(scores, item_ids)` of one history in float64, by the definition."""
    table = student.table.numpy().astype(np.float64)
    bias = student.bias.numpy().astype(np.float64)[:, 0]
    items = [item for item in history if 1 <= item < len(table)]
    recent = items[-student.max_history :]
    query = table[recent].mean(axis=0) if recent else np.zeros(table.shape[1])
    scores = table @ query + bias
    left = [item for item in range(1, len(table)) if item not in set(items)]
    best = sorted(left, key=lambda item: -scores[item])[:k]
    empty = k - len(best)
    return (
        np.array([scores[item] for item in best] + [LOWEST] * empty),
        np.array(best + [0] * empty),
    )


def histories_of(num_items, lengths, seed=1):
    """Random histories of the given lengths, repeats allowed."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, num_items + 1, length).astype(np.int32) for length in lengths]


def padded(histories, length, where="front"):
    """One int32 row per history, 0 in front, at the back or between."""
    rows = np.zeros([len(histories), length], np.int32)
    for row, history in zip(rows, histories):
        if where == "front":
            row[length - len(history) :] = history
        elif where == "back":
            row[: len(history)] = history
        else:
            row[np.linspace(0, length - 1, len(history)).astype(int)] = history
    return rows


def catalogue_of(num_items, titles=None):
    """Items "i1", "i2", ... called "Film 1 (1991)", ... if no titles are given."""
    numbers = range(1, num_items + 1)
    titles = titles or [f"Film {number} (19{90 + number % 10})" for number in numbers]
    return Catalogue(tuple(f"i{number}" for number in numbers), tuple(titles), tuple(titles))


def assert_answers(student, histories, scores, item_ids, k):
    """Ids are equal and scores are within float32 rounding of a sum of a few products."""
    assert scores.shape == item_ids.shape == (len(histories), k)
    assert scores.dtype == np.float32 and item_ids.dtype == np.int32
    for history, row_scores, row_ids in zip(histories, scores, item_ids):
        expected_scores, expected_ids = expected(student, history, k)
        np.testing.assert_array_equal(row_ids, expected_ids)
        np.testing.assert_allclose(row_scores, expected_scores, atol=1e-5)
