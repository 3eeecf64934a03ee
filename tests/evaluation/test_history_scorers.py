"""The closed-form teachers as recommenders, where only a history's order predicts the next item."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import tiny_catalogue

from tfrs_distill.data.splits import Queries, Splits, windows_of
from tfrs_distill.evaluation import evaluate
from tfrs_distill.evaluation.baselines import (
    EASE_GRID,
    HistoryScorer,
    best_als,
    best_ease,
    best_next_item_ridge,
)
from tfrs_distill.teachers import ALSTeacher, ItemItemTeacher, NextItemRidgeTeacher

NUM_ITEMS, LENGTH = 40, 8


def walks(num_users, seed):
    """Each follows a ring from a random start, half of them forwards: [num_users, LENGTH + 1].

    The next item follows from the last two. The set of all items does not determine which end
    is the last one.
    """
    random = np.random.default_rng(seed)
    start = random.integers(NUM_ITEMS, size=[num_users, 1])
    step = random.choice([-1, 1], size=[num_users, 1])
    return ((start + step * np.arange(LENGTH + 1)) % NUM_ITEMS + 1).astype(np.int32)


@pytest.fixture(scope="module")
def splits():
    catalogue = tiny_catalogue(NUM_ITEMS)

    def queries(seed):
        rows = walks(80, seed)
        return Queries(catalogue, np.arange(80), tuple(rows[:, :-1]), tuple(rows[:, -1:]))

    train = windows_of(list(walks(300, 0)), np.arange(300), catalogue, max_history=LENGTH)
    return Splits("ring", catalogue, train, queries(1), queries(2))


@pytest.mark.parametrize(
    "kind, settings",
    [
        (ItemItemTeacher, {"l2": 20.0}),
        (NextItemRidgeTeacher, {"l2": 20.0}),
        (ALSTeacher, {"l2": 10.0, "embedding_dim": 20}),
    ],
)
def test_decay_is_better_if_the_last_items_determine_the_next(splits, kind, settings):
    if kind is ALSTeacher:
        pytest.importorskip("implicit")
    with_decay, without = (
        evaluate(HistoryScorer(kind(splits.train, decay=decay, **settings)), splits.test, k=1)
        for decay in (2.0, None)
    )
    assert with_decay.ndcg.mean() == 1.0  # the one right item, first
    assert without.ndcg.mean() < 0.75  # one of the two ends


@pytest.mark.parametrize("choose", [best_ease, best_next_item_ridge])
def test_a_decay_is_chosen_if_it_helps(splits, choose):
    best = choose(splits, 1)
    assert best.teacher.decay is not None
    assert evaluate(best, splits.validation, k=1).ndcg.mean() == 1.0


def test_ease_is_tuned_setting_by_setting(splits):
    """The best decay at the middle l2; then the best l2 at that decay."""

    def ndcg(l2, decay):
        scorer = HistoryScorer(ItemItemTeacher(splits.train, l2=l2, decay=decay))
        return evaluate(scorer, splits.validation, k=5).ndcg.mean()

    decay = max(EASE_GRID["decay"], key=lambda decay: ndcg(1000.0, decay))
    l2 = max(EASE_GRID["l2"], key=lambda l2: ndcg(l2, decay))
    best = best_ease(splits, 5)
    found = evaluate(best, splits.validation, k=5).ndcg.mean()
    assert found == pytest.approx(ndcg(l2, decay), abs=1e-12)
    settings = best.teacher.settings
    assert ndcg(**settings) == found


def test_als_is_chosen_and_reads_whole_histories(splits, monkeypatch):
    pytest.importorskip("implicit")
    monkeypatch.setattr(
        "tfrs_distill.evaluation.baselines.recommenders.ALS_GRID",
        {"decay": (2.0, None), "l2": (5.0, 10.0), "confidence": (4.0,)},
    )
    best = best_als(splits, 1)
    assert best.teacher.decay == 2.0 and best.max_history is None
    same = ALSTeacher(splits.train, **best.teacher.settings)
    assert same.fingerprint() == best.teacher.fingerprint()


def test_a_scorer_reads_the_given_number_of_items(splits):
    teacher = NextItemRidgeTeacher(splits.train, l2=20.0, decay=2.0)
    history = np.array([1, 2, 3, 4], np.int32)
    scores, items = HistoryScorer(teacher, max_history=2, exclude_seen=False)([history], 5)
    expected = teacher.logits_after(tf.constant([[3, 4]]), tf.range(NUM_ITEMS + 1)).numpy()[0]
    np.testing.assert_array_equal(scores[0], expected[items[0]])
    assert scores[0, 0] == expected[1:].max()
