"""Large batches in little memory: the gradients of several small batches, applied as one."""

from __future__ import annotations

import logging
from typing import Any

import tensorflow as tf

from tfrs_distill.models.replicas import num_replicas

logger = logging.getLogger(__name__)


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class GradientAccumulation(tf.keras.optimizers.Optimizer):
    """Apply the mean gradient of `num_steps` batches as one step of another optimizer.

    Works for every Keras 2 model, so twin and student can both use it. For losses that are means
    over rows, `num_steps` batches with the same number of rows give the gradient of one large
    batch. In-batch negatives are still those of the small batches. Batches left over at the end of
    an epoch count in the next epoch. If `fit` ends before the first step it logs a warning, because
    no weight was trained.

    Args:
        optimizer: the Keras optimizer that takes the steps; it clips the mean gradient.
        num_steps: batches per step.
        name: name of the optimizer.

    Raises:
        ValueError: `num_steps` is not a whole number of at least 1; or the model trains on several
            replicas, which is not supported: give each replica a larger batch instead.

    Example:
    >>> optimizer = GradientAccumulation(tf.keras.optimizers.SGD(1.0), num_steps=2)
    >>> weight = tf.Variable(5.0)
    >>> for gradient in (1.0, 3.0):
    ...     optimizer.apply_gradients([(tf.constant(gradient), weight)])
    >>> float(weight)
    3.0
    """

    def __init__(
        self,
        optimizer: tf.keras.optimizers.Optimizer,
        num_steps: int,
        name: str = "gradient_accumulation",
    ) -> None:
        if not (num_steps >= 1 and num_steps % 1 == 0):
            raise ValueError(
                "`num_steps` must be a whole number of at least 1. Received: "
                f"num_steps={num_steps!r}."
            )
        super().__init__(name=name, jit_compile=False)
        self.optimizer, self.num_steps = optimizer, num_steps

    def build(self, var_list: list[tf.Variable]) -> None:
        """Create one accumulator per weight, and the inner optimizer's variables."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self.sums = [self.add_variable_from_reference(v, "accumulated") for v in var_list]
        # Not `iterations`: there, loss scaling also counts the batches that it skips.
        self.num_added = self.add_variable([], tf.int64, name="num_added")
        self.optimizer.build(var_list)
        self._built = True

    def apply_gradients(self, grads_and_vars: Any, *args: Any, **kwargs: Any) -> None:
        """Add these gradients; on the last of `num_steps` batches, take a step."""
        if num_replicas() > 1:
            raise ValueError(
                "GradientAccumulation does not support several replicas. Received: "
                f"{num_replicas()} replicas. Give each replica a larger batch."
            )
        grads_and_vars = list(grads_and_vars)
        with tf.init_scope():
            self.build([v for _, v in grads_and_vars])
        grads_and_vars = [(g, v) for g, v in grads_and_vars if g is not None]
        variables = [v for _, v in grads_and_vars]
        sums = [self.sums[self._index_dict[self._var_key(v)]] for v in variables]
        for (gradient, _), total in zip(grads_and_vars, sums):
            total.assign_add(tf.convert_to_tensor(gradient) / self.num_steps)
        self.iterations.assign_add(1)
        self.num_added.assign_add(1)

        def step() -> None:
            self.optimizer.apply_gradients(list(zip(map(tf.identity, sums), variables)))
            for total in (*sums, self.num_added):
                total.assign(tf.zeros_like(total))

        tf.cond(tf.equal(self.num_added, self.num_steps), step, lambda: None)

    def finalize_variable_values(self, var_list: list[tf.Variable]) -> None:
        """Finalise the inner optimizer's weights at the end of `fit`, with `use_ema=True`."""
        self.optimizer.finalize_variable_values(var_list)
        num_added = int(self.num_added.numpy())
        if num_added and not int(self.optimizer.iterations.numpy()):
            logger.warning(
                "GradientAccumulation has not taken a step: a step needs num_steps=%d batches, but "
                "`fit` had %d. The weights are unchanged. Train for more batches or epochs, "
                "or with fewer batches per step.",
                self.num_steps,
                num_added,
            )

    @property
    def variables(self) -> list[tf.Variable]:
        """Return the accumulators, then the inner optimizer's variables."""
        return [*self._variables, *self.optimizer.variables]

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's learning rate, for callbacks that set it."""
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.optimizer.learning_rate = learning_rate

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        inner = tf.keras.optimizers.serialize(self.optimizer)
        return {"name": self.name, "optimizer": inner, "num_steps": self.num_steps}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Build an optimizer with a new inner one."""
        inner = tf.keras.optimizers.deserialize(config["optimizer"], custom_objects=custom_objects)
        return cls(**(config | {"optimizer": inner}))
