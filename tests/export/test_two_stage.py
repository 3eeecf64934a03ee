import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from nightly import nightly
from planted_student import LOWEST, PlantedStudent, catalogue_of, expected, histories_of, padded
from under_threads import assert_same_under_threads

from tfrs_distill import cli
from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact, to_tflite
from tfrs_distill.models.features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NeighbourFeature,
    NumberFeature,
)
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.models.tasks import Binary, Regression
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.serving.artefact import Artefact
from tfrs_distill.serving.ranker import Ranker
from tfrs_distill.serving.recommender import Recommender

NUM_ITEMS, MAX_HISTORY, NUM_CANDIDATES = 60, 5, 12
RETRIEVAL, CATALOGUE = PlantedStudent(NUM_ITEMS), catalogue_of(NUM_ITEMS)
TASTE = np.random.default_rng(4).normal(size=NUM_ITEMS + 1)  # of item i, for every user
HISTORIES = histories_of(NUM_ITEMS, [0, 1, 7, 59, 200, 3])
FORMATS = ("tflite", "saved_model")


def item_ranker():
    """`P(like) = sigmoid(2 taste_i)`, in a student that reads a history and ignores it."""
    item = ItemFeature(NUM_ITEMS, 1)
    history = HistoryFeature(item, MAX_HISTORY, reads_ratings=False)
    tasks = [Binary("like"), Regression("rating", low=1, high=5)]
    student = RankingStudent([item, history], tasks, num_cross_layers=0, hidden_units=())
    item.table.embeddings.assign(TASTE[:, None])
    for head, kernel, bias in (("like", 2.0, 0.0), ("rating", -0.1, 3.0)):
        student.heads[head].set_weights([np.array([[kernel], [0.0], [0.0]]), np.array([bias])])
    return student


def history_ranker():
    """A student of random weights that reads a history with its ratings."""
    random = np.random.default_rng(2)
    item = ItemFeature(NUM_ITEMS, 4, random.normal(size=[NUM_ITEMS, 20]))
    features = [item, HistoryFeature(item, MAX_HISTORY)]
    student = RankingStudent(features, [Binary("like")], hidden_units=(8,), seed=0)
    for weight in student.trainable_weights:
        weight.assign(random.normal(0.0, 0.4, weight.shape))
    return student


def export(retrieval, ranking, folder, catalogue, provenance=None, **arguments):
    student = TwoStageStudent(retrieval, ranking, **arguments)
    return export_artefact(student, folder, catalogue, provenance=provenance)


def by_definition(history, k, retrieval_weight=0.0):
    """Retrieve, then order by `sigmoid(2 taste)` and the blend, in float64."""
    scores, items = expected(RETRIEVAL, history, NUM_CANDIDATES)
    left = items > 0
    output = 1 / (1 + np.exp(-2 * TASTE[items[left]])) + retrieval_weight * scores[left]
    order = np.argsort(-output, kind="stable")
    empty = NUM_CANDIDATES - len(order)
    items = np.concatenate([items[left][order], np.zeros(empty)])
    return np.concatenate([output[order], np.full(empty, LOWEST)])[:k], items[:k]


def assert_definition(recommender, histories, k, **blend):
    scores, items = recommender(histories, k)
    assert scores.dtype == np.float32 and items.dtype == np.int32
    assert scores.shape == items.shape == (len(histories), k)
    for history, row_scores, row_items in zip(histories, scores, items):
        expected_scores, expected_items = by_definition(history, k, **blend)
        np.testing.assert_array_equal(row_items, expected_items)
        # float32 of a sigmoid, and of a sum of a few products if they are blended
        np.testing.assert_allclose(row_scores, expected_scores, atol=1e-5)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "planted" / "1"
    return export(
        RETRIEVAL,
        item_ranker(),
        folder,
        CATALOGUE,
        num_candidates=NUM_CANDIDATES,
        task="like",
        provenance={"seed": 7},
    )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("k", [1, 5, NUM_CANDIDATES])
def test_ranks_the_retrieved_items_by_the_definition(artefact, format, k):
    assert_definition(Recommender.load(artefact.folder, format=format), HISTORIES, k)


@pytest.mark.parametrize("format", ["tflite", nightly("saved_model")])
def test_blends_with_the_retrieval_score(tmp_path, format):
    export(
        RETRIEVAL,
        item_ranker(),
        tmp_path / "1",
        CATALOGUE,
        num_candidates=NUM_CANDIDATES,
        task="like",
        retrieval_weight=0.25,
    )
    recommender = Recommender.load(tmp_path / "1", format=format)
    assert recommender.artefact.ranking_stage.retrieval_weight == 0.25
    assert_definition(recommender, HISTORIES, 6, retrieval_weight=0.25)


@pytest.fixture(scope="module")
def reads_history(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "history" / "1"
    export(RETRIEVAL, history_ranker(), folder, CATALOGUE, num_candidates=NUM_CANDIDATES)
    return folder


@pytest.mark.nightly
@pytest.mark.parametrize("format", FORMATS)
def test_the_history_reaches_the_ranking_student_without_ratings(reads_history, format):
    scores, items = Recommender.load(reads_history, format=format)(HISTORIES, NUM_CANDIDATES)
    student = history_ranker()
    for history, row_scores, row_items in zip(HISTORIES, scores, items):
        found = expected(RETRIEVAL, history, NUM_CANDIDATES)[1]
        found = found[found > 0].astype(np.int32)
        query = padded([history[-MAX_HISTORY:]], MAX_HISTORY)
        output = student.rank(
            {"item_id": found, "history": query, "history_ratings": 0.0 * query.astype("f")}
        )["like"].numpy()
        order = np.argsort(-output)
        assert np.ptp(output) > 0.01
        np.testing.assert_array_equal(row_items[: len(found)], found[order])
        np.testing.assert_allclose(row_scores[: len(found)], output[order], atol=1e-5)


@pytest.mark.parametrize(
    "name, format, opened",
    [
        ("", None, "student.tflite"),
        ("student.tflite", None, "student.tflite"),
        ("student_int8.tflite", None, "student_int8.tflite"),
        ("", "saved_model", None),
    ],
)
def test_both_stages_have_one_format(artefact, monkeypatch, name, format, opened):
    requested = []
    real = Ranker.load
    monkeypatch.setattr(
        Ranker,
        "load",
        lambda path, **kwargs: requested.append((path, kwargs)) or real(path, **kwargs),
    )
    recommender = Recommender.load(artefact.folder / name, format=format, num_threads=2)
    folder = artefact.folder / "ranking"
    expected = (
        (folder, {"format": format}) if opened is None else (folder / opened, {"num_threads": 2})
    )
    assert requested == [expected]
    assert recommender([HISTORIES[1]], 3)[1].shape == (1, 3)


def test_recommends_with_titles_and_scores(artefact):
    recommender = Recommender.load(artefact.folder)
    for history in ([], ["i1", "Film 5"]):
        answer = recommender.recommend(history, k=4)
        scores, items = by_definition([1, 5] if history else [], 4)
        assert [found.item_id for found in answer] == [f"i{item:.0f}" for item in items]
        assert [found.title for found in answer] == [CATALOGUE.titles[int(i) - 1] for i in items]
        np.testing.assert_allclose([found.score for found in answer], scores, atol=1e-5)


def test_the_command_line_recommends_from_it(artefact, capsys):
    arguments = ["recommend", str(artefact.folder), "--history", "i1", "-k", "3", "--json"]
    assert cli.main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [found["item_id"] for found in answer] == [f"i{i:.0f}" for i in by_definition([1], 3)[1]]


@pytest.mark.nightly
def test_equal_predictions_keep_the_order_of_retrieval(tmp_path):
    student = item_ranker()
    student.heads["like"].set_weights([np.zeros([3, 1]), np.zeros([1])])
    export(
        RETRIEVAL, student, tmp_path / "1", CATALOGUE, num_candidates=NUM_CANDIDATES, task="like"
    )
    _, items = Recommender.load(tmp_path / "1")(HISTORIES, 5)
    np.testing.assert_array_equal(items, [expected(RETRIEVAL, h, 5)[1] for h in HISTORIES])


@pytest.mark.nightly
def test_the_task_determines_the_order(tmp_path):
    folder = tmp_path / "1"
    export(
        RETRIEVAL, item_ranker(), folder, CATALOGUE, num_candidates=NUM_CANDIDATES, task="rating"
    )
    scores, items = Recommender.load(folder)([HISTORIES[2]], NUM_CANDIDATES)
    _, best_last = by_definition(HISTORIES[2], NUM_CANDIDATES)  # a rating decreases with the taste
    np.testing.assert_array_equal(items[0], best_last[::-1])
    np.testing.assert_allclose(scores[0], 3.0 - 0.1 * TASTE[items[0]], atol=1e-5)


def test_provenance_describes_it(artefact):
    assert artefact == Artefact.read(artefact.folder)
    stage = artefact.ranking_stage
    assert (stage.task, stage.num_candidates, stage.retrieval_weight) == ("like", 12, 0.0)
    assert (artefact.k, artefact.num_items) == (NUM_CANDIDATES, NUM_ITEMS)
    assert artefact.tflite_files == ("student.tflite", "student_int8.tflite")
    second = Ranker.load(artefact.folder / "ranking").artefact
    assert second.vocabularies == {"item_id": CATALOGUE.item_ids} and second.titles == ()
    assert artefact.provenance["seed"] == second.provenance["seed"] == 7
    with pytest.raises(InputError, match="in a two-stage folder .* is in `ranking`"):
        Ranker.load(artefact.folder)
    with pytest.raises(InputError, match="holds a ranking student.*`Ranker.load`"):
        Recommender.load(artefact.folder / "ranking")


def test_the_first_stage_equals_a_retrieval_artefact(artefact, tmp_path):
    alone = export_artefact(RETRIEVAL, tmp_path / "1", CATALOGUE, k=NUM_CANDIDATES)
    assert alone.ranking_stage is None
    signature = {name: result for name, result in artefact.signature.items() if name != "ranking"}
    assert signature == alone.signature
    for name in ("student.tflite", "student_int8.tflite"):
        assert artefact.bytes_of(name) == alone.bytes_of(name)


def test_k_is_limited_by_the_candidates(artefact):
    recommender = Recommender.load(artefact.folder)
    with pytest.raises(InputError, match="at most 12 items.*Received: k=13"):
        recommender.recommend(["i1"], k=13)


def test_names_a_damaged_file_of_the_second_stage(artefact, tmp_path):
    copy = tmp_path / "1"
    shutil.copytree(artefact.folder, copy)
    (copy / "ranking" / "student.tflite").write_bytes(b"")
    with pytest.raises(InputError, match="ranking/student.tflite is truncated"):
        Recommender.load(copy)
    shutil.rmtree(copy / "ranking")
    with pytest.raises(InputError, match="The artefact's file .*ranking/.* is missing"):
        Recommender.load(copy)


def test_tflite_needs_no_tensorflow_and_writes_nothing_on_standard_error(artefact):
    program = (
        "import sys; from tfrs_distill.serving.recommender import Recommender; "
        f"recommender = Recommender.load({str(artefact.folder)!r}); "
        "print(recommender.recommend(['i1'], k=1)[0].item_id); "
        "assert not {'tensorflow', 'tf_keras', 'keras'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, done.stdout) == ("", f"i{by_definition([1], 1)[1][0]:.0f}\n")


def student_of(*features, tasks=("like",)):
    return RankingStudent(list(features), [Binary(task) for task in tasks], hidden_units=(4,))


def item_and_history(num_items=NUM_ITEMS):
    item = ItemFeature(num_items, 2)
    return item, HistoryFeature(item, MAX_HISTORY)


@pytest.mark.parametrize(
    "features, words",
    [
        (
            lambda: (*item_and_history(), IdFeature("user_id", 9, 2, "query")),
            "history and history_ratings of the query.*reads .*, user_id of the query. Train",
        ),
        (
            lambda: (*item_and_history(), NumberFeature("year", 1990.0, 9.0, "item")),
            "can read only .*Received: one that reads .*item_id of the item, year of the item. ",
        ),
        (
            lambda: (ItemFeature(NUM_ITEMS, 2),),
            "must read history and item_id. Received: one that reads item_id of the item. Train",
        ),
        (
            lambda: item_and_history()[1:],
            "one that reads history of the query, history_ratings of the query. Train",
        ),
        (
            lambda: (item_and_history()[1], IdFeature("item_id", 9, 2, "query")),
            "one that reads .*, item_id of the query. Train",
        ),
        (lambda: item_and_history(59), "has 59 items, but the catalogue has 60"),
        (
            lambda: (*item_and_history(), NeighbourFeature(61, 2, MAX_HISTORY)),
            "has 61 items, but the catalogue has 60",
        ),
    ],
)
def test_refuses_a_ranking_student_with_columns_that_a_recommender_lacks(tmp_path, features, words):
    with pytest.raises(InputError, match=words):
        export(RETRIEVAL, student_of(*features()), tmp_path / "1", CATALOGUE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({}, "`task` must be one of the ranking student's: like, rating. Received: task=None"),
        ({"task": "click"}, "one of the ranking student's: like, rating. Received: task='click'"),
        ({"task": "like", "retrieval_weight": float("nan")}, "`retrieval_weight` must be finite"),
        ({"task": "like", "num_candidates": 0}, "`num_candidates` must be at least 1"),
    ],
)
def test_refuses_arguments(tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        export(RETRIEVAL, item_ranker(), tmp_path / "1", CATALOGUE, **arguments)
    assert os.listdir(tmp_path) == []


def test_one_task_needs_no_name_but_must_have_the_given_one(tmp_path):
    with pytest.raises(InputError, match="ranking student's: like. Received: task='rating'"):
        export(RETRIEVAL, student_of(*item_and_history()), tmp_path / "1", CATALOGUE, task="rating")


def test_a_failed_export_keeps_the_old_artefact(artefact):
    with pytest.raises(InputError, match="do not belong together"):
        export(PlantedStudent(59), item_ranker(), artefact.folder, CATALOGUE, task="like")
    assert Artefact.read(artefact.folder) == artefact
    assert os.listdir(artefact.folder.parent) == ["1"]


def test_refuses_a_folder_with_other_files(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an artefact, and it would be replaced"):
        export(RETRIEVAL, item_ranker(), tmp_path, CATALOGUE, task="like")
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("format, num_calls", [("tflite", 200), ("saved_model", 64)])
def test_many_threads_get_the_results_of_one(reads_history, format, num_calls):
    recommender = Recommender.load(reads_history, format=format)
    histories = histories_of(NUM_ITEMS, np.random.default_rng(5).integers(0, 40, num_calls))

    def call(number):
        return dict(zip(("scores", "items"), recommender([histories[number]], 10)))

    assert_same_under_threads(call, num_calls)


def test_one_file_of_each_stage_replaces_the_artefact(tmp_path):
    student = TwoStageStudent(RETRIEVAL, item_ranker(), num_candidates=NUM_CANDIDATES, task="like")
    folder = tmp_path / "1"
    to_tflite(student, folder / "old.tflite", CATALOGUE)
    artefact = to_tflite(student, folder / "student.tflite", CATALOGUE, quantization="float16")
    assert artefact == Artefact.read(folder) and artefact.tflite_files == ("student.tflite",)
    assert sorted(path.name for path in folder.rglob("*.tflite")) == ["student.tflite"] * 2
    _, items = Recommender.load(folder)(HISTORIES[2:4], 5)
    # float16 has about 3 digits, and the tastes are further apart
    np.testing.assert_array_equal(items, [by_definition(h, 5)[1] for h in HISTORIES[2:4]])
    with pytest.raises(InputError, match="neither `k`, which is its `num_candidates`.*k=5"):
        to_tflite(student, folder / "student.tflite", CATALOGUE, k=5)
    assert Artefact.read(folder) == artefact
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an artefact, and it would be replaced"):
        to_tflite(student, tmp_path / "student.tflite", CATALOGUE)
    assert sorted(os.listdir(tmp_path)) == ["1", "thesis.txt"]
