"""MovieLens rows: the features from before each rating, by hand or by plain loops."""

import csv
from datetime import datetime, timezone

import numpy as np
import pytest

from tfrs_distill.data.rated_rows import movielens_ranking
from tfrs_distill.errors import InputError

PARTS = ("train", "validation", "test")
MIDNIGHT = 1_705_276_800  # Monday, 15 January 2024, 00:00 UTC


def write_folder(folder, rows, users=None):
    """RecBole files: films a, b, c, d; rows are (user, film, rating, seconds)."""
    (folder / "tiny.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "a\tAlpha\t1990\tComedy\nb\tBeta\t2000\tDrama\nc\tGamma\t1995\tComedy Drama\n"
        "d\tDelta\t1995\tunknown\n"
    )
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (folder / "tiny.inter").write_text(header + lines)
    if users is not None:
        header = "user_id:token\tage:token\tgender:token\toccupation:token\n"
        (folder / "tiny.user").write_text(header + users)


@pytest.fixture
def folder(tmp_path):
    """User "y" with ten ratings, not in order of time, and user "x" with five."""
    films = "abcdabcdab"
    of_y = [("y", films[n], n % 5 + 1, MIDNIGHT + 3600 * n) for n in range(10)]
    of_x = [("x", films[n], 5 - n, MIDNIGHT + 86400 * n) for n in range(5)]
    write_folder(tmp_path, of_y[5:] + of_x + of_y[:5], "x\t31\tF\tartist\ny\t\tM\t\nz\t9\t\tnone\n")
    return tmp_path


def test_each_part_has_its_share_of_every_users_time(folder):
    splits, tables = movielens_ranking(folder, max_history=3)
    assert splits.name == "tiny"
    assert tables.vocabularies["user_id"] == ("y", "x")
    # y: 8 / 1 / 1 of 10; x: floor(5 * .8) = 4, floor(5 * .9) = 4, so 4 / 0 / 1.
    assert [len(getattr(splits, part)) for part in PARTS] == [12, 1, 2]
    assert splits.train.users.tolist() == [1] * 8 + [2] * 4
    assert splits.validation.users.tolist() == [1]
    assert splits.test.users.tolist() == [1, 2]
    for part in PARTS:
        examples = getattr(splits, part)
        np.testing.assert_array_equal(examples.queries, examples.users)
        assert examples.catalogue is tables.catalogue


def test_features_of_rows_use_earlier_rows_only(folder):
    splits, _ = movielens_ranking(folder, max_history=3)
    train, test = splits.train, splits.test
    assert train.features["item_id"].tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]
    assert train.features["history"].tolist() == [
        [0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 1], [4, 1, 2], [1, 2, 3],
        [0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3],
    ]  # fmt: skip
    assert train.features["history_ratings"].tolist() == [
        [0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 1], [5, 1, 2],
        [0, 0, 0], [0, 0, 5], [0, 5, 4], [5, 4, 3],
    ]  # fmt: skip
    assert train.labels["rating"].tolist() == [1, 2, 3, 4, 5, 1, 2, 3, 5, 4, 3, 2]
    assert train.labels["like"].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0]
    # The mean is of all earlier ratings: y's seventh, (1 + 2 + 3 + 4 + 5 + 1) / 6.
    means = train.features["user_mean_rating"]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(means)), [0, 8])
    assert means[1] == 1.0 and means[9] == 5.0 and means[11] == 4.0
    np.testing.assert_allclose(means[6], 16 / 6, rtol=1e-6)
    # Validation and test include the parts before them: y's ninth and tenth film, x's fifth.
    assert splits.validation.features["history"].tolist() == [[2, 3, 4]]
    assert test.features["history"].tolist() == [[3, 4, 1], [2, 3, 4]]
    np.testing.assert_allclose(test.features["user_mean_rating"], [25 / 9, 14 / 4], rtol=1e-6)


def test_hour_and_weekday_are_in_utc(folder):
    splits, tables = movielens_ranking(folder)
    hours, days = (splits.train.features[name] for name in ("hour_of_day", "weekday"))
    assert hours.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 1, 1]
    assert days.tolist() == [1] * 8 + [1, 2, 3, 4]
    assert tables.vocabularies["hour_of_day"][0] == "0"
    assert tables.vocabularies["hour_of_day"][23] == "23"
    assert tables.vocabularies["weekday"][2] == "Wednesday"


def test_attributes_of_users_are_numbers_and_indices(folder):
    splits, tables = movielens_ranking(folder)
    assert tables.vocabularies["gender"] == ("F", "M")
    assert tables.vocabularies["occupation"] == ("artist", "none")
    features = splits.test.features
    np.testing.assert_array_equal(features["age"], [np.nan, 31])
    assert features["gender"].tolist() == [2, 1]
    assert features["occupation"].tolist() == [0, 1]


def test_a_user_missing_in_the_file_has_no_attributes(folder):
    (folder / "tiny.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\nz\t9\tF\tnone\nx\t31\tF\tnone\n"
    )
    features = movielens_ranking(folder)[0].test.features
    np.testing.assert_array_equal(features["age"], [np.nan, 31])
    assert features["gender"].tolist() == features["occupation"].tolist() == [0, 1]


def test_without_a_file_of_users_attributes_are_omitted(folder):
    (folder / "tiny.user").unlink()
    splits, tables = movielens_ranking(folder)
    assert set(splits.train.features) == {
        *("item_id", "history", "history_ratings", "user_mean_rating", "hour_of_day", "weekday")
    }
    assert set(tables.vocabularies) == {"user_id", "item_id", "hour_of_day", "weekday"}


def test_batches_have_privileged_features(folder):
    (batch,) = movielens_ranking(folder)[0].test.batches(9)
    assert {"user_id", "age", "gender", "occupation"} <= set(batch)


def test_items_have_vectors_of_genres_and_year(folder):
    _, tables = movielens_ranking(folder)
    # Years 1990, 2000, 1995, 1995: mean 1995, standard deviation sqrt(12.5).
    spread = 5 / 12.5**0.5
    expected = [[1, 0, -spread], [0, 1, spread], [1, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(tables.item_vectors, expected, atol=1e-6)
    assert tables.item_vectors.dtype == np.float32
    assert tables.vocabularies["item_id"] == ("a", "b", "c", "d")


def test_ratings_at_the_same_second_keep_file_order(tmp_path):
    rows = [("u", "abcd"[n % 4], 3, 5) for n in range(10)]
    write_folder(tmp_path, rows)
    splits, _ = movielens_ranking(tmp_path, max_history=2)
    assert splits.train.features["item_id"].tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    assert splits.test.features["history"].tolist() == [[4, 1]]


def test_max_history_is_at_least_1_and_by_default_32(folder):
    assert movielens_ranking(folder)[0].train.features["history"].shape == (12, 32)
    with pytest.raises(InputError, match=r"`max_history` must be at least 1\. Received: 0"):
        movielens_ranking(folder, max_history=0)


@pytest.mark.parametrize(
    ("num_rows", "words"),
    [(1, "for train.* has 1 inter"), (5, "for validation.*The longest sequence has 5.*10 are")],
)
def test_too_few_ratings_for_three_parts(tmp_path, num_rows, words):
    write_folder(tmp_path, [("u", "abcd"[n % 4], 3, n + 1) for n in range(num_rows)])
    with pytest.raises(InputError, match=f"'tiny': no row is left {words}"):
        movielens_ranking(tmp_path)


@pytest.mark.realdata
def test_movielens_100k_against_plain_loops(movielens_folder):
    with open(movielens_folder / "ml-100k.inter", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    with open(movielens_folder / "ml-100k.user", encoding="utf-8") as file:
        people = {row[0]: row for row in list(csv.reader(file, delimiter="\t"))[1:]}
    sequences = {}
    for user, film, rating, seconds in rows:
        sequences.setdefault(user, []).append((int(seconds), int(film), float(rating)))
    for sequence in sequences.values():
        sequence.sort(key=lambda rated: rated[0])
    splits, tables = movielens_ranking(movielens_folder)
    lengths = [len(sequence) for sequence in sequences.values()]
    train, before_test = (sum(n * tenths // 10 for n in lengths) for tenths in (8, 9))
    counts = [len(getattr(splits, part)) for part in PARTS]
    assert counts == [train, before_test - train, 100_000 - before_test]
    assert sum(counts) == 100_000

    random = np.random.default_rng(0)
    for part in PARTS:
        examples = getattr(splits, part)
        begin = {"train": 0, "validation": 8, "test": 9}[part]
        first_of = {}
        for row, user in enumerate(examples.users.tolist()):
            first_of.setdefault(user, row)
        for row in random.integers(0, len(examples), 200):
            number = int(examples.users[row])
            user = tables.vocabularies["user_id"][number - 1]
            sequence = sequences[user]
            place = len(sequence) * begin // 10 + row - first_of[number]
            seconds, film, rating = sequence[place]
            kept = [(film, rating) for _, film, rating in sequence[max(0, place - 32) : place]]
            padding = [0] * (32 - len(kept))
            values = {name: array[row] for name, array in examples.features.items()}
            assert values["item_id"] == film
            assert values["history"].tolist() == padding + [film for film, _ in kept]
            assert values["history_ratings"].tolist() == padding + [rating for _, rating in kept]
            before = [rating for _, _, rating in sequence[:place]]
            np.testing.assert_allclose(
                values["user_mean_rating"], np.mean(before) if before else np.nan, rtol=1e-6
            )
            moment = datetime.fromtimestamp(seconds, timezone.utc)
            assert values["hour_of_day"] == moment.hour + 1
            assert values["weekday"] == moment.isoweekday()
            _, age, gender, occupation, _ = people[user]
            assert values["age"] == float(age)
            assert tables.vocabularies["gender"][values["gender"] - 1] == gender
            assert tables.vocabularies["occupation"][values["occupation"] - 1] == occupation
            assert examples.labels["rating"][row] == rating
            assert examples.labels["like"][row] == (rating >= 4)
    assert tables.item_vectors.shape == (1682, 19)  # u.genre: 18 genres without "unknown", and year
