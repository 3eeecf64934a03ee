"""A callback that prunes small weights of dense layers while a student trains."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError, MissingExtraError

logger = logging.getLogger(__name__)


class MagnitudePruning(tf.keras.callbacks.Callback):
    """Sets a growing share of the dense kernels' smallest weights to 0 during training.

    After step t the share of zeros in every kernel is

    `s_t = final + (initial - final) (1 - (t - begin_step) / (end_step - begin_step))**power`

    from `begin_step` to `end_step`, updated every `frequency` steps and at `end_step`; a weight
    whose block is among the smallest by mean magnitude becomes 0 and stays 0.
    Schedule and choice of weights are those of `tensorflow-model-optimization`, which itself cannot
    wrap a subclassed model. The kernels are those of all `tf.keras.layers.Dense` in `student`;
    biases, embedding tables and kernels of one unit are not pruned. The callback works in a
    student's `fit` and in a `Distiller`'s.

    The step is the optimizer's own count, so a model that is loaded, or restored after a kill,
    continues at the same step. Logs the share of zeros, `sparsity`, at the end of each epoch.
    Weights that another callback restores from an earlier epoch have that epoch's zeros.

    Zeros make a `.tflite` file smaller only if the converter encodes them
    (`tf.lite.Optimize.EXPERIMENTAL_SPARSITY`), and in LiteRT not reliably faster: for five layers
    with 80 % zeros, single weights took 0.3 and blocks of (4, 1) 0.2 of the bytes, and both about
    the same time as no zeros (`benchmarks/compression.py --part zeros`). 8 bits take
    a quarter of the bytes of any kernel. Do not combine the two: LiteRT 2.3 refuses the file, or
    computes wrong numbers from it. A small student gains least, because its item table is not
    pruned.

    Reference: [Zhu and Gupta, 2017](https://arxiv.org/abs/1710.01878).

    Args:
        student: the model whose dense layers are pruned, or a part of it, such as its query tower.
        final_sparsity: share of zeros from `end_step` on, at least 0 and below 1.
        begin_step: optimizer steps before the first pruning.
        end_step: the step after which the set of zeros no longer changes.
        initial_sparsity: share of zeros at `begin_step`.
        power: exponent of the schedule; 1 is linear, 3 prunes most at first.
        frequency: steps between two prunings, in which the remaining weights adapt.
        block_size: neighbouring inputs and units that are pruned together; (4, 1) for LiteRT.

    Raises:
        InputError: an argument is out of its range; or, after the first batch, `student` has no
            dense layer.
        MissingExtraError: `tensorflow-model-optimization` is not installed.

    Example:
    >>> student = tf.keras.Sequential([tf.keras.layers.Dense(4, use_bias=False)])
    >>> student.compile(tf.keras.optimizers.SGD(0.0), "mse")
    >>> pruning = MagnitudePruning(student, 0.75, begin_step=0, end_step=2, frequency=1)
    >>> _ = student.fit(tf.ones([8, 6]), tf.ones([8, 4]), 4, callbacks=[pruning], verbose=0)
    >>> int(tf.math.count_nonzero(student.weights[0])), pruning.sparsity()  # of 24
    (6, 0.75)
    """

    def __init__(
        self,
        student: tf.Module,
        final_sparsity: float,
        begin_step: int,
        end_step: int,
        *,
        initial_sparsity: float = 0.0,
        power: float = 3.0,
        frequency: int = 100,
        block_size: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        for name, value in (("final", final_sparsity), ("initial", initial_sparsity)):
            if not 0 <= value < 1:
                raise InputError(
                    f"`{name}_sparsity` must be at least 0 and below 1. Received: "
                    f"{name}_sparsity={value!r}."
                )
        if not 0 <= begin_step < end_step:
            raise InputError(
                "`begin_step` must be at least 0 and `end_step` above it. Received: "
                f"begin_step={begin_step!r}, end_step={end_step!r}."
            )
        if not frequency >= 1:
            raise InputError(f"`frequency` must be at least 1. Received: frequency={frequency!r}.")
        if not power > 0:
            raise InputError(f"`power` must be above 0. Received: power={power!r}.")
        if not (len(block_size) == 2 and min(block_size) >= 1):
            raise InputError(
                "`block_size` must be two numbers of at least 1, inputs and units. Received: "
                f"block_size={block_size!r}."
            )
        self.student, self.block_size = student, tuple(block_size)
        self.begin_step, self.end_step, self.frequency = begin_step, end_step, frequency
        self.schedule = _toolkit()[0].PolynomialDecay(
            initial_sparsity, final_sparsity, begin_step, end_step, power=power
        )

    def target(self, step: int) -> float:
        """Return the scheduled share of zeros at an optimizer step; 0 before `begin_step`."""
        return 0.0 if step < self.begin_step else float(self.schedule(tf.constant(step))[1])

    def sparsity(self) -> float:
        """Return the current share of zeros among the kernels' weights; 0 without kernels."""
        kernels = [kernel.numpy() for kernel in _kernels(self.student)]
        zeros = sum(int(np.sum(kernel == 0)) for kernel in kernels)
        return float(zeros / max(1, sum(kernel.size for kernel in kernels)))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Prune as at the last due step if training resumes after it."""
        self.update: Callable[[], None] | None = None
        self.done: int | None = None  # the schedule's step of the current zeros
        if _kernels(self.student):  # otherwise after the first batch, which builds the layers
            self._follow()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Prune if the schedule requires it, and keep pruned weights at 0."""
        self._follow()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the share of zeros."""
        if logs is not None:
            logs["sparsity"] = self.sparsity()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the zeros if the optimizer has written averages into the weights."""
        if self.update is not None:
            self.apply()
        step = int(self.model.optimizer.iterations)
        if step < self.end_step:
            logger.warning(
                "MagnitudePruning has not reached `end_step`: training stopped at step %d of %d, "
                "with a sparsity of %.3f. Train longer, or give an earlier `end_step`.",
                step,
                self.end_step,
                self.sparsity(),
            )

    def _follow(self) -> None:
        if self.update is None:
            self.update, self.apply = self._built()
        self.apply()  # before choosing new zeros: pruned weights stay pruned, even if they moved
        due = self._last_due(int(self.model.optimizer.iterations))
        if due is not None and due != self.done:
            self.share.assign(self.target(due))
            self.update()
            self.apply()
            self.done = due

    def _last_due(self, step: int) -> int | None:
        """Return the schedule's last step up to an optimizer step; the end is one of them."""
        if step < self.begin_step:
            return None
        if step >= self.end_step:
            return self.end_step
        return step - (step - self.begin_step) % self.frequency

    def _built(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return the toolkit's functions that set the masks of all kernels, and that apply them."""
        kernels = _kernels(self.student)
        if not kernels:
            raise InputError(
                "`student` must have a tf.keras.layers.Dense with several inputs and units. "
                f"Received: {type(self.student).__name__} with none. Leave the callback out."
            )
        self.share = tf.Variable(0.0, trainable=False)
        masks = [tf.Variable(tf.ones_like(kernel), trainable=False) for kernel in kernels]
        thresholds = [
            tf.Variable(tf.zeros([], kernel.dtype), trainable=False) for kernel in kernels
        ]
        self.pruning = _toolkit()[1].Pruning(  # keeps references to the masks; its graphs do not
            lambda: 0,  # `_last_due` sets the steps: the toolkit's own rule can miss the last one
            list(zip(kernels, masks, thresholds)),
            lambda _: (tf.constant(True), self.share),
            self.block_size,
            "AVG",
        )
        update, apply = self.pruning.conditional_mask_update, self.pruning.weight_mask_op
        return _as_graph(update), _as_graph(apply)


def _kernels(student: tf.Module) -> list[tf.Variable]:
    """Return the kernels of all dense layers that are built, each once, in order.

    Kernels of one input or one unit are excluded: they are small, and have no blocks.
    """
    layers = [m for m in student.submodules if isinstance(m, tf.keras.layers.Dense)]
    layers += [student] if isinstance(student, tf.keras.layers.Dense) else []
    kernels = {id(layer.kernel): layer.kernel for layer in layers if layer.built}
    return [kernel for kernel in kernels.values() if min(kernel.shape) > 1]


def _as_graph(operation: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        operation()  # returns operations, which a graph's function cannot return

    graph: Callable[[], None] = tf.function(run, input_signature=[]).get_concrete_function()
    return graph


def _toolkit() -> tuple[Any, Any]:
    """Return the schedules and masks of `tensorflow-model-optimization`.

    The masks have no public name, so the version is pinned.
    """
    try:
        from tensorflow_model_optimization.python.core.sparsity.keras import (
            pruning_impl,
            pruning_schedule,
        )
    except ImportError as error:
        purpose = "Magnitude pruning"
        raise MissingExtraError("tensorflow-model-optimization", "prune", purpose) from error
    return pruning_schedule, pruning_impl
