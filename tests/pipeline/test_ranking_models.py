"""Models of rows: what they take from the data."""

from dataclasses import replace

import numpy as np
import pytest

from tfrs_distill.data import Interactions, split_ratings
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.models.features import HistoryFeature
from tfrs_distill.models.tasks import Regression
from tfrs_distill.pipeline.data import RankingData
from tfrs_distill.pipeline.models import make_student
from tfrs_distill.pipeline.recipe import Recipe

NAMES = tuple("abcdefghij")


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        ([20.0, 100.0, 35.0, 60.0], (20.0, 100.0)),
        ([-9.5, 9.25, 0.5, -1.0], (-9.5, 9.25)),
        ([3.0] * 4, (1.0, 5.0)),  # the feature's own
    ],
)
def test_ratings_of_a_history_are_on_the_scale_of_the_data(ratings, expected):
    """As on the usual one of 1 to 5 a rating of 100 would be 48.5 times the largest."""
    data = Interactions(
        "tiny",
        Catalogue(NAMES, NAMES, NAMES),
        ("ann",),
        np.zeros(20, int),
        np.arange(20) % 10 + 1,
        ratings * 5,
        range(20),
    )
    splits, tables = split_ratings(data, max_history=3)
    rows = RankingData(splits, tables.vocabularies, tables.item_vectors, tables.catalogue, None, "")
    recipe = Recipe.named("ranking")
    recipe = replace(recipe, student=replace(recipe.student, embedding_dim=2))
    student = make_student(recipe, rows, [Regression("rating", -10, 100)], 0.0)
    (history,) = (each for each in student.features if isinstance(each, HistoryFeature))
    assert (history.low, history.high) == expected
