import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from planted_ranking_student import (
    ITEM_IDS,
    MAX_HISTORY,
    NUM_ITEMS,
    TASKS,
    USER_IDS,
    VOCABULARIES,
    WORDS,
    by_hand,
    full_student,
    hand_student,
    predictions,
    rows_for,
)
from under_threads import assert_same_under_threads

from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact, to_tflite
from tfrs_distill.serving import ranker as ranker_module
from tfrs_distill.serving.column_values import ColumnValues
from tfrs_distill.serving.ranker import Ranker

STUDENT, ROWS = full_student(), rows_for(7)
OUTPUTS = predictions(STUDENT, ROWS)
QUERY = ("user_id", "age", "history", "history_ratings")
HAND_VOCABULARIES = {"user_id": ("ann", "bob", "cy"), "item_id": ("1", "2", "3", "4")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "planted" / "1"
    export_artefact(STUDENT, folder, vocabularies=VOCABULARIES)
    return folder


@pytest.fixture(scope="module")
def by_hand_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "hand" / "1"
    export_artefact(hand_student(), folder, vocabularies=HAND_VOCABULARIES)
    return folder


@pytest.fixture(scope="module")
def ranker(folder):
    return Ranker.load(folder)


@pytest.fixture(scope="module")
def small(by_hand_folder):
    return Ranker.load(by_hand_folder)


def one_row(**changed):
    """A row of the full student as a user gives it, with some columns changed."""
    row = {
        "user_id": ["u5"],
        "age": [33.0],
        "history": [["i3", "i9"]],
        "history_ratings": [[4.0, 2.0]],
        "item_id": ["i7"],
        "words": ["word3 word4"],
    }
    return row | changed


def as_indices(**changed):
    """The same row in the student's indices."""
    row = {
        "user_id": [5],
        "age": [33.0],
        "history": [[0] * (MAX_HISTORY - 2) + [3, 9]],
        "history_ratings": [[0.0] * (MAX_HISTORY - 2) + [4.0, 2.0]],
        "item_id": [7],
        "words": [[5, 6]],  # 0 is padding, 1 unknown: word0 has the index 2
    }
    floats = ("age", "history_ratings")
    row = row | changed
    return {
        name: np.array(v, np.float32 if name in floats else np.int32) for name, v in row.items()
    }


def assert_same(output, expected, atol=1e-5):
    assert set(output) == set(expected) == set(TASKS)
    for task, values in expected.items():
        assert output[task].dtype == np.float32 and output[task].shape == values.shape
        np.testing.assert_allclose(output[task], values, atol=atol)


@pytest.mark.parametrize("format", [None, "tflite", "saved_model"])
def test_scores_rows_like_the_model(folder, format):
    ranker = Ranker.load(folder, format=format)
    assert set(ranker.input_columns) == set(ROWS) and set(ranker.tasks) == set(TASKS)
    assert_same(ranker.score(ROWS), OUTPUTS)


@pytest.mark.parametrize("name", ["student.tflite", "student_int8.tflite"])
def test_reads_one_file_of_the_folder(by_hand_folder, name):
    output = Ranker.load(by_hand_folder / name).score({"user_id": ["bob"], "item_id": ["4"]})
    np.testing.assert_allclose(output["like"], [by_hand(2, 4)], atol=1e-6)


@pytest.mark.parametrize("format", ["tflite", "saved_model"])
def test_ranks_the_items_of_a_query_by_the_definition(by_hand_folder, format):
    ranker = Ranker.load(by_hand_folder, format=format)
    output = ranker.rank(query={"user_id": "cy"}, items={"item_id": ["4", "1", "none", "2"]})
    np.testing.assert_allclose(output["like"], [by_hand(3, i) for i in (4, 1, 0, 2)], atol=1e-6)
    output = ranker.rank(query={"user_id": 2}, items={"item_id": np.arange(1, 4)})
    np.testing.assert_allclose(output["like"], [by_hand(2, i) for i in (1, 2, 3)], atol=1e-6)


def test_ranks_in_the_order_of_scores(ranker):
    query = {"user_id": "u5", "age": None, "history": ["i3", "i9"], "history_ratings": [4, 0]}
    items = {"item_id": ["i7", "i8", "i400"], "words": ["word3 word4", "", "word59"]}
    rows = {name: [value] * 3 for name, value in query.items()} | items
    assert_same(ranker.rank(query=query, items=items), ranker.score(rows))


@pytest.mark.parametrize(
    "users, items",
    [
        (["ann", "bob", "dee"], ["1", "4", "2"]),
        (np.array(["ann", "bob", "dee"]), np.array(["1", "4", "2"], object)),
        ([1, 2, 0], [1, 4, 2]),
        (np.array([1, 2, 99]), np.array([1, 4, 2], np.uint8)),
        (np.array([1.0, 2.0, np.nan]), [1.0, 4.0, 2.0]),
        ([1, 2, -3], [1, 4, 2]),
        (["ann", "bob", None], [1, 4, 2]),
        (["ann", "bob", ""], ["1", "4", "2"]),
    ],
)
def test_reads_ids_and_indices(small, users, items):
    output = small.score({"user_id": users, "item_id": items})
    expected = [by_hand(user, item) for user, item in ((1, 1), (2, 4), (0, 2))]
    np.testing.assert_allclose(output["like"], expected, atol=1e-6)


@pytest.mark.parametrize(
    "given, read",
    [
        ({}, {}),
        ({"user_id": ["nobody"]}, {"user_id": [0]}),
        ({"item_id": ["nothing"]}, {"item_id": [0]}),
        ({"age": [None]}, {"age": [np.nan]}),
        ({"age": [float("inf")]}, {"age": [np.nan]}),
        ({"age": [1e300]}, {"age": [np.nan]}),
        ({"age": [33]}, {}),
        ({"words": ["Word3, (WORD4)!"]}, {}),
        ({"words": ["word3 never word4"]}, {"words": [[5, 1, 6]]}),
        ({"words": [""]}, {"words": [[0, 0]]}),
        ({"words": [None]}, {"words": [[0, 0]]}),
        ({"words": ["word3"]}, {"words": [[5, 0]]}),
        ({"words": [" ".join(["word3"] * 30)]}, {"words": [[5] * WORDS.max_words]}),
        ({"words": [[5, 6, 0]]}, {}),
        ({"history": [["i3", "unheard", "i9"]], "history_ratings": [[4, 5, 2]]}, {}),
        ({"history": [[3, 0, NUM_ITEMS + 1, 9]], "history_ratings": [[4, 5, 5, 2]]}, {}),
        ({"history_ratings": [[4.0, None]]}, {"history_ratings": [[0.0] * 4 + [4.0, 0.0]]}),
        ({"history_ratings": [[4.0, np.inf]]}, {"history_ratings": [[0.0] * 4 + [4.0, 0.0]]}),
        (
            {"history": [[]], "history_ratings": [[]]},
            {"history": [[0] * MAX_HISTORY], "history_ratings": [[0.0] * MAX_HISTORY]},
        ),
    ],
)
def test_reads_common_types(ranker, given, read):
    assert_same(ranker.score(one_row(**given)), predictions(STUDENT, as_indices(**read)))


def test_a_long_history_uses_its_last_known_items(ranker):
    many = [f"i{n}" for n in range(20, 40)] + ["i3", "unheard"] * 3 + ["i9"] + ["?"] * 9
    stars = [1.0] * 20 + [4.0, 5.0] * 3 + [2.0] + [5.0] * 9
    output = ranker.score(one_row(history=[many], history_ratings=[stars]))
    read = as_indices(history=[[38, 39, 3, 3, 3, 9]], history_ratings=[[1.0, 1.0, 4, 4, 4, 2]])
    assert_same(output, predictions(STUDENT, read))


def test_reads_histories_of_several_lengths(ranker):
    rows = {name: values * 3 for name, values in one_row().items()}
    rows["history"] = [["i3", "i9"], (), np.array([3, 9])]
    rows["history_ratings"] = [[4.0, 2.0], [], np.array([4.0, 2.0])]
    known = predictions(STUDENT, as_indices())
    unknown = as_indices(history=[[0] * MAX_HISTORY], history_ratings=[[0.0] * MAX_HISTORY])
    new = predictions(STUDENT, unknown)
    expected = {task: np.concatenate([known[task], new[task], known[task]]) for task in TASKS}
    assert_same(ranker.score(rows), expected)


def test_a_long_table_is_scored_in_batches(small, monkeypatch):
    calls = []
    monkeypatch.setattr(ranker_module, "ROWS_PER_CALL", 4)
    monkeypatch.setattr(small, "_run", _counted(small._run, calls))
    users, items = np.arange(10) % 4, np.arange(10) % 5
    output = small.score({"user_id": users, "item_id": items})["like"]
    np.testing.assert_allclose(output, [by_hand(u, i) for u, i in zip(users, items)], atol=1e-6)
    assert calls == [4, 4, 2]


def _counted(run, calls):
    def counted(signature, inputs):
        calls.append(len(inputs["user_id"]))
        return run(signature, inputs)

    return counted


def test_histories_are_passed_with_padding_in_front(ranker, monkeypatch):
    handed = []
    monkeypatch.setattr(
        ranker, "_run", lambda _, rows: handed.append(rows) or dict.fromkeys(TASKS, np.zeros(3))
    )
    rows = {name: values * 3 for name, values in one_row().items()}
    rows["history"] = [["i3", "i9"], [], ["i1"]]
    rows["history_ratings"] = [[4.0, 2.0], [], [5.0]]
    ranker.score(rows)
    assert handed[0]["history"].tolist() == [[3, 9], [0, 0], [0, 1]]
    assert handed[0]["history_ratings"].tolist() == [[4, 2], [0, 0], [0, 5]]
    assert handed[0]["words"].tolist() == [[5, 6]] * 3
    ranker.score(rows | {"words": ["", None, "!"]})
    assert handed[1]["words"].tolist() == [[0]] * 3
    ranker.score(rows | {"history": [[]] * 3, "history_ratings": np.zeros([3, 0])})
    assert handed[2]["history"].tolist() == handed[2]["history_ratings"].tolist() == [[0]] * 3


def test_no_rows_return_no_predictions_without_a_call(ranker, monkeypatch):
    monkeypatch.setattr(ranker, "_run", None)
    none = {name: [] for name in ROWS}
    query = {name: values[0] for name, values in one_row().items()}
    items = {name: none[name] for name in ("item_id", "words")}
    query = {name: value for name, value in query.items() if name not in items}
    for output in (ranker.score(none), ranker.rank(query=query, items=items)):
        assert {task: values.shape for task, values in output.items()} == {t: (0,) for t in TASKS}


@pytest.mark.parametrize(
    "columns, words",
    [
        (
            {"user_id": [1]},
            r"`columns` lacks columns: item_id. This student reads: user_id \(id\), item_id \(id\)",
        ),
        ({"user_id": [1], "item_id": [1], "age": [3]}, "has unknown columns: age. This student re"),
        (
            {"user_id": [1, 2], "item_id": [1]},
            "one value per row. Received rows: user_id 2, item_id 1",
        ),
        ({"user_id": "ann", "item_id": [1]}, "'user_id' must be a sequence.*Received: 'ann'"),
        ({"user_id": 5, "item_id": [1]}, "'user_id' must be a sequence.*Received: 5"),
        ({"user_id": [1.5], "item_id": [1]}, "'user_id' must be whole numbers or ids.*: 1.5"),
        ({"user_id": [2**40], "item_id": [1]}, "'user_id' .* at most 2147483647.*: 1099511627776"),
        (
            {"user_id": [["ann"]], "item_id": [1]},
            r"'user_id' must have one value per row.*: \['ann'\]",
        ),
        ({"user_id": [{}], "item_id": [1]}, "'user_id' must be ids or indices"),
    ],
)
def test_refuses_other_columns(small, columns, words):
    with pytest.raises(InputError, match=words):
        small.score(columns)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"age": ["young"]}, "'age' must be numeric, NaN for missing values.*young"),
        ({"history": ["i3"]}, "'history' must be sequences, one per row. Received: 'i3'"),
        ({"history": [3]}, "'history' must be sequences, one per row. Received: 3"),
        ({"history_ratings": [[4.0]]}, "one rating for every item of `history`"),
        ({"history_ratings": [[4.0, 2.0, 1.0]]}, "one rating for every item of `history`"),
        ({"words": [5]}, "'words' must have the same number of values in every row. Received: 5"),
        ({"words": [[5], [6, 7]], **{}}, "Received rows: .*words 2"),
    ],
)
def test_refuses_invalid_values(ranker, changed, words):
    with pytest.raises(InputError, match=words):
        ranker.score(one_row(**changed))


def test_refuses_index_texts_of_unequal_lengths(ranker):
    rows = {name: values * 2 for name, values in one_row().items()}
    with pytest.raises(
        InputError, match="'words' must have the same number of values in every row"
    ):
        ranker.score(rows | {"words": [[5], [6, 7]]})


@pytest.mark.parametrize(
    "query, items, words",
    [
        ({}, {"item_id": [1]}, "`query` lacks columns: user_id. This student reads: user_id"),
        ({"user_id": 1, "item_id": 2}, {"item_id": [1]}, "`query` has unknown columns: item_id"),
        ({"user_id": 1}, {"item_id": [1], "user_id": [1]}, "`items` has unknown columns: user_id"),
        ({"user_id": ["ann"]}, {"item_id": [1]}, r"'user_id' must have one value.*: \['ann'\]"),
        ({"user_id": 1}, {"item_id": "2"}, "'item_id' must be a sequence.*Received: '2'"),
    ],
)
def test_rank_refuses_columns_of_the_other_side(small, query, items, words):
    with pytest.raises(InputError, match=words):
        small.rank(query=query, items=items)


@pytest.fixture(scope="module")
def without_vocabularies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "bare" / "1"
    export_artefact(STUDENT, folder, vocabularies={})
    return Ranker.load(folder)


def test_takes_indices_without_a_vocabulary(without_vocabularies):
    assert_same(without_vocabularies.score(ROWS), OUTPUTS)
    texts = one_row(user_id=[5], item_id=[7], history=[[3, 9]])
    with pytest.raises(InputError, match="'words' takes indices of words.*Received: 'word3 word4'"):
        without_vocabularies.score(texts)
    ids = one_row(item_id=[7], history=[[3, 9]], words=[[5, 6]])
    with pytest.raises(InputError, match="'user_id' takes indices.*Received: 'u5'"):
        without_vocabularies.score(ids)
    with pytest.raises(InputError, match="'history' takes indices.*Received: 'i3'"):
        without_vocabularies.score(ids | {"user_id": [5], "history": [["i3", "i9"]]})


def test_a_student_of_one_side_scores_only(tmp_path):
    from tfrs_distill.models.features import NumberFeature
    from tfrs_distill.models.ranking_student import RankingStudent
    from tfrs_distill.models.tasks import Binary

    student = RankingStudent([NumberFeature("age", 40.0, 10.0, "query")], [Binary("like")], seed=0)
    export_artefact(student, tmp_path / "1", vocabularies={})
    ranker = Ranker.load(tmp_path / "1")
    assert ranker.score({"age": [30.0, None]})["like"].shape == (2,)
    with pytest.raises(
        InputError, match="cannot rank items for a query. Use `score`. It reads: age"
    ):
        ranker.rank(query={"age": 30.0}, items={})


def test_tflite_needs_no_tensorflow_and_writes_nothing_on_standard_error(by_hand_folder):
    program = (
        "import sys; from tfrs_distill.serving.ranker import Ranker; "
        f"ranker = Ranker.load({str(by_hand_folder)!r}); "
        "print(round(float(ranker.score({'user_id': ['ann'], 'item_id': ['2']})['like'][0]), 4)); "
        "assert not {'tensorflow', 'tf_keras', 'keras'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, done.stdout) == ("", f"{by_hand(1, 2):.4f}\n")


def test_names_a_truncated_model(by_hand_folder, tmp_path):
    import shutil

    copy = tmp_path / "1"
    shutil.copytree(by_hand_folder, copy)
    whole = (copy / "student.tflite").read_bytes()
    (copy / "student.tflite").write_bytes(whole[:-9])
    with pytest.raises(InputError, match="student.tflite is truncated"):
        Ranker.load(copy)


def test_refuses_other_artefacts_and_formats(by_hand_folder, tmp_path):
    from planted_student import PlantedStudent, catalogue_of

    to_tflite(PlantedStudent(), tmp_path / "student.tflite", catalogue_of(60))
    with pytest.raises(InputError, match="not the artefact of a ranking student.*Recommender.load"):
        Ranker.load(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        Ranker.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="must be 'tflite' or 'saved_model'. Received: format='o"):
        Ranker.load(by_hand_folder, format="onnx")


def test_vocabularies_are_read_from_the_folder(ranker):
    assert ranker.artefact.vocabularies == {"user_id": USER_IDS, "item_id": ITEM_IDS}
    assert ranker.artefact.words == {"words": WORDS.words}


# The id "2" is the item of index 3, and so on: an id that is read as a number is another item.
IDS = ("4", "3", "2", "é")


@pytest.fixture(scope="module", params=["tflite", "saved_model"])
def misleading(by_hand_folder, request):
    ranker = Ranker.load(by_hand_folder, format=request.param)
    vocabularies = {"user_id": HAND_VOCABULARIES["user_id"], "item_id": IDS}
    return Ranker(dataclasses.replace(ranker.artefact, vocabularies=vocabularies), ranker._run)


@pytest.mark.parametrize(
    "ids",
    [
        ["2", "é", "none"],
        [b"2", "é".encode(), b"none"],
        np.array(["2", "é", "none"]),
        np.array([b"2", "é".encode(), b"none"]),
        np.array([b"2", "é", None], object),
        np.array(["2", "é", "none"], np.dtypes.StringDType()),
        tf.constant(["2", "é", "none"]),
        [tf.constant("2"), tf.constant("é"), "none"],
        [np.str_("2"), np.bytes_("é".encode()), None],
        [b"2", 4, float("nan")],  # a number is an index, also next to text
        np.array([3, 4, -3], np.int64),
        [3.0, 4, 99],
    ],
)
def test_text_of_any_kind_is_an_id_and_a_number_an_index(misleading, ids):
    expected = [by_hand(1, 3), by_hand(1, 4), by_hand(1, 0)]
    output = misleading.score({"user_id": ["ann"] * 3, "item_id": ids})["like"]
    np.testing.assert_allclose(output, expected, atol=1e-6)
    output = misleading.rank(query={"user_id": b"ann"}, items={"item_id": ids})["like"]
    np.testing.assert_allclose(output, expected, atol=1e-6)


def test_a_history_of_bytes_has_ids(ranker):
    expected = predictions(STUDENT, as_indices())
    for history in ([[b"i3", b"i9"]], np.array([[b"i3", b"i9"]]), tf.constant([["i3", "i9"]])):
        assert_same(ranker.score(one_row(history=history)), expected)
    assert_same(ranker.score(one_row(words=[b"word3 word4"])), expected)
    assert_same(ranker.score(one_row(words=tf.constant(["word3 word4"]))), expected)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"history": [[3, 2**32 + 9]]}, "'history' must be whole numbers or ids.*: 4294967305"),
        ({"item_id": np.array([2**32 + 7])}, "'item_id' .*: 4294967303"),
        ({"user_id": [True]}, "'user_id' .*: True"),
        ({"user_id": np.array(["1970-01-06"], "M8[D]")}, "'user_id' must be ids or indices"),
        ({"item_id": [b"\xe9"]}, r"'item_id' must be UTF-8 if given as bytes.*: b'\\xe9'"),
        ({"words": [[5, 2**32 + 6]]}, "'words' .*: 4294967302"),
        ({"words": [["5", "6"]]}, "'words' must be whole numbers.*: '5'"),
    ],
)
def test_refuses_values_that_could_be_read_as_another_id(ranker, changed, words):
    with pytest.raises(InputError, match=words):
        ranker.score(one_row(**changed))


@pytest.mark.parametrize(
    "dtype, given, read",
    [
        ("int32", np.array([5, -1], np.int64), [5, -1]),
        ("int32", [5.0], [5]),
        ("int32", np.array([2**32 + 5]), None),
        ("int32", [2**40], None),
        ("int32", [5.5], None),
        ("int32", ["5"], None),
        ("int64", [2**40], [2**40]),
        ("float32", [0.5, None], [0.5, np.nan]),
    ],
)
def test_a_custom_feature_gets_numbers_of_its_type(dtype, given, read):
    column = {"dtype": dtype, "shape": [-1], "side": "query", "kind": "MyFeature"}
    artefact = SimpleNamespace(columns={"mine": column}, vocabularies={}, words={})
    values = ColumnValues(artefact)
    if read is None:
        with pytest.raises(InputError, match="'mine' must be whole numbers that int32 can hold"):
            values.read({"mine": given})
    else:
        found = values.read({"mine": given})["mine"]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, read)


@pytest.mark.parametrize(
    "student, format",
    [("folder", "tflite"), ("by_hand_folder", "tflite"), ("by_hand_folder", "saved_model")],
)
def test_many_threads_get_the_results_of_one(request, student, format):
    ranker = Ranker.load(request.getfixturevalue(student), format=format)
    rows = {name: values for name, values in rows_for(200).items() if name in ranker.input_columns}
    rows |= {"user_id": rows["user_id"] % 4, "item_id": rows["item_id"] % 5}

    def call(number):  # of one to four rows, some of them by `rank`
        if number % 3:
            requested = {name: v[number : number + 1 + number % 4] for name, v in rows.items()}
            return ranker.score(requested)
        query = {name: values[number] for name, values in rows.items() if name in QUERY}
        items = {name: v[number : number + 5] for name, v in rows.items() if name not in QUERY}
        return ranker.rank(query=query, items=items)

    assert_same_under_threads(call, 200)
