"""Every logit loss in one distiller, over a catalogue with masked seen items."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import random_windows

from tfrs_distill import losses
from tfrs_distill.distiller import Distiller
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.models.candidates import Candidates
from tfrs_distill.teachers import BertTwoTower

LOSSES = (
    losses.SoftTargetKLDivergence(2.0),
    losses.SoftTargetBinaryCrossEntropy(2.0),
    losses.LogitMeanSquaredError(),
    losses.LogitMeanSquaredError(centred=True, name="centred"),
    losses.PairwiseDistillation(2.0),
    losses.PairwiseDistillation(ndcg_weights=True, name="lambda"),
    losses.ListMLEDistillation(),
    losses.ListMLEDistillation(top_k=3, name="top_3"),
    losses.RankingDistillation(3, position_decay=5.0, discrepancy=0.5),
)


@pytest.mark.nightly
def test_every_loss_reduces_the_distance_to_the_teacher():
    student = RetrievalStudent.from_history(
        num_items=9,
        max_history=4,
        embedding_dim=8,
        candidates=Candidates(exclude_seen=True),
        seed=0,
    )
    teacher = BertTwoTower(np.eye(9), max_history=4, embedding_dim=8, seed=3)
    distiller = Distiller(student, teacher, LOSSES, student_loss_weight=0.0, agreement_k=3)
    distiller.compile(tf.keras.optimizers.legacy.Adam(0.2), run_eagerly=True)  # avoids tracing
    batches = random_windows(num_users=16).batches(16)
    before = distiller.evaluate(batches, return_dict=True, verbose=0)
    distiller.fit(batches, epochs=8, verbose=0)
    after = distiller.evaluate(batches, return_dict=True, verbose=0)
    for loss in LOSSES:
        assert after[loss.name] < before[loss.name], loss.name
    assert after["agreement@3"] > before["agreement@3"] + 0.1
    assert set(distiller.temperatures) == {
        "soft_target_kl_divergence",
        "soft_target_binary_cross_entropy",
        "pairwise_distillation",
        "lambda",
    }
