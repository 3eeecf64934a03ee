"""The second task of a retrieval student: cold items, ranked among themselves by a teacher."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.data import split_cold_items, synthetic
from tfrs_distill.data.cold_items import ColdItems
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

COLD = ColdItems([3, 8, 20], [5, 11])
DATA = synthetic(num_users=40, num_items=24, num_blocks=2, interactions_per_user=10)
SPLITS = split_cold_items(DATA, COLD, COLD.described, max_history=8)
WEIGHTS = {"next_item": 0.4, "cold_items": 0.0}


class PlantedTeacher:
    """Known logits that depend on the row's history and the item."""

    def logits(self, batch, candidate_ids):
        rows = tf.boolean_mask(batch["history"], batch["labels"] > 0)
        return tf.cast((rows[:, None] * 7 + candidate_ids[None] * 13) % 11, tf.float32) / 3.0

    def fingerprint(self):
        return "planted"


def new_student(cold_items=COLD.described, **kwargs):
    return RetrievalStudent.from_history(
        num_items=24, max_history=8, embedding_dim=4, cold_items=cold_items, seed=0, **kwargs
    )


def losses(temperature=2.0):
    return {
        task: SoftTargetKLDivergence(temperature, name="kl") for task in ("next_item", "cold_items")
    }


def distiller_of(student, weight=3.0):
    weights = {"next_item": 1.0, "cold_items": weight}
    distiller = Distiller(student, PlantedTeacher(), losses(), weights, student_loss_weight=WEIGHTS)
    distiller.compile(tf.keras.optimizers.Adam(0.01))
    return distiller


def log_softmax(logits):
    logits = np.float64(logits)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def divergence(teacher, student, temperature=2.0):
    p, q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    return temperature**2 * (np.exp(p) * (p - q)).sum(axis=-1)


def batch_of():
    return next(iter(SPLITS.train.batches(16)))


def test_cold_items_have_a_separate_softmax():
    student, batch = new_student(), batch_of()
    labels = batch["labels"].numpy()
    queries = student.encode_queries(batch).numpy()[labels > 0].astype(np.float64)
    items = student.catalogue_embeddings().numpy().astype(np.float64)[1:]
    scores, labels = queries @ items.T, labels[labels > 0] - 1
    warm = np.setdiff1d(np.arange(24), COLD.all - 1)
    teacher = np.float64(PlantedTeacher().logits(batch, tf.range(1, 25)))
    place = np.searchsorted(warm, labels)
    hard = -log_softmax(scores[:, warm])[np.arange(len(labels)), place].mean()
    soft = divergence(teacher[:, warm], scores[:, warm]).mean()
    described = np.array(COLD.described) - 1
    cold = divergence(teacher[:, described], scores[:, described]).mean()
    terms = distiller_of(student).loss_terms(batch, training=False)
    np.testing.assert_allclose(terms["next_item_student_loss"], hard, rtol=1e-5)
    np.testing.assert_allclose(terms["next_item_kl"], soft, rtol=1e-4)
    np.testing.assert_allclose(terms["cold_items_kl"], cold, rtol=1e-4)
    total = 0.4 * hard + 0.6 * soft + 3.0 * cold
    np.testing.assert_allclose(terms["total_loss"], total, rtol=1e-4)


def test_only_the_teacher_moves_the_cold_items_with_text():
    student = new_student()
    before = student.candidate_tower.id_embeddings.numpy()
    history = distiller_of(student).fit(SPLITS.train.batches(16, seed=0), epochs=4, verbose=0)
    moved = np.abs(student.candidate_tower.id_embeddings.numpy() - before).max(axis=1)
    assert (moved[COLD.described] > 0.01).all()
    np.testing.assert_array_equal(moved[COLD.undescribed], 0)  # they have no text
    cold = history.history["cold_items_kl"]
    assert cold[-1] < 0.95 * cold[0]


def test_with_student_loss_weight_1_it_trains_as_without_the_task():
    with_task, without = new_student(), new_student(cold_items=())
    for student in (with_task, without):
        student.compile(tf.keras.optimizers.Adam(0.01))
        student.fit(SPLITS.train.batches(16, seed=0), epochs=2, verbose=0)
    for one, other in zip(with_task.get_weights(), without.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "loss" in with_task.evaluate(SPLITS.train.batches(16), verbose=0, return_dict=True)


def test_the_task_has_no_labels():
    with pytest.raises(ValueError, match=r"no labels of task 'cold_items', but.*weight.* is 0\.5"):
        distiller = Distiller(new_student(), PlantedTeacher(), losses())
        distiller.compile("adam")
        distiller.fit(SPLITS.train.batches(16), verbose=0)


def test_a_top_k_of_the_catalogue_has_no_values_for_the_task(tmp_path):
    from tfrs_distill.knowledge import cache_teacher

    teacher = RetrievalStudent.from_history(num_items=24, max_history=8, seed=1)
    windows = replace(SPLITS.train, candidates=None)  # then the first task is of all items
    cached = cache_teacher(teacher, windows, tmp_path, top_k=5, temperatures=(2.0,))
    distiller = Distiller(new_student(), cached, losses(), student_loss_weight=WEIGHTS)
    distiller.compile("adam")
    with pytest.raises(ValueError, match=r"candidates of 'cold_items' .* `form='embeddings'`"):
        distiller.fit(cached.join(windows, form="top_k").batches(16), verbose=0)
    distiller.fit(cached.join(windows, form="embeddings").batches(16), verbose=0)


@pytest.mark.parametrize("items", [[0, 3], [25]])
def test_cold_items_must_be_in_the_catalogue(items):
    with pytest.raises(ValueError, match=r"`cold_items` must hold item indices, 1 to 24"):
        new_student(cold_items=items)


def test_with_two_tasks_compile_takes_no_metrics():
    distiller = Distiller(new_student(), PlantedTeacher(), losses(), student_loss_weight=WEIGHTS)
    with pytest.raises(ValueError, match=r"`compile` takes no metrics"):
        distiller.compile("adam", metrics=["accuracy"])
