"""New tables of an update: the rows that count, and what they weigh beside those of the run."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from tfrs_distill.data import read_table
from tfrs_distill.errors import InputError
from tfrs_distill.files import files_sha256
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.source import table_sha256
from tfrs_distill.pipeline.updates.new_data import joined_data

# Each of two users rated ten items in order of time, with 2, 4, 2, 4, ...: the mean is 3.
OLD = [(user, item, 2 + 2 * (item % 2), 100 + item) for user in "ab" for item in range(10)]


def table(path, rows, *, times=True):
    lines = [row if times else row[:3] for row in rows]
    names = "user,item,rating,time" if times else "user,item,rating"
    path.write_text("\n".join([names, *(",".join(map(str, line)) for line in lines)]))
    return str(path)


def joined(tmp_path, new, *, times=True, shuffled=False, **settings):
    """The interactions of a run of `OLD` that is updated with `new`, by hand."""
    old = table(tmp_path / "old.csv", OLD, times=times)
    recipe = Recipe.named("movielens-100k").of_tables([old])
    changed = {"max_history": 4, "ties": "shuffled" if shuffled else "file-order"} | settings
    recipe = replace(recipe, data=replace(recipe.data, **changed))
    before = read_table(
        old,
        weigh_by_rating=recipe.data.weigh_by_rating,
        disliked_below=recipe.data.disliked_below or None,
    )
    if shuffled:
        before = before.shuffle_ties(recipe.seed)
    data = RetrievalData.of(before, recipe)
    both, _ = joined_data(data, recipe, [table(tmp_path / "new.csv", new, times=times)], [], {})
    return both.interactions


def test_the_new_rows_may_be_of_one_user(tmp_path):
    both = joined(tmp_path, [("c", 3, 4, 200)])
    assert (len(both), both.user_ids) == (21, ("a", "b", "c"))


def test_the_new_rows_may_all_be_dislikes(tmp_path):
    both = joined(tmp_path, [("a", 3, 1, 200), ("b", 4, 0, 201)], disliked_below=1.5)
    assert both.weights.tolist() == [1.0] * 20 + [-1.0] * 2
    both = joined(
        tmp_path, [("b", 4, 0, 201)], disliked_below=1.5, weigh_by_rating=True
    )  # a rating of 0 is no weight, but a dislike
    np.testing.assert_allclose(both.weights, [*[2 / 3, 4 / 3] * 10, -1.0])


def test_ratings_are_weights_relative_to_the_mean_of_old_and_new(tmp_path):
    """The likes are 20 ratings of mean 3 and two of 4.1: the mean of all is 68.2 / 22 = 3.1."""
    new = [("a", 3, 4.1, 200), ("b", 4, 4.1, 201), ("b", 5, 1, 202)]
    both = joined(tmp_path, new, weigh_by_rating=True, disliked_below=1.5)
    expected = [*[2 / 3.1, 4 / 3.1] * 10, 4.1 / 3.1, 4.1 / 3.1, -1.0]
    np.testing.assert_allclose(both.weights, expected, rtol=1e-6)


@pytest.mark.parametrize("shuffled", [False, True])
def test_without_times_new_rows_follow_the_old_ones(tmp_path, shuffled):
    both = joined(tmp_path, [("a", 3, 4), ("a", 1, 4)], times=False, shuffled=shuffled)
    items = [both.catalogue.item_ids[item - 1] for item in both.sequences()[0]]
    assert items == [*map(str, range(10)), "3", "1"]


def test_without_times_some_users_are_updated_too(tmp_path):
    recipe = Recipe.named("movielens-100k").of_tables(
        [table(tmp_path / "old.csv", OLD, times=False)]
    )
    recipe = replace(recipe, data=replace(recipe.data, max_history=4, max_users=1))
    before = read_table(tmp_path / "old.csv").of_some_users(1, seed=0)
    new = table(tmp_path / "new.csv", [(before.user_ids[0], 3, 4)], times=False)
    both, _ = joined_data(RetrievalData.of(before, recipe), recipe, [new], [], {})
    assert both.interactions.catalogue.item_ids[both.interactions.sequences()[0][-1] - 1] == "3"


def test_the_files_of_a_folder_identify_it(tmp_path):
    (tmp_path / "new").mkdir()
    files = [tmp_path / "new" / name for name in ("a.csv", "b.csv")]
    for file in files:
        file.write_text(file.name)
    assert table_sha256(str(tmp_path / "new")) == files_sha256(files)
    assert table_sha256(str(files[0])) == hashlib.sha256(b"a.csv").hexdigest()  # by any name
    with pytest.raises(InputError, match="no.csv does not exist"):
        table_sha256(str(tmp_path / "no.csv"))
