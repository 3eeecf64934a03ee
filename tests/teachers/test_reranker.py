"""Re-ranking against float64 NumPy: which logits change, which do not, and the lists."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, random_windows

from tfrs_distill.evaluation.top_k import top_k_unseen
from tfrs_distill.teachers.bert.bert_cross_encoder import BertCrossEncoder
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.function_teacher import FunctionTeacher
from tfrs_distill.teachers.reranker import Reranker

NUM_ITEMS, MAX_HISTORY = 12, 4
RANDOM = np.random.default_rng(0)
FIRST = 2 * RANDOM.normal(size=(NUM_ITEMS + 1, NUM_ITEMS + 1))  # by newest item
CROSS = 3 * RANDOM.normal(size=(NUM_ITEMS + 1, NUM_ITEMS + 1))


class PlantedCrossEncoder:
    """Scores by the newest item; records the requested lists."""

    num_items = NUM_ITEMS

    def __init__(self):
        self.requested = []

    def scores(self, histories, candidate_lists):
        histories = tf.cast(histories, tf.int32)
        place = tf.reduce_max(
            tf.where(histories > 0, tf.range(tf.shape(histories)[1]), -1), axis=1, keepdims=True
        )
        newest = tf.gather(histories, tf.maximum(place, 0), batch_dims=1)
        lists = tf.cast(candidate_lists, tf.int32)
        self.requested.append(lists)
        table = tf.constant(CROSS, tf.float32)
        return tf.gather_nd(table, tf.stack([newest + 0 * lists, lists], axis=-1))

    def fingerprint(self):
        return "planted"


def first_stage(windows):
    """Returns FIRST of the newest item of each row; rows are those of all windows at once."""
    newest = [history[-1] for history, _ in next_item_rows(windows)]

    def call(batch, candidate_ids):
        rows = tf.gather(tf.constant(FIRST, tf.float32), newest)
        return tf.gather(rows, candidate_ids, axis=1)

    return FunctionTeacher(call, fingerprint="first")


@pytest.fixture(scope="module")
def windows():
    return random_windows(num_users=6, num_items=NUM_ITEMS, max_history=MAX_HISTORY)


@pytest.fixture(scope="module")
def batch(windows):
    return next(iter(windows.batches(len(windows))))


def expected_logits(history, candidates, num_candidates, weight):
    """One row in float64, by the docstring of the class."""
    first = np.array([FIRST[history[-1], item] for item in candidates])
    unseen = [place for place, item in enumerate(candidates) if item and item not in history]
    listed = sorted(unseen, key=lambda place: -first[place])[:num_candidates]
    output = np.array([CROSS[history[-1], candidates[place]] for place in listed])
    odds = np.exp(output + weight * first[listed])
    mass = np.exp(first[listed]).sum()
    logits = first.copy()
    logits[listed] = np.log(odds / odds.sum() * mass)
    return logits, listed


ORDERS = {
    "catalogue": list(range(1, NUM_ITEMS + 1)),
    "some, mixed": [7, 2, 11, 4, 9, 1],
    "padding too": [3, 0, 5, 8],
    "fewer than the list": [6, 10],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("in_graph", [False, True])
def test_the_lists_mass_is_distributed_by_the_cross_encoder(
    windows, batch, order, weight, in_graph
):
    candidates = ORDERS[order]
    reranker = Reranker(
        first_stage(windows), PlantedCrossEncoder(), num_candidates=3, first_stage_weight=weight
    )
    call = tf.function(reranker.logits) if in_graph else reranker.logits
    output = call(batch, tf.constant(candidates))
    assert output.dtype == tf.float32
    rows = [history for history, _ in next_item_rows(windows)]
    assert len(output) == len(rows) > 10
    for row, history in enumerate(rows):
        expected, listed = expected_logits(history, candidates, 3, weight)
        np.testing.assert_allclose(output[row], expected, atol=2e-5)  # float32 logits up to 10
        first = np.array([FIRST[history[-1], item] for item in candidates])
        others = np.setdiff1d(np.arange(len(candidates)), listed)
        before, after = np.exp(first), np.exp(np.float64(output[row]))
        np.testing.assert_allclose(after.sum(), before.sum(), rtol=1e-5)
        np.testing.assert_array_equal(output[row].numpy()[others], np.float32(first[others]))


def test_only_the_list_is_scored_and_has_no_seen_items(windows, batch):
    cross_encoder = PlantedCrossEncoder()
    Reranker(first_stage(windows), cross_encoder, num_candidates=5).logits(
        batch, tf.range(1, NUM_ITEMS + 1)
    )
    (requested,) = cross_encoder.requested
    rows = next_item_rows(windows)
    assert requested.shape == (len(rows), 5)
    for (history, _), items in zip(rows, requested.numpy()):
        assert not set(items) & set(history)


def test_if_everything_was_seen_the_first_stage_is_unchanged(windows, batch):
    rows = [history for history, _ in next_item_rows(windows)]
    longest = max(rows, key=len)
    candidates = [longest[0], longest[1]]
    output = Reranker(first_stage(windows), PlantedCrossEncoder()).logits(
        batch, tf.constant(candidates)
    )
    for row, history in enumerate(rows):
        if set(candidates) <= set(history):
            expected = FIRST[history[-1], candidates]
            np.testing.assert_allclose(output[row], expected, rtol=1e-6)


@pytest.mark.parametrize("candidates", [None, [1, 2, 4, 5, 7, 8, 11]])
@pytest.mark.parametrize("k", [2, 5, 15])
def test_the_scorer_recommends_the_largest_of_the_new_logits(candidates, k):
    histories = [np.array(h) for h in ([3, 5, 2], [7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [12, 4])]

    given = []

    def recommend(histories, k):
        output = top_k_unseen(FIRST[[history[-1] for history in histories]], histories, k)
        given.extend([output, [array.copy() for array in output]])
        return output

    reranker = Reranker(None, PlantedCrossEncoder(), num_candidates=3, first_stage_weight=0.5)
    done = []
    requested = None if candidates is None else np.array(candidates)
    scorer = reranker.scorer(recommend, candidates=requested, batch_size=3, advance=done.append)
    scores, items = scorer(histories, k)
    assert scores.shape == items.shape == (4, k) and done == [3, 1]
    for array, before in zip(*given):  # items outside the list are not changed
        np.testing.assert_array_equal(array, before)
    among = candidates or list(range(1, NUM_ITEMS + 1))
    for row, history in enumerate(histories):
        logits, _ = expected_logits(history.tolist(), among, 3, 0.5)
        best = sorted(zip(-logits, among))
        best = [(-value, item) for value, item in best if item not in history][:k]
        assert items[row, : len(best)].tolist() == [item for _, item in best]
        np.testing.assert_allclose(scores[row, : len(best)], [v for v, _ in best], atol=2e-5)
        assert (items[row, len(best) :] == 0).all() and np.isneginf(scores[row, len(best) :]).all()


@pytest.mark.nightly
def test_with_a_real_cross_encoder_rows_and_scorer_agree(tiny_bert, windows, batch):
    texts = [f"film {letter}" for letter in "abcdefghijkl"]
    cross_encoder = BertCrossEncoder(
        TextEncoder(tiny_bert[0]), texts, max_history_items=2, max_length=16, seed=0
    )
    reranker = Reranker(first_stage(windows), cross_encoder, num_candidates=4)
    output = tf.function(reranker.logits)(batch, tf.range(1, NUM_ITEMS + 1)).numpy()
    histories = [np.array(history) for history, _ in next_item_rows(windows)]

    def recommend(histories, k):
        return top_k_unseen(FIRST[[history[-1] for history in histories]], histories, k)

    scores, items = reranker.scorer(recommend)(histories, 5)
    table = np.concatenate([np.zeros([len(output), 1]), output], axis=1)
    wanted_scores, wanted = top_k_unseen(table, histories, 5)
    np.testing.assert_allclose(scores, wanted_scores, atol=1e-4)  # float32 through a BERT
    assert (items == wanted).mean() > 0.99


def test_the_fingerprint_depends_on_both_stages_and_the_configuration():
    class Named:
        def __init__(self, name):
            self.name = name

        def fingerprint(self):
            return self.name

    a, b = Named("a"), Named("b")
    rerankers = [
        Reranker(a, b),
        Reranker(b, b),
        Reranker(a, a),
        Reranker(a, b, num_candidates=19),
        Reranker(a, b, first_stage_weight=0.1),
    ]
    assert len({reranker.fingerprint() for reranker in rerankers}) == 5
    assert Reranker(a, b).fingerprint() == rerankers[0].fingerprint()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_candidates": 1}, "`num_candidates` must be at least 2"),
        ({"first_stage_weight": -0.1}, "`first_stage_weight` must be finite and at least 0"),
        ({"first_stage_weight": math.nan}, "`first_stage_weight` must be finite"),
        ({"first_stage_weight": math.inf}, "`first_stage_weight` must be finite"),
    ],
)
def test_invalid_arguments_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Reranker(None, None, **options)
