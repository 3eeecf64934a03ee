"""Columns of CSV and Parquet files, and the places that messages name."""

import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tfrs_distill.data.readers.text_table import read_text_table
from tfrs_distill.errors import InputError, MissingExtraError

NAMES = ("Title", "Age")


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(',Age,Title,More\n0,31,"one,\ntwo",x\n\n1,,,x\n2,4.5,ü,x\n', encoding="utf-8")
    return path


@pytest.fixture(params=["a.parquet", "a.parquet.brotli"])
def parquet_file(tmp_path, request):
    path = tmp_path / request.param
    columns = {"Age": [31.0, None, 4.5], "Title": ["one,\ntwo", None, "ü"], "More": [1, 2, 3]}
    compression = "brotli" if path.suffix == ".brotli" else "snappy"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression=compression)
    return path


def check(table):
    assert table.columns["Title"] == ["one,\ntwo", "", "ü"]
    assert set(table.columns) == set(NAMES)
    assert len(table) == 3
    np.testing.assert_array_equal(table.numbers("Age"), [31.0, np.nan, 4.5])


def test_csv(csv_file):
    table = read_text_table(csv_file, NAMES)
    check(table)
    # The first record ends on line 3, the blank line is 4.
    assert [table.place(row) for row in range(3)] == [f"{csv_file}, line {n}" for n in (3, 5, 6)]


def test_parquet(parquet_file):
    table = read_text_table(str(parquet_file), NAMES)
    check(table)
    assert [table.place(row) for row in (0, 2)] == [f"{parquet_file}, row {n}" for n in (1, 3)]


@pytest.mark.parametrize("number", ["x", "nan", "inf", "1 2"])
def test_a_value_that_is_not_a_number_is_named_with_its_location(tmp_path, number):
    (tmp_path / "a.csv").write_text(f"Age\n1\n{number}\n")
    with pytest.raises(InputError, match=rf"a\.csv, line 3: Age '{number}' is not a number\."):
        read_text_table(tmp_path / "a.csv", ["Age"]).numbers("Age")


def test_blanks_are_missing_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("Age,b\n  ,1\n 2 ,1\n")
    table = read_text_table(tmp_path / "a.csv", ["Age"])
    np.testing.assert_array_equal(table.numbers("Age"), [np.nan, 2.0])


def test_a_missing_column_is_named(csv_file, tmp_path):
    with pytest.raises(InputError, match=r"a\.csv, line 1: a column 'Rating' was expected"):
        read_text_table(csv_file, ["Age", "Rating"])
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"Age": [1], "More": [1]}), path)
    with pytest.raises(
        InputError, match=r"a\.parquet: a column 'Rating' was expected\. .*columns: Age, More\."
    ):
        read_text_table(path, ["Age", "Rating"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.json", r"A file that ends in \.csv, \.parquet or .* was expected\. .*a\.json"),
        ("no.csv", r"There is no file .*no\.csv"),
        ("no.parquet", r"There is no file .*no\.parquet"),
    ],
)
def test_other_kinds_and_missing_files_are_refused(tmp_path, name, words):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match=words):
        read_text_table(tmp_path / name, NAMES)


def test_damaged_and_empty_files_are_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"a\.parquet cannot be read as Parquet"):
        read_text_table(tmp_path / "a.parquet", NAMES)
    (tmp_path / "a.csv").write_text("Age,Title\n")
    with pytest.raises(InputError, match=r"a\.csv has no rows"):
        read_text_table(tmp_path / "a.csv", NAMES)
    (tmp_path / "a.csv").write_text("Age,Title\n1\n")
    with pytest.raises(InputError, match=r"line 2: 2 fields expected, 1 found"):
        read_text_table(tmp_path / "a.csv", NAMES)


def test_parquet_without_pyarrow_names_the_package_to_install(parquet_file, csv_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r'pip install "tfrs-distill\[tables\]"'):
        read_text_table(parquet_file, NAMES)
    check(read_text_table(csv_file, NAMES))
