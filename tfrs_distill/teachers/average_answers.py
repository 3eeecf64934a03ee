"""What several ranking teachers say of the same rows, as one voice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import Binary, Ordinal, RankingTask, Regression

NUMBERS_AT_ONCE = 1 << 22  # of each teacher: bounds what is held as float64


def average_answers(
    answers: Sequence[Mapping[str, np.ndarray]],
    tasks: Sequence[RankingTask],
    *,
    weights: Sequence[float] | None = None,
) -> dict[str, np.ndarray]:
    """The weighted mean of several teachers' probabilities, as logits again.

    With weights w that sum to 1, and the logits z_k of teacher k:

    - `Binary`, and each level of `Ordinal`: `logit(sum_k w_k sigmoid(z_k))`;
    - `RatingDistribution`, `NextItem`: `log sum_k w_k softmax(z_k)`;
    - `Regression`, whose logit is a value: `sum_k w_k z_k`.

    A row of NaN is one of which a teacher says nothing: the mean is over the others, and NaN where
    nobody says anything. So is a task that a teacher does not answer. Computed in log space: a
    teacher that is very sure does not become infinite.

    Args:
        answers: of each teacher, [num_rows, width] or [num_rows] by task, as its `answers` gives.
        tasks: what is answered.
        weights: one number above 0 a teacher; equal by default. Only proportions count.

    Returns:
        float32 [num_rows, width] by task.

    Raises:
        ValueError: there are no teachers, or weights that do not fit them.
        InputError: a shape is not the task's, numbers of rows differ, a task is answered by nobody,
            or an answer is of no task.

    Example:
    >>> said = [{"like": np.array([0.0])}, {"like": np.array([np.log(3)])}]  # 1/2 and 3/4
    >>> mean = average_answers(said, [Binary("like")])["like"]
    >>> round(float(1 / (1 + np.exp(-mean[0, 0]))), 4)
    0.625
    """
    weights = [1.0] * len(answers) if weights is None else list(weights)
    if not answers or len(weights) != len(answers):
        raise ValueError(
            "An average needs at least one teacher and one weight for each. Received: "
            f"{len(answers)} teachers, {len(weights)} weights."
        )
    if not all(0 < weight < math.inf for weight in weights):
        raise ValueError(f"`weights` must be finite and above 0. Received: {weights!r}.")
    unknown = sorted({name for said in answers for name in said} - {task.name for task in tasks})
    if unknown:
        raise InputError(
            f"The teachers answer {', '.join(unknown)}, but the tasks are: "
            f"{', '.join(task.name for task in tasks)}. Give the task too, or leave the answer out."
        )
    return {task.name: _average(task, answers, weights) for task in tasks}


def _average(
    task: RankingTask, answers: Sequence[Mapping[str, np.ndarray]], weights: Sequence[float]
) -> np.ndarray:
    heard = [number for number, said in enumerate(answers) if task.name in said]
    if not heard:
        raise InputError(f"No teacher answers the task {task.name!r}.")
    arrays = _of_one_shape(task, {number: answers[number][task.name] for number in heard})
    own_weights = np.array([weights[number] for number in heard])[:, None]
    average = np.empty(arrays[0].shape, np.float32)
    step = max(1, NUMBERS_AT_ONCE // task.width)
    for start in range(0, len(average), step):
        part = slice(start, start + step)
        logits = np.stack([array[part] for array in arrays]).astype(np.float64)
        spoken = ~np.any(np.isnan(logits), axis=2)
        share = np.where(spoken, own_weights, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0, NaN, where nobody speaks
            share = share / share.sum(axis=0)
            heard_logits = np.where(spoken[:, :, None], logits, 0.0)
            average[part] = _mean(task, heard_logits, share[:, :, None])
    return average


def _mean(task: RankingTask, logits: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Logits [k, num_rows, width] and shares [k, num_rows, 1] to logits [num_rows, width]."""
    if isinstance(task, Regression):
        return (share * logits).sum(axis=0)
    log_share = np.log(share)
    if isinstance(task, (Binary, Ordinal)):
        yes, no = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
        return _log_sum(log_share + yes) - _log_sum(log_share + no)
    return _log_sum(log_share + logits - np.logaddexp.reduce(logits, axis=2, keepdims=True))


def _log_sum(logs: np.ndarray) -> np.ndarray:
    return np.logaddexp.reduce(logs, axis=0)


def _of_one_shape(task: RankingTask, said: Mapping[int, np.ndarray]) -> list[np.ndarray]:
    """[num_rows, width] each."""
    arrays: list[np.ndarray] = []
    for number, logits in said.items():
        array = np.asarray(logits)
        array = array[:, None] if array.ndim == 1 else array
        num_rows = len(arrays[0]) if arrays else len(array)
        if array.shape != (num_rows, task.width):
            raise InputError(
                f"Teacher {number} must answer {task.name!r} with the shape "
                f"{[num_rows, task.width]}. Received: {list(np.shape(logits))}."
            )
        arrays.append(array)
    return arrays
