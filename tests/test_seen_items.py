"""Repeated interactions: evaluation with and without items of the history."""

import json
from dataclasses import replace
from math import log2

import numpy as np
import pytest
import tensorflow as tf
from planted_student import PlantedStudent, catalogue_of
from tiny_data import next_item_rows, tiny_catalogue, windows_from

from tfrs_distill import columns
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.splits import Queries, pad_histories, split_by_time
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import ValidationNDCG, evaluate
from tfrs_distill.evaluation.baselines import EASE, popularity
from tfrs_distill.evaluation.retrieval import ModelScorer, TeacherScorer
from tfrs_distill.evaluation.teacher_report import compare_teachers
from tfrs_distill.evaluation.top_k import top_k_unseen
from tfrs_distill.export import export_artefact, to_saved_model, to_tflite
from tfrs_distill.export.retrieval_module import RetrievalModule
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.pipeline.data import load_data, repeats_sentence
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import DataSettings
from tfrs_distill.pipeline.source import read_data
from tfrs_distill.pipeline.two_stage import ValidationLists
from tfrs_distill.serving.recommender import Recommender
from tfrs_distill.teachers import held_out_windows
from tfrs_distill.teachers.bert.bert_cross_encoder import CrossEncoderTraining, _check
from tfrs_distill.teachers.candidate_lists import first_stage_lists, num_positions
from tfrs_distill.teachers.reranker import Reranker

BOTH = pytest.mark.parametrize("exclude_seen", [True, False])
NUM_ITEMS, NUM_USERS = 40, 30


def arrays(*rows):
    return tuple(np.array(row, np.int32) for row in rows)


def listeners():
    """Each of 30 users has 10 items once, and then some of 12 again, 10 of them old."""
    random = np.random.default_rng(0)
    sequences = []
    for _ in range(NUM_USERS):
        own = random.permutation(NUM_ITEMS)[:12] + 1
        sequences.append([*own[:10], *own[random.integers(0, 12, 10)]])
    users = np.repeat(np.arange(NUM_USERS), 20).astype(np.int32)
    return Interactions(
        "music",
        tiny_catalogue(NUM_ITEMS),
        tuple(f"u{user}" for user in range(NUM_USERS)),
        users,
        np.concatenate(sequences).astype(np.int32),
        np.ones(len(users), np.float32),
        np.arange(len(users)),
    )


MUSIC = listeners()


class Perfect:
    """A teacher, and a scorer, that ranks the next items first, old or new."""

    def __init__(self, queries):
        self.queries = queries
        self.table = np.zeros((NUM_USERS, NUM_ITEMS + 1), np.float32)
        for user, items in zip(queries.users, queries.positives):
            self.table[user, items] = 1.0

    def __call__(self, histories, k):
        """By a loop: the positives that can be recommended, then the other items."""
        lists = np.zeros((len(histories), k), np.int32)
        for row, (user, history) in enumerate(zip(self.queries.users, histories)):
            excluded = set(history.tolist()) if self.queries.catalogue.exclude_seen else set()
            items = [item for item in range(1, NUM_ITEMS + 1) if item not in excluded]
            best = sorted(items, key=lambda item: -self.table[user, item])[:k]
            lists[row, : len(best)] = best
        return np.zeros(lists.shape, np.float32), lists


class PerfectTeacher(Perfect):
    def logits(self, batch, candidate_ids):
        return tf.gather(tf.gather(self.table, batch[columns.USER_ID]), candidate_ids, axis=1)


@BOTH
def test_a_perfect_recommender_gets_1_in_both_modes(exclude_seen):
    splits = split_by_time(MUSIC, max_history=8, exclude_seen=exclude_seen)
    for queries in (splits.validation, splits.test):
        teacher = TeacherScorer(PerfectTeacher(queries), queries, max_history=8)
        for scorer in (Perfect(queries), teacher):
            found = evaluate(scorer, queries)
            for name in (
                "ndcg",
                "recall",
                "mrr",
                "hit_rate",
                "map",
            ):  # precision counts empty slots
                np.testing.assert_allclose(found.values[name], 1.0, rtol=1e-12)
    assert len(evaluate(Perfect(splits.test), splits.test).ndcg) < NUM_USERS or not exclude_seen


@BOTH
def test_relevant_items_equal_those_of_a_loop_over_the_interactions(exclude_seen):
    queries = split_by_time(MUSIC, max_history=8, exclude_seen=exclude_seen).test
    left_out, asking = 0, []
    for user in range(NUM_USERS):
        sequence = MUSIC.items[MUSIC.users == user].tolist()
        before, after = sequence[:18], sequence[18:]
        seen = [item for item in after if item in before and exclude_seen]
        left_out += len(seen)
        if len(seen) < len(after):
            asking.append(user)
    assert (queries.num_left_out, queries.num_positives) == (left_out, 2 * NUM_USERS)
    assert queries.answerable().users.tolist() == asking
    assert queries.answerable().num_left_out == 0
    found = evaluate(popularity(split_by_time(MUSIC, exclude_seen=exclude_seen).train), queries)
    assert found.num_left_out == found.summary()["num_left_out"] == left_out
    assert found.queries.users.tolist() == asking and found.summary()["num_queries"] == len(asking)


def test_metrics_by_hand():
    catalogue = tiny_catalogue(6)
    histories, positives = arrays([1, 2], [4], [5]), arrays([2, 3, 3], [4], [6, 5])
    requested = Queries(catalogue, np.array([7, 8, 9]), histories, positives)

    def scorer(histories, k):
        return np.zeros((3, 2), np.float32), np.array([[3, 5], [4, 1], [1, 6]], np.int32)

    second = 1 / log2(3)
    found = evaluate(scorer, requested, k=2)
    np.testing.assert_allclose(found.ndcg, [1, second])  # of [3] and of [6]; nothing of [4]
    np.testing.assert_allclose(found.values["recall"], [1, 1])
    assert found.queries.users.tolist() == [7, 9] and found.num_left_out == 3
    np.testing.assert_array_equal(found.item_ids, [[3, 5], [1, 6]])
    requested = replace(requested, catalogue=replace(catalogue, exclude_seen=False))
    found = evaluate(scorer, requested, k=2)
    np.testing.assert_allclose(found.ndcg, [1 / (1 + second), 1, second / (1 + second)])
    np.testing.assert_allclose(found.values["recall"], [1 / 2, 1, 1 / 2])
    assert found.queries.users.tolist() == [7, 8, 9] and found.num_left_out == 0


def test_without_relevant_items_the_error_names_the_setting():
    requested = Queries(tiny_catalogue(6), np.array([0]), arrays([1, 2]), arrays([2, 1]))
    with pytest.raises(InputError, match=r"None of 1 queries .* all of their 2 positives .*False"):
        evaluate(lambda histories, k: None, requested)


def test_the_splits_keep_the_catalogues_setting_by_default():
    without = replace(MUSIC, catalogue=replace(MUSIC.catalogue, exclude_seen=False))
    for data, requested, expected in (
        (MUSIC, None, True),
        (MUSIC, False, False),
        (without, None, False),
        (without, True, True),
    ):
        splits = split_by_time(data, max_history=8, exclude_seen=requested)
        parts = (splits, splits.train, splits.validation, splits.test, splits.test.answerable())
        assert [part.catalogue.exclude_seen for part in parts] == [expected] * 5
    # A teacher's cache is valid for both: the training data is the same.
    assert without.catalogue.fingerprint() == MUSIC.catalogue.fingerprint()


def student_of(seed=0):
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=8, embedding_dim=4, seed=seed
    )
    random = np.random.default_rng(seed)
    student.query_tower.set_weights(
        [random.normal(size=w.shape) for w in student.query_tower.get_weights()]
    )
    return student


@BOTH
def test_every_scorer_follows_the_catalogues_setting(exclude_seen):
    splits = split_by_time(MUSIC, max_history=8, exclude_seen=exclude_seen)
    student, histories = student_of(), splits.test.histories
    table = student.catalogue_embeddings().numpy().astype(np.float64)
    queries = student.encode_histories(tf.constant(pad_histories(splits.test.histories))).numpy()
    ease = EASE(splits.train, l2=5.0)
    weights = ease.teacher.weights.astype(np.float64)
    for scorer, scores in (
        (ModelScorer(student, exclude_seen=exclude_seen), queries @ table.T),
        (ease, np.stack([weights[np.unique(history)].sum(axis=0) for history in histories])),
    ):
        _, items = scorer(histories, NUM_ITEMS)
        for history, row, of_items in zip(histories, items, scores):
            excluded = set(history.tolist()) if exclude_seen else set()
            left = [item for item in range(1, NUM_ITEMS + 1) if item not in excluded]
            best = sorted(left, key=lambda item, s=of_items: -s[item])
            assert row.tolist() == best + [0] * (NUM_ITEMS - len(best))
    for scorer in (popularity(splits.train), TeacherScorer(student, splits.test, max_history=8)):
        _, items = scorer(histories, NUM_ITEMS)
        lengths = [NUM_ITEMS - len(set(h.tolist())) * exclude_seen for h in histories]
        assert (items > 0).sum(axis=1).tolist() == lengths


def test_a_scorer_of_the_other_mode_is_refused():
    splits = split_by_time(MUSIC, max_history=8, exclude_seen=False)
    with pytest.raises(
        ValueError, match=r"exclude_seen=False, but the scorer .*=True: its lists l"
    ):
        evaluate(ModelScorer(student_of()), splits.test)
    with pytest.raises(ValueError, match=r"exclude_seen=True, but .*=False: its lists hold .*EASE"):
        evaluate(EASE(splits.train), split_by_time(MUSIC, max_history=8).test)
    with pytest.raises(ValueError, match="its lists hold"):
        evaluate(popularity(splits.train), split_by_time(MUSIC, max_history=8).test)


@BOTH
def test_early_stopping_has_the_metric_of_evaluate(exclude_seen):
    splits = split_by_time(MUSIC, max_history=8, exclude_seen=exclude_seen)
    student, logs = student_of(), {}
    callback = ValidationNDCG(splits.validation, model=student)
    callback.on_epoch_end(0, logs)
    assert logs == {"val_ndcg@10": evaluate(student, splits.validation).ndcg.mean()}
    assert callback.scorer.exclude_seen == exclude_seen


@BOTH
def test_the_second_stage_is_evaluated_by_recommendable_items(exclude_seen):
    queries = split_by_time(MUSIC, max_history=8, exclude_seen=exclude_seen).validation
    judge = ValidationLists(Recipe.named("two-stage"), None, student_of(), queries)
    num_candidates = NUM_ITEMS  # of at most 100
    judge.scores = lambda _, candidates: np.array(
        [
            [item in set(positives.tolist()) for item in row]
            for row, positives in zip(candidates, judge.queries.positives)
        ],
        np.float32,
    )
    logs = {}
    judge.on_epoch_end(0, logs)
    assert logs["val_score"] == pytest.approx(1.0)
    (_, found), own = judge.found, judge.queries
    expected = [num_candidates - len(set(h.tolist())) * exclude_seen for h in own.histories]
    assert (found > 0).sum(axis=1).tolist() == expected


@BOTH
def test_a_perfect_teacher_has_perfect_metrics(exclude_seen):
    splits = split_by_time(MUSIC, max_history=8, exclude_seen=exclude_seen)
    results = compare_teachers(
        {"perfect": PerfectTeacher(splits.validation)}, splits, twin=student_of(), num_samples=10
    )
    for segment in ("all", "short", "long"):  # in others, other positives come between
        assert results["models"]["perfect"]["quality"][segment]["ndcg@10"] in (
            None,
            pytest.approx(1),
        )
    asking = len(splits.validation.answerable())
    assert results["queries"] == results["segments"]["all"]["queries"] == asking
    assert (results["queries"] < NUM_USERS) == exclude_seen


@BOTH
def test_a_teacher_is_calibrated_on_recommendable_items(exclude_seen):
    queries = Queries(
        replace(tiny_catalogue(9), exclude_seen=exclude_seen),
        np.array([0, 1], np.int32),
        arrays([1, 2, 3, 4], [5]),
        arrays([6, 1, 7], [5]),
    )
    labels = [label for _, label in next_item_rows(held_out_windows(queries, max_history=3))]
    assert labels == ([6, 7] if exclude_seen else [6, 1, 7, 5])


@BOTH
def test_exported_files_follow_and_record_the_catalogues_setting(tmp_path, exclude_seen):
    student = PlantedStudent(num_items=12)
    catalogue = replace(catalogue_of(12), exclude_seen=exclude_seen)
    histories = arrays([3, 5, 3], [7], [])
    module = RetrievalModule(student, 12, k=12, exclude_seen=exclude_seen)
    table = np.asarray(student.catalogue_embeddings(), np.float64)
    folder = tmp_path / "1"
    to_saved_model(student, folder, catalogue, k=12)
    to_tflite(student, folder / "student.tflite", catalogue, k=12)
    readers = [Recommender.load(folder, format=name) for name in ("saved_model", "tflite")]
    assert [reader.exclude_seen for reader in readers] == [exclude_seen] * 2
    assert json.loads((folder / "signature.json").read_text())["exclude_seen"] is exclude_seen
    for row, history in enumerate(histories):
        query = np.asarray(student.encode_histories(history[None]))[0]
        excluded = set(history.tolist()) if exclude_seen else set()
        left = [item for item in range(1, 13) if item not in excluded]
        best = sorted(left, key=lambda item: -(table[item] @ query))
        best += [0] * (12 - len(best))
        assert module.retrieve(history[None])["item_ids"].numpy()[0].tolist() == best
        for reader in readers:
            assert reader(histories, 12)[1][row].tolist() == best
    with pytest.raises(InputError, match="exported with another catalogue, k, exclude_seen"):
        other = replace(catalogue, exclude_seen=not exclude_seen)
        to_tflite(student, folder / "student_int8.tflite", other, k=12)


def test_the_recipes_setting_reaches_the_data_that_export_reads(tmp_path):
    recipe = Recipe.named("synthetic")
    for exclude_seen in (True, False):
        data = replace(recipe.data, exclude_seen=exclude_seen)
        changed = replace(recipe, data=data)
        read = read_data(changed)
        result, line = read.facts()
        read.save(tmp_path)
        kept = load_data(tmp_path, changed)
        assert kept.catalogue.exclude_seen is exclude_seen
        assert kept.splits.test.catalogue.exclude_seen is exclude_seen
        assert result["test_positives_left_out"] == 0 < result["test_positives"]
        assert "repeats" not in result and "exclude_seen" not in line


def test_a_run_warns_of_repeated_interactions_from_a_tenth_of_the_positives():
    def queries(seen, new, exclude_seen=True):
        catalogue = replace(tiny_catalogue(30), exclude_seen=exclude_seen)
        positives = arrays([*range(1, seen + 1), *range(11, 11 + new)])
        return Queries(catalogue, np.array([0]), arrays(range(1, 11)), positives)

    assert repeats_sentence(queries(0, 5)) == repeats_sentence(queries(1, 9)) == ""
    output = repeats_sentence(queries(2, 17))
    assert output.startswith("2 of 19 test positives (10.5%)") and "exclude_seen = false" in output
    assert repeats_sentence(queries(2, 17, exclude_seen=False)) == ""


def test_the_recipe_accepts_only_true_and_false():
    assert DataSettings().exclude_seen is True
    for value in (0, 1, "false", None):
        with pytest.raises(InputError, match=r"`data\.exclude_seen` must be true or false\. Rec"):
            DataSettings(exclude_seen=value)


SEQUENCES = [[3, 7, 3, 9, 7, 8], [5, 6, 5, 5]]


@BOTH
def test_lists_are_made_only_of_recommendable_items(exclude_seen):
    windows = windows_from(SEQUENCES, num_items=9, max_history=4)
    catalogue = replace(windows.catalogue, exclude_seen=exclude_seen)
    windows = replace(windows, catalogue=catalogue)

    def recommend(histories, k):
        scores = np.tile(-np.arange(10.0), (len(histories), 1))
        return top_k_unseen(scores, histories, k, exclude_seen=exclude_seen)

    lists = first_stage_lists(recommend, windows, num_candidates=3)
    expected = [7, 9, 8, 6] if exclude_seen else [7, 3, 9, 7, 8, 6, 5, 5]
    assert lists.positives.tolist() == expected
    assert num_positions(windows) == len(expected)
    assert lists.candidates[0].tolist() == ([1, 2, 4] if exclude_seen else [1, 2, 3])


class Lists:
    """A cross-encoder that scores nothing and records the lists."""

    num_items = 9

    def scores(self, histories, lists):
        self.lists = np.asarray(lists)
        return tf.zeros(self.lists.shape)

    def fingerprint(self):
        return "lists"


class ByIndex:
    """A first stage that prefers the items of small index."""

    def logits(self, batch, candidate_ids):
        rows = int((np.asarray(batch[columns.LABELS]) > 0).sum())
        return tf.tile(-tf.cast(candidate_ids, tf.float32)[None], [rows, 1])

    def fingerprint(self):
        return "by index"


@BOTH
def test_a_reranker_orders_recommendable_items(exclude_seen):
    windows = windows_from([[1, 3, 9]], num_items=9, max_history=4)
    crossed = Lists()
    reranker = Reranker(ByIndex(), crossed, num_candidates=3, exclude_seen=exclude_seen)
    reranker.logits(next(iter(windows.batches(1))), tf.range(1, 10))
    # After 1, and after 1 and 3.
    expected = [[2, 3, 4], [2, 4, 5]] if exclude_seen else [[1, 2, 3], [1, 2, 3]]
    assert crossed.lists.tolist() == expected
    prints = {Reranker(ByIndex(), crossed, exclude_seen=e).fingerprint() for e in (True, False)}
    assert len(prints) == 2


@BOTH
def test_a_cross_encoder_is_trained_against_recommendable_items(exclude_seen):
    windows = windows_from([[1, 2, 3, 4]], num_items=5, max_history=4)
    windows = replace(windows, catalogue=replace(windows.catalogue, exclude_seen=exclude_seen))
    training = object.__new__(CrossEncoderTraining)
    training.cross_encoder, training.first_stage = Lists(), ByIndex()
    training.items, training.exclude_seen = tf.range(1, 6), windows.catalogue.exclude_seen
    training.num_hard, training.num_done = 1, tf.constant(0)
    training.settings = {"seed": 0, "num_negatives": 1, "num_candidates": 1}
    lists = training.lists_of(next(iter(windows.batches(1))), tf.constant([2, 3, 4])).numpy()
    # The one of smallest index that is not the label, of all or of unseen items.
    assert lists.tolist() == (
        [[2, 3], [3, 4], [4, 5]] if exclude_seen else [[2, 1], [3, 1], [4, 1]]
    )
    settings = {"num_steps": 1, "batch_size": 1, "hard_share": 0.5, "num_layers": None}
    most = 1 if exclude_seen else 4  # of the last row only 5 is neither label nor history
    _check(settings | {"num_negatives": most, "num_candidates": 1}, windows, 2)
    with pytest.raises(ValueError, match=f"`num_negatives` must be at most {most}: so many items"):
        _check(settings | {"num_negatives": most + 1, "num_candidates": 1}, windows, 2)


def test_the_complete_artefact_keeps_it(tmp_path):
    catalogue = replace(catalogue_of(12), exclude_seen=False)
    artefact = export_artefact(PlantedStudent(num_items=12), tmp_path / "1", catalogue, k=3)
    assert artefact.exclude_seen is False
    history = np.array([4], np.int32)
    for name in artefact.tflite_files:
        reader = Recommender.load(tmp_path / "1" / name)
        assert (reader([history], 3)[1] > 0).all()
