"""Genres and years, from every layout, and as numbers."""

import numpy as np
import pytest
from tiny_data import tiny_catalogue

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.item_features import (
    ItemAttributes,
    attribute_vectors,
    item_attributes,
    year_of,
)
from tfrs_distill.data.readers import read_folder
from tfrs_distill.errors import InputError

GENRES = ("Comedy", "Film-Noir")


def write_u_data(folder):
    (folder / "u.data").write_text("9\t2\t5\t100\n")
    (folder / "u.genre").write_text("unknown|0\nComedy|1\nFilm-Noir|2\n")
    (folder / "u.item").write_text(
        "1|Big Sleep, The (1946)|x|x|x|0|0|1\n2|unknown|x|x|x|1|0|0\n3|Two (1998)|x|x|x|0|1|1\n"
    )


def write_dat(folder):
    (folder / "ratings.dat").write_text("9::2::5::100\n")
    (folder / "movies.dat").write_text(
        "1::Big Sleep, The (1946)::Film-Noir\n2::unknown::unknown\n"
        "3::Two (1998)::Comedy|Film-Noir\n"
    )


def write_csv(folder):
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n9,2,5,100\n")
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n1,"Big Sleep, The (1946)",Film-Noir\n'
        "2,unknown,(no genres listed)\n3,Two (1998),Comedy|Film-Noir\n"
    )


def write_atomic(folder):
    (folder / "tiny.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n9\t2\t1\n")
    (folder / "tiny.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tBig Sleep, The\t1946\tFilm-Noir\n2\tunknown\tunknown\tunknown\n"
        "3\tTwo\t1998\tComedy Film-Noir\n"
    )


@pytest.mark.parametrize("write", [write_u_data, write_dat, write_csv, write_atomic])
def test_every_layout_returns_the_same(tmp_path, write):
    write(tmp_path)
    attributes = item_attributes(tmp_path, read_folder(tmp_path).catalogue)
    assert attributes.labels == (("Film-Noir",), (), ("Comedy", "Film-Noir"))
    np.testing.assert_array_equal(attributes.numbers, [[1946], [np.nan], [1998]])
    assert attributes.number_names == ("year",)
    assert attributes.label_names == GENRES


def test_the_order_is_the_catalogues(tmp_path):
    write_dat(tmp_path)
    some = Catalogue(("3", "1"), ("Two", "Sleep"), ("Two", "Sleep"))
    attributes = item_attributes(tmp_path, some)
    assert attributes.labels == (("Comedy", "Film-Noir"), ("Film-Noir",))
    assert attributes.numbers.tolist() == [[1998], [1946]]


def test_an_item_missing_in_the_file_is_named(tmp_path):
    write_dat(tmp_path)
    with pytest.raises(InputError, match=r"movies\.dat has no line for 2 of .* 5 items, .*'4'"):
        item_attributes(tmp_path, tiny_catalogue(5))


def test_a_folder_or_a_line_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"is empty\. Layouts read"):
        item_attributes(tmp_path, tiny_catalogue(2))
    write_dat(tmp_path)
    (tmp_path / "movies.dat").write_text("1::Heat (1995)::Drama\n2::Babe (1995)\n")
    with pytest.raises(InputError, match=r"movies\.dat, line 2: 3 fields expected, 2 found"):
        item_attributes(tmp_path, tiny_catalogue(2))


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Heat (1995)", 1995),
        ("Shadow of Angels (Schatten der Engel) (1976) ", 1976),
        ("2001: A Space Odyssey (1968)", 1968),
        ("Bunker (2006-2010)", 2006),
        ("Babylon 5", None),
        ("1984", None),
        ("(1999) Nothing follows", None),
        ("Short (95)", None),
    ],
)
def test_the_year_is_read_at_the_end_of_a_title(title, year):
    assert year_of(title) == year


def of_years(genres, years):
    return ItemAttributes(genres, np.array(years, float)[:, None], ("year",))


def test_vectors_by_hand():
    genres = (("Film-Noir",), (), ("Comedy", "Film-Noir"), ())
    attributes = of_years(genres, [1940, np.nan, 1960, 1950])
    vectors = attribute_vectors(attributes)
    # Years 1940, 1950, 1960: mean 1950, variance (100 + 0 + 100) / 3.
    year = 10 / np.sqrt(200 / 3)
    expected = [[0, 1, -year], [0, 0, 0], [1, 1, year], [0, 0, 0]]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)


def test_genres_or_years_may_be_missing_but_not_both():
    no_years = [np.nan, np.nan]
    genres = attribute_vectors(of_years((("A",), ("B",)), no_years))
    np.testing.assert_array_equal(genres, [[1, 0, 0], [0, 1, 0]])
    years = attribute_vectors(of_years(((), ()), [1990, 2000]))
    np.testing.assert_array_equal(years, [[-1], [1]])
    same = attribute_vectors(of_years((("A",), ("A",)), [1990, 1990]))
    np.testing.assert_array_equal(same, [[1, 0], [1, 0]])
    with pytest.raises(
        InputError, match=r"No item has a label.* or a number.* Remove this modality"
    ):
        attribute_vectors(of_years(((), ()), no_years))


def test_lengths_must_agree():
    with pytest.raises(InputError, match=r"one entry per item, .*2 labels, 1 names, .*\(3, 1\)"):
        of_years(((), ()), [1, 2, 3])


@pytest.mark.realdata
def test_movielens_100k_has_18_genres_and_one_film_without_a_year(movielens_folder):
    data = read_folder(movielens_folder)
    attributes = item_attributes(movielens_folder, data.catalogue)
    assert len(attributes.label_names) == 18  # u.genre's 19 less "unknown"
    toy_story = data.catalogue.titles.index("Toy Story (1995)")
    assert attributes.labels[toy_story] == ("Animation", "Children's", "Comedy")
    assert attributes.numbers[toy_story] == 1995
    without = [
        data.catalogue.titles[row] for row in np.flatnonzero(np.isnan(attributes.numbers[:, 0]))
    ]
    assert without == ["unkonwn"]  # as the file spells it
    assert attribute_vectors(attributes).shape == (1682, 19)
