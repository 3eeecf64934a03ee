"""Predictions of another model: found by row or by pair, from arrays and from files."""

import builtins

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RatingDistribution,
    Regression,
)
from tfrs_distill.teachers.arrays.row_logits_from_arrays import (
    read_row_logits,
    row_logits_from_arrays,
)

NAN = float("nan")
USERS, ITEMS = np.array([2, 1, 2, 1]), np.array([3, 1, 1, 3])
EXAMPLES = RankingExamples({"item_id": ITEMS}, {}, users=USERS, queries=USERS)
LIKE, RATING = Binary("like"), Regression("rating", 1, 5)
BY_PAIR = {(2, 3): 0.5, (1, 1): -1.5, (2, 1): 2.5, (1, 3): 0.25, (9, 9): 7.0}
KEYS = [(1, 3), (9, 9), (2, 1), (1, 1), (2, 3)]  # another order, and an unused pair
PAIRS = tuple(np.array(column) for column in zip(*KEYS))
PAIR_VALUES = np.array([BY_PAIR[key] for key in KEYS])
EXPECTED = np.array([[BY_PAIR[pair]] for pair in zip(USERS.tolist(), ITEMS.tolist())])


def test_values_are_found_by_row_in_any_order():
    order = np.array([2, 0, 3, 1])
    values = {"like": EXPECTED[order, 0], "rating": 10 * EXPECTED[order]}
    output = row_logits_from_arrays(EXAMPLES, values, [LIKE, RATING], example_ids=order)
    np.testing.assert_array_equal(output["like"], EXPECTED)
    np.testing.assert_array_equal(output["rating"], 10 * EXPECTED)
    assert output["like"].dtype == np.float32
    assert EXAMPLES.with_teacher(output).teacher_logits["like"].shape == (4, 1)


def test_values_are_found_by_user_and_item():
    output = row_logits_from_arrays(EXAMPLES, {"like": PAIR_VALUES}, [LIKE], pairs=PAIRS)
    np.testing.assert_array_equal(output["like"], EXPECTED)
    twice = EXAMPLES.subset(np.array([1, 1, 0]))
    output = row_logits_from_arrays(twice, {"like": PAIR_VALUES}, [LIKE], pairs=PAIRS)
    np.testing.assert_array_equal(output["like"][:, 0], [-1.5, -1.5, 0.5])


def test_a_pair_is_not_confused_with_another():
    """Users and items over all of int32, also below 0."""
    low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    pairs = [(user, item) for user in (low, -1, 0, 1, high) for item in (low, -1, 0, 1, high)]
    users, items = (np.array(column) for column in zip(*pairs))
    examples = RankingExamples({"item_id": items}, {}, users=users, queries=users)
    order = np.random.default_rng(0).permutation(25)
    output = row_logits_from_arrays(
        examples, {"like": order * 1.0}, [LIKE], pairs=(users[order], items[order])
    )
    np.testing.assert_array_equal(output["like"][:, 0], np.arange(25))
    with pytest.raises(InputError, match="of user -1 and item 2147483647"):
        kept = ~((users == -1) & (items == high))
        values = {"like": np.zeros(24)}
        row_logits_from_arrays(examples, values, [LIKE], pairs=(users[kept], items[kept]))


def of_all(task, values, **options):
    num = len(values)
    examples = RankingExamples({}, {}, users=np.arange(num), queries=np.arange(num))
    ids = np.arange(num)
    return row_logits_from_arrays(
        examples, {task.name: np.array(values)}, [task], example_ids=ids, **options
    )[task.name]


def test_probabilities_become_logits():
    found = of_all(LIKE, [0.5, 0.75, 0.2, 0.0, 1.0, NAN], probabilities=True)
    edge = np.log(1e-6 / (1 - 1e-6))  # kept a millionth away from 0 and 1
    expected = [0.0, np.log(3), np.log(0.25), edge, -edge]
    np.testing.assert_allclose(found[:5, 0], expected, rtol=1e-6)
    assert np.isnan(found[5]).all()

    shares = [[0.2, 0.3, 0.5], [0.0, 0.0, 1.0], [NAN] * 3]
    grade = of_all(RatingDistribution("grade", (1, 2, 3)), shares, probabilities=True)
    np.testing.assert_allclose(grade[0], np.log([0.2, 0.3, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(grade[1], np.log([1e-6, 1e-6, 1.0]), atol=2e-6)
    following = of_all(NextItem("next", 3), shares, probabilities=True)
    np.testing.assert_array_equal(following, grade)

    stars = of_all(Ordinal("stars", (1, 2, 3)), shares, probabilities=True)
    # More than one star: 0.3 + 0.5 of it; more than two: 0.5.
    np.testing.assert_allclose(stars[0], [np.log(0.8 / 0.2), 0.0], atol=1e-6)
    np.testing.assert_allclose(stars[1], [-edge, -edge], rtol=1e-6)
    assert stars.shape == (3, 2) and np.isnan(stars[2]).all()


def test_logits_and_values_are_unchanged():
    assert of_all(LIKE, [-7.0, 8.0])[:, 0].tolist() == [-7.0, 8.0]
    assert of_all(RATING, [4, 2], probabilities=True)[:, 0].tolist() == [4.0, 2.0]
    logits = [[1.5, -1.5], [0.0, -9.0]]
    assert of_all(Ordinal("stars", (1, 2, 3)), logits).tolist() == logits


@pytest.mark.parametrize(
    ("values", "task", "probabilities", "words"),
    [
        ([0.5, 1.5], LIKE, True, r"'like' must be within 0 and 1. Place 1 holds \[1.5\]"),
        ([-0.1, 0.5], LIKE, True, r"'like' must be within 0 and 1. Place 0 holds \[-0.1\]"),
        ([0.5, np.inf], LIKE, False, r"'like' must be finite, .* Place 1 holds \[inf\]"),
        (["a", "b"], LIKE, False, "'like' must be numbers, .*<U1 of shape"),
        ([[0.5, 0.5]] * 2, LIKE, True, r"must be numbers, \[2, 1\]. .* shape \[2, 2\]"),
        (
            [[0.5, 0.3, 0.2], [0.5, 0.3, 0.1]],
            RatingDistribution("grade", (1, 2, 3)),
            True,
            "'grade' must add up to 1 in every row. In place 1 they add up to 0.9000",
        ),
        (
            [[0.5, 0.5]] * 2,
            Ordinal("stars", (1, 2, 3)),
            True,
            r"'stars' must be the probabilities of all classes, \[2, 3\].* shape \[2, 2\]",
        ),
        (
            [[0.5, NAN], [0.5, 0.5]],
            Ordinal("stars", (1, 2, 3)),
            False,
            r"finite, or a row of NaN. Place 0 holds \[0.5, nan\]",
        ),
    ],
)
def test_invalid_values(values, task, probabilities, words):
    with pytest.raises(InputError, match=words):
        of_all(task, values, probabilities=probabilities)


def test_probabilities_may_be_rounded():
    # As float32, or as in a file with three digits.
    found = of_all(LIKE, [1.0000001, -1e-9], probabilities=True)
    assert np.isfinite(found).all()
    found = of_all(GRADE, [[0.1, 0.2, 0.7003]], probabilities=True)
    np.testing.assert_allclose(found[0], np.log([0.1, 0.2, 0.7003]), rtol=1e-6)


def requested(values=PAIR_VALUES, examples=EXAMPLES, tasks=(LIKE,), **keys):
    return row_logits_from_arrays(examples, {"like": values}, tasks, **keys)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: requested(), ValueError, "either `example_ids` or `pairs`"),
        (
            lambda: requested(pairs=PAIRS, example_ids=np.arange(4)),
            ValueError,
            "either `example_ids`",
        ),
        (
            lambda: requested(np.zeros(3), example_ids=np.array([0, 2, 3])),
            InputError,
            r"There are no values of 1 of 4 examples, first of example 1 \(row 1\)",
        ),
        (
            lambda: requested(np.zeros(2), pairs=(np.array([2, 1]), np.array([3, 3]))),
            InputError,
            r"There are no values of 2 of 4 examples, first of user 1 and item 1 \(row 1\)",
        ),
        (
            lambda: requested(np.zeros(0), example_ids=np.zeros(0, int)),
            InputError,
            "There are no values of 4 of 4 examples, first of example 0",
        ),
        (
            lambda: requested(np.zeros(5), example_ids=np.array([0, 1, 2, 3, 1])),
            InputError,
            "two values of example 1",
        ),
        (
            lambda: requested(np.zeros(3), pairs=(np.array([2, 1, 2]), np.array([3, 3, 3]))),
            InputError,
            "two values of user 2 and item 3",
        ),
        (
            lambda: requested(np.zeros(5), example_ids=np.arange(5)),
            InputError,
            "row numbers of the examples, 0 to 3. Received: 4",
        ),
        (
            lambda: requested(np.zeros(4), example_ids=np.arange(4) - 1),
            InputError,
            "row numbers of the examples, 0 to 3. Received: -1",
        ),
        (
            lambda: requested(example_ids=np.arange(4.0)),
            InputError,
            "`example_ids` must be whole numbers",
        ),
        (
            lambda: requested(pairs=(PAIRS[0], PAIRS[1][None])),
            InputError,
            r"`pairs\[1\]` must be whole numbers, \[n\]. .* shape \[1, 5\]",
        ),
        (
            lambda: requested(pairs=(PAIRS[0] + 2**40, PAIRS[1])),
            InputError,
            r"`pairs\[0\]` must fit into int32",
        ),
        (
            lambda: requested(pairs=(PAIRS[0], PAIRS[1][1:])),
            InputError,
            "as many users as items. Received: 5 and 4",
        ),
        (
            lambda: requested(np.zeros(4), pairs=PAIRS),
            InputError,
            r"'like' must be numbers, \[5, 1\]",
        ),
        (
            lambda: requested(pairs=PAIRS, tasks=(RATING,)),
            InputError,
            "one or several of the tasks rating. Received: like",
        ),
        (
            lambda: row_logits_from_arrays(EXAMPLES, {}, [LIKE], pairs=PAIRS),
            InputError,
            "one or several of the tasks like. Received: none",
        ),
        (
            lambda: requested(
                pairs=PAIRS, examples=RankingExamples({}, {}, users=USERS, queries=USERS)
            ),
            InputError,
            "no feature 'item_id'",
        ),
    ],
)
def test_invalid_keys(call, error, words):
    with pytest.raises(error, match=words):
        call()


VOCABULARIES = {"user_id": ("31", "ann"), "item_id": ("50", "7", "b 9")}


def write(path, arrays):
    if path.suffix == ".parquet":
        table = {n: a.tolist() if a.ndim > 1 else a for n, a in arrays.items()}
        pyarrow.parquet.write_table(pyarrow.table(table), path)
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        safetensors.numpy.save_file(
            {n: np.ascontiguousarray(array) for n, array in arrays.items()}, path
        )
    return path


SHARES = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [1 / 3] * 3, [0.1, 0.1, 0.8]])
GRADE = RatingDistribution("grade", (1, 2, 3))


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".parquet"])
def test_files_by_row_and_by_the_examples_own_numbers(tmp_path, ending):
    order = np.array([3, 1, 0, 2])
    arrays = {"example_id": order, "grade": SHARES[order], "like": SHARES[order, 0]}
    path = write(tmp_path / f"rows{ending}", arrays)
    output = read_row_logits(path, EXAMPLES, [RATING, GRADE, LIKE], probabilities=True)
    assert sorted(output) == ["grade", "like"]
    np.testing.assert_allclose(output["grade"], np.log(SHARES), rtol=1e-6)
    odds = SHARES[:, :1] / (1 - SHARES[:, :1])
    np.testing.assert_allclose(np.exp(output["like"]), odds, rtol=1e-5)

    users, items = PAIRS
    path = write(
        tmp_path / f"pairs{ending}", {"user_id": users, "item_id": items, "like": PAIR_VALUES}
    )
    output = read_row_logits(path, EXAMPLES, [LIKE, RATING])
    np.testing.assert_array_equal(output["like"], EXPECTED)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_files_with_ids_of_the_data_set(tmp_path, ending):
    """User 1 is "31" and 2 "ann"; item 1 is "50", 2 "7", 3 "b 9"; 9 is in no vocabulary."""
    users = np.array([{1: "31", 2: "ann", 9: "?"}[user] for user in PAIRS[0].tolist()])
    items = np.array([{1: "50", 3: "b 9", 9: "99"}[item] for item in PAIRS[1].tolist()])
    arrays = {"user_id": users, "item_id": items, "like": PAIR_VALUES}
    path = write(tmp_path / f"ids{ending}", arrays)
    output = read_row_logits(path, EXAMPLES, [LIKE], vocabularies=VOCABULARIES)
    np.testing.assert_array_equal(output["like"], EXPECTED)
    unknown = write(tmp_path / f"unknown{ending}", arrays | {"item_id": np.array(["50"] * 5)})
    with pytest.raises(InputError, match="unknown.*two values of user 1 and item 1"):
        read_row_logits(unknown, EXAMPLES, [LIKE], vocabularies=VOCABULARIES)


def test_unknown_ids_are_skipped_and_do_not_match_unknown_items(tmp_path):
    arrays = {"user_id": np.array(["ann"] * 3), "item_id": np.array(["7", "new", "newer"])}
    path = write(tmp_path / "new.npz", arrays | {"like": np.array([1.0, 2.0, 3.0])})
    known, unknown = (
        RankingExamples({"item_id": np.array([item])}, {}, np.array([2]), np.array([0]))
        for item in (2, 0)
    )
    output = read_row_logits(path, known, [LIKE], vocabularies=VOCABULARIES)
    assert output["like"].tolist() == [[1.0]]
    with pytest.raises(InputError, match="no values of 1 of 1 examples.*user 2 and item 0"):
        read_row_logits(path, unknown, [LIKE], vocabularies=VOCABULARIES)


def test_a_column_without_vocabulary_has_the_examples_own_numbers(tmp_path):
    examples = RankingExamples({"item_id": np.array([3, 1])}, {}, np.array([0, -4]), np.arange(2))
    arrays = {"user_id": np.array([-4, 0, 0]), "item_id": np.array(["50", "b 9", "?"])}
    path = write(tmp_path / "half.npz", arrays | {"like": np.array([1.0, 2.0, 3.0])})
    items = {"item_id": VOCABULARIES["item_id"]}
    output = read_row_logits(path, examples, [LIKE], vocabularies=items)
    assert output["like"].tolist() == [[2.0], [1.0]]


def test_ids_that_are_numbers_are_compared_by_their_decimal_text(tmp_path):
    examples = EXAMPLES.subset(np.array([1]))  # user 1, item 1
    arrays = {"user_id": np.array([31]), "item_id": np.array([50]), "like": np.array([4.0])}
    path = write(tmp_path / "numbers.npz", arrays)
    output = read_row_logits(path, examples, [LIKE], vocabularies=VOCABULARIES)
    assert output["like"].tolist() == [[4.0]]
    with pytest.raises(InputError, match="numbers.npz: There are no values of 1 of 1 examples"):
        read_row_logits(path, examples, [LIKE])


def test_errors_in_files_are_named(tmp_path, monkeypatch):
    def read(name, arrays=None, **options):
        path = tmp_path / name
        if arrays is not None:
            write(path, arrays)
        return read_row_logits(path, EXAMPLES, [LIKE, GRADE], **options)

    ids = {"user_id": PAIRS[0], "item_id": PAIRS[1]}
    whole = ids | {"like": PAIR_VALUES}
    for name, arrays, words in (
        ("a.npz", ids, "a.npz must hold `example_id`, or .* tasks like, grade. It holds: item_id"),
        ("b.npz", {"user_id": PAIRS[0], "like": PAIR_VALUES}, "b.npz must hold `example_id`, or"),
        ("c.npz", whole | {"like": PAIR_VALUES[1:]}, r"c.npz: The values .* numbers, \[5, 1\]"),
        ("d.npz", whole | {"user_id": PAIRS[0] * 1.5}, "d.npz: .* whole numbers"),
        ("e.npz", whole | {"user_id": np.array(["x"] * 5)}, "e.npz: .* whole numbers"),
        ("f.csv", None, "f.csv must end in one of .npz, .safetensors, .parquet. Received: .csv"),
        ("missing.npz", None, "There is no file .*missing.npz"),
    ):
        with pytest.raises(InputError, match=words):
            read(name, arrays)
    with pytest.raises(InputError, match=r"g.npz: `user_id` must be whole numbers or texts"):
        read("g.npz", whole | {"user_id": PAIRS[0] * 1.5}, vocabularies=VOCABULARIES)
    for place, name in enumerate(("user_id", "item_id")):
        with pytest.raises(InputError, match=r"h.npz: (`pairs`|The values)"):
            read("h.npz", whole | {name: PAIRS[place][1:]}, vocabularies=VOCABULARIES)
    for ending in ("npz", "safetensors", "parquet"):
        (tmp_path / f"cut.{ending}").write_bytes(b"PAR1 no")
        with pytest.raises(InputError, match=f"cut.{ending} cannot be read"):
            read(f"cut.{ending}")
    np.savez(tmp_path / "pickled.npz", **whole | {"user_id": np.array(["x"] * 5, object)})
    with pytest.raises(InputError, match=r"pickled: save np.array\(ids, dtype=str\)"):
        read("pickled.npz")
    lists = {"example_id": [0, 1], "grade": [[0.5, 0.5], [1.0]]}
    pyarrow.parquet.write_table(pyarrow.table(lists), tmp_path / "ragged.parquet")
    with pytest.raises(InputError, match="lists in column 'grade' differ in length"):
        read("ragged.parquet")
    pyarrow.parquet.write_table(
        pyarrow.table({"example_id": [0, None], "like": [0.5, 1.0]}), tmp_path / "holes.parquet"
    )
    with pytest.raises(InputError, match="column 'example_id' has 1 empty values"):
        read("holes.parquet")

    imported = builtins.__import__

    def without_pyarrow(name, *arguments):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(MissingExtraError, match=r'pip install "tfrs-distill\[tables\]"'):
        read("holes.parquet")
