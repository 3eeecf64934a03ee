"""Files of other programs: every format and form against its source, and every error."""

import builtins
import math

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.teachers.arrays.array_teacher import ArrayTeacher

ITEM_IDS = ("50", "7", "181", "9", "12")
USER_IDS = ("900", "31", "5")  # user indices 0, 1, 2
CATALOGUE = Catalogue(ITEM_IDS, ITEM_IDS, ITEM_IDS)
RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(3, 5)).astype(np.float32)  # in catalogue and user order
QUERIES, ITEMS = RANDOM.normal(size=(3, 2)), RANDOM.normal(size=(5, 2))
USERS_ON_FILE, ITEMS_ON_FILE = np.array([2, 0, 1]), np.array([4, 2, 0, 1, 3])  # another order
TEXTS = {
    "query_ids": np.array(USER_IDS)[USERS_ON_FILE],
    "item_ids": np.array(ITEM_IDS)[ITEMS_ON_FILE],
}
NUMBERS = {name: ids.astype(np.int64) for name, ids in TEXTS.items()}
DENSE = {"scores": SCORES[USERS_ON_FILE][:, ITEMS_ON_FILE]}
FACTORS = {"query_embeddings": QUERIES[USERS_ON_FILE], "item_embeddings": ITEMS[ITEMS_ON_FILE]}
# User 0 likes 181, then 50; user 1 item 12 alone; user 2 items 7, 9, 12.
LISTS = {
    0: (["181", "50"], [2.0, -1.0]),
    1: (["12"], [0.5]),
    2: (["7", "9", "12"], [3.0, 2.5, 1.0]),
}
LISTED = [LISTS[user][0] + [""] * (3 - len(LISTS[user][0])) for user in USERS_ON_FILE]
LISTED_SCORES = [LISTS[u][1] + [math.nan] * (3 - len(LISTS[u][1])) for u in USERS_ON_FILE]


def write(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        safetensors.numpy.save_file(arrays, path)
    return path


def table_of(path, **named):
    pyarrow.parquet.write_table(pyarrow.table(named), path)
    return path


def read(path, **options):
    options = {"user_ids": USER_IDS} | options
    return ArrayTeacher.read(path, catalogue=CATALOGUE, **options)


def output(teacher):
    """Logits of users 0, 1, 2 over the catalogue."""
    return teacher.logits({columns.USER_ID: tf.range(3)}, tf.range(1, 6)).numpy()


def expected_of_lists(scores=None):
    table = np.empty((3, 5))
    for user, (items, own) in LISTS.items():
        own = own if scores is None else scores[: len(items)]
        table[user] = min(own) - math.log(5)
        for item, score in zip(items, own):
            table[user, ITEM_IDS.index(item)] = score
    return table


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("arrays", "expected"),
    [(DENSE, SCORES), (FACTORS, QUERIES @ ITEMS.T)],
    ids=["dense", "factors"],
)
def test_rows_and_columns_are_found_by_their_ids(tmp_path, ending, arrays, expected):
    teacher = read(write(tmp_path / f"said{ending}", NUMBERS | arrays))
    np.testing.assert_allclose(output(teacher), expected, atol=1e-6)  # float32


def test_ids_may_be_texts_and_bytes(tmp_path):
    for number, ids in enumerate((TEXTS, {n: np.char.encode(t) for n, t in TEXTS.items()})):
        teacher = read(write(tmp_path / f"{number}.npz", ids | DENSE))
        np.testing.assert_array_equal(output(teacher), SCORES)


@pytest.mark.parametrize("scored", [True, False])
def test_lists_with_scores_and_with_their_order_alone(tmp_path, scored):
    order = [0.0, -math.log(2), -math.log(3)]
    expected = expected_of_lists(None if scored else order)
    more = {"listed_scores": np.array(LISTED_SCORES)} if scored else {}
    texts = {"query_ids": TEXTS["query_ids"], "listed_items": np.array(LISTED)}
    numbers = {
        "query_ids": NUMBERS["query_ids"],
        "listed_items": np.array([[int(i or -1) for i in row] for row in LISTED]),
    }
    for path, arrays in (("texts.npz", texts), ("n.npz", numbers), ("n.safetensors", numbers)):
        teacher = read(write(tmp_path / path, arrays | more))
        np.testing.assert_allclose(output(teacher), expected, atol=1e-6)


def test_an_npy_holds_all_users_and_items_in_their_order(tmp_path):
    np.save(tmp_path / "said.npy", SCORES)
    for user_ids in (USER_IDS, None):
        np.testing.assert_array_equal(
            output(read(tmp_path / "said.npy", user_ids=user_ids)), SCORES
        )


@pytest.mark.parametrize("by", ["score", "rank"])
def test_a_long_table_is_sorted_into_lists(tmp_path, by):
    rows = [
        (USER_IDS[user], item, score, place)
        for user, (items, scores) in LISTS.items()
        for place, (item, score) in enumerate(zip(items, scores), start=1)
    ]
    rows = [rows[row] for row in RANDOM.permutation(len(rows))]
    users, items, scores, ranks = zip(*rows)
    values = {"score": scores, "rank": ranks}[by]
    texts = table_of(tmp_path / "t.parquet", query_id=users, item_id=items, **{by: values})
    numbers = table_of(
        tmp_path / "n.parquet",
        query_id=[int(u) for u in users],
        item_id=[int(i) for i in items],
        **{by: values},
    )
    expected = expected_of_lists(None if by == "score" else [0.0, -math.log(2), -math.log(3)])
    for path in (texts, numbers):
        np.testing.assert_allclose(output(read(path)), expected, atol=1e-6)


def test_a_score_has_precedence_over_a_rank(tmp_path):
    path = table_of(
        tmp_path / "a.parquet",
        query_id=["900"] * 2,
        item_id=["7", "9"],
        score=[1.0, 3.0],
        rank=[1, 2],
    )
    table = output(read(path))[0]
    assert (table[1], table[3]) == (1.0, 3.0)


@pytest.mark.parametrize("scored", [True, False])
def test_a_wide_table_has_lists_of_any_length(tmp_path, scored):
    items = [LISTS[user][0] for user in USERS_ON_FILE]
    more = {"listed_scores": [LISTS[user][1] for user in USERS_ON_FILE]} if scored else {}
    path = table_of(
        tmp_path / "a.parquet", query_id=TEXTS["query_ids"].tolist(), listed_items=items, **more
    )
    expected = expected_of_lists(None if scored else [0.0, -math.log(2), -math.log(3)])
    np.testing.assert_allclose(output(read(path)), expected, atol=1e-6)


def test_queries_may_be_user_indices_or_examples(tmp_path):
    ids = {"query_ids": USERS_ON_FILE, "item_ids": NUMBERS["item_ids"]}
    path = write(tmp_path / "a.npz", ids | DENSE)
    np.testing.assert_array_equal(output(read(path, user_ids=None)), SCORES)
    teacher = read(path, user_ids=None, column=columns.EXAMPLE_ID)
    batch = {columns.EXAMPLE_ID: tf.constant([1, 2])}
    np.testing.assert_array_equal(teacher.logits(batch, tf.range(1, 6)), SCORES[[1, 2]])
    with pytest.raises(ValueError, match="`user_ids` are for queries that are users"):
        read(path, column=columns.EXAMPLE_ID)


def test_missing_queries_are_found_before_training():
    history = np.array([[1]] * 4, np.int32)
    windows = Windows(CATALOGUE, np.array([8, 2, 8, 5], np.int32), history, history + 1)
    scores = np.zeros([2, 5])
    assert ArrayTeacher.from_scores([2, 9], scores).missing_queries(windows).tolist() == [5, 8]
    assert ArrayTeacher.from_scores([3, 1], scores, column=columns.EXAMPLE_ID).missing_queries(
        windows
    ).tolist() == [0, 2]
    held = ArrayTeacher.from_scores([5, 8, 2], np.zeros([3, 5]))
    assert held.missing_queries(windows).tolist() == []


def changed(arrays, name, place, value):
    array = arrays[name].copy()
    if array.dtype.kind == "U":
        array = array.astype("U20")
    array[place] = value
    return arrays | {name: array}


NAN_LISTS = {
    "query_ids": TEXTS["query_ids"],
    "listed_items": np.array(LISTED),
    "listed_scores": np.array(LISTED_SCORES),
}
FAULTS = {
    "unknown item": (
        changed(TEXTS | DENSE, "item_ids", 1, "777"),
        "item '777' is not among the cat",
    ),
    "item twice": (changed(TEXTS | DENSE, "item_ids", 1, "12"), "item '12' occurs twice"),
    "item missing": (
        TEXTS | {"item_ids": TEXTS["item_ids"][:4], "scores": DENSE["scores"][:, :4]},
        "lacks 1 of the catalogue's 5 items, first: item '9'",
    ),
    "unknown query": (changed(TEXTS | DENSE, "query_ids", 0, "6"), "1 of 3 queries.*first: '6'"),
    "query twice": (changed(TEXTS | DENSE, "query_ids", 0, "31"), "query '31' occurs twice"),
    "NaN score": (
        changed(TEXTS | DENSE, "scores", (1, 3), math.nan),
        "`scores` of query '900' holds nan at place 3",
    ),
    "infinite item": (
        changed(TEXTS | FACTORS, "item_embeddings", (2, 0), math.inf),
        "`item_embeddings` of item '50' holds inf",
    ),
    "NaN in a list": (
        changed(NAN_LISTS, "listed_scores", (0, 2), math.nan),
        "`listed_scores` of query '5' holds nan at place 2",
    ),
    "too few rows": (
        TEXTS | {"scores": DENSE["scores"][:2]},
        r"`scores` must be \[3, 5\].*Received: shape \[2, 5\]",
    ),
    "item rows": (
        TEXTS | FACTORS | {"item_embeddings": ITEMS[:4]},
        r"`item_embeddings` must be \[5, any\]",
    ),
    "widths": (TEXTS | FACTORS | {"query_embeddings": QUERIES[:, :1]}, "of one width"),
    "ids of rank 2": (TEXTS | DENSE | {"item_ids": TEXTS["item_ids"][None]}, "one-dimensional"),
    "no ids": (DENSE, r"must hold `query_ids` and one of.*It holds: scores"),
    "no item ids": ({"query_ids": TEXTS["query_ids"]} | DENSE, "It holds: query_ids, scores"),
    "no form": (TEXTS, "must hold `query_ids` and one of"),
    "fractional ids": (
        TEXTS | DENSE | {"query_ids": np.array([1.5, 2, 3])},
        "whole numbers or tex",
    ),
    "texts as scores": (TEXTS | DENSE | {"scores": np.array([["a"] * 5] * 3)}, "must be numbers"),
    "unknown listed": (
        changed(NAN_LISTS, "listed_items", (0, 0), "777"),
        "item '777' is not among",
    ),
    "listed twice": (
        changed(NAN_LISTS, "listed_items", (0, 1), "7"),
        "the list of query '5' names item '7' twice",
    ),
    "empty list": (
        changed(NAN_LISTS, "listed_items", 2, ""),
        "the list of query '31' is empty",
    ),
    "gap in a list": (
        changed(NAN_LISTS, "listed_items", (0, 1), ""),
        "the list of query '5' has an empty place before an item",
    ),
    "list lengths": (
        NAN_LISTS | {"listed_scores": np.zeros([3, 2])},
        r"must both be \[num_queries, k\]",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_names_the_file_and_the_id(tmp_path, fault):
    arrays, words = FAULTS[fault]
    path = write(tmp_path / "broken.npz", arrays)
    with pytest.raises(InputError, match=f"(?s)broken.npz.*{words}"):
        read(path)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"query_id": ["5"], "item_id": ["7"]}, "must have the columns.*It has: query_id, item_id"),
        (
            {"query_id": ["5"], "item_id": ["7"], "score": [math.nan]},
            "the score of query '5' and it",
        ),
        (
            {"query_id": ["5"] * 2, "item_id": ["7"] * 2, "score": [1.0, 2.0]},
            "names item '7' twice",
        ),
        (
            {"query_id": ["5"] * 2, "item_id": ["7", "9"], "rank": [2, 2]},
            "'5' has two items of rank 2",
        ),
        ({"query_id": ["5", None], "item_id": ["7"] * 2, "rank": [1, 2]}, "'query_id' has 1 empty"),
        (
            {"query_id": ["5"], "listed_items": [["7", "9"]], "listed_scores": [[1.0]]},
            "query '5' has 2 items and 1 scores",
        ),
        ({"query_id": ["5", "31"], "listed_items": [["7"], []]}, "the list of query '31' is empty"),
        ({"query_id": ["5", "5"], "listed_items": [["7"], ["9"]]}, "query '5' occurs twice"),
    ],
)
def test_an_error_in_a_table(tmp_path, table, words):
    path = table_of(tmp_path / "broken.parquet", **table)
    with pytest.raises(InputError, match=f"(?s)broken.parquet.*{words}"):
        read(path)


def test_an_npy_of_another_size(tmp_path):
    for shape, words in (
        ((2, 5), "rows for 2 users, but `user_ids` names 3"),
        ((3, 4), "has 4 columns, but the catalogue has 5"),
        ((3,), r"must be \[any, any\]"),
    ):
        np.save(tmp_path / "said.npy", np.zeros(shape))
        with pytest.raises(InputError, match=f"said.npy.*{words}"):
            read(tmp_path / "said.npy")


def test_a_query_that_is_not_an_index_needs_user_ids(tmp_path):
    ids = TEXTS | {"query_ids": np.array(["ann", "bob", "cy"])}
    path = write(tmp_path / "a.npz", ids | DENSE)
    with pytest.raises(InputError, match="query 'ann' is not a value of the column.*`user_ids`"):
        read(path, user_ids=None)


@pytest.mark.parametrize("ending", [".npz", ".npy", ".safetensors", ".parquet"])
def test_truncated_files_and_files_of_another_kind(tmp_path, ending):
    path = tmp_path / f"said{ending}"
    for content in (b"", b"PK\3\4 and then nothing", b"\x93NUMPY\1\0"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"said{ending} cannot be read.*truncated"):
            read(path)


def test_pickled_ids_error_says_how_to_save_them(tmp_path):
    path = write(tmp_path / "a.npz", DENSE | TEXTS | {"item_ids": TEXTS["item_ids"].astype(object)})
    with pytest.raises(InputError, match=r"cannot be read.*np\.array\(ids, dtype=str\)"):
        read(path)


def test_other_endings_and_missing_files(tmp_path):
    with pytest.raises(InputError, match=r"must end in one of .npz, .npy.*Received: .csv"):
        read(tmp_path / "said.csv")
    with pytest.raises(InputError, match="There is no file .*said.npz"):
        read(tmp_path / "said.npz")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = table_of(tmp_path / "a.parquet", query_id=["5"], item_id=["7"], rank=[1])
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"needs `pyarrow`.*tfrs-distill\[tables\]"):
        read(path)


def test_user_ids_may_be_a_column_of_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", **TEXTS, scores=SCORES[np.ix_(USERS_ON_FILE, ITEMS_ON_FILE)])
    ids = pd.Series([int(user_id) for user_id in USER_IDS], index=[2, 1, 0])
    given, plain = (
        ArrayTeacher.read(tmp_path / "a.npz", catalogue=CATALOGUE, user_ids=user_ids)
        for user_ids in (ids, USER_IDS)
    )
    assert given.fingerprint() == plain.fingerprint()
