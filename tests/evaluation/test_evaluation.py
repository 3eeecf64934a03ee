"""Evaluation: scorers, exclusion of the history, and NDCG inside `fit`."""

from dataclasses import replace
from math import log2

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import random_windows, tiny_catalogue

from tfrs_distill.data.splits import Queries, pad_histories
from tfrs_distill.distiller import Distiller
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import ValidationNDCG, evaluate
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.evaluation.top_k import top_k_unseen
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS = 9


def arrays(*rows):
    return tuple(np.array(row, np.int32) for row in rows)


def queries_of(histories, positives, num_items=NUM_ITEMS):
    users = np.arange(len(histories), dtype=np.int32)
    return Queries(tiny_catalogue(num_items), users, arrays(*histories), arrays(*positives))


QUERIES = queries_of([[1, 2], [3], [4, 5, 6, 7, 8]], [[3], [1, 9], [9]])


def randomised_student(num_items=NUM_ITEMS, seed=0):
    student = RetrievalStudent.from_history(
        num_items=num_items, max_history=3, embedding_dim=4, seed=seed
    )
    random = np.random.default_rng(seed)
    student.query_tower.set_weights(
        [random.normal(size=w.shape) for w in student.query_tower.get_weights()]
    )
    return student


def test_top_k_unseen_by_hand():
    scores = np.array([[99.0, 1.0, 4.0, 3.0, 2.0], [99.0, 5.0, 6.0, 7.0, 8.0]])
    best, items = top_k_unseen(scores, arrays([2], [4, 1]), k=2)
    np.testing.assert_array_equal(items, [[3, 4], [3, 2]])
    np.testing.assert_array_equal(best, [[3.0, 2.0], [7.0, 6.0]])
    assert items.dtype == np.int32 and best.dtype == np.float32
    assert scores[0, 0] == 99.0 and scores[0, 2] == 4.0  # the caller's array is not changed


def test_equal_scores_keep_catalogue_order():
    _, items = top_k_unseen(np.array([[0, 1, 2, 1, 2, 1]]), arrays([]), k=5)
    np.testing.assert_array_equal(items, [[2, 4, 1, 3, 5]])
    _, items = top_k_unseen(np.zeros((1, 200)), arrays([7]), k=10)
    np.testing.assert_array_equal(items, [[1, 2, 3, 4, 5, 6, 8, 9, 10, 11]])


@pytest.mark.parametrize("k", [3, 4, 7])
def test_slots_without_a_remaining_item_are_0(k):
    best, items = top_k_unseen(np.array([[0.0, 3.0, 2.0, 1.0]]), arrays([2]), k=k)
    np.testing.assert_array_equal(items, [[1, 3] + [0] * (k - 2)])
    np.testing.assert_array_equal(best, [[3.0, 1.0] + [-np.inf] * (k - 2)])


def test_top_k_unseen_against_a_loop():
    random = np.random.default_rng(0)
    scores = random.integers(0, 5, (20, NUM_ITEMS + 1)).astype(np.float32)
    histories = [random.integers(1, NUM_ITEMS + 1, size).astype(np.int32) for size in range(20)]
    _, items = top_k_unseen(scores, histories, k=4)
    for row, history in enumerate(histories):
        left = sorted(
            sorted(set(range(1, NUM_ITEMS + 1)) - set(history)), key=lambda i: -scores[row, i]
        )
        assert items[row].tolist() == (left + [0] * 4)[:4]


def test_model_scorer_scores_every_unseen_item():
    student = randomised_student()
    histories = [*arrays([1, 2, 3, 4, 5], [6], [9, 9, 2]), np.array([], np.int32)]
    scores, items = ModelScorer(student, batch_size=3)(histories, k=NUM_ITEMS)
    table = student.catalogue_embeddings().numpy().astype(np.float64)
    for row, history in enumerate(histories):
        padded = tf.constant([[*([0] * (5 - len(history))), *history]], tf.int32)
        expected = table @ student.encode_histories(padded)[0].numpy()
        left = sorted(
            sorted(set(range(1, NUM_ITEMS + 1)) - set(history)), key=lambda i: -expected[i]
        )
        assert items[row].tolist() == left + [0] * (NUM_ITEMS - len(left))
        np.testing.assert_allclose(scores[row, : len(left)], expected[left], atol=1e-5)


def test_model_scorer_uses_new_weights_after_refresh():
    student = randomised_student()
    scorer = ModelScorer(student)
    _, before = scorer(arrays([1]), k=1)
    other = 2 if before[0, 0] != 2 else 3
    student.candidate_tower.biases[other].assign(1e3)
    _, stale = scorer(arrays([1]), k=1)
    scorer.refresh()
    _, fresh = scorer(arrays([1]), k=1)
    assert stale[0, 0] == before[0, 0] and fresh[0, 0] == other


def test_evaluate_by_hand():
    answers = np.array([[3, 4, 5], [2, 9, 1], [1, 2, 3]], np.int32)
    requested = []

    def scorer(histories, k):
        requested.append((histories, k))
        return np.zeros(answers.shape, np.float32), answers

    evaluation = evaluate(scorer, QUERIES, k=3)
    assert requested == [(QUERIES.histories, 3)]
    second = (1 / log2(3) + 1 / 2) / (1 + 1 / log2(3))
    np.testing.assert_allclose(evaluation.ndcg, [1, second, 0])
    np.testing.assert_allclose(evaluation.values["recall"], [1, 1, 0])
    np.testing.assert_allclose(evaluation.values["mrr"], [1, 1 / 2, 0])
    np.testing.assert_allclose(evaluation.values["hit_rate"], [1, 1, 0])
    np.testing.assert_array_equal(evaluation.item_ids, answers)
    summary = evaluation.summary()
    low, high = summary.pop("ndcg@3_interval")
    assert 0 <= low < (1 + second) / 3 < high <= 1
    assert summary == pytest.approx(
        {
            "ndcg@3": (1 + second) / 3,
            "recall@3": 2 / 3,
            "mrr@3": 1 / 2,
            "hit_rate@3": 2 / 3,
            "map@3": (1 + (1 / 2 + 2 / 3) / 2) / 3,
            "precision@3": 3 / 9,
            "coverage@3": 6 / 9,  # items 1, 2, 3, 4, 5 and 9
            "gini@3": 4 / 9,  # 0, 0, 0, 1, 1, 1, 2, 2, 2: (8 + 12 + 16) / (9 * 9)
            "num_queries": 3,
            "num_left_out": 0,
            "interval_too_narrow": True,
        }
    )


def test_lists_are_cut_to_a_smaller_k():
    student = randomised_student()
    whole = evaluate(student, QUERIES, k=4)
    cut, again = whole.at(2), evaluate(student, QUERIES, k=2)
    np.testing.assert_array_equal(cut.item_ids, again.item_ids)
    assert cut.summary() == again.summary() and "recall@2" in cut.summary()
    with pytest.raises(ValueError, match=r"within 1 and 4, the lists' length\. Received: 5"):
        whole.at(5)


def test_a_perfect_scorer_gets_1():
    # The positives, best first, then the rest of the catalogue.
    def oracle(histories, k):
        scores = np.zeros((len(histories), NUM_ITEMS + 1))
        for row, relevant in enumerate(QUERIES.positives):
            scores[row, relevant] = 1.0
        return top_k_unseen(scores, histories, k)

    evaluation = evaluate(oracle, QUERIES)
    assert evaluation.k == 10
    for values in (evaluation.ndcg, evaluation.values["recall"], evaluation.values["hit_rate"]):
        np.testing.assert_allclose(values, 1.0)


def test_evaluate_takes_a_model():
    student = randomised_student()
    by_model, by_scorer = (
        evaluate(student, QUERIES, k=4),
        evaluate(ModelScorer(student), QUERIES, k=4),
    )
    np.testing.assert_array_equal(by_model.item_ids, by_scorer.item_ids)
    for row, history in zip(by_model.item_ids, QUERIES.histories):
        assert not set(row) & set(history)


def test_evaluate_takes_scores_of_all_items():
    student = randomised_student()
    queries = student.encode_histories(tf.constant(pad_histories(QUERIES.histories))).numpy()
    scores = queries @ student.catalogue_embeddings().numpy().T
    found, expected = (evaluate(of, QUERIES, k=4) for of in (scores[:, 1:], student))
    np.testing.assert_array_equal(found.item_ids, expected.item_ids)
    only = replace(QUERIES, candidates=np.array([2, 5, 9]))
    assert set(evaluate(scores[:, 1:], only, k=4).item_ids.ravel()) <= {0, 2, 5, 9}
    with pytest.raises(ValueError, match=r"shape \(3, 9\) .* Received: shape \(3, 10\)"):
        evaluate(scores, QUERIES)
    scores[1, 4] = np.nan
    with pytest.raises(InputError, match="query 1, of user .* hold NaN"):
        evaluate(scores[:, 1:], QUERIES)


def test_k_must_be_positive():
    with pytest.raises(ValueError, match=r"`k` must be at least 1\. Received: k=0"):
        evaluate(randomised_student(), QUERIES, k=0)


def test_output_of_another_shape_is_an_error():
    def scorer(histories, k):
        return np.zeros((3, 2), np.float32), np.ones((3, 2), np.int32)

    with pytest.raises(ValueError, match=r"shape \(3, 4\) \(queries, k\)\. Received: .*\(3, 2\)"):
        evaluate(scorer, QUERIES, k=4)


def fitted(callbacks, epochs, learning_rate=0.0):
    student = randomised_student()
    student.compile(optimizer=tf.keras.optimizers.SGD(learning_rate), run_eagerly=True)
    windows = random_windows(num_items=NUM_ITEMS, max_history=3)
    history = student.fit(windows.batches(64), epochs=epochs, callbacks=callbacks, verbose=0)
    return student, history.history


def test_validation_ndcg_is_in_the_logs_before_early_stopping_reads_them():
    callback = ValidationNDCG(QUERIES, k=3)
    assert callback.log_name == "val_ndcg@3"
    stopping = tf.keras.callbacks.EarlyStopping(monitor="val_ndcg@3", mode="max", patience=1)
    student, history = fitted([callback, stopping], epochs=9)
    expected = evaluate(student, QUERIES, k=3).ndcg.mean()
    # With rate 0 nothing is learned, so the second epoch is no better and training stops.
    assert history["val_ndcg@3"] == pytest.approx([expected] * 2)
    assert set(history) == {"loss", "val_ndcg@3"}


def test_validation_ndcg_evaluates_the_model_after_the_epoch():
    def prefer_item_9(epoch, logs):
        student.candidate_tower.biases[9].assign(1e3 * epoch)

    student = randomised_student()
    student.compile(optimizer=tf.keras.optimizers.SGD(0.0), run_eagerly=True)
    change = tf.keras.callbacks.LambdaCallback(on_epoch_begin=prefer_item_9)
    windows = random_windows(num_items=NUM_ITEMS, max_history=3)
    history = student.fit(
        windows.batches(64), epochs=2, callbacks=[change, ValidationNDCG(QUERIES, k=1)], verbose=0
    ).history
    before = evaluate(randomised_student(), QUERIES, k=1).ndcg.mean()
    # With item 9 on top of every list, two of three queries find a positive first.
    assert history["val_ndcg@1"] == pytest.approx([before, 2 / 3])
    assert before < 2 / 3


def test_one_callback_serves_two_models_one_after_the_other():
    callback = ValidationNDCG(QUERIES, k=3)
    windows = random_windows(num_items=NUM_ITEMS, max_history=3)
    for seed in (0, 5):
        student = randomised_student(seed=seed)
        student.compile(optimizer=tf.keras.optimizers.SGD(0.0), run_eagerly=True)
        history = student.fit(windows.batches(64), callbacks=[callback], verbose=0).history
        expected = evaluate(student, QUERIES, k=3).ndcg.mean()
        assert history["val_ndcg@3"] == pytest.approx([expected])


def test_validation_ndcg_evaluates_the_given_model():
    other = randomised_student(seed=5)
    _, history = fitted([ValidationNDCG(QUERIES, k=3, model=other)], epochs=1)
    expected = evaluate(other, QUERIES, k=3).ndcg.mean()
    assert history["val_ndcg@3"] == pytest.approx([expected])
    assert expected != pytest.approx(evaluate(randomised_student(), QUERIES, k=3).ndcg.mean())


@pytest.mark.parametrize(
    ("item_ids", "words"),
    [
        (np.full((2, 1), 99), "item indices from 1 to 4, 0 in empty slots. Received: 99 to 99"),
        (np.full((2, 1), -1), "Received: -1 to -1"),
        (np.full((2, 1), 1.0), "as whole numbers. Received: float64"),
    ],
)
def test_a_scorer_of_invalid_items_is_refused(item_ids, words):
    queries = Queries(tiny_catalogue(4), [0, 1], ([3], [2]), ([1], [4]))
    with pytest.raises(ValueError, match=words):
        evaluate(lambda histories, k: (np.zeros((2, 1)), item_ids), queries, k=1)


def test_a_scorer_of_seen_items_is_refused_if_the_catalogue_excludes_them():
    def popular(histories, k):
        return None, np.tile(np.arange(1, k + 1), (len(histories), 1))

    with pytest.raises(InputError, match="item of index 1 to the user of index 0.*exclude_seen"):
        evaluate(popular, QUERIES, k=2)
    again = replace(QUERIES, catalogue=replace(QUERIES.catalogue, exclude_seen=False))
    assert evaluate(popular, again, k=2).item_ids.tolist() == [[1, 2]] * 3


def test_evaluate_takes_a_distiller_and_a_tensor_of_scores():
    student = randomised_student()
    distiller = Distiller(student, student, SoftTargetKLDivergence(1.0))
    expected = evaluate(student, QUERIES, k=3)
    np.testing.assert_array_equal(evaluate(distiller, QUERIES, k=3).item_ids, expected.item_ids)
    scores = np.random.default_rng(0).normal(size=(3, NUM_ITEMS))
    for same in (tf.constant(scores), scores.tolist()):
        found = evaluate(same, QUERIES, k=3).item_ids
        np.testing.assert_array_equal(found, evaluate(scores, QUERIES, k=3).item_ids)


@pytest.mark.parametrize(
    ("scorer", "queries", "error", "words"),
    [
        (np.zeros((3, NUM_ITEMS)), "validation", TypeError, "`splits.validation`.*Received: str"),
        (3.0, QUERIES, TypeError, "must be a function.*Received: float"),
        (randomised_student(8), QUERIES, ValueError, "has 8 items, .* of the queries 9"),
    ],
)
def test_invalid_models_are_refused(scorer, queries, error, words):
    with pytest.raises(error, match=words):
        evaluate(scorer, queries)


def test_validation_ndcg_finds_the_student_of_a_distiller_and_refuses_other_models():
    student = randomised_student()
    callback = ValidationNDCG(QUERIES, k=2)
    callback.set_model(Distiller(student, student, SoftTargetKLDivergence(1.0)))
    callback.on_train_begin()
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs["val_ndcg@2"] == evaluate(student, QUERIES, k=2).ndcg.mean()
    callback.set_model(tf.keras.Sequential())
    with pytest.raises(TypeError, match="two-tower models.*Received: Sequential"):
        callback.on_train_begin()
