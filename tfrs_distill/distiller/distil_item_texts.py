"""Train a student's text tower on item texts, before training on interactions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_distill.losses import HiddenRepresentationDistillation
from tfrs_distill.models.two_tower import TwoTower


def distil_item_texts(
    student: TwoTower,
    teacher_vectors: np.ndarray,
    losses: Sequence[HiddenRepresentationDistillation],
    *,
    items: Sequence[int] | None = None,
    num_epochs: int = 20,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    seed: int | None = None,
) -> list[float]:
    """Train a student's text tower to match a teacher's item vectors.

    Minimises with Adam, over batches of items, the sum of `losses` between the text tower's
    embeddings (without their last entry, which is a bias) and the teacher's vectors. No
    interactions are needed: all texts of the catalogue have equal weight, including those of
    cold-start items. The projectors of `losses` are trained too, but are not part of the student.

    Reference: feature distillation, [Romero et al., 2015](https://arxiv.org/abs/1412.6550).

    Args:
        student: a student that reads texts, see `RetrievalStudent.from_history`. Its text tower is
            changed in place; its other weights are not changed.
        teacher_vectors: float [num_items, any width], one row per item in catalogue order, such as
            a teacher's item embeddings or vectors of a BERT.
        losses: `HiddenRepresentationDistillation` and `RelationDistillation`; their layer names are
            ignored.
        items: indices of the items to train on; None for all.
        num_epochs: passes over the texts.
        batch_size: texts per step.
        learning_rate: learning rate of Adam.
        seed: int or None; fixes the order of the texts.

    Returns:
        The mean loss of every epoch.

    Raises:
        ValueError: the student has no text tower, or the vectors have the wrong number of items or
            are not finite.
    """
    tower = student.candidate_tower
    if not hasattr(tower, "text_tower"):
        raise ValueError(
            "The student has no text tower: build it with `texts` and `word_pieces`. Received: "
            f"{type(tower).__name__}."
        )
    vectors = np.asarray(teacher_vectors, np.float32)
    if vectors.ndim != 2 or len(vectors) != student.num_items or not np.isfinite(vectors).all():
        raise ValueError(
            f"`teacher_vectors` must be finite, [{student.num_items}, width], one row per item. "
            f"Received: shape {list(vectors.shape)}."
        )
    rows = np.arange(1, student.num_items + 1) if items is None else np.asarray(items)
    pieces, targets = tower.pieces.numpy()[rows], vectors[rows - 1]
    model = _Texts(tower.text_tower, losses)
    model.compile(optimizer=tf.keras.optimizers.Adam(learning_rate))
    batches = (
        tf.data.Dataset.from_tensor_slices((pieces, targets))
        .shuffle(len(rows), seed=seed)
        .batch(batch_size)
    )
    history = model.fit(batches, epochs=num_epochs, verbose=0).history
    return [float(loss) for loss in history["loss"]]


class _Texts(tf.keras.Model):
    """The text tower, trained on the sum of the losses."""

    def __init__(
        self, tower: tf.keras.layers.Layer, losses: Sequence[HiddenRepresentationDistillation]
    ) -> None:
        super().__init__()
        self.tower, self.of_texts = tower, list(losses)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Take one step of Adam on a batch of word pieces and the teacher's vectors."""
        pieces, targets = data
        with tf.GradientTape() as tape:
            embeddings = tf.cast(self.tower(pieces, training=True), tf.float32)[:, :-1]
            losses = [tf.reduce_mean(layer((embeddings, targets))) for layer in self.of_texts]
            loss = tf.add_n(losses)
        variables = self.trainable_variables
        self.optimizer.minimize(loss, variables, tape=tape)
        return {"loss": loss}
