"""A plain function as a teacher."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.teachers.function_teacher import FunctionTeacher

TABLE = np.arange(12, dtype=np.float64).reshape(3, 4)


def test_it_passes_batch_and_candidates_and_returns_float32():
    def scores(batch, candidate_ids):
        return tf.gather(tf.gather(tf.constant(TABLE), batch["user"]), candidate_ids, axis=1)

    logits = FunctionTeacher(scores).logits({"user": tf.constant([2, 0])}, tf.constant([3, 1]))
    assert logits.dtype == tf.float32
    np.testing.assert_array_equal(logits, [[11.0, 9.0], [3.0, 1.0]])


def test_logits_can_be_a_column_of_the_batch():
    teacher = FunctionTeacher(lambda batch, _: batch["scores"])
    logits = teacher.logits({"scores": tf.constant([[0.5, -1.0]])}, tf.range(2))
    np.testing.assert_array_equal(logits, [[0.5, -1.0]])


def test_its_fingerprint_is_the_given_text():
    one, same, other = (
        FunctionTeacher(len, fingerprint=name).fingerprint() for name in ("v1", "v1", "v2")
    )
    assert one == same != other


@pytest.mark.parametrize("name", [None, ""])
def test_without_a_fingerprint_it_cannot_be_cached(name):
    with pytest.raises(ValueError, match='cannot be cached.*fingerprint="clicks model, version 3"'):
        FunctionTeacher(len, fingerprint=name).fingerprint()
