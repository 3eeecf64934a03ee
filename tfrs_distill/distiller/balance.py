"""Callbacks that set distillation loss weights from the size of the student loss."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrs_distill.distiller.distiller import BalanceGroup


class _Balance(tf.keras.callbacks.Callback):
    """Sets the weights of all distillation losses every few steps."""

    def __init__(self, ratio: float, every: int) -> None:
        super().__init__()
        if not 0 < ratio < math.inf:
            raise ValueError(f"`ratio` must be finite and above 0. Received: ratio={ratio!r}.")
        if not every >= 1:
            raise ValueError(f"`every` must be at least 1 step. Received: every={every!r}.")
        self.ratio, self.every = ratio, every

    def set_weights(self, reference: float, sizes: dict[str, float]) -> None:
        """`c_i = ratio * reference / (num_losses * size_i)`; a loss of size 0 keeps its weight."""
        for name, size in sizes.items():
            if size > 0 and math.isfinite(size) and math.isfinite(reference):
                weight = self.ratio * reference / (len(sizes) * size)
                self.model.distillation_loss_weights[name].assign(weight)

    def steps(self) -> int:
        """Return the number of optimizer steps so far, including those of a restored model."""
        return int(self.model.optimizer.iterations)


def _reference(group: BalanceGroup, terms: dict[str, Any]) -> Any:
    """Return the student loss that the group's losses are balanced against."""
    if not all(name in terms for name in group.student_losses):
        raise ValueError(
            "Balancing against the student loss needs labels, but the batches have no column "
            f"{group.labels!r}."
        )
    return sum(terms[name] for name in group.student_losses)


class LossRatioBalance(_Balance):
    """Keep the distillation loss at `ratio` times the student loss.

    `c_i = ratio * student_loss / (num_losses *
    distillation_loss_i)`, computed from the epoch's running means every `every` optimizer steps.
    Several losses get equal parts. The weights are saved with the model.

    Args:
        ratio: target value of `sum_i c_i * distillation_loss_i` divided by `student_loss`.
        every: number of optimizer steps between two updates.

    Raises:
        ValueError: `ratio` or `every` is out of range; or, in training, the batches have no labels.
    """

    def __init__(self, ratio: float = 1.0, *, every: int = 100) -> None:
        super().__init__(ratio, every)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the optimizer step at the start of the batch or batches."""
        self.before = self.steps()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the weights from the running means."""
        if self.steps() // self.every > self.before // self.every and logs:
            for group in self.model.balance_groups:
                sizes = {name: float(logs[name]) for name in group.losses}
                self.set_weights(float(_reference(group, logs)), sizes)


class GradientNormBalance(_Balance):
    """Keep the gradients of the distillation losses at `ratio` times the student loss' gradient.

    `c_i = ratio * |grad student_loss| / (num_losses * |grad distillation_loss_i|)`, with norms over
    all weights of the student, measured without dropout on the next batch of `batches`, every
    `every` steps. The weights are saved with the model.

    Args:
        batches: batches to measure on, such as those of training; restarted when they end.
        ratio: target ratio of the gradients' norms.
        every: number of optimizer steps between two updates.

    Raises:
        ValueError: `ratio` or `every` is out of range; or, in training, the batches have no labels.
    """

    def __init__(self, batches: tf.data.Dataset, ratio: float = 1.0, *, every: int = 100) -> None:
        super().__init__(ratio, every)
        self.batches = batches

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Compile the measurement."""
        self.batch_iterator = iter(self.batches.repeat())
        self.norms = tf.function(self._norms, reduce_retracing=True)
        self.before: int | None = None

    def _norms(self, batch: Any) -> list[tuple[tf.Tensor, dict[str, tf.Tensor]]]:
        """Compute for each group the gradient norms of its reference and of each of its losses."""
        groups = self.model.balance_groups
        with tf.GradientTape(persistent=True) as tape:
            terms = self.model.loss_terms(batch, training=False)
            references = [_reference(group, terms) for group in groups]

        def norm(term: tf.Tensor) -> tf.Tensor:
            gradients = tape.gradient(term, self.model.student.trainable_variables)
            # Dense, because an embedding's sparse gradient has one row for each lookup, with
            # repeats.
            return tf.linalg.global_norm(
                [tf.convert_to_tensor(g) for g in gradients if g is not None]
            )

        return [
            (norm(reference), {name: norm(terms[name]) for name in group.losses})
            for group, reference in zip(groups, references)
        ]

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, and set the weights."""
        before, self.before = self.before, self.steps()
        if before is None:
            due = self.before % self.every == 0
        else:
            due = self.before // self.every > before // self.every
        if due:
            for reference, sizes in self.norms(next(self.batch_iterator)):
                self.set_weights(float(reference), {n: float(v) for n, v in sizes.items()})
