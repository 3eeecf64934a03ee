"""Alternating least squares: the fold-in against its normal equations, and against the library."""

import sys

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, windows_from, with_weights

from tfrs_distill.errors import MissingExtraError
from tfrs_distill.teachers import ALSTeacher, als_teacher

pytest.importorskip("implicit")

NUM_ITEMS, DIM, L2, CONFIDENCE = 9, 3, 0.4, 2.5
SEQUENCES = [[1, 2, 1, 3, 4, 4, 2, 5, 1], [9, 3, 9, 2], [7, 7], [4, 5, 6, 4, 5, 8], [1, 2, 6]]


@pytest.fixture(scope="module")
def windows():
    return windows_from(SEQUENCES, num_items=NUM_ITEMS, max_history=4)


def teacher_of(windows, **settings):
    given = {"embedding_dim": DIM, "l2": L2, "confidence": CONFIDENCE, "decay": 1.5}
    return ALSTeacher(windows, **given | settings)


def folded_in(teacher, history):
    """Scores of all items by the normal equations over every item, in float64."""
    factors = teacher.item_factors[1:].astype(np.float64)
    weight, wanted = np.ones(NUM_ITEMS), np.zeros(NUM_ITEMS)
    for age, item in reversed(list(enumerate(reversed(history)))):  # the latest is written last
        recent = 1.0 if teacher.decay is None else np.exp(-age / teacher.decay)
        weight[item - 1], wanted[item - 1] = CONFIDENCE * recent, 1.0
    left = (factors.T * weight) @ factors + L2 * np.eye(DIM)
    return factors @ np.linalg.solve(left, factors.T @ (weight * wanted))


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("decay", [1.5, None])
@pytest.mark.parametrize("cells", [2**21, 40])  # all rows at once, and a few
def test_a_history_is_folded_in_by_the_normal_equations(
    windows, decay, in_graph, cells, monkeypatch
):
    monkeypatch.setattr(als_teacher, "CELLS", cells)
    teacher = teacher_of(windows, decay=decay)
    call = tf.function(teacher.logits) if in_graph else teacher.logits
    batch = next(iter(windows.batches(len(windows))))
    candidates = np.array([7, 1, 4])
    logits = call(batch, tf.constant(candidates))
    expected = [folded_in(teacher, history) for history, _ in next_item_rows(windows)]
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, np.array(expected)[:, candidates - 1], atol=1e-6)


def test_without_a_decay_the_library_folds_in_the_same(windows):
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    teacher = teacher_of(windows, decay=None)
    peer = AlternatingLeastSquares(
        factors=DIM, regularization=L2, alpha=CONFIDENCE, dtype=np.float64
    )
    peer.item_factors = teacher.item_factors.astype(np.float64)
    histories = [[3, 1], [8], [2, 9, 4, 1]]
    interacted = np.zeros([len(histories), NUM_ITEMS + 1])
    for row, history in zip(interacted, histories):
        row[history] = 1.0
    users = peer.recalculate_user(np.arange(len(histories)), csr_matrix(interacted))
    expected = users @ peer.item_factors.T
    padded = tf.constant([[0, 0, 3, 1], [0, 0, 0, 8], [2, 9, 4, 1]])
    scores = teacher.logits_after(padded, tf.range(NUM_ITEMS + 1))
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_labels_weight_multiplies_its_confidence(windows):
    """Against the library's fit of the matrix with these weights, written out by hand."""
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    weighted = with_weights(windows)
    interacted = np.zeros([len(SEQUENCES), NUM_ITEMS + 1], np.float32)
    for user, sequence in enumerate(SEQUENCES):
        interacted[user, sequence[0]] = 1.0  # no label: the mean weight
        rows = weighted.users == user
        labels, weights = weighted.labels[rows], weighted.weights[rows]
        for item in set(labels[labels > 0].tolist()):
            interacted[user, item] = weights[labels == item].max()
    peer = AlternatingLeastSquares(
        factors=DIM, regularization=L2, alpha=CONFIDENCE, iterations=15, random_state=0
    )
    peer.fit(csr_matrix(interacted), show_progress=False)
    factors = teacher_of(weighted).item_factors
    np.testing.assert_allclose(factors[1:], peer.item_factors[1:], atol=1e-5)
    assert np.abs(factors - teacher_of(windows).item_factors).max() > 0.01


def test_an_empty_history_has_zero_scores(windows):
    scores = teacher_of(windows).logits_after(tf.zeros([2, 3], tf.int32), tf.range(1, 10))
    np.testing.assert_array_equal(scores, np.zeros([2, 9]))


def test_facts(windows):
    teacher = teacher_of(windows)
    assert teacher.num_parameters == NUM_ITEMS * DIM
    np.testing.assert_array_equal(teacher.item_factors[0], 0.0)
    assert ALSTeacher(windows, **teacher.settings).fingerprint() == teacher.fingerprint()
    others = [teacher_of(windows, decay=2.0), teacher_of(windows, seed=1)]
    assert len({teacher.fingerprint()} | {other.fingerprint() for other in others}) == 3


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"embedding_dim": 0}, "`embedding_dim` must be"),
        ({"l2": 0.0}, "`l2` must be finite and greater than 0"),
        ({"confidence": -1.0}, "`confidence` must be finite and greater than 0"),
        ({"decay": np.nan}, "`decay` must be finite and above 0, or None"),
    ],
)
def test_numbers_out_of_range_are_refused(windows, settings, words):
    with pytest.raises(ValueError, match=words):
        teacher_of(windows, **settings)


def test_without_the_library_the_extra_is_named(windows, monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit", None)
    with pytest.raises(MissingExtraError, match=r'pip install "tfrs-distill\[als\]"'):
        teacher_of(windows)
