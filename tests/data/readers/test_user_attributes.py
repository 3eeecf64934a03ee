"""Age, gender and occupation from every layout that has them."""

import numpy as np
import pytest

from tfrs_distill.data.readers.user_attributes import UserAttributes, read_user_attributes
from tfrs_distill.errors import InputError

HEADER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"


def write_u_user(folder):
    (folder / "u.user").write_text(
        "7|24|M|technician|85711\n3|53|F|none|\n9|||écrivain|x\n", encoding="latin-1"
    )


def write_dat(folder):
    (folder / "users.dat").write_text(
        "7::M::24::technician::85711\n3::F::53::none::\n9::::::écrivain::x\n", encoding="latin-1"
    )


def write_atomic(folder):
    (folder / "ml.user").write_text(
        "zip_code:token\toccupation:token\tuser_id:token\tgender:token\tage:float\n"
        "85711\ttechnician\t7\tM\t24\n\tnone\t3\tF\t53\nx\técrivain\t9\t\t\n"
    )


@pytest.mark.parametrize("write", [write_u_user, write_dat, write_atomic])
def test_every_layout_returns_the_same(tmp_path, write):
    write(tmp_path)
    users = read_user_attributes(tmp_path)
    assert users.user_ids == ("7", "3", "9")
    np.testing.assert_array_equal(users.ages, [24, 53, np.nan])
    assert users.genders == ("M", "F", "")
    assert users.occupations == ("technician", "none", "écrivain")


def test_a_folder_without_a_file_of_users_has_no_attributes(tmp_path):
    (tmp_path / "ratings.csv").write_text("")
    assert read_user_attributes(tmp_path) is None


def test_several_files_of_users_are_refused(tmp_path):
    write_u_user(tmp_path)
    write_atomic(tmp_path)
    with pytest.raises(InputError, match=r"One file about the users .* Found: u\.user, ml\.user\."):
        read_user_attributes(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER + "1\t24\tM\n", r"line 2: 5 fields expected, 3 found"),
        (HEADER + "\t24\tM\tx\ty\n", r"line 2: the user id is empty"),
        (HEADER + "1\t2\tM\tx\ty\n" * 2, r"line 3: user id '1' is already on line 2"),
        (HEADER + "1\told\tM\tx\ty\n", r"line 2: age 'old' is not a number"),
        (HEADER + "1\tinf\tM\tx\ty\n", r"line 2: age 'inf' is not a number"),
        (HEADER, r"ml\.user holds no users"),
        ("user_id:token\tage:token\n1\t2\n", r"line 1: a column 'gender' was expected"),
    ],
)
def test_invalid_values_are_named_with_their_line(tmp_path, text, words):
    (tmp_path / "ml.user").write_text(text)
    with pytest.raises(InputError, match=words):
        read_user_attributes(tmp_path)


def test_rows_of_the_older_layouts_have_five_fields(tmp_path):
    (tmp_path / "u.user").write_text("1|24|M|x\n")
    with pytest.raises(InputError, match=r"u\.user, line 1: 5 fields expected, 4 found"):
        read_user_attributes(tmp_path)
    (tmp_path / "u.user").rename(tmp_path / "users.dat")
    with pytest.raises(InputError, match=r"users\.dat, line 1: 5 fields expected, 1 found"):
        read_user_attributes(tmp_path)


@pytest.mark.realdata
def test_users_of_movielens_100k(movielens_folder):
    # Lines 1 and 943 of the file; GroupLens' README: 943 users, u.occupation: 21 occupations.
    users = read_user_attributes(movielens_folder)
    assert len(users.user_ids) == 943
    assert (users.user_ids[0], users.ages[0]) == ("1", 24.0)
    assert (users.genders[0], users.occupations[0]) == ("M", "technician")
    assert len(set(users.occupations)) == 21
    assert sorted(set(users.genders)) == ["F", "M"]
    assert np.isfinite(users.ages).all()


def test_attributes_of_the_users_of_the_data_by_their_index():
    ages = [1, 17, 18, 24, 25, 35, 45, 49.5, 50, 55, 56, 99, np.nan]
    ids = tuple(map(str, range(len(ages))))
    users = UserAttributes(ids, ages, ("F",) * 12 + ("",), ("",) * 13)
    found = users.groups(("12", "x", *ids[:12]))
    assert list(found) == ["gender", "age"]  # no occupation is available
    assert found["gender"] == ("", "", *"F" * 12)
    assert found["age"] == (
        *("", "", "0 to 17", "0 to 17", "18 to 24", "18 to 24", "25 to 34", "35 to 44"),
        *("45 to 49", "45 to 49", "50 to 55", "50 to 55", "56 or more", "56 or more"),
    )
