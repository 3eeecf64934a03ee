"""The weighted mean of several teachers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.teachers.row_logits import row_logits


class Ensemble:
    """The weighted mean of several teachers' probabilities, as logits.

    With weights w that sum to 1, and the logits z_k of teacher k:

    - candidates of retrieval, and the tasks `RatingDistribution` and `NextItem`:
      `log sum_k w_k softmax(z_k)`; for candidates with `mean="geometric"`, where an item must be
      likely for all teachers, `log softmax(sum_k w_k z_k)`;
    - `Binary`, and each level of `Ordinal`: `logit(sum_k w_k sigmoid(z_k))`;
    - `Regression`, whose logit is a value: `sum_k w_k z_k`.

    Two-towers, item-item weights, re-rankers and arrays can be combined, and so can ranking models,
    text rankers and functions. The members are combined by their probabilities: logits on a small
    scale (such as the scores of an `ItemItemTeacher`) are almost uniform and change nothing, logits
    on a large scale dominate the rest. Wrap such members in `Calibrated` first, at the temperature
    of `fit_temperature`.

    For ranking rows a teacher may omit a task, or, by NaN, a row: the mean is over the other
    teachers, and NaN if no teacher has a value. Computed in log space, so that very confident
    teachers do not become infinite.

    Args:
        teachers: two or more teachers; for retrieval `logits` returns one tensor, for ranking rows
            a dict by task.
        weights: one number above 0 per teacher; equal by default. Only proportions matter.
        tasks: the ranking tasks of the teachers' logits.
        mean: mean of candidates' probabilities, "arithmetic" or "geometric".

    Raises:
        ValueError: there are fewer than two teachers, the weights do not fit, or the mean is not
            one of these.

    Example:
    >>> from tfrs_distill.teachers.function_teacher import FunctionTeacher
    >>> even, sure = (
    ...     FunctionTeacher(lambda batch, _, fixed=logits: tf.constant([fixed]))
    ...     for logits in ([0.0, 0.0], [1.0986123, 0.0]))  # 1/2, 1/2 and 3/4, 1/4
    >>> tf.nn.softmax(Ensemble([even, sure]).logits({}, tf.range(2))).numpy().round(3).tolist()
    [[0.625, 0.375]]
    """

    def __init__(
        self,
        teachers: Sequence[Any],
        weights: Sequence[float] | None = None,
        *,
        tasks: Sequence[RankingTask] = (),
        mean: str = "arithmetic",
    ) -> None:
        weights = [1.0] * len(teachers) if weights is None else list(weights)
        if len(teachers) < 2 or len(weights) != len(teachers):
            raise ValueError(
                "An ensemble needs at least two teachers and one weight for each. Received: "
                f"{len(teachers)} teachers, {len(weights)} weights."
            )
        if not all(0 < weight < math.inf for weight in weights):
            raise ValueError(f"`weights` must be finite and above 0. Received: {weights!r}.")
        if mean not in ("arithmetic", "geometric") or (tasks and mean == "geometric"):
            raise ValueError(
                '`mean` must be "arithmetic" or, without `tasks`, "geometric". Received: '
                f"mean={mean!r}, {len(tasks)} tasks."
            )
        self.teachers, self.tasks, self.mean = list(teachers), list(tasks), mean
        self.weights = [weight / sum(weights) for weight in weights]

    def logits(
        self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor | None = None
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        """Log-probabilities of the candidates, float32 [num_rows, num_candidates]; or by task.

        Raises:
            InputError: logits by task do not fit the tasks.
        """
        found = [teacher.logits(batch, candidate_ids) for teacher in self.teachers]
        by_task = [isinstance(logits, Mapping) for logits in found]
        if all(by_task):
            return self._mean_by_task(found)
        if any(by_task):
            raise InputError(
                "Either all teachers of an ensemble return a dict of logits by task, or none does. "
                f"Received: a dict of teacher {by_task.index(True)}, one tensor of teacher "
                f"{by_task.index(False)}."
            )
        if self.mean == "geometric":
            weighted = [
                weight * tf.nn.log_softmax(tf.cast(logits, tf.float32))
                for logits, weight in zip(found, self.weights)
            ]
            return tf.nn.log_softmax(tf.add_n(weighted))
        log_probabilities = [
            tf.nn.log_softmax(tf.cast(logits, tf.float32)) + math.log(weight)
            for logits, weight in zip(found, self.weights)
        ]
        return tf.reduce_logsumexp(tf.stack(log_probabilities), axis=0)

    def row_logits(self, examples: RankingExamples) -> dict[str, np.ndarray]:
        """Logits of every row of ranking examples, float32 [num_rows, width] by task.

        Raises:
            InputError: a teacher's logits do not fit the tasks.
        """
        found = [row_logits(teacher, examples) for teacher in self.teachers]
        width = sum(task.width for task in self.tasks) * len(found)
        parts = [
            self._mean_by_task([{n: z[rows] for n, z in logits.items()} for logits in found])
            for rows in row_blocks(len(examples), width)
        ]
        return {task: np.concatenate([part[task] for part in parts]) for task in parts[0]}

    def fingerprint(self) -> str:
        """sha256 of the members' fingerprints and weights, and of the tasks."""
        parts = [
            f"{teacher.fingerprint()} {weight!r}"
            for teacher, weight in zip(self.teachers, self.weights)
        ]
        parts += [self.mean] if self.mean != "arithmetic" else []
        parts += [json.dumps([type(t).__name__, t.get_config()]) for t in self.tasks]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _mean_by_task(self, found: Sequence[Mapping[str, Any]]) -> dict[str, tf.Tensor]:
        """The mean of logits by task of the same rows, float32 [num_rows, width] by task."""
        names = [task.name for task in self.tasks]
        unknown = sorted({name for logits in found for name in logits} - set(names))
        if unknown:
            raise InputError(
                f"The teachers return logits of {', '.join(unknown)}, but the tasks are: "
                f"{', '.join(names) or 'none'}. Give the task as `tasks`, or remove the logits."
            )
        return {task.name: self._mean(task, found) for task in self.tasks}

    def _mean(self, task: RankingTask, found: Sequence[Mapping[str, Any]]) -> tf.Tensor:
        members = {
            number: _of_width(task, number, logits[task.name])
            for number, logits in enumerate(found)
            if task.name in logits
        }
        if not members:
            raise InputError(f"No teacher returns logits of the task {task.name!r}.")
        try:
            logits = tf.stack(list(members.values()))
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            shapes = [list(each.shape) for each in members.values()]
            raise InputError(
                f"The teachers must return logits of {task.name!r} of the same rows. Received: the "
                f"shapes {shapes}."
            ) from error
        weights = tf.constant([self.weights[number] for number in members], tf.float64)
        known = ~tf.reduce_any(tf.math.is_nan(logits), axis=2, keepdims=True)
        share = tf.where(known, weights[:, None, None], 0.0)
        share /= tf.reduce_sum(share, axis=0)  # NaN where no teacher has a value
        logits = tf.where(known, logits, 0.0)
        if task.activation == "linear":
            mean = tf.reduce_sum(share * logits, axis=0)
        elif task.activation == "sigmoid":
            yes, no = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
            mean = _log_mean(share, yes) - _log_mean(share, no)
        else:
            mean = _log_mean(share, tf.nn.log_softmax(logits))
        return tf.cast(mean, tf.float32)


def _log_mean(share: tf.Tensor, log_probabilities: tf.Tensor) -> tf.Tensor:
    return tf.reduce_logsumexp(tf.math.log(share) + log_probabilities, axis=0)


def _of_width(task: RankingTask, number: int, logits: Any) -> tf.Tensor:
    """Return the logits of a task as float64 [num_rows, width]."""
    values = tf.cast(logits, tf.float64)
    values = values[:, None] if values.shape.rank == 1 else values
    if not values.shape.is_compatible_with([None, task.width]):
        raise InputError(
            f"Teacher {number} must return logits of {task.name!r}, [num_rows, {task.width}]. "
            f"Received: shape {list(np.shape(logits))}."
        )
    return values
