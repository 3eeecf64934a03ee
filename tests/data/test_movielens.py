"""MovieLens-100K itself. Expected numbers: GroupLens' README of the set, and lines of its files."""

import csv

import numpy as np
import pytest

from tfrs_distill.data.movielens import movielens_100k
from tfrs_distill.data.readers import read_folder
from tfrs_distill.errors import InputError


def test_a_given_folder_is_read_and_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("TFRS_DISTILL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.item").write_text("item_id:token\ttitle:token_seq\n1\tHeat\n")
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n9\t1\t5\n")
    assert movielens_100k(tmp_path).catalogue.titles == ("Heat",)
    with pytest.raises(InputError, match="no-such does not exist"):
        movielens_100k(tmp_path / "no-such")
    assert not (tmp_path / "cache").exists()


@pytest.mark.realdata
def test_the_asset(movielens_folder):
    data = movielens_100k()
    assert data.name == "ml-100k"
    assert (data.num_users, data.catalogue.num_items, len(data)) == (943, 1682, 100_000)
    assert data.user_ids[:3] == ("196", "186", "22")
    assert data.users[:3].tolist() == [0, 1, 2]
    assert [data.catalogue.item_ids[i - 1] for i in data.items[:3]] == ["242", "302", "377"]
    assert data.ratings[:3].tolist() == [3.0, 3.0, 1.0]
    assert data.timestamps[:3].tolist() == [881250949, 891717742, 878887116]
    assert data.catalogue.item_ids == tuple(str(n) for n in range(1, 1683))
    assert data.catalogue.titles[0] == "Toy Story (1995)"
    assert data.catalogue.titles[241] == "Kolya (1996)"
    assert data.catalogue.texts[0] == "Toy Story (1995). Animation, Children's, Comedy"
    assert data.catalogue.titles[542] == "Misérables, Les (1995)"
    # u.info and README: every user has at least 20 ratings; the share of each rating.
    assert np.bincount(data.users).min() == 20
    assert np.bincount(data.ratings.astype(int)).tolist() == [0, 6110, 11370, 27145, 34174, 21201]


@pytest.mark.realdata
@pytest.mark.parametrize("layout", ["u.data", "ratings.dat", "ratings.csv"])
def test_all_layouts_give_the_same_data(movielens_folder, tmp_path, layout):
    data = read_folder(movielens_folder)
    catalogue = data.catalogue
    genres = [text[len(t) + 2 :].split(", ") for t, text in zip(catalogue.titles, catalogue.texts)]
    rows = [
        (data.user_ids[u], catalogue.item_ids[i - 1], int(r), t)
        for u, i, r, t in zip(data.users, data.items, data.ratings, data.timestamps)
    ]
    films = list(zip(catalogue.item_ids, catalogue.titles, genres))
    if layout == "u.data":
        names = ["unknown", *sorted({g for gs in genres for g in gs if g})]
        lines = [f"{name}|{number}" for number, name in enumerate(names)]
        (tmp_path / "u.genre").write_text("\n".join(lines) + "\n")
        lines = [
            "|".join([i, t, "", "", "", *(str(int(name in gs)) for name in names)])
            for i, t, gs in films
        ]
        (tmp_path / "u.item").write_text("\n".join(lines), encoding="latin-1")
        lines = ["\t".join(map(str, row)) for row in rows]
        (tmp_path / "u.data").write_text("\n".join(lines))
    elif layout == "ratings.dat":
        lines = ["::".join([i, t, "|".join(gs)]) for i, t, gs in films]
        (tmp_path / "movies.dat").write_text("\n".join(lines), encoding="latin-1")
        (tmp_path / "ratings.dat").write_text("\n".join("::".join(map(str, r)) for r in rows))
    else:
        with open(tmp_path / "movies.csv", "w", newline="", encoding="utf-8") as file:
            lines = [(i, t, "|".join(gs)) for i, t, gs in films]
            csv.writer(file).writerows([("movieId", "title", "genres"), *lines])
        with open(tmp_path / "ratings.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("userId", "movieId", "rating", "timestamp"), *rows])
    again = read_folder(tmp_path)
    assert again.catalogue == catalogue
    assert again.user_ids == data.user_ids
    for name in ("users", "items", "ratings", "timestamps"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))
