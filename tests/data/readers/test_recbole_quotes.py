"""RecBole's files are read as `pandas.read_csv` reads them, which RecBole does."""

import csv

import numpy as np
import pandas as pd
import pytest

from tfrs_distill.data import read_folder
from tfrs_distill.data.readers.knowledge_graph import read_knowledge_graph
from tfrs_distill.data.readers.recbole import typed_rows
from tfrs_distill.data.readers.user_attributes import read_user_attributes
from tfrs_distill.errors import InputError

ODD = [
    '12" Vinyl',
    '"Great Performances" Cats',
    "with a\ttab",
    "two\nlines",
    "two\r\nlines",
    ' "spaced" ',
    '"',
    '""',
    "comma, and 'quote'",
    "Misérables",
    "",
    "nan",
    "NaN",
    "None",
    "NULL",
    "null",
    "NA",
    "N/A",
    "<NA>",
    " nan",
    "nano",
    "none",
]


def as_recbole_reads(path):
    """The rows as RecBole's `Dataset._load_feat` reads them, with "" for a missing value."""
    frame = pd.read_csv(path, delimiter="\t", dtype=str, encoding="utf-8", engine="python")
    return frame.fillna("").to_numpy().tolist()


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("ending", ["inter", "item", "user", "kg", "link"])
def test_files_of_to_csv_are_read_as_by_read_csv(tmp_path, quoting, ending):
    path = tmp_path / f"a.{ending}"
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{n}:token": random.permutation(ODD) for n in range(3)})
    frame.insert(0, "id:token", range(len(ODD)))
    frame.to_csv(path, sep="\t", index=False, quoting=quoting)
    names, rows = typed_rows(path)
    assert names == ["id", "c0", "c1", "c2"]
    assert [fields for _, fields in rows] == as_recbole_reads(path)


@pytest.mark.parametrize("row", ['1\t"A" B', '1\t"A', '1\t"A"" B', '1\t"A\n2\t"B"'])
def test_unbalanced_quotes_are_refused_as_by_recbole(tmp_path, row):
    path = tmp_path / "a.item"
    path.write_text("item_id:token\ttitle:token_seq\n" + row + "\n")
    with pytest.raises(pd.errors.ParserError):
        as_recbole_reads(path)
    with pytest.raises(InputError, match=r"a\.item, line \d: not valid CSV .* as pandas' `to_csv`"):
        list(typed_rows(path)[1])


def test_blank_lines_are_skipped_and_an_error_has_its_line(tmp_path):
    path = tmp_path / "a.item"
    path.write_text('item_id:token\ttitle:token_seq\n1\t"two\nlines"\n\n   \n2\tB\n3\n')
    _, rows = typed_rows(path)
    assert [next(rows), next(rows)] == [(3, ["1", "two\nlines"]), (6, ["2", "B"])]
    with pytest.raises(InputError, match=r"a\.item, line 7: 2 fields expected, 1 found"):
        next(rows)


def test_a_folder_written_by_pandas(tmp_path):
    def to_file(ending, columns):
        pd.DataFrame(columns).to_csv(tmp_path / f"x.{ending}", sep="\t", index=False)

    to_file(
        "item",
        {
            "item_id:token": ['a"1', "a\t2", "3"],
            "movie_title:token_seq": ['12" Vinyl', "Misérables,\nLes", "nano"],
            "release_year:float": [1990, None, 1995],
            "class:token_seq": ["Music", None, "nan"],
        },
    )
    to_file(
        "inter",
        {
            "user_id:token": ['u"1', "u\t2"],
            "item_id:token": ["a\t2", 'a"1'],
            "timestamp:float": [881250949.5, 881250950],
        },
    )
    to_file(
        "user",
        {
            "user_id:token": ['u"1', "u\t2"],
            "age:float": [None, 31],
            "gender:token": ["F", None],
            "occupation:token": ['"artist"', "none"],
        },
    )
    to_file(
        "kg",
        {"head_id:token": ['m"1'], "relation_id:token": ["is\tof"], "tail_id:token": ["m,2"]},
    )
    to_file("link", {"item_id:token": ["a\t2"], "entity_id:token": ['m"1']})
    data = read_folder(tmp_path)
    assert data.catalogue.item_ids == ('a"1', "a\t2", "3")
    assert data.catalogue.titles == ('12" Vinyl (1990)', "Misérables,\nLes", "nano (1995)")
    assert data.catalogue.texts[0] == '12" Vinyl (1990). Music'
    assert data.catalogue.texts[1:] == ("Misérables,\nLes", "nano (1995)")
    assert (data.user_ids, data.items.tolist()) == (('u"1', "u\t2"), [2, 1])
    users = read_user_attributes(tmp_path)
    assert users.user_ids == data.user_ids
    np.testing.assert_array_equal(users.ages, [np.nan, 31])
    assert (users.genders, users.occupations) == (("F", ""), ('"artist"', "none"))
    graph = read_knowledge_graph(tmp_path)
    assert (graph.entity_names, graph.relation_names) == (('m"1', "m,2"), ("is\tof",))
    assert dict(graph.links) == {"a\t2": 0}


@pytest.mark.parametrize("title", ["nan", "None", "NULL", ""])
def test_a_missing_title_is_an_error(tmp_path, title):
    (tmp_path / "a.item").write_text(f"item_id:token\ttitle:token_seq\n1\tA\n2\t{title}\n")
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\t1\t5\n")
    with pytest.raises(InputError, match=r"a\.item, line 3: item '2' has no title, .* `nan`, "):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "header",
    [  # the column names of RecBole's conversion tools for 100K, for 1M, and for 10M and 20M
        "movie_title:token_seq\trelease_year:token\tclass:token_seq",
        "movie_title:token_seq\trelease_year:token\tgenre:token_seq",
        "movie_name:token_seq\trelease_year:token\ttype:token_seq",
    ],
)
def test_the_headers_of_every_movielens_set_of_recbole(tmp_path, header):
    (tmp_path / "a.item").write_text(f"item_id:token\t{header}\n1\tToy Story\t1995\tComedy War\n")
    (tmp_path / "a.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1\t5.0\t838985046\n"
    )
    assert read_folder(tmp_path).catalogue.texts == ("Toy Story (1995). Comedy, War",)


def test_genres_take_precedence_over_a_type_column(tmp_path):
    (tmp_path / "a.item").write_text(  # the columns of RecBole's anime set
        "item_id:token\tname:token_seq\tgenre:token_seq\ttype:token\n1\tAkira\tAction Sci-Fi\tTV\n"
    )
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n1\t1\t5\n")
    assert read_folder(tmp_path).catalogue.texts == ("Akira. Action, Sci-Fi",)
