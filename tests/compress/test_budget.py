"""The search for the best student that fits: its candidates, choice, stored results and errors."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from planted_student import catalogue_of

from tfrs_distill.compress import budget, compress, to_budget
from tfrs_distill.compress.budget import Point, Search, candidates_of
from tfrs_distill.compress.methods import Methods
from tfrs_distill.compress.structures import STRUCTURES
from tfrs_distill.data.splits import Queries
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.files import files_sha256, locked
from tfrs_distill.models import HistoryTower, ItemTower, RecencyAttention, RetrievalStudent
from tfrs_distill.serving import Recommender

NUM_ITEMS, DIM = 1000, 16
CANDIDATES = [("int8",), ("int4",), ("int2:tensor",)]


@pytest.fixture(scope="module")
def student():
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=4, embedding_dim=DIM, seed=0
    )
    rng = np.random.default_rng(0)
    student.candidate_tower.id_embeddings.assign(rng.normal(size=[NUM_ITEMS + 1, DIM]))
    return student


@pytest.fixture(scope="module")
def queries(student):
    """The student's own recommendations are the relevant items: it has an NDCG of 1."""
    rng = np.random.default_rng(1)
    histories = [rng.choice(NUM_ITEMS, 4, replace=False) + 1 for _ in range(60)]
    _, best = ModelScorer(student)(histories, 10)
    catalogue = catalogue_of(NUM_ITEMS)
    return Queries(catalogue, np.arange(60), tuple(histories), tuple(best))


@pytest.fixture(scope="module")
def searched(student, queries, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    found = to_budget(
        student, queries, folder, max_bytes=25_000, max_drop=0.5, candidates=CANDIDATES
    )
    return folder, found


def test_the_best_that_fits_is_chosen_and_every_file_matches_its_point(searched, queries):
    folder, found = searched
    by_methods = {point.methods: point for point in found.points}
    assert set(by_methods) == {(), *CANDIDATES}
    assert by_methods[()].bytes == found.uncompressed.bytes
    assert found.uncompressed.score == pytest.approx(1.0)
    for point in found.points:
        file = folder / "points" / point.folder.rpartition("/")[2] / "student.tflite"
        assert file.stat().st_size == point.bytes
        ndcg = evaluate(Recommender.load(point.folder), queries, k=10).ndcg.mean()
        assert point.score == point.untuned == pytest.approx(ndcg) and not point.tuned
        files = {path.name for path in file.parent.iterdir()}
        assert files - Recommender.load(point.folder).artefact.provenance["files"].keys() == {
            "point.json",
            "provenance.json",
        }
        assert 0 < point.latency_ms["p50"] <= point.latency_ms["p95"]
    sizes = [point.bytes for point in found.points]
    assert sizes == sorted(sizes)
    fitting = [p for p in found.points if p.bytes <= 25_000 and p.methods]
    assert 0 < len(fitting) < 3
    assert found.chosen == max(fitting, key=lambda point: point.score)
    assert found.drop == pytest.approx(1 - found.chosen.score, abs=1e-9)


def test_points_that_no_other_point_dominates_are_marked():
    def point(num_bytes, score):
        return Point(("int4",), False, num_bytes, score, score, {}, "")

    points = [point(10, 0.5), point(20, 0.4), point(20, 0.6), point(30, 0.6), point(5, 0.1)]
    assert [found.best for found in budget._with_best(points)] == [True, False, True, False, True]


def test_another_budget_measures_nothing_again(searched, student, queries, monkeypatch):
    folder, before = searched
    monkeypatch.setattr(budget, "to_tflite", None)
    found = to_budget(
        student, queries, folder, max_bytes=40_000, max_drop=0.5, candidates=CANDIDATES
    )
    assert [p.bytes for p in found.points] == [p.bytes for p in before.points]
    assert found.chosen.methods == ("int8",)


def test_another_student_is_measured_again(searched, student, queries, tmp_path):
    folder, before = searched
    again = shutil.copytree(folder, tmp_path / "again")
    other = RetrievalStudent.from_config(student.get_config())  # with initial weights
    found = to_budget(
        other, queries, again, max_bytes=40_000, max_drop=0.999, candidates=CANDIDATES[:1]
    )
    assert before.uncompressed.score > 0.99 > found.uncompressed.score
    assert {point.methods for point in found.points} == {(), CANDIDATES[0]}


def test_the_best_points_are_fine_tuned_and_get_no_worse(student, queries, tmp_path):
    seen = []

    def fine_tune(smaller):
        methods = smaller.candidate_tower.methods
        seen.append(methods.bits)
        for weight in smaller.candidate_tower.trainable_variables:
            weight.assign(weight * (0.0 if methods.bits == 4 else 1.0))

    def search():
        return to_budget(
            student,
            queries,
            tmp_path,
            max_bytes=40_000,
            max_drop=0.9,
            candidates=CANDIDATES,
            fine_tune=fine_tune,
            num_tuned=2,
            fingerprint="a",
        )

    found = search()
    assert seen == [8, 4]  # of the fitting forms, the two best
    tuned = {point.methods: point for point in found.points if point.tuned}
    assert set(tuned) == {("int8",), ("int4",)}
    assert all(point.score == point.untuned for point in tuned.values())
    assert search() == found and seen == [8, 4]


def test_errors_name_the_smallest_possible_size_and_loss(searched, student, queries):
    folder, found = searched
    arguments = {"max_drop": 0.5, "candidates": CANDIDATES}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    before = files_sha256(files)
    smallest = found.points[0]
    words = rf"into 5,000 bytes. The smallest has {smallest.bytes:,}, by int2:tensor, .*float32 has"
    with pytest.raises(InputError, match=words):
        to_budget(student, queries, folder, max_bytes=5000, **arguments)
    int8 = next(p for p in found.points if p.methods == ("int8",))
    words = rf"0.1% were allowed. The smallest that loses less has {int8.bytes:,}|No measured"
    with pytest.raises(InputError, match=words):
        to_budget(
            student,
            queries,
            folder,
            max_bytes=smallest.bytes,
            max_drop=0.001,
            candidates=CANDIDATES,
        )
    assert files == sorted(path for path in folder.rglob("*") if path.is_file())
    assert files_sha256(files) == before


def test_a_student_that_fits_uncompressed_is_not_changed(searched, student, queries):
    folder, found = searched
    large = found.uncompressed.bytes
    again = to_budget(
        student, queries, folder, max_bytes=large, max_drop=0.0, candidates=CANDIDATES
    )
    assert again.chosen.methods == () and again.drop == 0.0


def test_a_text_tower_is_removed_last(student):
    (with_ids,) = candidates_of(student)
    assert ("int4",) in with_ids and not any("ids-only" in methods for methods in with_ids)
    for methods in with_ids:
        assert re.fullmatch(r"int[842](:tensor)?", methods[-1])


@pytest.mark.parametrize("num_items", [1, 3, 4, 5, 8, 10, 20])
@pytest.mark.parametrize("width", [1, 2, 16])
def test_candidates_suit_small_catalogues_and_widths(num_items, width):
    small = RetrievalStudent.from_history(
        num_items=num_items, max_history=4, embedding_dim=width, seed=0
    )
    (tried,) = candidates_of(small)
    assert len(set(tried)) == len(tried) >= 5
    for methods in tried:
        read = Methods.of(methods)
        structure = STRUCTURES[read.structure](num_items + 1, width + 1, *read.numbers)
        table = np.ones([num_items + 1, width + 1], np.float32)
        parts = structure.fit(table, np.ones(num_items + 1))
        shapes = structure.floats() | structure.integers()
        assert all(values.shape == shapes[name] for name, values in parts.items())


def attention_student(width=8, **arguments):
    items = ItemTower(20, width, seed=0)
    encoder = RecencyAttention(4, width, seed=0, **arguments)
    student = RetrievalStudent(HistoryTower(items, encoder), items)
    student.build_towers()
    return student


def test_units_and_heads_are_removed_if_there_are_any(student):
    (tried,) = candidates_of(student)
    assert ("units:16", "int4") in tried and "heads" not in str(tried)
    with_heads = attention_student(num_blocks=2, num_heads=4)
    (tried,) = candidates_of(with_heads)
    heads = [methods for methods in tried if "heads:2" in methods]
    assert heads[:2] == [("heads:2", "int4"), ("units:8", "heads:2", "int4")] and len(heads) == 3
    for methods in heads:
        config = compress(with_heads, methods).query_tower.encoder.get_config()
        assert [len(kept) for kept in config["kept_heads"]] == [2, 2]
    (tried,) = candidates_of(attention_student(num_heads=1))
    assert ("units:8", "int4") in tried and "heads" not in str(tried)


def test_other_heads_are_measured_again(tmp_path, monkeypatch):
    queries = Queries(catalogue_of(20), [0], (np.array([1]),), (np.arange(2, 20),))
    with_heads = attention_student()

    def search(*importance):
        given = np.array([importance])
        Search(with_heads, queries, tmp_path, head_importance=given).measure([["heads:1"]])

    search(2.0, 1.0)
    monkeypatch.setattr(budget, "compress", None)
    search(2.0, 1.1)  # the same head is kept
    with pytest.raises(TypeError, match="not callable"):
        search(1.0, 2.0)


def test_five_items_can_be_searched(tmp_path):
    small = RetrievalStudent.from_history(num_items=5, max_history=4, embedding_dim=2, seed=0)
    queries = Queries(catalogue_of(5), [0], (np.array([1]),), (np.array([2]),))
    found = to_budget(
        small, queries, tmp_path, max_bytes=30_000, max_drop=0.9, k=5, candidates=[["int4"]]
    )
    assert {point.methods for point in found.points} == {(), ("int4",)}
    with pytest.raises(InputError, match="`k` must be from 1 to 5.* k=10"):
        to_budget(small, queries, tmp_path, max_bytes=30_000)


def test_a_student_with_score_0_is_refused(student, tmp_path):
    history = np.array([1])
    _, best = ModelScorer(student)([history], NUM_ITEMS - 1)
    queries = Queries(catalogue_of(NUM_ITEMS), [0], (history,), (best[0][-1:],))
    with pytest.raises(InputError, match=r"a score \(NDCG@10\) of 0 on `queries`"):
        to_budget(student, queries, tmp_path, max_bytes=40_000, candidates=CANDIDATES[:1])


def test_the_fingerprint_contains_everything_that_determines_a_score(student, queries, tmp_path):
    def inputs(of):
        return Search(student, of, tmp_path).inputs

    others = [
        replace(queries, catalogue=replace(queries.catalogue, exclude_seen=False)),
        replace(queries, candidates=np.arange(1, NUM_ITEMS + 1, dtype=np.int32)),
        replace(queries, positives=queries.positives[::-1]),
        replace(queries, user_attributes=np.zeros([len(queries), 1], int)),
        replace(queries, user_attributes=np.ones([len(queries), 1], int)),
    ]
    assert inputs(queries) == inputs(replace(queries))
    found = [str(inputs(of)) for of in (queries, *others)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_bytes": 0}, "`max_bytes` must be above 0"),
        ({"max_drop": 1.0}, "at least 0 and below 1"),
        ({"candidates": [["int3"]]}, "no method 'int3'"),
        ({"fine_tune": print}, "`fine_tune` needs a `fingerprint`"),
        ({"candidates": []}, "lists of methods, such as"),
        ({"candidates": [["int4"], []]}, "measured anyway"),
        ({"k": 0}, "`k` must be from 1 to 100"),
        ({"num_recommended": 5}, "`k` must be from 1 to 5"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(student, queries, tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        to_budget(student, queries, tmp_path / "new", **({"max_bytes": 40_000} | arguments))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda student: tf.keras.Sequential(), "two towers.*Sequential"),
        (lambda student: compress(student, ["int4"]), "compressed already"),
    ],
)
def test_other_students_are_refused_before_any_work(student, queries, tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        to_budget(change(student), queries, tmp_path / "new", max_bytes=40_000)
    assert not (tmp_path / "new").exists()


def test_queries_of_other_items_are_refused(student, tmp_path):
    queries = Queries(catalogue_of(7), [0], ([1],), ([2],))
    with pytest.raises(InputError, match="catalogue of 7 items, but the student has 1,000"):
        to_budget(student, queries, tmp_path, max_bytes=40_000)


def test_two_searches_cannot_share_a_folder(student, queries, tmp_path):
    with locked(tmp_path / "points") as held:
        assert held
        with pytest.raises(InputError, match="Another search is running"):
            to_budget(student, queries, tmp_path, max_bytes=40_000)
