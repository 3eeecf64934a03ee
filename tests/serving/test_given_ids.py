import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact.given_ids import indices_of, plain_values, whole_numbers

INDEX_OF = {"7": 1, "1": 2, "é": 3}


def indices(given):
    return indices_of(plain_values(given, "ids"), INDEX_OF, "ids")


@pytest.mark.parametrize(
    "given, expected",
    [
        (["7", "1", "é", "x"], [1, 2, 3, 0]),
        ([b"7", b"\xc3\xa9", np.bytes_(b"1"), np.str_("7")], [1, 3, 2, 1]),
        (["7", 7, "1", np.int64(1)], [1, 7, 2, 1]),  # which NumPy alone would convert to text
        (["7", None, float("nan")], [1, 0, 0]),
        ([2**31 - 1, -(2**31), 0], [2**31 - 1, -(2**31), 0]),
        (np.array([2**31 - 1, 16_777_217], np.int64), [2**31 - 1, 16_777_217]),
        ([7.0, np.float32(1)], [7, 1]),
        ([], []),
        (np.array([], "U1"), []),
    ],
)
def test_text_is_looked_up_and_numbers_are_unchanged(given, expected):
    found = indices(given)
    assert found.dtype == np.int32 and found.tolist() == expected


def test_reads_pandas_types():
    pandas = pytest.importorskip("pandas")
    for values, dtype, expected in (
        (["1", "7"], object, [2, 1]),
        (["1", None], "string", [2, 0]),
        (["7", "1"], "category", [1, 2]),
        ([7, None], "Int64", [7, 0]),
        ([7, 1], "uint8", [7, 1]),
        (["7", pandas.NA, 1], object, [1, 0, 1]),
    ):
        column = pandas.Series(values, index=range(9, 9 - len(values), -1), dtype=dtype)
        assert indices(column).tolist() == expected


@pytest.mark.parametrize(
    "given, received",
    [
        ([2**31], "2147483648"),
        ([-(2**31) - 1], "-2147483649"),
        (np.array([2**32 + 3]), "4294967299"),
        (["7", 2**70], str(2**70)),
        ([1.5], r"1\.5"),
        (["7", 1.5], r"1\.5"),
        ([float("inf")], "inf"),
        ([True], "True"),
        (["7", np.True_], "np.True_"),
    ],
)
def test_refuses_numbers_that_are_not_an_index(given, received):
    words = f"ids must be whole numbers or ids: text is an id.*2147483647. Received: {received}"
    with pytest.raises(InputError, match=words):
        indices(given)


@pytest.mark.parametrize("given", [[{}], [1j], np.array(["2020"], "M8[D]"), [10**400], [["7"], 7]])
def test_refuses_other_types(given):
    with pytest.raises(
        InputError, match="ids must (be ids or indices|have the same number of values)"
    ):
        indices(given)


def test_text_without_a_vocabulary_is_refused():
    with pytest.raises(
        InputError, match="ids takes indices, because .* vocabulary.* Received: '7'"
    ):
        indices_of(plain_values([3, b"7"], "ids"), None, "ids")


def test_text_is_not_a_whole_number():
    with pytest.raises(InputError, match="words must be whole numbers.* Received: '5'"):
        whole_numbers(plain_values([[1, "5"]], "words"), "words")
