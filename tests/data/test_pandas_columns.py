"""Every public class of columns, with shuffled pandas objects: equal to plain arrays."""

import numpy as np
import pandas as pd
import pytest

from tfrs_distill import data
from tfrs_distill.data.cold_items import ColdItems
from tfrs_distill.data.item_features import ItemAttributes
from tfrs_distill.data.knowledge_graph import KnowledgeGraph, neighbour_vectors
from tfrs_distill.data.readers.user_attributes import UserAttributes
from tfrs_distill.data.relink_by_title import relink_by_title
from tfrs_distill.data.splits import pad_histories
from tfrs_distill.errors import InputError
from tfrs_distill.serving.word_vocabulary import WordVocabulary

FILMS = data.Catalogue(("1", "2", "3"), ("A", "B", "C"), ("a", "b", "c"))


def shuffled(values, **kwargs):
    """A Series whose labels are its positions in reverse."""
    return pd.Series(values, index=np.arange(len(values))[::-1], **kwargs)


def test_interactions_of_a_shuffled_frame_are_in_its_order():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "u": np.repeat([0, 1, 2], 12),
            "i": random.integers(1, 4, 36),
            "r": random.integers(1, 6, 36).astype(float),
            "t": random.permutation(36) + 10**9,
        }
    ).sample(frac=1, random_state=0)
    interactions = data.Interactions(
        "x", FILMS, pd.Series(["a", "b", "c"]), frame.u, frame.i, frame.r, frame.t
    )
    expected = [group.sort_values("t").i.tolist() for _, group in frame.groupby("u")]
    assert [sequence.tolist() for sequence in interactions.sequences()] == expected
    assert [len(sequence) for sequence in expected] == [12, 12, 12]
    kept = (interactions.users, interactions.items, interactions.ratings, interactions.timestamps)
    assert [column.dtype for column in kept] == [np.int32, np.int32, np.float32, np.int64]
    for column, name in zip(kept, "uirt"):
        np.testing.assert_array_equal(column, frame[name].to_numpy())
    assert interactions.user_ids == ("a", "b", "c")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"users": ["ann", "ann"]}, r"`users` must hold whole numbers .* Give ids as indices"),
        ({"users": [0.0, np.nan]}, r"`users` must hold whole numbers .*float64"),
        ({"users": [0, 2**32]}, r"`users` must fit into int32"),
        ({"items": [1, 2**32 + 3]}, r"`items` must fit into int32"),
        ({"items": [[1], [2]]}, r"one entry per interaction"),
        ({"ratings": ["good", "bad"]}, r"`ratings` must hold numbers"),
        ({"user_ids": "a"}, r"`user_ids` must be a column"),
        ({"user_ids": ["a", None]}, r"`user_ids` must hold strings"),
    ],
)
def test_invalid_interactions_are_refused(changed, words):
    columns = {"users": [0, 0], "items": [1, 2], "ratings": [1, 1], "timestamps": [1, 2]}
    with pytest.raises(InputError, match=words):
        data.Interactions("x", FILMS, **({"user_ids": ("a",)} | columns | changed))


@pytest.mark.parametrize("ids", [[1, 2], [b"1", b"2"], np.array(["1", "2"]), shuffled([1, 2])])
def test_a_catalogues_ids_are_strings_and_are_found_in_any_form(ids):
    catalogue = data.Catalogue(ids, shuffled(["A", "B"]), shuffled(["a", "b"], dtype="string"))
    assert (catalogue.item_ids, catalogue.titles) == (("1", "2"), ("A", "B"))
    assert catalogue.indices(ids) == [1, 2]
    assert catalogue.indices(shuffled([2, 1])) == [2, 1]
    same = data.Catalogue(("1", "2"), ("A", "B"), ("a", "b"))
    assert catalogue.fingerprint() == same.fingerprint()
    assert catalogue == same


def test_a_catalogue_of_fractional_numbers_or_of_one_text_is_refused():
    with pytest.raises(InputError, match=r"`item_ids` must hold .* Received: 1\.0 in row 0"):
        data.Catalogue([1.0], ["A"], ["a"])
    with pytest.raises(InputError, match=r"`titles` must be a column.* Received: str"):
        data.Catalogue(["1"], "A", ["a"])


def test_windows_from_frames_equal_those_from_arrays():
    history, labels = np.array([[0, 1], [1, 2], [2, 3]]), np.array([[0, 2], [2, 3], [3, 1]])
    output = np.arange(6.0).reshape(3, 2)
    backwards = [2, 1, 0]
    windows = data.Windows(
        FILMS,
        shuffled([5, 6, 7]),
        pd.DataFrame(history, index=backwards),
        pd.DataFrame(labels, index=backwards),
        {"hidden": pd.DataFrame(output, index=backwards)},
        shuffled([True, False, True]),
    )
    plain = data.Windows(
        FILMS,
        np.array([5, 6, 7], np.int32),
        history.astype(np.int32),
        labels.astype(np.int32),
        {"hidden": output},
        np.array([True, False, True]),
    )
    assert windows.fingerprint() == plain.fingerprint()
    np.testing.assert_array_equal(windows.example_keys(), plain.example_keys())
    np.testing.assert_array_equal(windows.knowledge["hidden"][np.array([2, 0])], output[[2, 0]])
    assert windows.subset(shuffled([True, False, False])).users.tolist() == [5]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"users": [0]}, r"`users` must be \[num_examples\].* Received: \[1\], \[2, 2\]"),
        ({"labels": [[0, 1]]}, r"\[2, 2\] and \[1, 2\]"),
        ({"history": [[0, 1], [2]]}, r"`history` must have rows of one length"),
        ({"history": [[0, 4], [0, 1]]}, r"`history` must hold item indices, 0 to 3\. .* 0 to 4"),
        ({"labels": [[0, -1], [0, 1]]}, r"`labels` must hold item indices, 0 to 3\. .*-1 to 1"),
        ({"knowledge": {"hidden": np.zeros([3, 1])}}, r"`knowledge\['hidden'\]` must have 2 rows"),
        ({"candidates": [1, 0, 1]}, r"`candidates` must be bool \[3\].* Received: int64 \[3\]"),
    ],
)
def test_windows_that_do_not_fit_are_refused(changed, words):
    columns = {"users": [0, 1], "history": [[0, 1], [0, 2]], "labels": [[0, 2], [0, 3]]}
    with pytest.raises(InputError, match=words):
        data.Windows(FILMS, **(columns | changed))


def test_queries_from_series_of_lists_equal_those_from_arrays():
    queries = data.Queries(
        FILMS,
        shuffled([4, 5, 6]),
        shuffled([[1, 2], [], [3]]),
        shuffled([pd.Series([3], index=[9]), [1, 2], np.array([1])]),
        shuffled([1, 2, 3]),
    )
    assert [items.tolist() for items in queries.histories] == [[1, 2], [], [3]]
    assert [items.tolist() for items in queries.positives] == [[3], [1, 2], [1]]
    assert {items.dtype for items in (*queries.histories, *queries.positives)} == {np.dtype("i4")}
    assert pad_histories(queries.histories).tolist() == [[1, 2], [0, 0], [0, 3]]
    for rows in ([2, 0], np.array([True, False, True]), shuffled([True, False, True])):
        assert sorted(queries.subset(rows).users.tolist()) == [4, 6]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"users": [0]}, r"must have one entry per query\. Received lengths \[1, 2, 2\]"),
        ({"histories": ([1], ["7"])}, r"`histories\[1\]` must hold whole numbers"),
        ({"histories": ([1], [4])}, r"`histories` must hold item indices, 1 to 3\. .* 1 to 4"),
        ({"positives": ([1], [0])}, r"`positives` must hold item indices, 1 to 3\. .* 0 to 1"),
        ({"positives": ([[1]], [[2]])}, r"`positives` must be item indices in one dimension"),
        ({"candidates": [2**32 + 3]}, r"`candidates` must fit into int32"),
    ],
)
def test_queries_that_do_not_fit_are_refused(changed, words):
    columns = {"users": [0, 1], "histories": ([1], [2]), "positives": ([2], [3])}
    with pytest.raises(InputError, match=words):
        data.Queries(FILMS, **(columns | changed))


def test_ranking_examples_of_a_shuffled_frame_are_in_its_order():
    frame = pd.DataFrame(
        {
            "item_id": pd.array([3, 1, 2], "Int64"),
            "age": pd.array([20.5, None, 40.0], "Float64"),
            "like": pd.array([True, None, False], "boolean"),
            "user": [7, 8, 8],
            "text": pd.array(["x", "y", "z"], "string"),
        },
        index=[2, 0, 1],
    )
    examples = data.RankingExamples(
        frame[["item_id", "age"]],
        frame[["like"]],
        users=frame.user,
        queries=frame.user,
        texts=frame[["text"]],
        teacher_logits={"like": frame.age},
        weights=frame.user,
        catalogue=FILMS,
    )
    assert examples.features["item_id"].tolist() == [3, 1, 2]
    np.testing.assert_array_equal(examples.features["age"], np.float32([20.5, np.nan, 40]))
    np.testing.assert_array_equal(examples.labels["like"], [1, np.nan, 0])
    assert examples.texts == {"text": ("x", "y", "z")}
    assert (examples.users.tolist(), examples.weights.tolist()) == ([7, 8, 8], [7, 8, 8])
    assert examples.subset(frame.user == 8).features["item_id"].tolist() == [1, 2]


def test_knowledge_graphs_attributes_users_and_cold_items():
    graph = KnowledgeGraph(
        shuffled(["a", "b", "c", "d", "mann", "lee"]),
        pd.Series(["director"]),
        pd.DataFrame([[4, 0, 0], [4, 0, 1], [5, 0, 2], [5, 0, 3]], index=[3, 2, 1, 0]),
        pd.Series([0, 1, 2], index=[1, 2, 3]),  # item ids after a merge, as whole numbers
    )
    assert (len(graph), dict(graph.links)) == (4, {"1": 0, "2": 1, "3": 2})
    vectors = neighbour_vectors(graph, FILMS, dim=1)
    assert np.sign(np.abs(vectors[:, 0])).tolist() == [1, 1, 0]  # c shares its director with d only
    films = data.Catalogue(("50",), ("Heat (1995)",), ("Heat",))
    titles = pd.Series(["Heat (1995)", "Babe (1995)"], index=[1, 2])
    assert dict(relink_by_title(graph, titles, films).links) == {"50": 0}
    years = pd.DataFrame({"year": [1990, None]}, index=[9, 3])
    attributes = ItemAttributes(shuffled([["Drama"], []]), years, pd.Series(["year"], index=[4]))
    assert attributes.label_names == ("Drama",)
    np.testing.assert_array_equal(attributes.numbers, [[1990], [np.nan]])
    users = UserAttributes(
        shuffled([7, 8]), shuffled([30, None]), shuffled(["F", "M"]), ["", b"artist"]
    )
    assert (users.user_ids, users.genders, users.occupations) == (
        *(("7", "8"), ("F", "M"), ("", "artist")),
    )
    np.testing.assert_array_equal(users.ages, [30, np.nan])
    assert ColdItems(shuffled([1, 3]), [2]).all.tolist() == [1, 2, 3]
    words = WordVocabulary(shuffled(["too", "small"]), 2)
    assert words.encode(shuffled(["small too", "x"])).tolist() == [[3, 2], [1, 0]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ItemAttributes(["War"], [[1990]], ["year"]), r"`labels\[0\]` must be a column"),
        (lambda: ItemAttributes([["War"]], [["1990"]], ["year"]), r"`numbers` must hold numbers"),
        (
            lambda: UserAttributes(["1"], ["old"], ["F"], [""]),
            r"`ages` must hold numbers\. Received the dtype <U3",
        ),
        (
            lambda: UserAttributes(["1"], [3], ["F", "M"], [""]),
            r"one entry per user\. Received lengths \[1, 1, 2, 1, 1\]",
        ),
        (
            lambda: UserAttributes(["1"], [3], [None], [""]),
            r"`genders` must hold .* '' where there is no text",
        ),
        (
            lambda: KnowledgeGraph(["a"], ["r"], [[0, 0, 0]], {"1": 0.5}),
            r"`links` must hold whole numbers",
        ),
        (lambda: ColdItems([1.5], [2]), r"`described` must hold whole numbers"),
        (lambda: WordVocabulary("too"), r"`words` must be a column"),
    ],
)
def test_other_types_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
