"""The item map: its models, its numbers, and its text on the page."""

import numpy as np
import pytest
import tensorflow as tf
from made_reports import RETRIEVAL
from tiny_data import windows_from

from tfrs_distill.evaluation.item_space import principal_components
from tfrs_distill.pipeline.report.item_map import map_section
from tfrs_distill.pipeline.report.page import html_page
from tfrs_distill.pipeline.stages.item_map import MAX_POINTS, item_map

NUM_ITEMS = 30


class Placed:
    """A model whose item `i` has row `i - 1` of these vectors."""

    def __init__(self, vectors):
        self.vectors = tf.constant(vectors)

    def encode_candidates(self, items):
        return tf.gather(self.vectors, items - 1)


def placed(seed, num_items=NUM_ITEMS):
    return Placed(np.random.default_rng(seed).normal(size=[num_items, 4]).astype(np.float32))


def train_of(num_items=NUM_ITEMS):
    """Items 1 and 2 have 12 users, 3 none, all others one of them."""
    users = np.array_split(np.arange(4, num_items + 1), 12)
    sequences = [[1, 2, *some.tolist()] for some in users]
    return windows_from(sequences, num_items=num_items, max_history=num_items)


def test_the_map_shows_interacted_items_of_teacher_and_student():
    teacher = placed(0)
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=[4, 4]))[0].astype(np.float32)
    student = Placed(3.0 * teacher.vectors.numpy() @ turn)  # as the teacher, in other coordinates
    found = item_map({"teacher": teacher}, student, placed(2), train_of(), seed=0)
    assert found["num_items"] == NUM_ITEMS - 1 and found["member"] == ""
    interacted = [item for item in range(1, NUM_ITEMS + 1) if item != 3]
    assert found["items"] == [f"Film {item}" for item in interacted]
    assert found["groups"][:2] == [0, 0] and set(found["groups"][7:]) == {2}
    one, other = found["panels"]
    assert (one["model"], other["model"]) == ("teacher", "student")
    np.testing.assert_allclose(other["x"], one["x"], atol=2e-3)  # rotated to the teacher's map
    np.testing.assert_allclose(other["y"], one["y"], atol=2e-3)
    places, share = principal_components(teacher.vectors.numpy()[np.array(interacted) - 1])
    np.testing.assert_allclose(np.stack([one["x"], one["y"]], axis=1), places, atol=6e-4)
    assert one["explained"] == pytest.approx(share)
    assert one["explained"] == pytest.approx(other["explained"], rel=1e-5)
    of_student, of_twin = found["neighbours"]["by_pair"]
    assert of_student == {"models": ["teacher", "student"], "overlap": 1.0}
    assert of_twin["models"] == ["teacher", "twin"] and of_twin["overlap"] < 0.7
    assert found["neighbours"]["chance"] == pytest.approx(10 / 28)


def test_for_an_ensemble_a_member_is_used_and_otherwise_the_twin():
    models = placed(1), placed(2)
    found = item_map({"two-tower": placed(0)}, *models, train_of(), seed=0)
    text = map_section(RETRIEVAL | {"map": found})["text"]
    assert "the teacher's two-tower has " in text
    found = item_map({}, *models, train_of(), seed=0)
    assert [panel["model"] for panel in found["panels"]] == ["student", "twin"]
    assert [pair["models"] for pair in found["neighbours"]["by_pair"]] == [["student", "twin"]]
    text = map_section(RETRIEVAL | {"map": found})["text"]
    share = 100 * found["neighbours"]["by_pair"][0]["overlap"]
    assert f"the student has {share:.1f} % with the twin in common" in text
    assert "teacher" not in text


def test_of_many_items_a_sample_is_drawn_by_the_seed():
    train = train_of(700)
    models = placed(1, 700), placed(2, 700)
    first, again, other = (item_map({}, *models, train, seed=seed) for seed in (0, 0, 1))
    assert len(first["items"]) == MAX_POINTS == len(set(first["items"]))
    assert first == again and first["items"] != other["items"]
    text = map_section(RETRIEVAL | {"map": first})["text"]
    assert "600 of the 699 items with interactions in training, drawn by the seed" in text


def test_one_item_has_no_map():
    train = windows_from([[1, 1]], num_items=2, max_history=4)
    assert item_map({}, placed(1, 2), placed(2, 2), train, seed=0) == {}
    assert "A map of the items" not in html_page(RETRIEVAL | {"map": {}})


def test_the_page_has_two_panels_with_every_title():
    found = item_map({"teacher": placed(0)}, placed(1), placed(2), train_of(), seed=0)
    page = html_page(RETRIEVAL | {"map": found})
    assert page.count("<title>Film 7</title>") == 2
    for name in ("teacher", "student"):
        assert f"Map of the item vectors of the {name}" in page
    share = 100 * found["panels"][0]["explained"]
    assert f"The two axes explain {share:.1f} % of the variance." in page
