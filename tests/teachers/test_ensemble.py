"""The ensemble: probabilities by hand and in float64, weights, and errors."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import random_windows

from tfrs_distill.models.tasks import Regression
from tfrs_distill.teachers.bert.bert_two_tower import BertTwoTower
from tfrs_distill.teachers.calibration import Calibrated
from tfrs_distill.teachers.ensemble import Ensemble
from tfrs_distill.teachers.function_teacher import FunctionTeacher
from tfrs_distill.teachers.item_item_teacher import ItemItemTeacher


class FixedTeacher:
    """Returns the same for every batch; its columns are the given candidates."""

    def __init__(self, logits, name="said"):
        self.table, self.name = np.asarray(logits, np.float32), name

    def logits(self, batch, candidate_ids):
        return tf.gather(tf.constant(self.table), candidate_ids, axis=1)

    def fingerprint(self):
        return self.name


LN = math.log


def test_by_hand():
    both = Ensemble(
        [FixedTeacher([[LN(3), 0.0]]), FixedTeacher([[0.0, LN(4)]])], weights=[3.0, 1.0]
    )
    # 3/4 of [3/4, 1/4] and 1/4 of [1/5, 4/5]
    expected = [0.75 * 0.75 + 0.25 * 0.2, 0.75 * 0.25 + 0.25 * 0.8]
    np.testing.assert_allclose(np.exp(both.logits({}, tf.range(2))), [expected], rtol=1e-6)


def test_the_geometric_mean_by_hand():
    teachers = [FixedTeacher([[LN(16), 0.0, 0.0]]), FixedTeacher([[0.0, LN(81), 0.0]])]
    both = Ensemble(teachers, weights=[3.0, 1.0], mean="geometric")
    # 16**(3/4) = 8 and 81**(1/4) = 3, of 8 + 3 + 1
    expected = [[8 / 12, 3 / 12, 1 / 12]]
    np.testing.assert_allclose(np.exp(both.logits({}, tf.range(3))), expected, rtol=1e-6)
    assert both.fingerprint() != Ensemble(teachers, [3.0, 1.0]).fingerprint()


@pytest.mark.parametrize(
    "mean, tasks", [("median", []), ("geometric", [Regression("rating", 1.0, 5.0)])]
)
def test_an_invalid_mean_is_refused(mean, tasks):
    with pytest.raises(ValueError, match='`mean` must be "arithmetic" or, without `tasks`, "geo'):
        Ensemble([FixedTeacher([[0.0]])] * 2, tasks=tasks, mean=mean)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0])
def test_float64_reference_for_the_given_candidates(scale):
    random = np.random.default_rng(0)
    tables, weights = scale * random.normal(size=(3, 5, 7)), np.array([0.5, 0.2, 0.3])
    ensemble = Ensemble([FixedTeacher(table) for table in tables], weights * 10)
    candidates = [6, 0, 3]
    requested = tables[:, :, candidates]
    odds = np.exp(requested - requested.max(axis=-1, keepdims=True))
    odds /= odds.sum(axis=-1, keepdims=True)
    expected = np.log(np.einsum("k,krc->rc", weights, odds))
    # float32 logits of size `scale` are rounded by up to 6e-8 of it, several times over.
    np.testing.assert_allclose(
        ensemble.logits({}, tf.constant(candidates)), expected, atol=2e-6 * max(scale, 1.0)
    )


def test_a_constant_shift_of_a_teacher_changes_nothing():
    one, other = [[0.0, 1.0, 3.0]], [[2.0, 0.0, -1.0]]
    plain = Ensemble([FixedTeacher(one), FixedTeacher(other)])
    shifted = Ensemble([FixedTeacher(np.add(one, 50.0)), FixedTeacher(other)])
    ids = tf.range(3)
    # 50 costs two decimal digits of float32's seven.
    np.testing.assert_allclose(plain.logits({}, ids), shifted.logits({}, ids), atol=1e-5)


def test_members_of_every_kind_and_calibration_increases_a_flat_ones_influence():
    windows = random_windows(num_users=8, num_items=9)
    batch = next(iter(windows.batches(8)))
    ids = tf.range(1, 10)
    flat = ItemItemTeacher(windows, l2=5.0)
    tower = BertTwoTower(np.eye(9, 3), max_history=4, embedding_dim=4, seed=0)
    rows = len(flat.logits(batch, ids))
    scores = FunctionTeacher(lambda batch, ids: tf.zeros([rows, tf.size(ids)]))
    members = [Calibrated(flat, 0.05), tower, scores]
    output = tf.function(Ensemble(members).logits)(batch, ids)
    parts = [np.float64(member.logits(batch, ids)) for member in members]
    odds = [np.exp(part - part.max(axis=1, keepdims=True)) for part in parts]
    expected = np.mean([part / part.sum(axis=1, keepdims=True) for part in odds], axis=0)
    np.testing.assert_allclose(np.exp(output), expected, rtol=1e-4)  # exponents of float32 logits
    uncalibrated = np.exp(Ensemble([flat, scores]).logits(batch, ids))
    calibrated = np.exp(Ensemble([members[0], scores]).logits(batch, ids))
    assert uncalibrated.std() < 0.2 * calibrated.std()


def test_the_fingerprint_depends_on_members_weights_and_order():
    a, b = FixedTeacher([[0.0]], "a"), FixedTeacher([[0.0]], "b")
    prints = {
        Ensemble([a, b]).fingerprint(),
        Ensemble([b, a]).fingerprint(),
        Ensemble([a, b], [1, 2]).fingerprint(),
        Ensemble([a, a]).fingerprint(),
    }
    assert len(prints) == 4
    assert Ensemble([a, b], [2, 2]).fingerprint() == Ensemble([a, b]).fingerprint()


@pytest.mark.parametrize(
    ("num_teachers", "weights", "words"),
    [
        (1, None, "at least two teachers.* Received: 1 teachers, 1 weights"),
        (2, [1.0], "Received: 2 teachers, 1 weights"),
        (2, [1.0, 0.0], "finite and above 0"),
        (2, [1.0, math.nan], "finite and above 0"),
        (2, [1.0, math.inf], "finite and above 0"),
    ],
)
def test_invalid_arguments_are_refused(num_teachers, weights, words):
    with pytest.raises(ValueError, match=words):
        Ensemble([FixedTeacher([[0.0]])] * num_teachers, weights)
