"""The real MovieLens. Expected numbers: GroupLens' README of each set, and lines of its files."""

import csv

import numpy as np
import pytest

from tfrs_distill.data.item_features import item_attributes
from tfrs_distill.data.movielens import movielens_1m, movielens_100k
from tfrs_distill.data.readers import read_folder
from tfrs_distill.data.readers.user_attributes import read_user_attributes
from tfrs_distill.errors import InputError


@pytest.mark.parametrize("movielens", [movielens_100k, movielens_1m])
def test_a_given_folder_is_read_without_fetching(tmp_path, monkeypatch, movielens):
    monkeypatch.setenv("TFRS_DISTILL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.item").write_text("item_id:token\ttitle:token_seq\n1\tHeat\n")
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n9\t1\t5\n")
    assert movielens(tmp_path).catalogue.titles == ("Heat",)
    with pytest.raises(InputError, match="no-such does not exist"):
        movielens(tmp_path / "no-such")
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
def test_all_layouts_return_the_same_data(movielens_folder, tmp_path, layout):
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


@pytest.mark.realdata
def test_movielens_1m(movielens_1m_folder):
    data = movielens_1m()
    assert data.name == "ml-1m" and data.time_unit == "s"
    assert (data.num_users, data.catalogue.num_items, len(data)) == (6040, 3883, 1_000_209)
    assert len(np.unique(data.items)) == 3706
    assert data.user_ids[:2] == ("1m_1", "1m_2") and data.users[:2].tolist() == [0, 0]
    # GroupLens' ratings.dat begins 1::1193::5::978300760, 1::661::3::978302109.
    rated = [data.catalogue.titles[item - 1] for item in data.items[:2]]
    assert rated == ["One Flew Over the Cuckoo's Nest (1975)", "James and the Giant Peach (1996)"]
    assert data.ratings[:2].tolist() == [5.0, 3.0]
    assert data.timestamps[:2].tolist() == [978300760, 978302109]
    # The ids are the titles with their years, each once.
    assert data.catalogue.item_ids == data.catalogue.titles
    assert data.catalogue.texts[0] == "Toy Story (1995). Animation, Children's, Comedy"
    assert "Misérables, Les (1995)" in data.catalogue.titles
    # README: at least 20 ratings per user, 18 genres, 21 occupations. users.dat: 1,709 F.
    assert np.bincount(data.users).min() == 20
    assert set(data.ratings.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    films = item_attributes(movielens_1m_folder, data.catalogue)
    assert len(films.label_names) == 18 and all(films.labels)
    assert (films.numbers.min(), films.numbers.max()) == (1919.0, 2000.0)
    users = read_user_attributes(movielens_1m_folder)
    assert users.user_ids == data.user_ids
    assert (users.genders.count("F"), (users.ages == 18.0).sum()) == (1709, 1103)
    assert set(users.occupations) == {str(number) for number in range(21)}
    assert (users.ages[0], users.genders[0], users.occupations[0]) == (1.0, "F", "10")
