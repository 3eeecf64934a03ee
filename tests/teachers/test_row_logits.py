"""Logits of rows by any teacher: batch by batch, in order, by task."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.data import RankingExamples
from tfrs_distill.knowledge import cross_fit
from tfrs_distill.teachers.function_teacher import FunctionTeacher
from tfrs_distill.teachers.keras_teacher import KerasTeacher
from tfrs_distill.teachers.row_logits import row_logits


def examples_of(*tasks):
    rows = np.arange(9)
    labels = {task: np.zeros(9) for task in tasks}
    return RankingExamples({"x": rows / 2}, labels, users=rows, queries=rows)


def test_a_function_and_a_keras_model_label_rows_of_one_task():
    examples = examples_of("like")
    function = FunctionTeacher(lambda batch, ids: 3.0 * batch["x"][:, None])
    x = tf.keras.Input([], name="x")
    model = KerasTeacher(tf.keras.Model({"x": x}, tf.keras.layers.Rescaling(3.0)(x[:, None])))
    for teacher in (function, model):
        found = row_logits(teacher, examples)
        assert list(found) == ["like"] and found["like"].dtype == np.float32
        np.testing.assert_allclose(found["like"], 1.5 * np.arange(9)[:, None])


def test_any_teacher_with_logits_can_be_cross_fitted(tmp_path):
    examples = examples_of("like")

    def train(seen, fold):
        return FunctionTeacher(lambda batch, ids: batch["x"][:, None] + float(fold))

    logits = cross_fit(train, examples, tmp_path, fingerprint="x", num_folds=2).join(examples)
    fold = logits.teacher_logits["like"][:, 0] - examples.features["x"]
    assert sorted(set(fold.tolist())) == [0.0, 1.0]


def test_one_tensor_needs_a_single_task():
    teacher = FunctionTeacher(lambda batch, ids: batch["x"][:, None])
    with pytest.raises(ValueError, match=r"one tensor of logits, .* \['like', 'rating'\]"):
        row_logits(teacher, examples_of("rating", "like"))
