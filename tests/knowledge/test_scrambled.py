"""Scrambled soft targets: what they keep and what they change, also in a student's batches."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_data import random_windows

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.scrambled import BlockRotations, scrambled

NUM_ITEMS = 50
KNOWLEDGE = (columns.TEACHER_TOP_K_IDS, columns.TEACHER_TOP_K_LOGITS, columns.TEACHER_TAIL)


@pytest.fixture
def windows():
    """Windows whose teacher keeps 12 items of each position, in any order."""
    plain = random_windows(num_items=NUM_ITEMS, max_history=4)
    random = np.random.default_rng(0)
    shape = plain.labels.shape
    ids = np.argsort(random.random((*shape, NUM_ITEMS)), axis=-1)[..., :12] + 1
    logits = random.normal(size=ids.shape).astype(np.float32)
    columns_of = zip(KNOWLEDGE, (ids.astype(np.uint16), logits, logits[..., :1]))
    return replace(plain, knowledge=dict(columns_of))


def test_at_every_position_the_items_change_and_the_logits_stay(windows):
    ids, logits, tail = (windows.knowledge[name] for name in KNOWLEDGE)
    after = scrambled(windows, seed=1).knowledge
    rows = np.arange(len(windows))
    changed = after[KNOWLEDGE[0]][rows]
    assert changed.dtype == ids.dtype and changed.shape == after[KNOWLEDGE[0]].shape == ids.shape
    assert after[KNOWLEDGE[1]] is logits and after[KNOWLEDGE[2]] is tail
    assert all(len(set(items)) == 12 for items in changed[windows.labels > 0])  # still a set
    is_label = ids == windows.labels[..., None]
    assert is_label.any() and np.array_equal(changed == windows.labels[..., None], is_label)
    labelled = (windows.labels > 0)[..., None] & ~is_label
    assert (changed != ids)[labelled].all()  # no unlabelled item keeps its probability
    assert changed[labelled].min() >= 1 and changed[labelled].max() <= NUM_ITEMS


def test_probabilities_are_permuted_among_items_of_similar_popularity(windows):
    counts = np.bincount(windows.labels.reshape(-1), minlength=NUM_ITEMS + 1)[1:]
    rank = np.empty(NUM_ITEMS + 1, int)
    rank[np.argsort(-counts, kind="stable") + 1] = np.arange(NUM_ITEMS)
    ids = windows.knowledge[KNOWLEDGE[0]]
    changed = scrambled(windows).knowledge[KNOWLEDGE[0]][np.arange(len(windows))]
    labelled = windows.labels > 0
    # 50 items are two blocks of 25
    np.testing.assert_array_equal(rank[ids[labelled]] // 25, rank[changed[labelled]] // 25)


def test_the_seed_determines_it_and_any_subset_reads_the_same(windows):
    once, again, other = (
        scrambled(windows, seed=seed).knowledge[KNOWLEDGE[0]] for seed in (3, 3, 4)
    )
    rows = np.array([5, 2, 2])
    np.testing.assert_array_equal(once[np.arange(len(windows))][rows], again[rows])
    assert (once[rows] != other[rows]).any()


@pytest.mark.parametrize("num_items", [3, 4, 19, 20, 21, 59])
def test_it_is_a_permutation_that_keeps_only_the_label(num_items):
    rotations = BlockRotations(np.random.default_rng(0).integers(0, 5, num_items))
    ids = np.arange(1, num_items + 1)
    for label in (1, num_items):
        draws = np.arange(40)
        receivers = rotations.turned(
            np.broadcast_to(ids, (40, num_items)), np.full(40, label), draws
        )
        np.testing.assert_array_equal(
            np.sort(receivers, axis=1), np.broadcast_to(ids, (40, num_items))
        )
        stays = receivers == ids
        assert stays[:, label - 1].all()
        assert stays.sum() == 40


def test_rows_get_the_logits_of_other_rows_with_the_same_label():
    labels = np.array([1, 0, 1, np.nan, 0, 1, np.nan, 0.5])
    logits = np.arange(8.0)[:, None]
    rows = RankingExamples(
        {}, {"like": labels}, np.arange(8), np.arange(8), teacher_logits={"like": logits}
    )
    dealt = scrambled(rows, seed=2).teacher_logits["like"][:, 0].astype(int)
    np.testing.assert_array_equal(labels[dealt], labels)
    assert (dealt != np.arange(8)).tolist() == [True] * 7 + [False]  # 0.5 is alone
    assert sorted(dealt) == list(range(8))


def test_rows_with_unique_labels_get_the_logits_of_rows_with_similar_ones():
    """The number of each row is its label and its logit; 50 of them are two blocks of 25."""
    numbers = np.random.default_rng(0).permutation(50).astype(np.float32)
    examples = RankingExamples(
        {}, {"price": numbers}, np.arange(50), np.arange(50), teacher_logits={"price": numbers}
    )
    given = scrambled(examples).teacher_logits["price"][:, 0]
    assert (given != numbers).all() and sorted(given) == sorted(numbers)
    np.testing.assert_array_equal(given // 25, numbers // 25)


def test_logits_over_the_catalogue_keep_the_entry_of_the_rows_item():
    random = np.random.default_rng(0)
    items, logits = random.integers(1, 41, 30), random.normal(size=(30, 40)).astype(np.float32)
    rows = RankingExamples(
        {columns.ITEM_ID: items},
        {},
        np.arange(30),
        np.arange(30),
        teacher_logits={"next_item": logits},
    )
    dealt = scrambled(rows).teacher_logits["next_item"]
    np.testing.assert_array_equal(np.sort(dealt, axis=1), np.sort(logits, axis=1))
    own = items[:, None] == np.arange(1, 41)
    np.testing.assert_array_equal(dealt == logits, own)


def test_examples_without_such_knowledge_are_refused(windows):
    plain = windows.subset(np.arange(3))
    with pytest.raises(InputError, match="form='top_k'"):
        scrambled(plain)
    with pytest.raises(InputError, match="no teacher logits to scramble"):
        scrambled(RankingExamples({}, {"like": np.ones(2)}, np.arange(2), np.arange(2)))
    with pytest.raises(InputError, match="at least 3 items are needed. Received: 2"):
        BlockRotations(np.ones(2))
