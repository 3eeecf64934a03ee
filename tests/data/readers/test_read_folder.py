"""Detection of a folder's layout, and errors for unknown layouts."""

import pytest

from tfrs_distill.data.readers import read_folder
from tfrs_distill.errors import InputError

LAYOUTS = r"Layouts read: GroupLens \(u\.data, .*ratings\.dat.*ratings\.csv.*RecBole \(NAME\.inter"


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"no-such does not exist\. " + LAYOUTS):
        read_folder(tmp_path / "no-such")
    assert list(tmp_path.iterdir()) == []


def test_file_instead_of_a_folder(tmp_path):
    (tmp_path / "u.data").write_text("")
    with pytest.raises(InputError, match=r"u\.data is a file, not a folder\. " + LAYOUTS):
        read_folder(tmp_path / "u.data")


def test_empty_folder(tmp_path):
    with pytest.raises(InputError, match=rf"{tmp_path.name} is empty\. {LAYOUTS}"):
        read_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_layout_lists_the_files_found(tmp_path):
    for number in range(10):
        (tmp_path / f"part-{number}.parquet").write_text("")
    with pytest.raises(
        InputError,
        match=rf"is of another layout\. {LAYOUTS}.* Found: part-0\.parquet, .*part-7\.parquet "
        r"and 2 more\.$",
    ):
        read_folder(tmp_path)


def test_data_one_folder_deeper_is_suggested(tmp_path):
    (tmp_path / "ml-100k").mkdir()
    (tmp_path / "ml-100k" / "u.data").write_text("")
    with pytest.raises(InputError, match=r"another layout.* Did you mean .*/ml-100k\?$"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ("u.data", r"u\.data but not u\.item, u\.genre"),
        ("ratings.dat", r"ratings\.dat but not movies\.dat"),
        ("ratings.csv", r"ratings\.csv but not movies\.csv"),
        ("books.inter", r"books\.inter but not books\.item"),
    ],
)
def test_interactions_without_their_items(tmp_path, present, missing):
    (tmp_path / present).write_text("")
    with pytest.raises(InputError, match=missing):
        read_folder(tmp_path)


@pytest.mark.parametrize("names", [("ratings.csv", "u.data"), ("a.inter", "b.inter")])
def test_two_data_sets_in_one_folder_are_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(
        InputError, match=rf"holds more than one data set.* Found: {', '.join(names)}"
    ):
        read_folder(tmp_path)
