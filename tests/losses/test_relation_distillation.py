"""Similarities between rows, for student and teacher, against float64 NumPy."""

import numpy as np
import tensorflow as tf
from tiny_data import random_windows

from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import RelationDistillation
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.teachers import BertTwoTower

STUDENT = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
TEACHER = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)


def cosines(rows):
    rows = np.float64(rows).reshape(len(rows), -1)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def test_it_is_the_mean_squared_difference_of_cosines():
    layer = RelationDistillation("a", "b")
    values = layer((tf.constant(STUDENT), tf.constant(TEACHER)))
    expected = ((cosines(STUDENT) - cosines(TEACHER)) ** 2).mean(axis=1)
    np.testing.assert_allclose(values, expected, rtol=1e-5)  # float32
    assert layer.weights == []


def test_rows_count_by_their_weights():
    weights = np.array([1.0, 2.0, 0.0, 0.5, 0.0, 1.0])
    values = RelationDistillation("a", "b")(
        (tf.constant(STUDENT), tf.constant(TEACHER)), row_weights=tf.constant(weights)
    )
    squares = (cosines(STUDENT) - cosines(TEACHER)) ** 2
    np.testing.assert_allclose(values, squares @ weights / weights.sum(), rtol=1e-5)


def test_rotated_and_scaled_representations_are_equal():
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))
    turned = tf.constant(3.0 * STUDENT @ turn.astype(np.float32))
    values = RelationDistillation("a", "b")((turned, tf.constant(STUDENT)))
    np.testing.assert_allclose(values, 0.0, atol=1e-10)


def test_a_row_of_zeros_has_similarity_0_and_a_finite_gradient():
    student = tf.Variable(np.where(np.arange(6)[:, None] == 2, 0.0, STUDENT))
    with tf.GradientTape() as tape:
        values = RelationDistillation("a", "b")((student, tf.constant(TEACHER)))
    of_others = cosines(TEACHER)
    np.testing.assert_allclose(values[2], (of_others[2] ** 2).mean(), rtol=1e-5)
    assert np.isfinite(tape.gradient(values, student).numpy()).all()


def test_a_distiller_compares_different_widths():
    windows = random_windows(num_items=9, max_history=4)
    student = RetrievalStudent.from_history(num_items=9, max_history=4, embedding_dim=4, seed=0)
    teacher = BertTwoTower(np.eye(9), max_history=4, embedding_dim=8, seed=0)
    loss = RelationDistillation("query_embeddings", "query_embeddings")
    distiller = Distiller(student, teacher, loss)
    batch = next(iter(windows.batches(8)))
    terms = distiller.loss_terms(batch, training=False)
    labelled = batch["labels"] > 0
    of_student = tf.boolean_mask(student.encode_queries(batch), labelled)
    of_teacher = tf.boolean_mask(teacher.encode_queries(batch), labelled)
    expected = ((cosines(of_student) - cosines(of_teacher)) ** 2).mean()
    np.testing.assert_allclose(terms["relation_distillation"], expected, rtol=1e-4)
    again = RelationDistillation.from_config(loss.get_config())
    assert again.get_config() == loss.get_config()


def test_rows_of_weight_0_have_no_influence():
    windows = random_windows(num_items=9, max_history=4)
    student = RetrievalStudent.from_history(num_items=9, max_history=4, embedding_dim=4, seed=0)
    teacher = BertTwoTower(np.eye(9), max_history=4, embedding_dim=8, seed=0)
    distiller = Distiller(
        student, teacher, RelationDistillation("query_embeddings", "query_embeddings")
    )
    batch = next(iter(windows.batches(8)))

    def loss_of(labels, weights):
        given = {"labels": labels, "sample_weight": weights}
        return distiller.loss_terms(batch | given, training=False)["relation_distillation"]

    weights = tf.cast(tf.range(8) < 5, tf.float32)[:, None] * tf.ones([8, 4])
    first = tf.where(weights > 0, batch["labels"], 0)
    expected = loss_of(first, tf.ones([8, 4]))  # the other rows have no label
    np.testing.assert_allclose(loss_of(batch["labels"], weights), expected, rtol=1e-5)
