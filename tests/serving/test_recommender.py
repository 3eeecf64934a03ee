import builtins
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from planted_student import (
    LOWEST,
    PlantedStudent,
    assert_answers,
    catalogue_of,
    expected,
    histories_of,
)
from under_threads import assert_same_under_threads

from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact, to_saved_model, to_tflite
from tfrs_distill.serving.recommender import Recommender

TITLES = (
    "Toy Story (1995)",  # id i1
    "Heat (1995)",
    "Chasing Amy (1997)",
    "Chasing Amy (1997)",
    "Hamlet (1990)",
    "Hamlet (1996)",
    "i1 (1998)",  # its title without the year is another item's id
    "Amélie",
    "Godfather, The (1972)",
    "Heat",
    *(f"Film {number} (2000)" for number in range(11, 61)),
)
STUDENT, CATALOGUE = PlantedStudent(), catalogue_of(60, TITLES)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "planted" / "1"
    return export_artefact(STUDENT, folder, CATALOGUE, k=20)


@pytest.fixture(scope="module")
def recommender(artefact):
    return Recommender.load(artefact.folder)


@pytest.mark.parametrize("format", [None, "tflite", "saved_model"])
def test_recommends_the_best_items_by_the_definition(artefact, format):
    answer = Recommender.load(artefact.folder, format=format).recommend(["i1", "i5"], k=7)
    scores, items = expected(STUDENT, [1, 5], 7)
    assert [found.item_id for found in answer] == [f"i{item}" for item in items]
    assert [found.title for found in answer] == [TITLES[item - 1] for item in items]
    np.testing.assert_allclose([found.score for found in answer], scores, atol=1e-5)
    assert all(type(found.score) is float for found in answer)


@pytest.mark.parametrize("name", ["student.tflite", "student_int8.tflite"])
def test_reads_one_file_of_the_folder(artefact, name):
    found = Recommender.load(artefact.folder / name).recommend(["Toy Story"])
    assert [item.item_id for item in found] == [f"i{i}" for i in expected(STUDENT, [1], 10)[1]]


@pytest.mark.parametrize(
    "entry, item",
    [
        ("i2", 2),
        ("Toy Story (1995)", 1),
        ("toy STORY (1995)", 1),
        ("toy story", 1),
        ("  Toy Story ", 1),
        ("AMÉLIE", 8),
        ("Hamlet (1996)", 6),
        ("Heat (1995)", 2),
        ("heat", 10),  # a full title has precedence over a title without its year
        ("i1", 1),  # an id has precedence over a title
    ],
)
def test_finds_an_item_by_id_or_title(recommender, entry, item):
    assert recommender.recommend([entry]) == recommender.recommend([f"i{item}"])
    assert f"i{item}" not in [found.item_id for found in recommender.recommend([entry], k=20)]


def test_ids_that_differ_in_blanks_are_different_items(tmp_path):
    catalogue = dataclasses.replace(CATALOGUE, item_ids=(" i2", *CATALOGUE.item_ids[1:]))
    recommender = Recommender.load(export_artefact(STUDENT, tmp_path / "1", catalogue, k=60).folder)
    for entry, other in ((" i2", "i2"), ("i2", " i2"), (" i2 ", " i2")):
        found = [item.item_id for item in recommender.recommend([entry], k=60)]
        assert other in found and len(found) == 59


@pytest.mark.parametrize(
    "entry, candidates",
    [
        ("Chasing Amy (1997)", r"'Chasing Amy \(1997\)' \(id i3\), .* \(id i4\)\. Give the id"),
        ("hamlet", r"'Hamlet \(1990\)' \(id i5\), 'Hamlet \(1996\)' \(id i6\)\. Give the id"),
    ],
)
def test_lists_the_candidates_of_an_ambiguous_title(recommender, entry, candidates):
    with pytest.raises(InputError, match=f"is the title of 2 items: {candidates}"):
        recommender.recommend([entry])


@pytest.mark.parametrize(
    "entry, nearest",
    [
        ("Toy Stroy", r"Nearest titles: 'Toy Story \(1995\)' \(id i1\)"),
        ("The Godfather", r"Nearest titles: 'Godfather, The \(1972\)' \(id i9\)"),
        ("toy story (1996)", r"Nearest titles: 'Toy Story \(1995\)' \(id i1\)"),
        ("qqqqqqqqqqqqqq", "All titles are in titles.txt"),
        ("", "All titles are in titles.txt"),
        ("i61", "is neither an id nor a title among the 60 items"),
    ],
)
def test_suggests_titles_for_an_unknown_one(recommender, entry, nearest):
    with pytest.raises(InputError, match=f"{entry!r}".replace("(", r"\(").replace(")", r"\)")):
        recommender.recommend(["Heat", entry])
    with pytest.raises(InputError, match=nearest):
        recommender.recommend(["Heat", entry])


def test_names_each_candidate_once(recommender):
    with pytest.raises(InputError) as raised:
        recommender.recommend(["Toy Stroy"])  # near it with its year and without
    assert str(raised.value).count("'Toy Story (1995)'") == 1


def test_a_new_user_gets_the_prior(recommender):
    found = recommender.recommend([], k=5)
    assert [item.item_id for item in found] == [f"i{i}" for i in expected(STUDENT, [], 5)[1]]


def test_one_string_is_not_a_history(recommender):
    with pytest.raises(TypeError, match="must be a list of strings. Received: 'Heat'"):
        recommender.recommend("Heat")


@pytest.mark.parametrize("format", ["tflite", "saved_model"])
def test_is_a_scorer(artefact, format):
    histories = histories_of(60, [0, 1, 7, 59, 700, 3] * 50)  # 300: more than one batch
    recommender = Recommender.load(artefact.folder, format=format)
    assert_answers(STUDENT, histories, *recommender(histories, 10), 10)
    scores, items = recommender([], 10)
    assert scores.shape == items.shape == (0, 10)


def test_k_is_limited_by_the_export(recommender):
    assert len(recommender.recommend(["i1"], k=20)) == 20
    with pytest.raises(InputError, match="returns at most 20 items.*Received: k=21"):
        recommender.recommend(["i1"], k=21)
    for k in (0, 2.0, True):
        with pytest.raises(InputError, match=f"`k` must be a whole number .* Received: k={k}"):
            recommender.recommend(["i1"], k=k)


def test_a_small_catalogue_can_return_fewer_items(tmp_path):
    to_tflite(PlantedStudent(num_items=4), tmp_path / "student.tflite", catalogue_of(4))
    recommender = Recommender.load(tmp_path)
    assert len(recommender.recommend(["i1"], k=10)) == 3
    scores, items = recommender([np.array([1, 2, 3])], 6)
    assert items.tolist() == [[4, 0, 0, 0, 0, 0]]
    assert scores[0, 1:].tolist() == [LOWEST] * 5


def test_tflite_needs_no_tensorflow_and_writes_nothing_on_standard_error(artefact):
    program = (
        "import sys; from tfrs_distill.serving.recommender import Recommender; "
        f"recommender = Recommender.load({str(artefact.folder)!r}); "
        "print(recommender.recommend(['Toy Story'], k=1)[0].item_id); "
        "assert not {'tensorflow', 'tf_keras', 'keras'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, done.stdout) == ("", f"i{expected(STUDENT, [1], 1)[1][0]}\n")


def test_names_the_package_to_install(artefact, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tensorflow" or name.startswith("ai_edge_litert"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install ai-edge-litert"):
        Recommender.load(artefact.folder)
    with pytest.raises(InputError, match="pip install tensorflow"):
        Recommender.load(artefact.folder, format="saved_model")


def test_reads_a_folder_with_only_a_saved_model(tmp_path):
    to_saved_model(STUDENT, tmp_path / "1", CATALOGUE, k=10)
    recommender = Recommender.load(tmp_path / "1")
    assert_answers(STUDENT, [[1, 5]], *recommender([np.array([1, 5])], 10), 10)
    with pytest.raises(InputError, match="no model in format 'tflite'; it has: saved_model.pb"):
        Recommender.load(tmp_path / "1", format="tflite")


def test_a_folder_without_saved_model_is_an_error(tmp_path):
    to_tflite(STUDENT, tmp_path / "small.tflite", CATALOGUE, k=10)
    assert Recommender.load(tmp_path).recommend(["i1"])
    with pytest.raises(InputError, match="no model in format 'saved_model'; it has: small.tflite"):
        Recommender.load(tmp_path, format="saved_model")
    with pytest.raises(InputError, match="is a .tflite file. For format='saved_model'"):
        Recommender.load(tmp_path / "small.tflite", format="saved_model")


def test_refuses_invalid_paths_and_formats(artefact, tmp_path):
    with pytest.raises(InputError, match="There is no file .*nothing.tflite"):
        Recommender.load(tmp_path / "nothing.tflite")
    with pytest.raises(InputError, match="no such folder"):
        Recommender.load(tmp_path / "nothing")
    (tmp_path / "alone.tflite").write_bytes(b"")
    with pytest.raises(InputError, match="alone.tflite is not in an artefact"):
        Recommender.load(tmp_path / "alone.tflite")
    with pytest.raises(InputError, match="must be 'tflite' or 'saved_model'. Received: format='o"):
        Recommender.load(artefact.folder, format="onnx")


def test_refuses_a_file_that_is_not_in_the_artefact(tmp_path):
    to_tflite(STUDENT, tmp_path / "small.tflite", CATALOGUE, k=10)
    (tmp_path / "other.tflite").write_bytes((tmp_path / "small.tflite").read_bytes())
    with pytest.raises(InputError, match="not part of the artefact around it.*: small.tflite"):
        Recommender.load(tmp_path / "other.tflite")


def test_names_a_truncated_model(tmp_path):
    to_tflite(STUDENT, tmp_path / "small.tflite", CATALOGUE, k=10)
    whole = (tmp_path / "small.tflite").read_bytes()
    (tmp_path / "small.tflite").write_bytes(whole[: len(whole) // 2])
    for path in (tmp_path, tmp_path / "small.tflite"):
        with pytest.raises(InputError, match="small.tflite is truncated"):
            Recommender.load(path)


def test_threads_reach_the_interpreter(artefact, monkeypatch):
    import ai_edge_litert.interpreter as litert

    requested = []
    real = litert.Interpreter
    monkeypatch.setattr(
        litert, "Interpreter", lambda **kwargs: requested.append(kwargs) or real(**kwargs)
    )
    Recommender.load(artefact.folder)
    Recommender.load(artefact.folder, num_threads=2)
    assert [kwargs["num_threads"] for kwargs in requested] == [1, 2]


@pytest.mark.parametrize(
    "history",
    [
        ["i1", "i5"],
        [b"i1", b"i5"],
        [b"Toy Story", "Hamlet (1990)"],
        np.array([b"i1", b"i5"]),
        np.array(["i1", b"i5"], object),
        np.array(["toy story", "i5"], np.dtypes.StringDType()),
        tf.constant(["i1", "i5"]),
        [tf.constant("i1"), np.str_("i5")],
    ],
)
def test_ids_and_titles_are_text_of_any_kind(recommender, history):
    found = recommender.recommend(history, k=7)
    assert [item.item_id for item in found] == [f"i{i}" for i in expected(STUDENT, [1, 5], 7)[1]]


@pytest.mark.parametrize("format", ["tflite", "saved_model"])
@pytest.mark.parametrize(
    "history",
    [
        ["2", "é"],
        [b"2", "é".encode()],
        np.array([b"2", "é".encode()]),
        tf.constant(["2", "é", "none"]),
        ["2", 5, None],  # a number is an index, also next to text
        np.array([2**31 - 1, 59, 5, -7, 61, 0], np.int64),
        [59.0, 5.0, float("nan")],
        tf.constant([59, 5]),
    ],
)
def test_a_history_has_ids_or_indices(artefact, format, history):
    # The id "2" is the item of index 59: one that is read as a number is another item.
    ids = (*(str(60 - index) for index in range(60)),)
    ids = (*ids[:4], "é", *ids[5:58], "2", *ids[59:])
    loaded = Recommender.load(artefact.folder, format=format)
    named = dataclasses.replace(artefact, vocabularies={"item_id": ids})
    recommender = Recommender(named, loaded._state.model)
    assert_answers(STUDENT, [[59, 5]], *recommender([history], 10), 10)


@pytest.mark.parametrize(
    "history, words",
    [
        (np.array([2**32 + 3]), "A history must be whole numbers or ids.*Received: 4294967299"),
        ([3, 2**40], "at most 2147483647. Received: 1099511627776"),
        (np.array([3, 2**40], object), "Received: 1099511627776"),
        (np.array([2**63 + 3], np.uint64), "Received: 9223372036854775811"),
        ([2.5], r"Received: 2\.5"),
        ([True, "i3"], "Received: True"),
        (["i3", b"\xe9"], r"UTF-8 if given as bytes.*Received: b'\\xe9'"),
        ([[3, 5]], r"must be a sequence of items, oldest first. Received: \[\[3, 5\]\]"),
        (3, "must be a sequence of items, oldest first. Received: 3"),
        ([[3], [5, 7]], "must have the same number of values in every row"),
    ],
)
def test_refuses_an_invalid_history(recommender, history, words):
    with pytest.raises(InputError, match=words):
        recommender([[1], history], 3)


@pytest.mark.parametrize("entry, received", [(3, "3"), (2**40, "1099511627776"), (None, "None")])
def test_recommends_only_for_ids_and_titles(recommender, entry, received):
    words = f"must be ids and titles, which are text. Received: {received}. Give an id as text"
    for history in ([entry], [entry, "i3"]):
        with pytest.raises(InputError, match=words):
            recommender.recommend(history)
    with pytest.raises(TypeError, match="must be a list of strings. Received: b'i3'"):
        recommender.recommend(b"i3")


@pytest.mark.parametrize("format", ["tflite", "saved_model"])
def test_many_threads_get_the_results_of_one(artefact, format):
    recommender = Recommender.load(artefact.folder, format=format)
    histories = histories_of(60, np.random.default_rng(5).integers(0, 40, 200))

    def call(number):
        return dict(zip(("scores", "items"), recommender([histories[number]], 10)))

    assert_same_under_threads(call, 200)
