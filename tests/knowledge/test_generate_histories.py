"""Histories continued by a teacher, with planted teachers whose next item is known."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import random_windows, windows_from, with_weights

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge import cache_teacher, generate_histories
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS = 12
SINGLE = {(3,), (11,), (7,), (1,)}


class Next:
    """Predicts the item after the last one of the history, and item 1 after the last item."""

    def logits(self, batch, candidate_ids):
        last = tf.boolean_mask(batch[columns.HISTORY], batch[columns.LABELS] > 0)[:, None]
        return 50.0 * tf.cast(candidate_ids[None] == last % NUM_ITEMS + 1, tf.float32)

    def fingerprint(self):
        return "next"


class Always:
    """Returns the same logits for every history."""

    def __init__(self, logits):
        self.values = np.float32(logits)

    def logits(self, batch, candidate_ids):
        return tf.tile(self.values[None], [len(batch[columns.HISTORY]), 1])


def again(windows):
    """The windows of a catalogue whose items are recommended again."""
    return replace(windows, catalogue=replace(windows.catalogue, exclude_seen=False))


def test_parts_of_windows_are_continued_by_the_teachers_top_items():
    windows = windows_from([[3, 11, 7, 1], [7, 1]], num_items=NUM_ITEMS, max_history=6)
    made = generate_histories(Next(), windows, 40, seed=1)
    assert made.users.tolist() == [0] * 40 + [1] * 40
    parts = {0: set(), 1: set()}
    for user, history, labels in zip(made.users, made.history, made.labels):
        items = [int(item) for item in history if item]
        part, drawn = tuple(items[:-2]), [int(item) for item in labels if item]
        parts[user].add(part)
        # Three positions of six are drawn, the last one only as a label.
        assert items[len(part) :] == drawn[:2] and labels.tolist() == [0, 0, 0, *drawn]
        expected, seen = [], set(part)
        for _ in range(3):
            following = (*part, *expected)[-1] % NUM_ITEMS + 1
            assert following not in seen  # by the selection of the sequences
            expected.append(following)
        assert drawn == expected
    assert parts[0] == SINGLE | {(3, 11), (11, 7), (7, 1), (3, 11, 7), (11, 7, 1)}
    assert parts[1] == {(7,), (1,), (7, 1)}


def test_items_are_drawn_in_proportion_to_their_softmax():
    logits = np.log([4.0, 1.0, 3.0, 2.0, *[1e-9] * 8])
    windows = again(windows_from([[1, 2]], num_items=NUM_ITEMS, max_history=2))
    drawn = generate_histories(Always(logits), windows, 4000).labels[:, -1]
    share = np.bincount(drawn, minlength=5)[1:5] / 4000
    np.testing.assert_allclose(share, [0.4, 0.1, 0.3, 0.2], atol=0.03)  # 4 standard deviations


@pytest.mark.parametrize("batch", [7, 256])
def test_seen_or_missing_items_are_not_drawn(monkeypatch, batch):
    """Even if the teacher prefers them: only four items are left after five."""
    module = sys.modules["tfrs_distill.knowledge.generate_histories"]
    monkeypatch.setattr(module, "ROWS_AT_ONCE", batch)
    exists = np.arange(1, NUM_ITEMS + 1) <= 9
    windows = windows_from([[1, 2, 3, 4, 5, 6, 7, 8]], num_items=NUM_ITEMS, max_history=8)
    windows = replace(windows, candidates=exists)
    logits = np.where(exists, 0.0, 1e6)
    logits[:4] = 1e4
    made = generate_histories(Always(logits), windows, 50)
    for history, labels in zip(made.history, made.labels):
        items = [*history[history > 0], labels[-1]]
        assert len(set(items)) == len(items) and max(items) <= 9
    np.testing.assert_array_equal(made.candidates, exists)
    whole = again(windows)
    repeated = generate_histories(Always(logits), whole, 50)
    assert repeated.labels.max() <= 4  # and repeatedly


def test_the_seed_determines_the_result_and_the_windows_columns_are_kept():
    windows = with_weights(random_windows(num_items=NUM_ITEMS))
    known = np.arange(14).reshape(7, 2)[windows.users]
    windows = replace(windows, user_attributes=known)
    made, same, other = (
        generate_histories(Always(np.zeros(NUM_ITEMS)), windows, 2, seed=seed) for seed in (0, 0, 1)
    )
    assert made.fingerprint() == same.fingerprint() != other.fingerprint()
    np.testing.assert_array_equal(made.user_attributes, np.arange(14).reshape(7, 2)[made.users])
    np.testing.assert_array_equal(made.weights, made.labels > 0)


def test_windows_without_an_item_are_skipped():
    windows = windows_from([[3, 4], [5]], num_items=NUM_ITEMS, max_history=4)
    nothing = Windows(windows.catalogue, [9], [[0, 0, 0, 0]], [[0, 0, 0, 0]])
    assert 9 not in generate_histories(Next(), windows.joined(nothing), 3).users


def test_generated_windows_can_be_labelled_and_joined(tmp_path):
    windows = windows_from([[3, 11, 7, 1], [7, 1]], num_items=NUM_ITEMS, max_history=6)
    made = generate_histories(Next(), windows, 3)
    one, other = (
        cache_teacher(Next(), each, tmp_path / name, top_k=3).join(each, form="top_k")
        for name, each in (("one", windows), ("other", made))
    )
    both = one.joined(other)
    assert len(both) == len(windows) + len(made) and both.num_labels == 4 + made.num_labels
    columns_of = {name: rows[np.arange(len(both))] for name, rows in both.knowledge.items()}
    ids = columns_of[columns.TEACHER_TOP_K_IDS]
    labelled = both.labels > 0
    np.testing.assert_array_equal(ids[labelled][:, 0], both.history[labelled] % NUM_ITEMS + 1)
    batch = next(iter(both.batches(len(both))))
    np.testing.assert_array_equal(batch[columns.TEACHER_TOP_K_IDS], ids)


def test_knowledge_with_other_temperatures_or_top_k_is_not_joined(tmp_path):
    """Otherwise its tails would count as those of the windows' temperatures."""
    windows = windows_from([[3, 11, 7, 1], [7, 1]], num_items=NUM_ITEMS, max_history=6)

    def labelled(**kept):
        name = str(sorted(kept.items()))
        return cache_teacher(Next(), windows, tmp_path / name, **kept).join(windows, form="top_k")

    plain = labelled(top_k=3)
    assert len(plain.joined(plain)) == 2 * len(windows)
    for other in ({"temperatures": (2.0,)}, {"temperatures": (1.0, 2.0)}, {"top_k": 1}):
        with pytest.raises(InputError, match="another `knowledge` cannot be joined. Received: "):
            plain.joined(labelled(**({"top_k": 3} | other)))
    with pytest.raises(InputError, match="another `max_history` cannot be joined"):
        windows.joined(windows_from([[1, 2]], num_items=NUM_ITEMS, max_history=4))
    with pytest.raises(InputError, match="other `candidates` cannot be joined"):
        windows.joined(replace(windows, candidates=np.arange(NUM_ITEMS) > 0))


def test_embeddings_of_two_caches_are_not_joined(tmp_path):
    """The item embeddings of one would be multiplied with the queries of the other."""
    windows = random_windows(num_items=NUM_ITEMS)
    one, other = (
        cache_teacher(
            RetrievalStudent.from_history(num_items=NUM_ITEMS, max_history=4, seed=seed),
            windows,
            tmp_path / str(seed),
            top_k=3,
        )
        for seed in (0, 1)
    )
    part = windows.subset([0])
    assert len(one.join(windows).joined(one.join(part))) == len(windows) + 1
    with pytest.raises(InputError, match="another `knowledge` cannot be joined"):
        one.join(windows).joined(other.join(part))
    of_both = one.join(windows, form="top_k").joined(other.join(part, form="top_k"))
    assert len(of_both) == len(windows) + 1


def test_a_factorised_teacher_encodes_the_items_once():
    """And returns the same as with its logits."""
    windows = random_windows(num_items=NUM_ITEMS)
    student = RetrievalStudent.from_history(num_items=NUM_ITEMS, max_history=4, seed=0)
    student.candidate_tower.id_embeddings.assign(
        np.random.default_rng(0).normal(size=student.candidate_tower.id_embeddings.shape)
    )

    class OnlyLogits:
        def logits(self, batch, candidate_ids):
            return student.logits(batch, candidate_ids)

    both = [generate_histories(teacher, windows, 3) for teacher in (student, OnlyLogits())]
    assert both[0].fingerprint() == both[1].fingerprint()


@pytest.mark.parametrize(
    ("teacher", "change", "words"),
    [
        (Next(), {"per_window": 0}, "`per_window` must be at least 1. Received: 0"),
        (Next(), {"max_history": 1}, "at least 2 positions .* Received: 1 positions"),
        (Next(), {"max_history": 12}, "Received: 12 positions and 12 items"),
        (Always([np.nan] * 12), {}, r"Received from Always: shape \[2, 12\], 24 not finite"),
        (Always([0.0] * 11), {}, r"\[2, 12\]. Received from Always: shape \[2, 11\]"),
    ],
)
def test_invalid_input_is_refused(teacher, change, words):
    positions = change.get("max_history", 4)
    catalogue = windows_from([[1, 2]], num_items=NUM_ITEMS, max_history=2).catalogue
    history, labels = np.zeros((2, 2, positions), np.int32)
    history[:, -1], labels[:, -1] = (3, 7), (9, 1)
    windows = Windows(catalogue, [0, 1], history, labels)
    with pytest.raises(InputError, match=words):
        generate_histories(teacher, windows, change.get("per_window", 1))
