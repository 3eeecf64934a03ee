"""The wide network learns a planted product of ids, and a column that a student cannot read."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.knowledge import cross_fit
from tfrs_distill.models.features import IdFeature, ItemFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import Binary, Ordinal, Regression
from tfrs_distill.teachers.deep_cross_teacher import DeepCrossTeacher
from tfrs_distill.teachers.row_logits import row_logits


def planted(num_rows=600, seed=0):
    """Even users like even items, odd users odd ones; the moon's phase gives the stars."""
    random = np.random.default_rng(seed)
    users, items = random.integers(1, 9, num_rows), random.integers(1, 13, num_rows)
    moon = random.integers(1, 4, num_rows)
    return RankingExamples(
        {"item_id": items, "moon": moon},
        {"like": (users % 2 == items % 2).astype(float), "stars": moon.astype(float)},
        users=users,
        queries=users,
    )


def features(*columns):
    ids = {"user_id": (8, "query"), "moon": (3, "query")}
    return [ItemFeature(12, 4, seed=0)] + [
        IdFeature(name, ids[name][0], 4, side=ids[name][1], seed=1) for name in columns
    ]


TASKS = (Binary("like"), Ordinal("stars", (1, 2, 3)))


def trained(examples, *columns, epochs=12, **options):
    teacher = DeepCrossTeacher(features(*columns), TASKS, seed=0, **options)
    teacher.compile(tf.keras.optimizers.Adam(5e-3))
    teacher.fit(examples.batches(32, seed=0), epochs=epochs, verbose=0)
    return teacher


@pytest.fixture(scope="module")
def teacher():
    return trained(planted(), "user_id", "moon")


@pytest.mark.nightly
def test_it_learns_the_product_of_ids_and_the_privileged_column(teacher):
    held_out = planted(200, seed=1)
    output = row_logits(teacher, held_out)
    assert ((output["like"][:, 0] > 0) == (held_out.labels["like"] == 1)).mean() > 0.95
    stars = 1 + (output["stars"] > 0).sum(axis=1)
    assert (stars == held_out.labels["stars"]).mean() > 0.95
    blind = row_logits(trained(planted(), "user_id", epochs=4), held_out)  # it has no moon column
    assert (1 + (blind["stars"] > 0).sum(axis=1) == held_out.labels["stars"]).mean() < 0.6


def test_the_logits_of_every_row_are_in_order(teacher, monkeypatch):
    held_out = planted(50, seed=2)
    monkeypatch.setattr(importlib.import_module(row_logits.__module__), "BATCH_SIZE", 16)
    output = row_logits(teacher, held_out)
    batch = {
        "item_id": tf.constant(held_out.features["item_id"]),
        "user_id": tf.constant(held_out.users),
        "moon": tf.constant(held_out.features["moon"]),
    }
    expected = teacher.logits(batch)  # without dropout
    assert list(output) == ["like", "stars"] and output["stars"].shape == (50, 2)
    for task, logits in output.items():
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected[task], atol=1e-5)


def test_it_is_wider_than_a_student_by_default():
    teacher, student = (
        kind(features("user_id"), TASKS) for kind in (DeepCrossTeacher, RankingModel)
    )
    assert isinstance(teacher, RankingModel)
    assert teacher.num_parameters > 2 * student.num_parameters


def test_a_loaded_one_returns_the_same(teacher, tmp_path):
    teacher.save(tmp_path / "teacher.keras")
    loaded = tf.keras.models.load_model(tmp_path / "teacher.keras")
    assert type(loaded) is DeepCrossTeacher
    assert tf.keras.utils.get_registered_name(DeepCrossTeacher) == "tfrs_distill>DeepCrossTeacher"
    assert loaded.fingerprint() == teacher.fingerprint()
    output, expected = (row_logits(model, planted(20)) for model in (loaded, teacher))
    for task in output:
        np.testing.assert_allclose(output[task], expected[task], atol=1e-6)


def test_a_configuration_keeps_its_sizes():
    tasks = [Regression("rating", 1, 5)]
    teacher = DeepCrossTeacher(
        features("user_id"), tasks, num_cross_layers=1, hidden_units=(7,), dropout=0.4, name="wide"
    )
    again = DeepCrossTeacher.from_config(teacher.get_config())
    assert again.get_config() == teacher.get_config()
    assert (again.num_cross_layers, again.hidden_units, again.dropout_rate) == (1, (7,), 0.4)
    assert again.name == "wide" and list(again.tasks.values()) == tasks


@pytest.mark.nightly
def test_it_can_be_cross_fitted(tmp_path):
    def train(examples, fold):
        return trained(examples, "moon", epochs=1, hidden_units=(8,), num_cross_layers=0)

    examples = planted(80)
    cached = cross_fit(train, examples, tmp_path, fingerprint="small", num_folds=2)
    found = cached.join(examples)
    assert found.teacher_logits["stars"].shape == (80, 2)
    assert np.isfinite(found.teacher_logits["like"]).all()
