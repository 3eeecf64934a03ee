"""Temperature scaling: calibration of a teacher's probabilities on held-out rows."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import row_blocks
from tfrs_distill.data.splits import Queries, windows_of
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.models.candidates import MASKED
from tfrs_distill.models.retrieval_model import divisor_of
from tfrs_distill.models.rows import rows_of, seen_items

LOWEST, HIGHEST = 1e-4, 1e4  # range of the temperature search
MAX_LOGITS = 20_000_000  # kept for the search at most: 80 MB
MAX_AT_A_TIME = 2**23  # logits computed at once at most: 32 MB


class TemperatureFit(NamedTuple):
    """The result of `fit_temperature`.

    Args:
        temperature: the divisor of the logits.
        loss_before: mean cross-entropy of the labels at temperature 1, in nats.
        loss_after: the same at `temperature`.
    """

    temperature: float
    loss_before: float
    loss_after: float


class Calibrated:
    """A teacher whose logits are divided by a temperature.

    `logits = teacher.logits / temperature`. With the temperature of `fit_temperature` their softmax
    is calibrated, so that teachers on different scales can be compared, combined in an `Ensemble`,
    and distilled at temperature 1. The order of the items does not change. `encode_queries`,
    `encode_candidates` and `hidden_representations` exist if the teacher has them.

    Reference: [Guo et al., 2017](https://arxiv.org/abs/1706.04599).

    Args:
        teacher: any teacher.
        temperature: finite and above 0.

    Raises:
        ValueError: `temperature` is not finite and above 0.

    Example:
    >>> from tfrs_distill.teachers.function_teacher import FunctionTeacher
    >>> flat = FunctionTeacher(lambda batch, _: batch["scores"])
    >>> Calibrated(flat, 0.5).logits({"scores": [[0.25, 1.0]]}, tf.range(2)).numpy().tolist()
    [[0.5, 2.0]]
    """

    def __init__(self, teacher: Any, temperature: float) -> None:
        if not 0 < temperature < math.inf:
            raise ValueError(
                "`temperature` must be finite and greater than 0. Received: "
                f"temperature={temperature!r}."
            )
        self.teacher, self.temperature = teacher, float(temperature)
        if hasattr(teacher, "encode_queries"):  # a factorised teacher stays factorised
            self.encode_queries = self._encode_queries
        for name in ("encode_candidates", "hidden_representations"):
            if hasattr(teacher, name):
                setattr(self, name, getattr(teacher, name))

    def logits(self, batch: dict[str, tf.Tensor], candidate_ids: tf.Tensor) -> tf.Tensor:
        """The teacher's logits divided by the temperature, float32 [num_rows, num_candidates]."""
        logits = self.teacher.logits(batch, candidate_ids)
        return tf.cast(logits, tf.float32) / self.temperature

    def _encode_queries(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        queries = self.teacher.encode_queries(batch) / self.temperature
        return queries / divisor_of(self.teacher)

    def fingerprint(self) -> str:
        """sha256 of the teacher's fingerprint and the temperature."""
        text = f"calibrated {self.teacher.fingerprint()} {self.temperature!r}"
        return hashlib.sha256(text.encode()).hexdigest()


def fit_temperature(
    teacher: Any, held_out: Windows, *, exclude_seen: bool = False, batch_size: int = 64
) -> TemperatureFit:
    """Find the temperature that calibrates a teacher: that of the smallest cross-entropy.

    Minimises over T the mean of `-log softmax(logits / T)[label]` over the rows of `held_out`, in
    float64. The mean is convex in `1 / T`, its slope `mean(E_p[logits] - logits[label])` is
    increasing, and the minimum is where the slope is 0: found by bisection in log T between 1e-4
    and 1e4. For a teacher that is worse than chance the result is 1e4; for one that is always right
    it is a T so small that the loss is 0.

    Every item that exists in `held_out` is a candidate. Dislikes (weights below 0) are not labels
    here, and other weights are ignored. The logits are computed once and kept. If there are more
    than 20 million, only an even selection of rows is used: with 10,000 items 2,000 rows, enough
    for one parameter.

    Reference: temperature scaling, [Guo et al., 2017](https://arxiv.org/abs/1706.04599).

    Args:
        teacher: has `logits(batch, candidate_ids)`.
        held_out: windows of users or positions that the teacher was not trained on; on training
            rows it is over-confident. See `held_out_windows`.
        exclude_seen: whether a row's softmax excludes the items of its history, except its label,
            as `Candidates(exclude_seen=True)` does in distillation.
        batch_size: windows at a time; fewer if their logits would need too much memory.

    Raises:
        InputError: no row has a label, or a logit is NaN or infinite.
    """
    ids, held_out = held_out.existing_items(), replace(held_out, labels=held_out.liked_labels)
    some = _some_rows(held_out, max(1, MAX_LOGITS // len(ids)))
    logits, labels = _logits_and_labels(teacher, some, tf.constant(ids), exclude_seen, batch_size)
    if not len(labels):
        raise InputError("The held-out windows have no labels, so no temperature can be found.")
    if not np.isin(labels, ids).all():
        raise InputError(
            f"Item {labels[~np.isin(labels, ids)][0]} is a label of the held-out windows, but not "
            "one of their existing items. Give windows whose labels exist."
        )
    if not np.isfinite(logits).all():
        raise InputError(
            "The teacher's logits of the held-out windows hold NaN or infinite values. Give a "
            "teacher with finite logits for all of them."
        )
    places = np.searchsorted(ids, labels)
    found = best_temperature(logits, places)
    before, after = (_loss_and_slope(logits, places, 1 / t)[0] for t in (1.0, found))
    return TemperatureFit(found, before, after)


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of the smallest mean cross-entropy, as in `fit_temperature`.

    Args:
        logits: float [num_rows, num_candidates], finite.
        labels: int [num_rows], the column of each row's label.
    """
    low, high = math.log(1 / HIGHEST), math.log(1 / LOWEST)  # of 1 / T
    for _ in range(40):
        middle = (low + high) / 2
        _, slope = _loss_and_slope(logits, labels, math.exp(middle))
        low, high = (middle, high) if slope < 0 else (low, middle)
    return math.exp(-(low + high) / 2)


def held_out_windows(queries: Queries, *, max_history: int) -> Windows:
    """Return a split's positives as labels of windows, to calibrate a teacher on.

    Each positive that may be recommended (see `Queries.relevant`) is the label of one row. The
    row's history has the items before it, including earlier positives. User attributes are kept.

    Args:
        queries: `splits.validation`, whose positives are in temporal order.
        max_history: number of positions in a window, as the teacher reads them.
    """
    histories = [history[-max_history:] for history in queries.histories]
    sequences = [
        np.concatenate(parts).astype(np.int32) for parts in zip(histories, queries.positives)
    ]
    numbers = np.arange(len(queries), dtype=np.int32)
    windows = windows_of(sequences, numbers, queries.catalogue, max_history=max_history)
    labels = windows.labels.copy()
    positive = [
        np.concatenate([np.zeros(len(history), bool), np.isin(positives, relevant)])[1:]
        for history, positives, relevant in zip(histories, queries.positives, queries.relevant)
    ]
    labelled = labels > columns.PADDING  # per row, every item of the sequence except the first
    labels[labelled] *= np.concatenate(positive)
    labelled_windows = np.flatnonzero(labels.any(axis=1))
    known = queries.user_attributes
    found = Windows(
        queries.catalogue,
        queries.users[windows.users],
        windows.history,
        labels,
        user_attributes=None if known is None else known[windows.users],
    )
    return found.subset(labelled_windows)


def _some_rows(windows: Windows, most: int) -> Windows:
    """Return the windows with at most `most` of their labels, selected evenly."""
    places = np.flatnonzero(windows.labels)
    if len(places) <= most:
        return windows
    kept = places[np.linspace(0, len(places) - 1, most).round().astype(int)]
    labels = np.zeros_like(windows.labels)
    labels.flat[kept] = windows.labels.flat[kept]
    return replace(windows, labels=labels).subset(np.flatnonzero(labels.any(axis=1)))


def _logits_and_labels(
    teacher: Any, windows: Windows, ids: tf.Tensor, exclude_seen: bool, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows' logits, float32 [num_rows, num_candidates], and labels, int32 [num_rows]."""

    @tf.function(reduce_retracing=True)
    def of_batch(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.cast(teacher.logits(batch, ids), tf.float32)
        labels = rows_of(batch[columns.LABELS], batch)
        if exclude_seen:
            seen = tf.gather(seen_items(batch, windows.catalogue.num_items), ids, axis=1)
            logits = tf.where(seen & (ids[None, :] != labels[:, None]), MASKED, logits)
        return logits, labels

    at_most = MAX_AT_A_TIME // (windows.max_history * len(ids))
    logits = np.zeros((windows.num_labels, len(ids)), np.float32)
    labels, done = np.zeros(len(logits), np.int32), 0
    for batch in windows.batches(max(1, min(batch_size, at_most))):
        some_logits, some_labels = of_batch(batch)
        rows = slice(done, done + len(some_labels))
        logits[rows], labels[rows], done = some_logits, some_labels, rows.stop
    return logits, labels


def _loss_and_slope(
    logits: np.ndarray, places: np.ndarray, sharpness: float
) -> tuple[float, float]:
    """Return the mean cross-entropy at `sharpness = 1 / T` and its derivative, in float64."""
    loss = slope = 0.0
    for rows in row_blocks(len(logits), logits.shape[1], 1024):
        block = logits[rows].astype(np.float64)
        block -= block[np.arange(len(block)), places[rows]][:, None]
        largest = block.max(axis=1, keepdims=True)
        odds = np.exp(sharpness * (block - largest))
        total = odds.sum(axis=1)
        loss += float((np.log(total) + sharpness * largest[:, 0]).sum())
        slope += float(((odds * block).sum(axis=1) / total).sum())
    return loss / len(places), slope / len(places)
