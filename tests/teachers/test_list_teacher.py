"""Candidate lists created and labelled, compared with loops in plain Python."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import WORDS
from tiny_data import random_windows, tiny_catalogue, windows_from

from tfrs_distill import columns
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.models.rows import row_mask
from tfrs_distill.teachers.arrays.array_teacher import ArrayTeacher
from tfrs_distill.teachers.bert.bert_cross_encoder import BertCrossEncoder
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.candidate_lists import (
    CandidateLists,
    first_stage_lists,
    list_examples,
)
from tfrs_distill.teachers.function_teacher import FunctionTeacher
from tfrs_distill.teachers.list_teacher import ListTeacher

NUM_ITEMS = 9


def recommend(histories, k):
    """A first stage that prefers items near the sum of the history, and never repeats one."""
    scores, items = np.full((len(histories), k), -np.inf), np.zeros((len(histories), k), np.int32)
    for row, history in enumerate(histories):
        assert 0 not in history
        best = preferred(history)[:k]
        scores[row, : len(best)], items[row, : len(best)] = -np.arange(len(best)), best
    return scores, items


def preferred(history):
    centre = sum(int(item) for item in history) % NUM_ITEMS
    others = [item for item in range(1, NUM_ITEMS + 1) if item not in set(history)]
    return sorted(others, key=lambda item: (item - centre) % NUM_ITEMS)


SEQUENCES = [[3, 7, 1, 9, 2, 8], [5, 6], [4, 2, 9, 8, 1, 7, 3]]


@pytest.mark.parametrize(("num_candidates", "max_history"), [(1, None), (3, 2), (20, 6)])
def test_lists_are_the_first_stages_candidates_and_the_next_item(num_candidates, max_history):
    windows = windows_from(SEQUENCES, num_items=NUM_ITEMS, max_history=4)
    done = []
    lists = first_stage_lists(
        recommend,
        windows,
        num_candidates=num_candidates,
        max_history=max_history,
        batch_size=5,
        advance=done.append,
    )
    places = [(user, at) for user, items in enumerate(SEQUENCES) for at in range(1, len(items))]
    assert done == [5, 5, 2] and len(places) == 12
    width = max_history or 4
    for row, (user, at) in enumerate(places):
        items = SEQUENCES[user]
        latest = items[:at][-width:]
        assert lists.users[row] == user and lists.positives[row] == items[at]
        assert lists.histories[row].tolist() == [0] * (width - len(latest)) + latest
        expected = [item for item in preferred(items[:at]) if item != items[at]][:num_candidates]
        empty = num_candidates - len(expected)
        assert lists.candidates[row].tolist() == expected + [0] * empty
        assert lists.later[row].tolist() == [i in items[at + 1 :] for i in expected + [0] * empty]
    assert set(lists.later[lists.candidates > 0].tolist()) == {True, False}


def test_dislikes_are_neither_positions_nor_later_items():
    windows = windows_from(SEQUENCES, num_items=NUM_ITEMS, max_history=4)
    odd = windows.labels % 2 == 1
    signed = replace(windows, weights=np.where(odd, -1.0, 1.0) * (windows.labels > 0))
    whole, lists = (first_stage_lists(recommend, of, num_candidates=9) for of in (windows, signed))
    rows = np.flatnonzero(whole.positives % 2 == 0)
    for name in ("users", "histories", "positives", "candidates"):
        np.testing.assert_array_equal(getattr(lists, name), getattr(whole, name)[rows])
    liked = whole.later[rows] & (lists.candidates % 2 == 0)
    np.testing.assert_array_equal(lists.later, liked)
    assert 0 < liked.sum() < whole.later[rows].sum()


def test_a_sample_of_lists_is_drawn_by_seed_and_in_order():
    windows = random_windows(num_users=12, num_items=NUM_ITEMS, max_history=4)
    whole = first_stage_lists(recommend, windows, num_candidates=2)

    def drawn(seed):
        lists = first_stage_lists(recommend, windows, num_candidates=2, num_lists=8, seed=seed)
        rows = [
            next(row for row in range(len(whole.users)) if same(whole, row, lists, own))
            for own in range(8)
        ]
        assert rows == sorted(rows) and len(set(rows)) == 8
        return rows

    def same(one, row, other, own):
        return all((a[row] == b[own]).all() for a, b in zip(one, other))

    assert drawn(1) == drawn(1) != drawn(2)


def test_missing_items_are_not_candidates():
    sequences = [[item for item in items if item < 7] for items in SEQUENCES]
    windows = windows_from(sequences, num_items=NUM_ITEMS, max_history=4)
    windows = replace(windows, candidates=np.arange(1, 10) < 7)
    lists = first_stage_lists(recommend, windows, num_candidates=2, max_history=6)
    for history, label, found in zip(lists.histories, lists.positives, lists.candidates):
        history = [item for item in history if item]
        free = [item for item in preferred(history) if item not in (7, 8, 9, label)]
        assert found.tolist() == (free + [0, 0])[:2]


LISTS = CandidateLists(
    np.array([5, 8, 5]),
    np.array([[0, 2, 1], [4, 6, 7], [0, 0, 0]]),
    np.array([3, 9, 1]),
    np.array([[7, 4, 0], [1, 5, 2], [0, 0, 0]]),
    np.array([[True, False, False], [False, False, True], [False, False, False]]),
)


def test_a_list_becomes_rows_that_do_not_leak_the_label():
    examples = list_examples(LISTS, tiny_catalogue(NUM_ITEMS), task="next")
    assert examples.queries.tolist() == [0, 0, 0, 1, 1, 1, 1, 2]
    assert examples.users.tolist() == [5, 5, 5, 8, 8, 8, 8, 5]
    assert examples.features["item_id"].tolist() == [3, 4, 7, 1, 2, 5, 9, 1]  # ascending in a list
    assert examples.labels["next"].tolist() == [1, 0, 1, 0, 1, 0, 1, 1]
    np.testing.assert_array_equal(
        examples.features["history"], LISTS.histories[[0, 0, 0, 1, 1, 1, 1, 2]]
    )
    assert examples.catalogue.num_items == NUM_ITEMS and not examples.teacher_logits


class RecordingScorer:
    """Scores that identify the given history and item."""

    def __init__(self):
        self.sizes = []

    def scores(self, histories, lists):
        self.sizes.append(len(histories))
        place = 10.0 ** np.arange(histories.shape[1])
        return tf.constant((histories @ place)[:, None] + lists / 100, tf.float64)


def expected_scores(examples):
    histories, items = examples.features["history"], examples.features["item_id"]
    return [
        sum(int(h) * 10**place for place, h in enumerate(history)) + item / 100
        for history, item in zip(histories, items)
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_each_row_gets_the_score_of_its_own_history_and_item(batch_size):
    teacher, done = RecordingScorer(), []
    examples = list_examples(LISTS, tiny_catalogue(NUM_ITEMS))
    logits = ListTeacher(teacher, batch_size=batch_size).row_logits(examples, advance=done.append)
    assert done == teacher.sizes == {1: [1, 1, 1], 2: [2, 1], 64: [3]}[batch_size]
    output = examples.with_teacher(logits).teacher_logits["relevance"]
    assert output.shape == (8, 1)
    np.testing.assert_allclose(output[:, 0], expected_scores(examples), rtol=1e-6)


def test_rows_of_a_list_need_not_be_adjacent():
    examples = list_examples(LISTS, tiny_catalogue(NUM_ITEMS))
    mixed = examples.subset(np.array([6, 0, 7, 3, 1, 5, 2, 4]))
    for batch_size in (1, 2, 3):
        output = ListTeacher(RecordingScorer(), batch_size=batch_size).row_logits(mixed)[
            "relevance"
        ]
        np.testing.assert_allclose(output[:, 0], expected_scores(mixed), rtol=1e-6)


def test_a_cross_encoder_has_equal_scores_for_rows_and_pairs(tiny_bert):
    encoder = TextEncoder(tiny_bert[0])
    model = BertCrossEncoder(encoder, WORDS[:NUM_ITEMS], max_length=24, seed=0)
    examples = list_examples(LISTS, tiny_catalogue(NUM_ITEMS))
    histories, items = examples.features["history"], examples.features["item_id"]
    expected = model.scores(histories, items[:, None])[:, 0]
    assert np.std(expected) > 0.01
    # float32 through two layers, padded to other lengths
    logits = ListTeacher(model).row_logits(examples)["relevance"][:, 0]
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_any_teacher_with_logits_can_be_used():
    """It returns 10 times the newest item plus the candidate, for each row of a batch."""

    def call(batch, candidate_ids):
        newest = tf.boolean_mask(batch[columns.HISTORY], row_mask(batch))  # of each row
        assert len(batch[columns.HISTORY]) == len(newest)
        return tf.cast(10 * newest[:, None] + candidate_ids[None], tf.float32)

    examples = list_examples(LISTS, tiny_catalogue(NUM_ITEMS))
    behind = examples.with_features({"history": np.roll(examples.features["history"], -1, axis=1)})
    behind = behind.subset(behind.queries == 0)  # [2, 1, 0]: padding is last
    for requested, newest in ((examples, [1, 1, 1, 7, 7, 7, 7, 0]), (behind, [1, 1, 1])):
        output = ListTeacher(FunctionTeacher(call)).row_logits(requested)["relevance"][:, 0]
        expected = 10 * np.array(newest) + requested.features["item_id"]
        np.testing.assert_array_equal(output, expected)


def test_a_teacher_that_reads_users_gets_the_lists_user():
    scores = np.arange(18.0).reshape(2, 9)
    teacher = ArrayTeacher.from_scores(np.array([8, 5]), scores)
    examples = list_examples(LISTS, tiny_catalogue(NUM_ITEMS))
    output = ListTeacher(teacher).row_logits(examples)["relevance"][:, 0]
    expected = [
        scores[{8: 0, 5: 1}[user], item - 1]
        for user, item in zip(examples.users.tolist(), examples.features["item_id"].tolist())
    ]
    np.testing.assert_array_equal(output, expected)


def test_an_unknown_item_has_no_score():
    examples = list_examples(LISTS, tiny_catalogue(NUM_ITEMS))
    items = np.where(examples.queries == 2, 0, examples.features["item_id"])
    items[1] = 0
    requested = examples.with_features({"item_id": items})
    flat = FunctionTeacher(lambda batch, ids: tf.zeros([len(batch["history"]), len(ids)]))
    for teacher in (RecordingScorer(), flat):
        output = ListTeacher(teacher, batch_size=1).row_logits(requested)["relevance"][:, 0]
        assert np.isnan(output).tolist() == [False, True, False, False, False, False, False, True]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"positives": [3, 0, 1]}, r"List 1 has no next item: positives\[1\] is 0"),
        ({"candidates": [[7, 4, 0], [5, 5, 2], [0, 0, 0]]}, "List 1 holds an item twice"),
        ({"candidates": [[7, 3, 0], [1, 5, 2], [0, 0, 0]]}, "List 0 holds an item twice, or the"),
        ({"candidates": [[7, 4, 0], [1, 5, 2]]}, r"Received: shapes \(3,\), \(3, 3\), \(3,\), \(2"),
        ({"later": [[True], [False], [True]]}, r"`later` \[n, k\]. .*\(3, 3\), \(3, 1\)"),
        ({"later": np.eye(3)[::-1] > 0}, "List 0 has an empty slot that is marked as `later`"),
        ({"histories": [1, 2, 3]}, r"`later` \[n, k\]. Received: shapes \(3,\), \(3,\)"),
        ({"candidates": [[7, 4, 0], [1, 12, 2], [0, 0, 0]]}, "indices of the catalogue, 1 to 9"),
    ],
)
def test_invalid_lists(changed, words):
    changed = {name: np.array(values) for name, values in changed.items()}
    with pytest.raises(InputError, match=words):
        list_examples(LISTS._replace(**changed), tiny_catalogue(NUM_ITEMS))


def test_other_invalid_input_is_refused():
    windows = random_windows(num_users=3, num_items=NUM_ITEMS)
    for options, words in (
        ({"num_candidates": 0}, "`num_candidates` must be a whole number of at least 1"),
        ({"batch_size": 0}, "`batch_size` must be a whole number"),
        ({"num_lists": 0}, "`num_lists` must be a whole number"),
        ({"max_history": 0}, "`max_history` must be a whole number"),
        ({"num_lists": 999}, "`num_lists` must be at most .*the labelled positions"),
    ):
        with pytest.raises(ValueError, match=words):
            first_stage_lists(recommend, windows, **options)
    with pytest.raises(ValueError, match="must have `scores.* or `logits.*Received: int"):
        ListTeacher(7)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number"):
        ListTeacher(RecordingScorer(), batch_size=0)
    examples = list_examples(LISTS, tiny_catalogue(NUM_ITEMS))
    history = examples.features["history"].copy()
    history[1, 2] = 9
    with pytest.raises(InputError, match=r"rows of query 0 have different histories \(row 1\)"):
        ListTeacher(RecordingScorer()).row_logits(examples.with_features({"history": history}))
    bare = RankingExamples({"item_id": np.array([1])}, {}, np.array([1]), np.array([1]))
    with pytest.raises(InputError, match="Missing: history"):
        ListTeacher(RecordingScorer()).row_logits(bare)
