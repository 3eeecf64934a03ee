"""Computations in blocks: equal results, and never a complete matrix in memory."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, random_windows, tiny_catalogue

from tfrs_distill import columns
from tfrs_distill.data import row_blocks as blocks
from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation import evaluate, metrics, whole_catalogue
from tfrs_distill.evaluation.baselines import EASE, popularity
from tfrs_distill.evaluation.retrieval import ModelScorer, TeacherScorer
from tfrs_distill.evaluation.teacher_report import report
from tfrs_distill.evaluation.top_k import top_k_unseen
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.models.rows import seen_items
from tfrs_distill.teachers import calibration
from tfrs_distill.teachers.item_item_teacher import ItemItemTeacher, user_item_blocks
from tfrs_distill.teachers.list_teacher import list_scores
from tfrs_distill.teachers.reranker import Reranker

NUM_ITEMS, NUM_QUERIES = 700, 800
WHOLE = 4 * NUM_QUERIES * (NUM_ITEMS + 1)  # bytes of all scores at once: 2.2 MB
RANDOM = np.random.default_rng(0)
HISTORIES = tuple(
    RANDOM.integers(1, NUM_ITEMS + 1, size).astype(np.int32)
    for size in RANDOM.integers(0, 9, NUM_QUERIES)
)
POSITIVES = tuple(RANDOM.integers(1, NUM_ITEMS + 1, 3).astype(np.int32) for _ in HISTORIES)
QUERIES = Queries(
    tiny_catalogue(NUM_ITEMS), np.arange(NUM_QUERIES, dtype=np.int32), HISTORIES, POSITIVES
)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "CELLS", 20 * NUM_ITEMS)  # 19 rows of NUM_ITEMS + 1 cells


def peak_bytes(work):
    """The peak memory of NumPy and Python beyond the memory in use before."""
    tracemalloc.start()
    try:
        result = work()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def student():
    model = RetrievalStudent.from_history(num_items=NUM_ITEMS, max_history=4, embedding_dim=4)
    weights = [RANDOM.normal(size=w.shape) for w in model.query_tower.get_weights()]
    model.query_tower.set_weights(weights)
    return model


@pytest.fixture(scope="module")
def windows():
    return random_windows(num_users=50, num_items=NUM_ITEMS, max_history=4)


@pytest.mark.parametrize("kind", ["student", "teacher", "popularity", "ease"])
def test_scorers_return_the_same_in_blocks_and_hold_no_matrix(
    small_blocks, monkeypatch, student, windows, kind
):
    scorer = {
        "student": lambda: ModelScorer(student, batch_size=NUM_QUERIES),
        "teacher": lambda: TeacherScorer(student, QUERIES, max_history=4, batch_size=NUM_QUERIES),
        "popularity": lambda: popularity(windows),
        "ease": lambda: EASE(windows, l2=5.0),
    }[kind]()
    scorer(HISTORIES, 5)
    (scores, items), peak = peak_bytes(lambda: scorer(HISTORIES, 5))
    assert peak < WHOLE / 4
    monkeypatch.setattr(blocks, "CELLS", 10 * NUM_QUERIES * NUM_ITEMS)
    (at_once, expected), whole = peak_bytes(lambda: scorer(HISTORIES, 5))
    np.testing.assert_array_equal(items, expected)
    np.testing.assert_allclose(scores, at_once, rtol=1e-5, atol=1e-6)  # float32 sums
    assert whole > WHOLE  # so the measure detects it


def test_top_k_of_given_scores_in_blocks(small_blocks):
    scores = RANDOM.integers(0, 9, (NUM_QUERIES, NUM_ITEMS + 1)).astype(np.float32)  # many ties
    (best, items), peak = peak_bytes(lambda: top_k_unseen(scores, HISTORIES, 6))
    assert peak < WHOLE / 4
    for row, history in enumerate(HISTORIES):
        left = [item for item in range(1, NUM_ITEMS + 1) if item not in set(history.tolist())]
        expected = sorted(left, key=lambda item: -scores[row, item])[:6]
        assert items[row].tolist() == expected
        np.testing.assert_array_equal(best[row], scores[row, expected])


def test_a_split_with_candidates_is_scored_in_blocks(small_blocks):
    candidates = np.array([5, 9, 200, 650], np.int32)
    requested = []

    def scorer(histories, k):
        requested.append(len(histories))
        return top_k_unseen(np.tile(-np.arange(NUM_ITEMS + 1.0), (len(histories), 1)), histories, k)

    found, peak = peak_bytes(lambda: evaluate(scorer, replace(QUERIES, candidates=candidates), k=3))
    assert sum(requested) == NUM_QUERIES and max(requested) == 20  # of NUM_ITEMS cells
    for history, items in zip(HISTORIES, found.item_ids):
        left = [item for item in (5, 9, 200, 650) if item not in set(history.tolist())]
        assert items.tolist() == (left + [0] * 3)[:3]
    assert peak < WHOLE


def test_user_item_interactions_are_read_in_blocks_of_users(monkeypatch):
    windows = random_windows(num_users=60, num_items=30, max_history=4)
    order = np.random.default_rng(1).permutation(len(windows))
    shuffled = windows.subset(order)  # a user's windows need not be adjacent
    interacted = np.zeros((60, 31), np.float32)
    for user, history, labels in zip(windows.users, windows.history, windows.labels):
        interacted[user, [*history, *labels]] = 1.0
    interacted[:, 0] = 0.0
    weights = ItemItemTeacher(windows, l2=5.0).weights
    monkeypatch.setattr(blocks, "CELLS", 7 * 31)
    parts = list(user_item_blocks(shuffled))
    assert [len(part) for part in parts] == [7] * 8 + [4]
    np.testing.assert_array_equal(np.concatenate(parts), interacted)
    np.testing.assert_array_equal(popularity(shuffled).scores, interacted.sum(axis=0))
    np.testing.assert_array_equal(ItemItemTeacher(shuffled, l2=5.0).weights, weights)


def test_lists_of_item_item_weights_and_of_a_reranker_are_computed_in_blocks(
    small_blocks, student, windows
):
    teacher = ItemItemTeacher(windows, l2=5.0)
    histories = RANDOM.integers(0, NUM_ITEMS + 1, (NUM_QUERIES, 4)).astype(np.int32)
    lists = RANDOM.integers(1, NUM_ITEMS + 1, (NUM_QUERIES, 7)).astype(np.int32)
    scores, peak = peak_bytes(lambda: list_scores(teacher, histories, lists))
    assert peak < WHOLE / 4
    for history, items, row in zip(histories, lists, scores):
        expected = teacher.weights[np.unique(history)].astype(np.float64).sum(axis=0)[items]
        np.testing.assert_allclose(row, expected, atol=1e-6)

    class Flat:
        def scores(self, histories, lists):
            return np.ones(lists.shape, np.float32)

    both = Reranker(student, Flat(), first_stage_weight=2.0)
    table = student.catalogue_embeddings().numpy().astype(np.float64)
    queries = student.encode_histories(tf.constant(histories)).numpy()
    expected = 1 + 2 * np.einsum("nd,nkd->nk", queries, table[lists])
    np.testing.assert_allclose(both.scores(histories, lists), expected, rtol=1e-4, atol=1e-4)


def test_seen_items_of_rows_need_no_table_per_position():
    windows = random_windows(num_users=5, num_items=9, max_history=4)
    batch = next(iter(windows.batches(len(windows))))
    seen = seen_items(batch, 9).numpy()
    for row, (history, _) in zip(seen, next_item_rows(windows), strict=True):
        assert np.flatnonzero(row[1:]).tolist() == sorted({item - 1 for item in history})
    graph = tf.function(lambda batch: seen_items(batch, 9)).get_concrete_function(batch).graph
    # Nothing of shape [windows, positions, items + 1] is created.
    shapes = [
        out.shape.as_list() for op in graph.get_operations() for out in op.outputs if out.shape.rank
    ]
    assert not [shape for shape in shapes if len(shape) == 3 and shape[-1] == 10]


class Eager:
    """A teacher whose logits come from a plain function."""

    def __init__(self, call):
        self.logits = call


def test_a_temperature_is_found_on_as_many_rows_as_fit(monkeypatch):
    windows = random_windows(num_users=80, num_items=30, max_history=4)
    requested = []

    def call(batch, ids):
        requested.append(int((batch[columns.LABELS].numpy() > 0).sum()))
        return tf.random.stateless_normal([requested[-1], len(ids)], [3, requested[-1]])

    teacher = Eager(call)
    monkeypatch.setattr(tf, "function", lambda work=None, **_: work or (lambda inner: inner))
    calibration.fit_temperature(teacher, windows)
    assert sum(requested) == windows.num_labels > 150
    requested.clear()
    monkeypatch.setattr(calibration, "MAX_LOGITS", 100 * 30)
    monkeypatch.setattr(calibration, "MAX_AT_A_TIME", 10 * 4 * 30)
    calibration.fit_temperature(teacher, windows)
    assert sum(requested) == 100 and max(requested) <= 10 * 4 and len(requested) > 2
    kept = calibration._some_rows(windows, 100)
    rows = next_item_rows(windows)
    places = [rows.index(row) for row in next_item_rows(kept)]  # rows in their original form
    assert len(set(places)) == 100 and places[0] == 0 and places[-1] == len(rows) - 1
    assert set(np.diff(places)) <= {len(rows) // 100, len(rows) // 100 + 1}


def test_the_searched_loss_is_the_same_in_blocks(monkeypatch):
    logits = RANDOM.normal(size=(500, 40)).astype(np.float32) * 3
    labels = RANDOM.integers(0, 40, 500)
    x = 0.7 * logits.astype(np.float64)
    log_p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    expected = -log_p[np.arange(500), labels].mean()
    own = logits.astype(np.float64)[np.arange(500), labels]
    slope = ((np.exp(log_p) * logits).sum(axis=1) - own).mean()
    for cells in (blocks.CELLS, 30 * 40):
        monkeypatch.setattr(blocks, "CELLS", cells)
        results, peak = peak_bytes(lambda: calibration._loss_and_slope(logits, labels, 0.7))
        np.testing.assert_allclose(results, [expected, slope], rtol=1e-12)
    assert peak < 8 * logits.size


def test_teachers_are_compared_on_as_many_full_rankings_as_fit(monkeypatch):
    requested = []
    monkeypatch.setattr(whole_catalogue, "WHOLE_SCORES", 13 * 9)
    monkeypatch.setattr(
        report, "whole_ranking", lambda model, some, **_: (None, requested.append(len(some)))
    )
    monkeypatch.setattr(report, "rank_correlation_matrix", lambda ranks: None)
    monkeypatch.setattr(report, "cost", lambda *_: {})
    train = random_windows(num_users=20, num_items=9, max_history=4)
    users = np.arange(30, dtype=np.int32)
    histories, positives = ((np.array([i], np.int32),) * 30 for i in (1, 2))
    queries = Queries(train.catalogue, users, histories, positives)

    class Splits:
        catalogue, validation = train.catalogue, queries

    Splits.train = train
    report.compare_teachers({"most met": popularity(train)}, Splits, twin=popularity(train))
    assert requested == [13, 13]


def test_hits_of_long_lists_need_no_table_of_pairs():
    items = RANDOM.integers(0, 60, (300, 90)).astype(np.int32)  # many occur twice
    relevant = [np.array([3, 7, 50])] * 300
    found, peak = peak_bytes(lambda: metrics.hits(items, relevant))
    for row, hits in zip(items.tolist(), found.tolist()):
        first = [place == row.index(item) for place, item in enumerate(row)]
        assert hits == [item in (3, 7, 50) and new for item, new in zip(row, first)]
    assert peak < 300 * 90 * 90 / 2


def test_an_interval_of_many_queries_is_drawn_in_blocks(monkeypatch):
    values = RANDOM.random(3000)
    draws = np.random.default_rng(4).multinomial(3000, np.full(3000, 1 / 3000), size=200)
    expected = np.percentile(draws @ values / 3000, [2.5, 97.5])
    for cells in (blocks.CELLS, 7 * 3000):
        monkeypatch.setattr(blocks, "CELLS", cells)
        (low, high), peak = peak_bytes(
            lambda: metrics.bootstrap_interval(values, num_samples=200, seed=4)
        )
        np.testing.assert_allclose([low, high], expected, rtol=1e-12)
    assert peak < 200 * 3000 * 8 / 4


def test_fewer_than_100_are_too_few_for_an_interval():
    assert [metrics.too_few_to_resample(n) for n in (1, 10, 99, 100, 943)] == [True] * 3 + [
        False
    ] * 2
    found = evaluate(popularity(random_windows(num_items=NUM_ITEMS)), QUERIES)
    assert found.summary(num_samples=100)["interval_too_narrow"] is False
    few = evaluate(popularity(random_windows(num_items=NUM_ITEMS)), QUERIES.subset(np.arange(99)))
    assert few.summary(num_samples=100)["interval_too_narrow"] is True


def test_blocks_cover_all_rows_once_without_splitting_a_row(monkeypatch):
    monkeypatch.setattr(blocks, "CELLS", 100)
    for num_rows, num_columns, at_most, expected in (
        (7, 30, None, [3, 3, 1]),
        (7, 30, 2, [2, 2, 2, 1]),
        (3, 1000, None, [1, 1, 1]),
        (0, 5, None, []),
        (4, 0, None, [4]),
    ):
        slices = list(blocks.row_blocks(num_rows, num_columns, at_most))
        assert [part.stop - part.start for part in slices] == expected
        assert [row for part in slices for row in range(num_rows)[part]] == list(range(num_rows))


@pytest.mark.parametrize("num_items", [40, 300, 3000])  # with fewer groups than k, and with more
@pytest.mark.parametrize("k", [1, 4, 30])
def test_top_k_orders_ties_and_infinite_scores_like_a_stable_sort(num_items, k):
    random = np.random.default_rng(2)
    whole = random.integers(-3, 4, (30, num_items + 1)).astype(np.float32)
    different = random.normal(size=(30, num_items + 1)).astype(np.float32)
    different[3, [5, num_items // 2, num_items]] = 9.0
    different[4, 2:] = -np.inf
    whole[random.random(whole.shape) < 0.1] = np.inf
    whole[random.random(whole.shape) < 0.3] = -np.inf
    whole[0], whole[1, 5:] = 7.0, -np.inf
    histories = [random.integers(1, num_items + 1, 6) for _ in whole]
    for scores in (whole, different):  # many equal ones, and few
        best, items = top_k_unseen(scores, histories, k)
        for row, history in enumerate(histories):
            left = [item for item in range(1, num_items + 1) if item not in set(history.tolist())]
            left = [item for item in left if scores[row, item] > -np.inf]
            expected = sorted(left, key=lambda item: -scores[row, item])[:k]
            assert items[row].tolist() == expected + [0] * (k - len(expected))
            np.testing.assert_array_equal(best[row, : len(expected)], scores[row, expected])
            assert np.isneginf(best[row, len(expected) :]).all()
