"""The data stage: what it reads is what the later stages get, and its line says what it took."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from tfrs_distill.data import movielens_100k
from tfrs_distill.pipeline.data import PARTS, WORDS, load_data, read_data
from tfrs_distill.pipeline.recipe import Recipe

START = datetime(1997, 9, 20, tzinfo=timezone.utc)
MOMENTS = [START + timedelta(hours=n) for n in range(40)]
TIMES = {
    "times in seconds, 1997-09-20 to 1997-09-21": [int(at.timestamp()) for at in MOMENTS],
    "times in milliseconds, 1997-09-20 to 1997-09-21": [
        int(at.timestamp()) * 1000 for at in MOMENTS
    ],
    "times as dates, 1997-09-20 to 1997-09-21": [at.isoformat() for at in MOMENTS],
    "times of no known unit (0.0 to 0.975), of which only the order is used": [
        n / 40 for n in range(40)
    ],
}


@pytest.fixture(params=TIMES)
def folder_and_line(tmp_path, request):
    """Two users with 20 of 20 films each."""
    folder = tmp_path / "films"
    folder.mkdir()
    films = "".join(f"{n}\tFilm {n}\t1990\n" for n in range(1, 21))
    (folder / "a.item").write_text("item_id:token\ttitle:token_seq\tyear:token\n" + films)
    rows = "".join(
        f"u{n % 2}\t{n // 2 + 1}\t3\t{time}\n" for n, time in enumerate(TIMES[request.param])
    )
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "a.inter").write_text(header + rows)
    return folder, request.param


def of_folder(name, folder):
    recipe = Recipe.named(name)
    return replace(recipe, data=replace(recipe.data, folder=str(folder)))


def test_a_retrieval_run_says_what_it_took_the_times_for(tmp_path, folder_and_line):
    folder, line = folder_and_line
    recipe = of_folder("movielens-100k", folder)
    data = read_data(recipe)
    facts, whole_line = data.facts()
    assert facts["times"] == line
    assert whole_line == f"a: 2 users, 20 items, 40 interactions, {line}"
    data.save(tmp_path)
    loaded = load_data(tmp_path, recipe)
    assert loaded.facts()[0] == facts
    read, kept = movielens_100k(folder), loaded.interactions
    assert kept.catalogue == read.catalogue and kept.user_ids == read.user_ids
    for name in ("users", "items", "ratings", "timestamps"):
        assert getattr(kept, name).dtype == getattr(read, name).dtype
        np.testing.assert_array_equal(getattr(kept, name), getattr(read, name))


def test_a_ranking_run_says_what_it_took_the_times_for(tmp_path, folder_and_line):
    folder, line = folder_and_line
    data = read_data(of_folder("ranking", folder))
    assert data.times == line
    assert data.facts()[1] == f"a: 20 items, 40 rows, {line}"


def same_rows(read, kept):
    """All that the later stages read, with its types."""
    assert kept.facts() == read.facts()
    assert kept.vocabularies == read.vocabularies and kept.catalogue == read.catalogue
    for name in PARTS:
        one, other = getattr(read.splits, name), getattr(kept.splits, name)
        assert one.fingerprint() == other.fingerprint() and one.texts == other.texts
        assert one.features.keys() == other.features.keys()
        for column, values in one.features.items():
            assert values.dtype == other.features[column].dtype


def test_rows_of_films_are_kept_as_they_were_read(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    films = "".join(f"{n}\tFilm {n}\t1990\n" for n in range(1, 21))
    (folder / "a.item").write_text("item_id:token\ttitle:token_seq\tyear:token\n" + films)
    rows = "".join(f"u{n % 2}\t{n // 2 + 1}\t{n % 5 + 1}\t{10**9 + n}\n" for n in range(40))
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "a.inter").write_text(header + rows)
    recipe = of_folder("ranking", folder)
    read = read_data(recipe)
    read.save(tmp_path)
    kept = load_data(tmp_path, recipe)
    same_rows(read, kept)
    np.testing.assert_array_equal(kept.item_vectors, read.item_vectors)


def test_rows_of_reviews_are_kept_without_their_words(tmp_path):
    """Other words are read from the same texts, so a recipe with others reads no data again."""
    lines = ["Clothing ID,Age,Title,Review Text,Rating,Recommended IND,Division Name,"]
    lines[0] += "Department Name,Class Name"
    words = ["warm", "thin", "soft"]
    lines += [
        f"{n % 7},{20 + n},,a {words[n % 3]} coat,{n % 5 + 1},{n % 2},A,B,C" for n in range(60)
    ]
    (tmp_path / "reviews.csv").write_text("\n".join(lines) + "\n")
    recipe = of_folder("reviews", tmp_path / "reviews.csv")
    read = read_data(recipe)
    read.save(tmp_path)
    same_rows(read, load_data(tmp_path, recipe))
    fewer = replace(recipe, words=replace(recipe.words, max_words=2))
    kept = load_data(tmp_path, fewer).splits.train.features[WORDS]
    assert kept.shape[1] == 2 < read.splits.train.features[WORDS].shape[1]
