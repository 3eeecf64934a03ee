"""Ranking examples: their columns and batches."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_data import tiny_catalogue

from tfrs_distill.data.ranking_examples import RankingExamples, RankingSplits
from tfrs_distill.errors import InputError

NAN = float("nan")


def examples(**changed):
    arguments = {
        "features": {
            "item_id": np.array([3, 1, 2, 3]),
            "history": np.array([[0, 1], [1, 2], [0, 0], [0, 2]]),
            "history_ratings": np.array([[0, 5], [5, 1], [0, 0], [0, 4]]),
            "age": np.array([30.0, 30.0, NAN, 41.0]),
        },
        "labels": {"rating": [4.0, 2.0, NAN, 5.0], "like": [1.0, 0.0, 1.0, NAN]},
        "users": np.array([1, 1, 2, 3]),
        "queries": np.array([8, 8, 9, 8]),
        "texts": {"text": ["a", "", "c", "d"]},
        "teacher_logits": {"like": [0.5, NAN, -1.0, 2.0]},
        "weights": np.array([1.0, 2.0, 0.0, 1.0]),
        "catalogue": tiny_catalogue(3),
    }
    return RankingExamples(**(arguments | changed))


def as_numpy(batch):
    return {name: values.numpy() for name, values in batch.items()}


def test_a_batch_has_features_labels_logits_and_the_rows_own_columns():
    first, second = map(as_numpy, examples().batches(3))
    expected = {
        "item_id": [3, 1, 2],
        "history": [[0, 1], [1, 2], [0, 0]],
        "history_ratings": [[0, 5], [5, 1], [0, 0]],
        "age": [30, 30, NAN],
        "label/rating": [4, 2, NAN],
        "label/like": [1, 0, 1],
        "teacher_logits/like": [[0.5], [NAN], [-1]],
        "user_id": [1, 1, 2],
        "query_id": [8, 8, 9],
        "example_id": [0, 1, 2],
        "sample_weight": [1, 2, 0],
    }
    assert set(first) == set(second) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(first[name], np.array(values, np.float32), err_msg=name)
    assert second["example_id"].tolist() == [3]
    dtypes = {name: str(values.dtype) for name, values in first.items()}
    whole = {"item_id", "history", "user_id", "query_id"}
    assert {name for name, dtype in dtypes.items() if dtype == "int32"} == whole
    assert dtypes["example_id"] == "int64"
    assert all(dtypes[name] == "float32" for name in set(expected) - whole - {"example_id"})


def test_without_weights_a_batch_has_no_sample_weight():
    (batch,) = examples(weights=None).batches(9)
    assert "sample_weight" not in batch


def test_a_batch_of_lists_has_all_rows_of_its_queries():
    first, second = examples().list_batches(1)
    assert first["example_id"].numpy().tolist() == [0, 1, 3]
    assert second["example_id"].numpy().tolist() == [2]
    assert examples().num_queries == 2
    shuffled = [b["example_id"].numpy().tolist() for b in examples().list_batches(1, seed=0)]
    assert sorted(shuffled) == [[0, 1, 3], [2]]


def test_a_seed_shuffles_the_rows():
    orders = {
        tuple(np.concatenate([b["example_id"] for b in examples().batches(3, seed=seed)]).tolist())
        for seed in range(5)
    }
    assert len(orders) > 1
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)


@pytest.mark.parametrize("rows", [[3, 1], np.array([True, False, False, True])])
def test_a_subset_keeps_every_column_of_its_rows(rows):
    rows = np.array(rows)
    taken = examples().subset(rows)
    numbers = np.flatnonzero(rows) if rows.dtype == bool else rows
    whole = examples()
    assert len(taken) == 2
    for kind in ("features", "labels", "teacher_logits"):
        for name, values in getattr(whole, kind).items():
            np.testing.assert_array_equal(getattr(taken, kind)[name], values[numbers], err_msg=name)
    for name in ("users", "queries", "weights"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(whole, name)[numbers])
    assert taken.texts == {"text": tuple("a cd"[n].strip() for n in numbers)}
    assert taken.catalogue == whole.catalogue
    (batch,) = taken.batches(5)
    assert batch["example_id"].numpy().tolist() == [0, 1]
    assert examples(weights=None).subset(rows).weights is None


def test_joined_rows_are_in_order():
    whole = examples()
    again = whole.subset(np.array([0, 1])).joined(whole.subset(np.array([2, 3])))
    assert again.fingerprint() == whole.fingerprint()
    few = examples(weights=None).subset([3])
    assert few.joined(few).weights is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": {"rating": [4.0]}}, "the same labels can be joined. In one of them only: like"),
        (
            {"teacher_logits": {}},
            "the same teacher_logits can be joined. In one of them only: like",
        ),
        ({"weights": None}, "with weights and rows without"),
        (
            {"catalogue": None},
            "of the same catalogue can be joined. Received: rows of different catalogues, or with",
        ),
        ({"catalogue": tiny_catalogue(4)}, "of the same catalogue"),
        (
            {"teacher_logits": {"like": [[0.5, 0.5]]}},
            r"type and width of `teacher_logits\['like'\]` can be joined. Received: float32",
        ),
    ],
)
def test_rows_of_different_columns_are_not_joined(changed, words):
    given = examples()
    other = replace(given.subset([0]), **changed)
    for first, second in ((given, other), (other, given)):
        with pytest.raises(InputError, match=words):
            first.joined(second)


def test_a_subset_needs_rows_or_a_mask_of_the_same_length():
    with pytest.raises(InputError, match=r"At least one of the 4 rows must be selected"):
        examples().subset(np.zeros(4, bool))
    with pytest.raises(InputError, match=r"A mask of 4 rows was expected\. .*\[3\]"):
        examples().subset(np.ones(3, bool))


def test_features_and_logits_are_added_or_replaced_in_a_copy():
    whole = examples()
    more = whole.with_features({"age": np.zeros(4), "words": np.ones([4, 2], np.int32)})
    assert more.features["age"].tolist() == [0.0] * 4
    assert set(more.features) == set(whole.features) | {"words"}
    with_logits = whole.with_teacher({"rating": np.ones([4, 5]), "like": np.zeros(4)})
    assert with_logits.teacher_logits["rating"].shape == (4, 5)
    assert with_logits.teacher_logits["like"].tolist() == [[0.0]] * 4
    assert set(whole.features) == {"item_id", "history", "history_ratings", "age"}
    assert whole.teacher_logits["like"][0, 0] == 0.5
    kept = whole.with_teacher({"rating": np.ones(4)})
    np.testing.assert_array_equal(kept.teacher_logits["like"], whole.teacher_logits["like"])


def test_labels_of_a_task():
    assert examples().labels_of("like")[:3].tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(InputError, match=r"no labels for the task 'click'\. .*: like, rating\."):
        examples().labels_of("click")
    with pytest.raises(InputError, match=r"no labels for the task 'click'\. .*: none\."):
        examples(labels={}).labels_of("click")
    with pytest.raises(InputError, match=r"'like' has no label in any of 4 rows .*remove the task"):
        examples(labels={"like": [NAN] * 4}).labels_of("like")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"users": []}, r"at least one row"),
        ({"users": [1, 2, 3]}, r"`queries` must have the shape \[3\]"),
        ({"users": [1.0, 2.0, 3.0, 4.0]}, r"`users` must hold whole numbers"),
        ({"queries": [1.0, NAN, 3.0, 4.0]}, r"`queries` must hold whole numbers"),
        ({"labels": {"like": [1.0]}}, r"`labels\['like'\]` must have the shape \[4\]"),
        ({"labels": {"like": [1, 0, np.inf, 0]}}, r"`labels\['like'\]` must be finite"),
        ({"features": {"item_id": [1, 2, 3, 4]}}, r"'item_id'\]` must .*1 to 3.*Received: 4"),
        ({"features": {"history": [1, 2, 3, 3]}}, r"must have the shape \[num_rows, max_history\]"),
        ({"features": {"user_id": [1, 2, 3, 3]}}, r"A feature cannot be called 'user_id'"),
        ({"teacher_logits": {"like": [1.0]}}, r"`teacher_logits\['like'\]` must have the shape"),
        ({"weights": [1.0, -1.0, 1.0, 1.0]}, r"`weights` must be at least 0"),
        ({"texts": {"text": ["a"]}}, r"`texts\['text'\]` must have one text per row, 4"),
    ],
)
def test_inconsistent_columns_are_refused(changed, words):
    with pytest.raises(InputError, match=words):
        examples(**changed)


def test_without_a_catalogue_any_item_index_is_valid():
    assert len(examples(features={"item_id": [-1, 2, 3, 99]}, catalogue=None)) == 4


@pytest.mark.parametrize("make", ["batches", "list_batches"])
def test_a_batch_has_at_least_one_row(make):
    with pytest.raises(InputError, match=r"must be at least 1\. Received: 0\."):
        getattr(examples(), make)(0)


def test_the_fingerprint_depends_on_every_part():
    whole = examples()
    changed = [
        whole,
        whole.with_features({"age": np.array([30.0, 30.0, NAN, 42.0])}),
        whole.with_features({"aged": whole.features["age"]}),
        whole.with_features({"age": np.array([30, 30, 0, 41])}),
        whole.with_teacher({"like": np.array([0.5, 1.0, -1.0, 2.0])}),
        examples(labels={"rating": [4.0, 2.0, 1.0, 5.0], "like": [1.0, 0.0, 1.0, NAN]}),
        examples(users=np.array([1, 1, 2, 4])),
        examples(queries=np.array([8, 8, 9, 9])),
        examples(weights=np.ones(4)),
        examples(weights=None),
        examples(texts={"text": ["a", "", "c", "e"]}),
        examples(texts={"text": ["a", "c", "", "d"]}),
        examples(texts={"title": ["a", "", "c", "d"]}),
        examples(catalogue=tiny_catalogue(4)),
        examples(catalogue=None),
        whole.subset(np.arange(3)),
        whole.subset(np.array([1, 0, 2, 3])),
    ]
    assert len({one.fingerprint() for one in changed}) == len(changed)
    assert examples().fingerprint() == whole.fingerprint()


def test_the_fingerprint_depends_on_names_and_types():
    zeros = np.zeros([4, 1], np.float32)
    same_bytes = [{"age": zeros}, {"aged": zeros}, {"age": zeros.astype(np.int32)}]
    assert len({examples(features=one).fingerprint() for one in same_bytes}) == 3


def test_the_order_of_features_does_not_matter():
    reordered = dict(reversed(examples().features.items()))
    assert examples(features=reordered).fingerprint() == examples().fingerprint()


def test_parts_of_a_split_have_the_same_columns():
    whole = examples()
    splits = RankingSplits("tiny", whole, whole.subset([0]), whole.subset([1, 2]))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (4, 1, 2)
    with pytest.raises(InputError, match=r"'tiny': test and train must have .*features.*: words"):
        RankingSplits("tiny", whole, whole, whole.with_features({"words": np.zeros(4)}))
    with pytest.raises(InputError, match=r"validation and train must have .*labels.*: rating"):
        RankingSplits("tiny", whole, examples(labels={"like": [1, 0, 1, NAN]}), whole)
