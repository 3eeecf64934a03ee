"""Balances that combine the losses of several tasks into one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_distill.models.replicas import num_replicas, sum_over_replicas


class TaskBalance(tf.keras.layers.Layer):
    """Combine the tasks' losses: `total = sum_t weight_t loss_t (+ a term of the balance)`.

    A model calls `prepare` once with its tasks' names, and `combine` in every step. Trained
    variables of a balance are saved with the model.
    """

    needs_gradients = False  # of each task's loss by itself, in `combine`

    def prepare(self, tasks: Sequence[str]) -> None:
        """Create the variables of each task.

        Raises:
            ValueError: the balance names a task that does not exist.
        """
        self.tasks = tuple(tasks)

    def combine(
        self,
        losses: Mapping[str, tf.Tensor],
        tape: tf.GradientTape | None = None,
        shared_variables: Sequence[tf.Variable] = (),
    ) -> tf.Tensor:
        """Return the total of the losses; with several replicas, this replica's part of it.

        Args:
            losses: scalars by task; a loss of exactly 0 has no labelled row and is skipped.
            tape: has recorded the losses, persistent if the balance `needs_gradients`; None if
                nothing is trained, as in evaluation.
            shared_variables: weights that all tasks share.
        """
        raise NotImplementedError


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class FixedWeights(TaskBalance):
    """`total = sum_t weight_t loss_t` with constant weights.

    Args:
        weights: by task, at least 0; 1 for omitted tasks.

    Raises:
        ValueError: a weight is negative or not finite, or (when a model is built) the task does not
            exist.

    Example:
    >>> balance = FixedWeights({"like": 3.0})
    >>> balance.prepare(["rating", "like"])
    >>> float(balance.combine({"rating": tf.constant(1.0), "like": tf.constant(0.5)}))
    2.5
    """

    def __init__(
        self, weights: Mapping[str, float] | None = None, name: str = "fixed_weights", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.weights_by_task = dict(weights or {})
        for task, weight in self.weights_by_task.items():
            if not 0 <= weight < math.inf:
                raise ValueError(
                    "Task weights must be finite and at least 0. Received: "
                    f"{weight!r} for task {task!r}."
                )

    def prepare(self, tasks: Sequence[str]) -> None:
        """See `TaskBalance`."""
        super().prepare(tasks)
        unknown = sorted(set(self.weights_by_task) - set(tasks))
        if unknown:
            raise ValueError(f"`task_balance` weighs {unknown}, but the tasks are {list(tasks)}.")

    def combine(
        self,
        losses: Mapping[str, tf.Tensor],
        tape: tf.GradientTape | None = None,
        shared_variables: Sequence[tf.Variable] = (),
    ) -> tf.Tensor:
        """See `TaskBalance`."""
        return tf.add_n([self.weights_by_task.get(task, 1.0) * losses[task] for task in self.tasks])

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal balance."""
        return super().get_config() | {"weights": self.weights_by_task}


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class UncertaintyWeights(TaskBalance):
    """`total = sum_t exp(-s_t) loss_t + s_t / 2` with a trained log variance s_t per task.

    A task whose loss stays large has a smaller weight: for a constant loss the optimal weight is
    `exp(-s_t) = 1 / (2 loss_t)`. The factor 1/2 of a regression loss in the paper only adds log 2
    to its s_t.

    Reference: [Kendall et al., 2018](https://arxiv.org/abs/1705.07115), section 3.2.

    Example:
    >>> balance = UncertaintyWeights()
    >>> balance.prepare(["rating", "like"])
    >>> float(balance.combine({"rating": tf.constant(1.0), "like": tf.constant(0.5)}))  # s = 0
    1.5
    """

    def __init__(self, name: str = "uncertainty_weights", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def prepare(self, tasks: Sequence[str]) -> None:
        """See `TaskBalance`."""
        super().prepare(tasks)
        self.log_variances = self.add_weight(
            name="log_variances", shape=[len(self.tasks)], initializer="zeros"
        )

    def combine(
        self,
        losses: Mapping[str, tf.Tensor],
        tape: tf.GradientTape | None = None,
        shared_variables: Sequence[tf.Variable] = (),
    ) -> tf.Tensor:
        """See `TaskBalance`."""
        values = tf.stack([losses[task] for task in self.tasks])
        terms = tf.exp(-self.log_variances) * values + self.log_variances / (2.0 * num_replicas())
        labelled = sum_over_replicas(tf.stop_gradient(values)) != 0.0
        return tf.reduce_sum(tf.where(labelled, terms, 0.0))


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class GradientNormWeights(TaskBalance):
    """`total = sum_t weight_t loss_t`, with weights for equal training rates (GradNorm).

    With `g_t` the norm of the gradient of `weight_t loss_t` for the shared weights, `G` its mean
    over the tasks, and `r_t` the task's loss divided by its first loss, and by the mean of these
    ratios: each step moves the weights down the gradient of `sum_t |g_t - G r_t^alpha|` (G and r_t
    constant) divided by G, and scales them to a mean of 1. So they need no optimizer and have no
    unit.

    Reference: [Chen et al., 2018](https://arxiv.org/abs/1711.02257), section 3 and algorithm 1.

    Args:
        alpha: how much the weight of a slow task increases; 0 keeps the gradient norms equal.
        learning_rate: step size of the weights.

    Raises:
        ValueError: `alpha` is negative, or `learning_rate` not above 0.

    Example:
    >>> balance = GradientNormWeights(alpha=1.5)
    >>> balance.prepare(["rating", "like"])
    >>> float(balance.combine({"rating": tf.constant(1.0), "like": tf.constant(0.5)}))
    1.5
    """

    needs_gradients = True

    def __init__(
        self,
        alpha: float = 1.5,
        *,
        learning_rate: float = 0.025,
        name: str = "gradient_norm_weights",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not 0 <= alpha < math.inf:
            raise ValueError(f"`alpha` must be finite and at least 0. Received: alpha={alpha!r}.")
        if not 0 < learning_rate < math.inf:
            raise ValueError(
                "`learning_rate` must be finite and above 0. Received: "
                f"learning_rate={learning_rate!r}."
            )
        self.alpha, self.learning_rate = float(alpha), float(learning_rate)

    def prepare(self, tasks: Sequence[str]) -> None:
        """See `TaskBalance`."""
        super().prepare(tasks)
        shape, mean = [len(self.tasks)], tf.VariableAggregation.MEAN
        self.task_weights = self.add_weight(
            name="task_weights", shape=shape, initializer="ones", trainable=False, aggregation=mean
        )
        self.first_losses = self.add_weight(  # 0 until the task has had a labelled row
            name="first_losses", shape=shape, initializer="zeros", trainable=False, aggregation=mean
        )

    def combine(
        self,
        losses: Mapping[str, tf.Tensor],
        tape: tf.GradientTape | None = None,
        shared_variables: Sequence[tf.Variable] = (),
    ) -> tf.Tensor:
        """See `TaskBalance`."""
        values = tf.stack([losses[task] for task in self.tasks])
        total = tf.reduce_sum(tf.convert_to_tensor(self.task_weights) * values)
        if tape is not None:
            with tape.stop_recording():
                norms = [self._norm(tape, losses[task], shared_variables) for task in self.tasks]
                self._move(sum_over_replicas(tf.stop_gradient(values)), tf.stack(norms))
        return total

    def _norm(
        self, tape: tf.GradientTape, loss: tf.Tensor, shared_variables: Sequence[tf.Variable]
    ) -> tf.Tensor:
        """Length of a loss' gradient for the shared weights, over all replicas."""
        gradients = [
            sum_over_replicas(tf.convert_to_tensor(gradient))  # dense: a row may be read twice
            for gradient in tape.gradient(loss, shared_variables)
            if gradient is not None
        ]
        return tf.linalg.global_norm(gradients) if gradients else tf.constant(0.0)

    def _move(self, values: tf.Tensor, norms: tf.Tensor) -> None:
        """One step of the weights of those tasks that have labelled rows."""
        weights = tf.convert_to_tensor(self.task_weights)
        there = tf.cast((values > 0.0) & (norms > 0.0), tf.float32)
        first = tf.where(self.first_losses > 0.0, self.first_losses, values)
        count = tf.maximum(tf.reduce_sum(there), 1.0)
        ratios = there * tf.math.divide_no_nan(values, first)
        rates = tf.math.divide_no_nan(ratios * count, tf.reduce_sum(ratios))
        lengths = there * weights * norms
        mean = tf.reduce_sum(lengths) / count
        slopes = tf.sign(lengths - mean * rates**self.alpha) * norms
        moved = weights - self.learning_rate * there * tf.math.divide_no_nan(slopes, mean)
        moved = tf.maximum(moved, 1e-3)  # a weight that reached 0 would have no gradient to return
        self.task_weights.assign(moved * len(self.tasks) / tf.reduce_sum(moved))
        self.first_losses.assign(first)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal balance."""
        return super().get_config() | {"alpha": self.alpha, "learning_rate": self.learning_rate}
