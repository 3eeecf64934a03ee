"""The text of a ranking report about its tasks and its data, before training."""

from dataclasses import replace

import numpy as np
import pytest

from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.source import read_data
from tfrs_distill.pipeline.tasks import make_tasks, what


def write_films(folder, scale):
    """10 users who rate 10 films an hour apart, except the first: the last two are at one time."""
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    lines = "".join(f"{item}\tFilm {item}\t1990\tDrama\n" for item in range(10))
    (folder / "tiny.item").write_text(header + lines)
    rows = [
        f"u{user}\t{item}\t{scale[(user + item) % len(scale)]:g}\t"
        f"{10**9 + 10**6 * user + 3600 * min(item, 8 if user == 0 else 9)}\n"
        for user in range(10)
        for item in range(10)
    ]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "tiny.inter").write_text(header + "".join(rows))
    return folder


def recipe_of(folder, rating_as="distribution", max_users=0):
    named = Recipe.named("ranking")
    return replace(
        named,
        data=replace(named.data, folder=str(folder), max_users=max_users),
        labels=replace(named.labels, rating_as=rating_as),
    )


@pytest.mark.parametrize("rating_as", ["regression", "ordinal", "distribution"])
@pytest.mark.parametrize(
    "scale, words",
    [
        (np.arange(1, 6), "The rating, 1 to 5."),
        (np.arange(1, 11) / 2, "The rating, 0.5 to 5."),
        (np.arange(1, 11), "The rating, 1 to 10."),
    ],
    ids=["ml-100k", "ml-20m", "books"],
)
def test_the_text_has_the_limits_of_the_datas_scale(tmp_path, rating_as, scale, words):
    recipe = recipe_of(write_films(tmp_path, scale), rating_as)
    result = {task.name: what(task, 4.0) for task in make_tasks(recipe, read_data(recipe))}
    assert result == {"like": "A rating of 4 or more.", "rating": words}


@pytest.mark.parametrize("max_users", [0, 4])
def test_the_limits_are_those_of_the_users_that_are_read(tmp_path, max_users):
    recipe = recipe_of(write_films(tmp_path, np.arange(1, 6)), max_users=max_users)
    data = read_data(recipe)
    kept = np.unique(data.splits.train.users)
    assert len(kept) == (max_users or 10)
    # Users follow each other: after the test of the first of n there are the 8 n - 8 training rows
    # of the others. The median of 0, 8, ..., 8 n - 8 is 4 n - 4, of 8 n rows.
    number = len(kept)
    assert data.facts()[0]["split"] == {
        "train_after_test": pytest.approx((4 * number - 4) / (8 * number)),
        "tests_cut_in_one_time": pytest.approx(("u0" in data.vocabularies["user_id"]) / number),
    }
