"""Book-Crossing: small made files, and the real ones. Expected counts come from `csv` alone."""

import numpy as np
import pytest

from tfrs_distill.data import book_crossing, read_folder
from tfrs_distill.data.item_features import attribute_vectors, item_attributes
from tfrs_distill.data.readers import data_set_name
from tfrs_distill.data.readers.user_attributes import read_user_attributes
from tfrs_distill.errors import InputError

BOOKS = "BX-Books.csv"
RATINGS = "BX-Book-Ratings.csv"
USERS = "BX-Users.csv"
BOOK_HEADER = '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S"\n'
BOOK_ROWS = (
    '"b1";"The \\"Essentials\\"; or so";"A. Writer";"1999";"Plume &amp; Co";"http://x"\n'
    '"b2";"Träume";"";"0";"NULL";"http://x"\n'
    '"b3";"Für alle";"C. Writer";"2001";"P";"http://x"\n'
    '"b4";"Four";"D. Writer";"2001";"P";"http://x"\n'
    '"b5";"Five";"E. Writer";"2001";"P";"http://x"\n'
    '"rare";"Rare";"F. Writer";"2001";"P";"http://x"\n'
    '"untitled";" ";"G. Writer";"2001";"P";"http://x"\n'
)
RATING_HEADER = '"User-ID";"ISBN";"Book-Rating"\n'
READERS = ("7", "11", "3", "9", "5")
KEPT = ("b1", "b2", "b3", "b4", "b5")
KEPT_AT = tuple(enumerate(KEPT))


def rating_rows():
    """Five readers of five books, and rows that the core excludes."""
    rows = [(user, book, (place + int(user)) % 11) for user in READERS for place, book in KEPT_AT]
    rows.insert(3, ("7", "rare", 9))  # one reader
    rows.insert(9, ("20", "b1", 9))  # a reader of one book
    rows += [(user, "untitled", 5) for user in READERS]
    rows += [(user, "unknown", 5) for user in READERS]
    rows.append(("11", "b1", 10))  # repeated
    return "".join(f'"{user}";"{book}";"{rating}"\n' for user, book, rating in rows)


@pytest.fixture
def folder(tmp_path):
    """A folder, in which given files replace others."""

    def write(**files):
        texts = {RATINGS: RATING_HEADER + rating_rows(), BOOKS: BOOK_HEADER + BOOK_ROWS} | files
        for name, text in texts.items():
            # One line is UTF-8 in a Latin-1 file, as in the real data.
            line = [
                part.encode("utf-8" if "Für" in part else "latin-1") for part in text.split("\n")
            ]
            (tmp_path / name).write_bytes(b"\r\n".join(line))
        return tmp_path

    return write


def test_the_core_of_books_with_a_title(folder):
    data = book_crossing(folder())
    assert (data.name, data.user_ids) == ("book-crossing", READERS)
    assert data.catalogue.item_ids == KEPT
    assert data.catalogue.titles == (
        'The "Essentials"; or so',
        "Träume",
        "Für alle",
        "Four",
        "Five",
    )
    assert data.catalogue.texts == (
        'The "Essentials"; or so. A. Writer, 1999, Plume & Co',
        "Träume",
        "Für alle. C. Writer, 2001, P",
        "Four. D. Writer, 2001, P",
        "Five. E. Writer, 2001, P",
    )
    assert len(data) == 25 and not data.has_times
    rows = list(zip(data.users.tolist(), data.items.tolist(), data.ratings.tolist()))
    assert rows[:6] == [(0, 1, 7), (0, 2, 8), (0, 3, 9), (0, 4, 10), (0, 5, 0), (1, 1, 0)]


def test_a_folder_is_recognised_with_any_name(folder):
    path = folder()
    assert data_set_name(path) == "book-crossing"
    assert read_folder(path).catalogue == book_crossing(path).catalogue


def test_dropping_a_reader_drops_books_in_turn(folder):
    rows = rating_rows().replace('"5";"b5";"9"\n', "")  # b5 has four readers, 5 four books
    with pytest.raises(InputError, match=r"none of 26 inter.* fewer than 5 are dropped"):
        book_crossing(folder(**{RATINGS: RATING_HEADER + rows}))


@pytest.mark.parametrize(
    "file, text, words",
    [
        (RATINGS, '"User-ID";"Book-Rating"\n', r"Ratings\.csv, line 1: a column 'ISBN' was expec"),
        (RATINGS, "", r"Ratings\.csv is empty"),
        (RATINGS, RATING_HEADER, r"Ratings\.csv holds no interactions with an item of the item"),
        (
            RATINGS,
            RATING_HEADER + '"1";"b1"\n',
            r"Ratings\.csv, line 2: 3 fields expected, 2 f",
        ),
        (
            RATINGS,
            RATING_HEADER + '"1";"b1";"x"\n',
            r"Ratings\.csv, line 2: rating 'x' is not a",
        ),
        (RATINGS, RATING_HEADER + '"1";"b1"x;"3"\n', r"Ratings\.csv, line 2: not valid CSV"),
        (BOOKS, '"ISBN";"Title"\n', r"Books\.csv, line 1: a column 'Book-Title' was expected"),
        (BOOKS, BOOK_HEADER, r"Books\.csv holds no items"),
        (BOOKS, BOOK_HEADER + BOOK_ROWS + BOOK_ROWS, r"line 9: item id 'b1' is already on line 2"),
    ],
)
def test_invalid_values_are_named(folder, file, text, words):
    with pytest.raises(InputError, match=words):
        book_crossing(folder(**{file: text}))


def test_ratings_without_books(folder):
    path = folder()
    (path / BOOKS).unlink()
    with pytest.raises(InputError, match=r"holds BX-Book-Ratings\.csv but not BX-Books\.csv"):
        book_crossing(path)


def test_ages_and_countries_of_readers(folder):
    rows = (
        '"User-ID";"Location";"Age"\n"7";"nyc, new york, usa";NULL\n"11";"köln, ,germany";"30"\n'
        '"3";"somewhere, n/a, n/a";"0"\n"9";"a \\"place\\", in, spain";"244"\n'
    )
    users = read_user_attributes(folder(**{USERS: rows}))
    assert users.groups(READERS) == {
        "age": ("", "25 to 34", "", "", ""),
        "country": ("usa", "germany", "", "spain", ""),
    }
    with pytest.raises(InputError, match=r"BX-Users\.csv, line 2: age 'old' is not a number"):
        read_user_attributes(folder(**{USERS: '"User-ID";"Location";"Age"\n"7";"a";"old"\n'}))


def test_books_have_no_attributes(folder):
    path = folder()
    with pytest.raises(InputError, match="No item has a label"):
        attribute_vectors(item_attributes(path, book_crossing(path).catalogue))


@pytest.mark.realdata
def test_the_asset(book_crossing_folder):
    data = book_crossing(book_crossing_folder)
    counts = (len(data), data.num_users, data.catalogue.num_items)
    assert counts == (564_730, 15_223, 36_041)
    assert np.bincount(data.users).min() == 5 and np.bincount(data.items)[1:].min() == 5
    pairs = np.unique(data.users.astype(np.int64) * 100_000 + data.items)
    assert len(pairs) == len(data)
    assert np.bincount(data.ratings.astype(int)).tolist() == [
        *(372_893, 629, 1075, 2324, 3487, 20_188, 15_218, 32_839, 46_883, 32_783, 36_411)
    ]
    text = "Clara Callan. Richard Bruce Wright, 2001, HarperFlamingo Canada"
    assert (data.catalogue.titles[0], data.catalogue.texts[0]) == ("Clara Callan", text)
