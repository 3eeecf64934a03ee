"""From the probabilities that another model gives to the logits of a ranking task."""

from __future__ import annotations

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import Binary, Ordinal, RankingTask, Regression

FLOOR = 1e-6  # probabilities are kept this far from 0 and 1: logits stay within +-13.8
ROUNDING = 1e-3  # how far from 1 the probabilities of a row may add up to


def task_logits(
    task: RankingTask, values: np.ndarray, num_values: int, probabilities: bool
) -> np.ndarray:
    """Values or probabilities of a task as its logits, float32 [n, width].

    Probabilities p, each kept within 1e-6 and 1 - 1e-6, become

    - `Binary`: `log p - log(1 - p)`;
    - `RatingDistribution`, `NextItem`: `log p` of every class;
    - `Ordinal`: `log q - log(1 - q)` of `q_k = P(y > level_k)`, the sum of the p of all classes
      above, for every level but the last.

    Args:
        task: what is answered.
        values: [n] or [n, width]: logits, which stay as they are; or probabilities, of the positive
            class, [n], or of all K classes, [n, K]. A row of NaN stays one.
        num_values: n.
        probabilities: whether `values` are that; a `Regression` has none.

    Raises:
        InputError: another shape, a value that is not finite, or a probability that is none.

    Example:
    >>> stars, shares = Ordinal("stars", (1, 2, 3)), np.array([[0.2, 0.3, 0.5]])
    >>> np.exp(task_logits(stars, shares, 1, True)).round(3).tolist()  # odds 8 : 2 and 1 : 1
    [[4.0, 1.0]]
    """
    of_classes = probabilities and not isinstance(task, (Binary, Regression))
    width = task.width + (of_classes and isinstance(task, Ordinal))
    column = values[:, None] if values.ndim == 1 else values
    if column.shape != (num_values, width) or column.dtype.kind not in "iuf":
        kind = "the probabilities of all classes" if of_classes else "numbers"
        raise InputError(
            f"The values of {task.name!r} must be {kind}, {[num_values, width]}. Received: "
            f"{values.dtype} of shape {list(values.shape)}."
        )
    column = column.astype(np.float64)
    wrong = ~(np.isfinite(column).all(axis=1) | np.isnan(column).all(axis=1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"The values of {task.name!r} must be finite, or a row of NaN where nothing is said. "
            f"Place {row} holds {column[row].tolist()}."
        )
    if probabilities and not isinstance(task, Regression):
        column = _logits_of_probabilities(task, column)
    return column.astype(np.float32)


def _logits_of_probabilities(task: RankingTask, probabilities: np.ndarray) -> np.ndarray:
    """Of rows that are finite or NaN, which passes through every comparison as it should."""
    wrong = ((probabilities < -FLOOR) | (probabilities > 1 + FLOOR)).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"The probabilities of {task.name!r} must be within 0 and 1. Place {row} holds "
            f"{probabilities[row].tolist()}. Give logits without `probabilities`."
        )
    if isinstance(task, Binary):
        return _logit(probabilities)
    total = probabilities.sum(axis=1)
    wrong = np.abs(total - 1) > ROUNDING
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"The probabilities of {task.name!r} must add up to 1 in every row. In place {row} "
            f"they add up to {total[row]:.4f}."
        )
    if isinstance(task, Ordinal):
        above = np.cumsum(probabilities[:, ::-1], axis=1)[:, ::-1]
        return _logit(above[:, 1:])
    return np.log(np.clip(probabilities, FLOOR, 1 - FLOOR))


def _logit(probabilities: np.ndarray) -> np.ndarray:
    kept = np.clip(probabilities, FLOOR, 1 - FLOOR)
    return np.log(kept) - np.log1p(-kept)
