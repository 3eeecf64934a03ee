"""The task and loss of a `tfrs.Model` that was written without distillation in mind."""

from __future__ import annotations

import copy
import logging
from typing import Any, TypeVar

import tensorflow as tf
import tensorflow_recommenders as tfrs

logger = logging.getLogger(__name__)

Task = TypeVar("Task", tfrs.tasks.Retrieval, tfrs.tasks.Ranking)


def only_task(model: Any, kind: type[Task]) -> Task:
    """Return the one task of its kind that a model has.

    Args:
        model: a `tfrs.Model`.
        kind: `tfrs.tasks.Retrieval` or `tfrs.tasks.Ranking`.

    Raises:
        TypeError: `model` is not a `tfrs.Model`.
        ValueError: it has no such task, several, or one with a custom `call`.
    """
    name = f"`tfrs.tasks.{kind.__name__}`"
    if not isinstance(model, tfrs.Model):
        raise TypeError(
            f"`model` must be a `tfrs.Model`. Received: {type(model).__module__}."
            f"{type(model).__name__}."
        )
    tasks: list[Task] = [part for part in model.submodules if isinstance(part, kind)]
    if len(tasks) != 1:
        raise ValueError(
            f"`model` must have one {name} among its attributes. Received: {len(tasks)} of them."
        )
    if type(tasks[0]).call is not kind.call:
        raise ValueError(
            f"The model's {name} must have no custom `call`: its loss, options and metrics are "
            "used, but its `call` is not. Move that computation into the task's loss. "
            f"Received: {type(tasks[0]).__name__}, which has a `call`."
        )
    return tasks[0]


def row_loss(
    task: tfrs.tasks.Retrieval | tfrs.tasks.Ranking, width: int, remedy: str
) -> tf.keras.losses.Loss:
    """Return a task's loss with one value per row; log that a sum becomes a mean over rows.

    Args:
        task: has the loss; it is not changed.
        width: logits of a row, to test the loss with.
        remedy: advice for a loss that reads probabilities.

    Raises:
        ValueError: the loss is not a Keras loss, reads probabilities, or does not return one value
            per row.
    """
    # The task has no public way to read its loss; tensorflow-recommenders is pinned.
    given, name = task._loss, f"The loss of the model's `tfrs.tasks.{type(task).__name__}`"
    if not isinstance(given, tf.keras.losses.Loss):
        raise ValueError(
            f"{name} must be a `tf.keras.losses.Loss`, which can return one value per row. "
            f"Received: {given!r}."
        )
    if given.get_config().get("from_logits") is False:
        raise ValueError(
            f"{name} reads probabilities (TFRS' default for ranking does), but students are "
            f"trained on logits. {remedy} Received: {type(given).__name__} with from_logits=False."
        )
    loss = copy.copy(given)
    loss.reduction = tf.keras.losses.Reduction.NONE
    shape = loss(tf.eye(2, width), tf.zeros([2, width])).shape
    if shape != (2,):
        raise ValueError(
            f"{name} must return one value per row, whose mean the student minimises: leave the "
            f"mean or sum to the loss' `reduction`. Received: {type(given).__name__}, which "
            f"returns shape {shape} for 2 rows."
        )
    if given.reduction == tf.keras.losses.Reduction.SUM:
        logger.warning(
            "%s is a sum over the batch; the student minimises the mean over the rows, so "
            "gradients are smaller by the factor of their number, and regularisation is relatively "
            "stronger. With SGD or Adagrad raise the learning rate (Adam hardly depends on it), "
            "and divide the regularisation of the layers by the batch size.",
            name,
        )
    return loss
