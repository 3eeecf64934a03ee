"""The data stage: later stages read the same data, and its line describes it."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from tfrs_distill.data import (
    movielens_100k,
    split_at_random,
    split_by_global_time,
    split_by_time,
    split_leave_one_out,
)
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.data import PARTS, WORDS, load_data
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.source import read_data, source_folder

START = datetime(1997, 9, 20, tzinfo=timezone.utc)
MOMENTS = [START + timedelta(hours=n) for n in range(40)]
TIMES = {
    "times in seconds, 1997-09-20 to 1997-09-21": [int(at.timestamp()) for at in MOMENTS],
    "times in milliseconds, 1997-09-20 to 1997-09-21": [
        int(at.timestamp()) * 1000 for at in MOMENTS
    ],
    "times as dates, 1997-09-20 to 1997-09-21": [at.isoformat() for at in MOMENTS],
    "times of an unknown unit (0.0 to 0.975), of which only the order is used": [
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


def test_a_retrieval_run_prints_how_it_reads_times(tmp_path, folder_and_line):
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


@pytest.fixture
def two_that_meet(tmp_path):
    """Two users with 20 films each; the second begins when the first is half through."""
    folder = tmp_path / "films"
    folder.mkdir()
    films = "".join(f"{n}\tFilm {n}\t1990\n" for n in range(1, 21))
    (folder / "a.item").write_text("item_id:token\ttitle:token_seq\tyear:token\n" + films)
    rows = [(user, n, 10**9 + n + 10 * user) for user in range(2) for n in range(1, 21)]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    text = "".join(f"u{user}\t{item}\t3\t{time}\n" for user, item, time in rows)
    (folder / "a.inter").write_text(header + text)
    return folder


SPLITS = {
    "user-time": (split_by_time, "Each user's interactions are in order of time: the first 80"),
    "leave-one-out": (
        split_leave_one_out,
        "Each user's interactions are in order of time: the l",
    ),
    "global-time": (split_by_global_time, "The interactions are split at two times"),
}


@pytest.mark.parametrize("split", SPLITS)
def test_a_retrieval_run_is_split_as_in_its_recipe(tmp_path, two_that_meet, split):
    """And again the same when read from the data stage's files."""
    recipe = of_folder("movielens-100k", two_that_meet)
    recipe = replace(recipe, data=replace(recipe.data, split=split, exclude_seen=False))
    function, words = SPLITS[split]
    expected = function(movielens_100k(two_that_meet), max_history=32, exclude_seen=False)
    read = read_data(recipe)
    read.save(tmp_path)
    kept = load_data(tmp_path, recipe)
    facts = read.facts()[0]["split"]
    assert facts["kind"] == split and (facts["train_after_test"] > 0) == (split != "global-time")
    assert read.protocol.startswith(words)
    assert kept.facts() == read.facts() and kept.protocol == read.protocol
    for data in (read, kept):
        assert data.splits.train.fingerprint() == expected.train.fingerprint()
        for part in ("validation", "test"):
            found, queries = getattr(data.splits, part), getattr(expected, part)
            assert found.users.tolist() == queries.users.tolist() and len(queries)
            for one, other in zip(found.positives, queries.positives, strict=True):
                assert one.tolist() == other.tolist()


def test_a_random_split_is_kept_as_drawn(tmp_path, two_that_meet):
    """The recipe's seed draws it, times are removed, and ties or dates are not reported."""
    recipe = of_folder("movielens-100k", two_that_meet)
    recipe = replace(recipe, data=replace(recipe.data, split="random"), seed=3)
    read = read_data(recipe)
    read.save(tmp_path)
    kept = load_data(tmp_path, recipe)
    expected = split_at_random(movielens_100k(two_that_meet), seed=3, max_history=32)
    facts, line = read.facts()
    assert kept.facts() == (facts, line)
    assert (facts["split"], facts["times"]) == ({"kind": "random"}, "no times")
    assert line.endswith("interactions, no times")
    assert "are in random order" in read.protocol and "do not predict the future" in read.protocol
    for data in (read, kept):
        assert data.splits.train.fingerprint() == expected.train.fingerprint()
        for one, other in zip(data.splits.test.positives, expected.test.positives, strict=True):
            assert one.tolist() == other.tolist()
    other = read_data(replace(recipe, seed=4))
    assert other.splits.train.fingerprint() != expected.train.fingerprint()


@pytest.mark.parametrize("name", ["movielens-100k", "cold-items", "ranking"])
def test_data_without_times_need_a_random_split(tmp_path, name):
    (tmp_path / "BX-Books.csv").write_text(
        '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher"\n'
        + "".join(f'"b{n}";"Book {n}";"A";"1999";"P"\n' for n in range(12))
    )
    (tmp_path / "BX-Book-Ratings.csv").write_text(
        '"User-ID";"ISBN";"Book-Rating"\n'
        + "".join(f'"u{n // 12}";"b{n % 12}";"5"\n' for n in range(60))
    )
    recipe = of_folder(name, tmp_path)
    if name == "ranking":  # films alone have years
        recipe = replace(recipe, teacher=replace(recipe.teacher, privileged=()))
    with pytest.raises(InputError, match=r"book-crossing' has no timestamps, .*split = \"random\""):
        read_data(recipe)
    data = read_data(of_folder("book-crossing", tmp_path))
    assert data.facts()[0]["times"] == "no times" and len(data.splits.test) == 5


def test_shuffled_ties_are_kept_as_drawn(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    films = "".join(f"{n}\tFilm {n}\t1990\n" for n in range(1, 21))
    (folder / "a.item").write_text("item_id:token\ttitle:token_seq\tyear:token\n" + films)
    rows = "".join(f"u\t{n}\t3\t{10**9}\n" for n in range(1, 21))
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "a.inter").write_text(header + rows)
    recipe = of_folder("movielens-100k", folder)
    shuffled = replace(recipe, data=replace(recipe.data, ties="shuffled"))
    assert read_data(recipe).interactions.sequences()[0].tolist() == list(range(1, 21))
    dealt = read_data(shuffled)
    (sequence,) = (items.tolist() for items in dealt.interactions.sequences())
    assert sequence != list(range(1, 21)) and sorted(sequence) == list(range(1, 21))
    assert dealt.splits.test.positives[0].tolist() == sequence[18:]
    dealt.save(tmp_path)
    assert load_data(tmp_path, shuffled).splits.test.histories[0].tolist() == sequence[:18]
    assert dealt.facts()[0]["split"]["ties"] == "shuffled"
    other = read_data(replace(shuffled, seed=1)).interactions.sequences()[0].tolist()
    assert other != sequence


def test_user_attributes_are_kept_by_user_index(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    films = "".join(f"{n}\tFilm {n}\t1990\n" for n in range(1, 21))
    (folder / "a.item").write_text("item_id:token\ttitle:token_seq\tyear:token\n" + films)
    rows = "".join(f"{'zoe' if n % 2 else 'ann'}\t{n // 2 + 1}\t3\t{n}\n" for n in range(40))
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "a.inter").write_text(header + rows)
    recipe = of_folder("movielens-100k", folder)
    read_data(recipe).save(tmp_path)
    assert load_data(tmp_path, recipe).user_groups == {}  # there is no file of users
    users = "user_id:token\tage:token\tgender:token\toccupation:token\n"
    (folder / "a.user").write_text(users + "zoe\t24\tF\tartist\nann\t56\t\tnone\n")
    read_data(recipe).save(tmp_path)
    data = load_data(tmp_path, recipe)
    zoe, ann = (data.interactions.user_ids.index(name) for name in ("zoe", "ann"))
    of_zoe, of_ann = (
        {name: groups[user] for name, groups in data.user_groups.items()} for user in (zoe, ann)
    )
    assert of_zoe == {"gender": "F", "age": "18 to 24", "occupation": "artist"}
    assert of_ann == {"gender": "", "age": "56 or more", "occupation": "none"}
    assert data.known_users is None and data.splits.test.user_attributes is None
    named = replace(recipe, data=replace(recipe.data, user_attributes=("age", "gender")))
    result = "User attributes that the student reads: age (2 values), gender (1 values)."
    assert read_data(named).reading == (result,)
    read_data(named).save(tmp_path)
    kept = load_data(tmp_path, named)
    assert kept.known_users.vocabulary.attributes == {"age": (24.0, 56.0), "gender": ("F",)}
    expected = {zoe: [1, 1], ann: [2, 0]}
    for part in (kept.splits.train, kept.splits.validation, kept.splits.test):
        assert part.user_attributes.tolist() == [expected[user] for user in part.users.tolist()]
    assert kept.known_users.with_new(3).indices.tolist()[2] == [0, 0]
    for name, words in (
        ("country", "'country' is missing for all 2 users"),
        ("plan", r"Received: 'plan', but .*films has age, gender, occupation, country"),
    ):
        other = replace(recipe, data=replace(recipe.data, user_attributes=(name,)))
        with pytest.raises(InputError, match=words):
            read_data(other)
    (folder / "a.user").unlink()
    with pytest.raises(InputError, match=r"Received: 'age', but .*films has no user attrib"):
        read_data(named)


@pytest.mark.realdata
def test_each_source_of_films_has_its_asset(movielens_folder, movielens_1m_folder):
    assert source_folder(Recipe.named("movielens-100k")) == movielens_folder
    assert source_folder(Recipe.named("movielens-1m")) == movielens_1m_folder
    assert source_folder(of_folder("movielens-1m", "mine")) == Path("mine")


@pytest.mark.realdata
def test_book_crossing_has_its_asset(book_crossing_folder):
    assert source_folder(Recipe.named("book-crossing")) == book_crossing_folder


def test_a_ranking_run_prints_how_it_reads_times(folder_and_line):
    folder, line = folder_and_line
    data = read_data(of_folder("ranking", folder))
    assert data.times == line
    assert data.facts()[1] == f"a: 20 items, 40 rows, {line}"


def same_rows(read, kept):
    """All data that the later stages read, with its types."""
    assert kept.facts() == read.facts()
    assert kept.vocabularies == read.vocabularies and kept.catalogue == read.catalogue
    for name in PARTS:
        one, other = getattr(read.splits, name), getattr(kept.splits, name)
        assert one.fingerprint() == other.fingerprint() and one.texts == other.texts
        assert one.features.keys() == other.features.keys()
        for column, values in one.features.items():
            assert values.dtype == other.features[column].dtype


def test_rows_of_films_are_kept_as_read(tmp_path):
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


def test_a_run_of_some_users_has_all_their_interactions(folder_and_line):
    recipe = Recipe.named("movielens-100k")
    recipe = replace(recipe, data=replace(recipe.data, folder=str(folder_and_line[0]), max_users=1))
    whole = read_data(replace(recipe, data=replace(recipe.data, max_users=0))).interactions
    some = read_data(recipe).interactions
    assert (whole.num_users, some.num_users, some.catalogue) == (2, 1, whole.catalogue)
    (user,) = some.user_ids
    assert len(some) == (whole.users == whole.user_ids.index(user)).sum() == 20
