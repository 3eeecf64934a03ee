"""The second stage's model: its features in addition to items and histories."""

from dataclasses import replace

import numpy as np

from tfrs_distill.data import RankingExamples
from tfrs_distill.models.features import NeighbourFeature
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.two_stage import make_second_stage

NUM_ITEMS = 12


def lists(items):
    random = np.random.default_rng(1)
    return RankingExamples(
        {"history": random.integers(1, NUM_ITEMS + 1, [len(items), 6]), "item_id": items},
        {"relevance": (items % 3 == 0).astype(np.float32)},
        users=np.ones(len(items), np.int32),
        queries=np.ones(len(items), np.int32),
    )


def neighbours_of(weights, examples):
    recipe = Recipe.named("two-stage")
    recipe = replace(recipe, lists=replace(recipe.lists, num_neighbours=3, max_history=6))
    vectors = np.ones([NUM_ITEMS, 4], np.float32)
    student = make_second_stage(recipe, vectors, weights, examples, 0.0, 0.2)
    assert student.tasks["relevance"].label_smoothing == 0.2
    found = [feature for feature in student.features if isinstance(feature, NeighbourFeature)]
    assert len(found) == 1
    return found[0]


def test_the_neighbours_sum_has_deviation_1_over_the_lists():
    weights = np.random.default_rng(0).normal(size=[NUM_ITEMS + 1, NUM_ITEMS + 1])
    examples = lists(np.arange(1, NUM_ITEMS + 1).repeat(9))
    feature = neighbours_of(weights, examples)
    output = feature(next(iter(examples.batches(500)))).numpy()
    assert abs(output.std() - 1.0) < 1e-5
    assert feature.num_neighbours == 3 and feature.max_history == 6
    again = NeighbourFeature.from_config(feature.get_config())
    assert again.scale == feature.scale != 1.0


def test_without_neighbours_in_histories_the_sum_stays_0():
    weights = np.zeros([NUM_ITEMS + 1, NUM_ITEMS + 1])
    assert neighbours_of(weights, lists(np.arange(1, 7))).scale == 1.0
