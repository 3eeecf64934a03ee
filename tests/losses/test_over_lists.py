"""A loss over lists: which slots are included."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.losses import OverLists, SoftTargetKLDivergence
from tfrs_distill.losses.candidate_lists import MASKED


@pytest.mark.parametrize("mask", [MASKED, -np.inf, np.finfo(np.float32).min])
@pytest.mark.parametrize("there", [2.0, -np.inf, math.nan])
def test_a_masked_slot_is_ignored_for_any_student_logit(mask, there):
    # Teacher [3/4, 1/4], student [1/2, 1/2].
    student = tf.Variable([[0.0, 0.0, there]])
    with tf.GradientTape() as tape:
        value = OverLists(SoftTargetKLDivergence()).call([[math.log(3), 0.0, mask]], student)
    expected = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    np.testing.assert_allclose(value, [expected], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(value, student), [[-0.25, 0.25, 0.0]], atol=1e-6)
