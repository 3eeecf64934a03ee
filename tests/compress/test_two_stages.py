"""Two compressed stages: methods of each, in Keras, in files, fine-tuned, and with a size limit."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from planted_student import catalogue_of

from tfrs_distill import cli
from tfrs_distill.compress import compress, to_budget
from tfrs_distill.compress.budget import Search, candidates_of
from tfrs_distill.compress.fine_tune import fine_tune_unless_worse
from tfrs_distill.compress.methods import Methods
from tfrs_distill.compress.suited import stages_of
from tfrs_distill.data.splits import Queries
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate
from tfrs_distill.export.ranking_module import with_stored_tables
from tfrs_distill.models import (
    Binary,
    HistoryFeature,
    HistoryTower,
    ItemFeature,
    ItemTower,
    NeighbourFeature,
    RankingStudent,
    RecencyAttention,
    RetrievalStudent,
    TwoStageStudent,
)
from tfrs_distill.serving import Recommender

NUM_ITEMS, MAX_HISTORY, NUM_CANDIDATES, WEIGHT = 1200, 4, 20, 0.4
CATALOGUE = catalogue_of(NUM_ITEMS)
METHODS = ("units:8", "int4")  # matrices of fewer than 1,024 numbers stay in 32 bits
RNG = np.random.default_rng(0)
# items of the histories: neighbours of all
INTERACTED = 1 + RNG.choice(NUM_ITEMS, 20, replace=False)
HISTORIES = [RNG.choice(INTERACTED, 4, replace=False) for _ in range(12)]


def two_stages(ranking_dim=14, hidden_units=(24,), interacted=INTERACTED):
    """Tables of 1,201 rows, and weights far from the initial ones."""
    retrieval = RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=MAX_HISTORY, embedding_dim=12, seed=0
    )
    item = ItemFeature(NUM_ITEMS, ranking_dim, seed=0)
    weights = np.zeros([NUM_ITEMS + 1] * 2)
    weights[interacted] = np.random.default_rng(5).normal(size=[len(interacted), NUM_ITEMS + 1])
    features = [
        item,
        HistoryFeature(item, MAX_HISTORY, reads_ratings=False),
        NeighbourFeature.from_weights(weights, 3, MAX_HISTORY),
    ]
    ranking = RankingStudent(
        features, [Binary("like")], num_cross_layers=1, hidden_units=hidden_units, seed=0
    )
    rng = np.random.default_rng(1)
    for student in (retrieval, ranking):
        for weight in student.trainable_variables:
            weight.assign(rng.normal(size=weight.shape) * 0.3)
    return TwoStageStudent(
        retrieval, ranking, num_candidates=NUM_CANDIDATES, retrieval_weight=WEIGHT
    )


STUDENT = two_stages()


def lists_of(student, histories, k):
    """Scores and items: a dot product, then predictions and the blend, one query at a time."""
    scores, items = [], []
    table = student.retrieval_student.catalogue_embeddings().numpy()
    for history in histories:
        query = student.retrieval_student.encode_histories(tf.constant([history], tf.int32))
        first = table @ query[0].numpy()
        first[[0, *history]] = -np.inf
        best = np.argsort(-first)[: student.num_candidates]
        rows = {"item_id": best.astype(np.int32), "history": np.tile(history, [len(best), 1])}
        rows = {name: tf.constant(values, tf.int32) for name, values in rows.items()}
        second = student.ranking_student.predictions(rows)["like"].numpy()
        blend = second + student.retrieval_weight * first[best]
        order = np.argsort(-blend)[:k]
        scores.append(blend[order])
        items.append(best[order])
    return np.array(scores), np.array(items)


@pytest.fixture(scope="module")
def queries():
    """The students' own recommendations are the relevant items: they have an NDCG of 1."""
    users = np.arange(len(HISTORIES))
    return Queries(CATALOGUE, users, tuple(HISTORIES), tuple(lists_of(STUDENT, HISTORIES, 5)[1]))


def methods_of(student):
    """Methods of the item table of each stage."""
    (table,) = {feature.table for feature in student.ranking_student.table_features}
    ranking = table.methods.texts if hasattr(table, "methods") else []
    return student.retrieval_student.candidate_tower.methods.texts, ranking


def units_of(student):
    encoder = student.retrieval_student.query_tower.encoder
    return encoder.feed_forward.hidden_units, student.ranking_student.hidden_units


def test_both_stages_are_compressed_and_the_original_is_unchanged():
    before = STUDENT.fingerprint()
    smaller = compress(STUDENT, ["units:8", "low-rank:6", "int8"])
    assert methods_of(smaller) == (["units:8", "low-rank:6", "int8"], ["low-rank:6", "int8"])
    assert units_of(STUDENT) == (24, (24,)) and units_of(smaller) == (8, (8,))
    assert (smaller.num_candidates, smaller.task, smaller.retrieval_weight) == (20, "like", 0.4)
    assert smaller.num_parameters < STUDENT.num_parameters / 1.5
    assert STUDENT.fingerprint() == before != smaller.fingerprint()


def test_a_method_is_applied_to_the_stages_that_support_it():
    # A rank is below the width: 14 is valid for a ranking table of 32 and not for retrieval's of
    # 13.
    smaller = compress(two_stages(ranking_dim=32), ["low-rank:14", "int4"])
    assert methods_of(smaller) == (["int4"], ["low-rank:14", "int4"])
    few = compress(two_stages(hidden_units=(6,)), ["units:6"])
    assert units_of(few) == (6, (6,))
    # A table of 1,201 numbers is not smaller in 4 bits than in the converter's 8.
    narrow = compress(two_stages(ranking_dim=1), ["shared-rows:40", "int4"])
    assert methods_of(narrow) == (["shared-rows:40", "int4"], ["int8"])


def test_heads_are_of_retrieval_and_unit_importance_of_both_stages():
    items = ItemTower(NUM_ITEMS, 8, seed=0)
    retrieval = RetrievalStudent(
        HistoryTower(items, RecencyAttention(4, 8, num_heads=2, seed=0)), items
    )
    retrieval.build_towers()
    both = STUDENT.with_students(retrieval, STUDENT.ranking_student)
    counts = np.arange(24.0)
    smaller = compress(
        both,
        ["units:8", "heads:1"],
        unit_importance=(None, [counts]),
        head_importance=[[0.0, 1.0]],
    )
    encoder = smaller.retrieval_student.query_tower.encoder
    assert encoder.get_config()["kept_heads"] == [[1]]
    kept = STUDENT.ranking_student.hidden_layers[0].get_weights()[0][:, 16:]
    found = smaller.ranking_student.hidden_layers[0].get_weights()[0]
    np.testing.assert_array_equal(found, kept)


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (
            ["heads:2", "int4"],
            "Neither of two stages .* by 'heads:2'. Of the retrieval",
        ),
        (["ids-only"], "by 'ids-only'. .*no text tower. Of the ranking student: .*its words"),
        (["units:24"], "by 'units:24'. .*fewer than each block has, 24. .*has, 24. "),
        (["product:900"], "by 'product:900:256'. .* Of the ranking student: None of the"),
        (["int3"], "no method 'int3'"),
    ],
)
def test_methods_for_neither_stage_are_refused(methods, words):
    with pytest.raises(InputError, match=words):
        compress(STUDENT, methods)


def test_compressed_students_and_importances_that_are_not_a_pair_are_refused(tmp_path):
    half = STUDENT.with_students(
        compress(STUDENT.retrieval_student, ["int4"]), STUDENT.ranking_student
    )
    with pytest.raises(InputError, match=r"compressed already.*\['int4'\]"):
        compress(half, ["int8"])
    with pytest.raises(InputError, match="must be a pair: .*Received: 3"):
        compress(STUDENT, ["units:8"], unit_importance=[np.ones(24)] * 3)


@pytest.fixture(scope="module")
def searched(queries, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    given = {"max_bytes": 80_000, "max_drop": 0.9, "k": 5, "candidates": [METHODS]}
    return to_budget(STUDENT, queries, folder, **given)


def files_of(point):
    folder = Path(point.folder)
    return [folder / "student.tflite", folder / "ranking" / "student.tflite"]


def test_both_files_are_as_small_as_their_tables(searched):
    by_methods = {point.methods: point for point in searched.points}
    sizes = {}
    for methods, point in by_methods.items():
        sizes[methods] = [file.stat().st_size for file in files_of(point)]
        assert point.bytes == sum(sizes[methods])
    # 1,201 rows of 13 and of 14: half a byte per number and a scale per row, in place of 4 bytes.
    for small, large, width in zip(sizes[METHODS], sizes[()], (13, 14)):
        assert large - small > 0.9 * (NUM_ITEMS + 1) * (4 * width - (width + 1) // 2 - 4)
    assert searched.chosen.methods == METHODS
    assert searched.chosen.bytes <= 80_000 < searched.uncompressed.bytes


def test_the_files_recommend_the_same_as_the_students(searched, queries):
    assert searched.score_name == "NDCG@5" and searched.uncompressed.score == pytest.approx(1.0)
    students = {(): STUDENT, METHODS: compress(STUDENT, METHODS)}
    for point in searched.points:
        recommender = Recommender.load(point.folder)
        found = recommender(HISTORIES, NUM_CANDIDATES)
        expected = lists_of(students[point.methods], HISTORIES, NUM_CANDIDATES)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_allclose(found[0], expected[0], atol=2e-5)  # float32, 30 wide
        assert point.score == pytest.approx(evaluate(recommender, queries, k=5).ndcg.mean())


def test_the_command_recommends_from_the_chosen_artefact(searched, capsys):
    command = ["recommend", searched.chosen.folder, "--history", "i1", "--json"]
    assert cli.main([*command, "-k", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    _, expected = lists_of(compress(STUDENT, METHODS), [np.array([1])], 3)
    assert [answer["item_id"] for answer in found] == [f"i{item}" for item in expected[0]]


def test_a_budget_below_the_possible_is_refused(searched, queries):
    folder = Path(searched.chosen.folder).parents[1]
    words = f"No file .* 9,000 bytes. The smallest has {searched.chosen.bytes:,}, by units:8, int4"
    given = {"max_bytes": 9_000, "k": 5, "candidates": [METHODS]}
    with pytest.raises(InputError, match=words):
        to_budget(STUDENT, queries, folder, **given)


def test_worse_fine_tuning_is_reverted_in_both_stages_and_the_blend():
    smaller = compress(STUDENT, ["int8"])
    before = smaller.fingerprint()

    def spoil(student):
        for part in (student.retrieval_student, student.ranking_student):
            for weight in part.trainable_variables:
                weight.assign(weight + 1.0)
        student.retrieval_weight = 9.0
        return "curves"

    def score(student):
        return -student.retrieval_weight

    assert fine_tune_unless_worse(smaller, spoil, score) == (-WEIGHT, -WEIGHT, "curves")
    assert smaller.fingerprint() == before


def test_the_search_tries_methods_of_either_stage():
    (tried,) = candidates_of(STUDENT)
    of_parts = [candidates_of(s)[-1] for s in (STUDENT.retrieval_student, STUDENT.ranking_student)]
    assert set(tried) == {*of_parts[0], *of_parts[1]} and len(tried) == len(set(tried))
    for methods in tried:
        stages_of(STUDENT, Methods.of(methods))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"k": 21}, "`k` must be from 1 to 20, .*`num_candidates` .*k=21, num_candidates=20"),
        ({"catalogue": CATALOGUE}, "are for a ranking student. Received: a TwoStageStudent"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(queries, tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        to_budget(STUDENT, queries, tmp_path / "new", max_bytes=60_000, **arguments)
    assert not (tmp_path / "new").exists()


def test_the_blend_and_the_units_of_both_stages_determine_a_point(queries, tmp_path):
    def inputs(student):
        return Search(student, queries, tmp_path, k=5).inputs

    other = STUDENT.with_students(STUDENT.retrieval_student, STUDENT.ranking_student)
    assert inputs(other) == inputs(STUDENT)
    other.retrieval_weight = 0.5
    assert inputs(other) != inputs(STUDENT)

    def left(counts):
        of_units = (np.arange(24.0), [counts])
        search = Search(STUDENT, queries, tmp_path, k=5, unit_importance=of_units)
        return [k for k in search._parts_left(Methods.of(["units:4"])) if k is not None]

    of_retrieval, of_ranking = left(np.arange(24.0)[::-1])
    assert of_retrieval[0].tolist() == [20, 21, 22, 23]
    assert of_ranking[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("interacted", "dtype"), [(np.arange(1, 9), tf.uint8), (INTERACTED, tf.int16)]
)
def test_a_file_has_neighbours_in_few_bytes_and_the_same_predictions(interacted, dtype):
    ranking = two_stages(interacted=interacted).ranking_student
    stored = with_stored_tables(ranking)
    assert stored.features[-1].neighbours.dtype == dtype
    assert ranking.features[-1].neighbours.dtype == tf.int32
    items = np.arange(1, NUM_ITEMS + 1)
    rows = {"item_id": items, "history": np.tile(interacted[:4], [NUM_ITEMS, 1])}
    rows = {name: tf.constant(values, tf.int32) for name, values in rows.items()}
    found, expected = (student.predictions(rows)["like"] for student in (stored, ranking))
    np.testing.assert_array_equal(found, expected)
    assert ranking.features[-1](rows).numpy().any()
