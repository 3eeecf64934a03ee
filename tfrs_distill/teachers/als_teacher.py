"""A latent-factor teacher: alternating least squares, and a fold-in of any history."""

from __future__ import annotations

import hashlib
import json
import math
from types import ModuleType

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.row_blocks import CELLS
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import MissingExtraError
from tfrs_distill.teachers.history_teacher import HistoryTeacher, check_decay, check_l2, recency
from tfrs_distill.teachers.item_item_teacher import user_item_blocks
from tfrs_distill.teachers.whole_number import check_whole_number

NUM_ITERATIONS = 15  # the library's default


class ALSTeacher(HistoryTeacher):
    """Implicit-feedback matrix factorisation (ALS); new histories are folded in.

    The item factors y are those of `implicit`'s weighted matrix factorisation of the training
    interactions. Over all users u and items i it minimises
    `sum c_ui (p_ui - x_u'y_i)^2 + l2 (sum |x_u|^2 + sum |y_i|^2)`. For an interaction p is 1 and c
    is `confidence` (times its weight, if the windows have `weights`); for all other pairs,
    including dislikes (weights below 0), p is 0 and c is 1. A new history is folded in by the same
    sum, unweighted: its user vector solves

    `(sum_i c_i y_i y_i' + l2 I) x = sum_j c_j y_j`

    over all items i and the history's items j, whose c is `confidence * exp(-age / decay)`. The age
    is the number of later items in the history (for repeated interactions, after the last one). Old
    interactions then have almost no influence. `logit_i = x'y_i`.

    With M the left side for an empty history, Y the history's factors and C its c,
    `x = M^-1 Y'a` and `(I + (C - I) Y M^-1 Y') a = c`: a system of the size of the history.

    For calibration and cross-fitting see `ItemItemTeacher`. Requires the extra `als`.

    Reference: [Hu, Koren and Volinsky, 2008](https://doi.org/10.1109/ICDM.2008.22).

    Args:
        windows: training windows.
        embedding_dim: number of factors per item.
        l2: regularisation, above 0.
        confidence: confidence of an interaction, above 0.
        decay: in number of items, above 0; None for equal weights.
        seed: seed of the initial factors.

    Raises:
        MissingExtraError: `implicit` is not installed.
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        embedding_dim: int = 256,
        l2: float = 20.0,
        confidence: float = 4.0,
        decay: float | None = 6.0,
        seed: int = 0,
    ) -> None:
        check_whole_number("embedding_dim", embedding_dim)
        check_l2(l2)
        check_decay(decay)
        if not 0 < confidence < math.inf:
            raise ValueError(
                f"`confidence` must be finite and greater than 0. Received: {confidence!r}."
            )
        settings = {
            "embedding_dim": embedding_dim,
            "l2": l2,
            "confidence": confidence,
            "decay": decay,
            "seed": seed,
        }
        super().__init__(windows.catalogue.num_items, settings)
        self.confidence = confidence
        self.item_factors = _item_factors(windows, embedding_dim, l2, confidence, seed)
        factors = self.item_factors.astype(np.float64)
        left = np.linalg.cholesky(factors.T @ factors + l2 * np.eye(embedding_dim))
        self._factors = tf.constant(np.linalg.solve(left, factors.T).T)  # Y M^-1/2

    @property
    def num_parameters(self) -> int:
        """Number of item factors, without padding."""
        return self.num_items * int(self.item_factors.shape[1])

    def logits_after(self, histories: tf.Tensor, candidate_ids: tf.Tensor) -> tf.Tensor:
        """Scores after each history, float32 [num_rows, num_candidates]."""
        # Some rows at a time, of similar length: memory grows with the squares of the lengths.
        num_rows, length = tf.unstack(tf.shape(histories))
        dim = int(self._factors.shape[1])
        order = tf.argsort(tf.math.count_nonzero(histories, axis=1))
        at_once = CELLS // (length * tf.maximum(length, dim))
        at_once = tf.clip_by_value(at_once, 1, tf.maximum(num_rows, 1))
        missing = -num_rows % at_once
        padded = tf.pad(tf.gather(histories, order), [[0, missing], [0, 0]])
        blocks = tf.reshape(padded, [-1, at_once, length])
        users = tf.map_fn(
            self._fold_in, blocks, fn_output_signature=tf.float64, parallel_iterations=1
        )
        users = tf.gather(tf.reshape(users, [-1, dim]), tf.argsort(order))
        candidates = tf.gather(self._factors, candidate_ids)
        return tf.cast(tf.matmul(users, candidates, transpose_b=True), tf.float32)

    def fingerprint(self) -> str:
        """sha256 of the item factors and the settings."""
        digest = hashlib.sha256(f"als {json.dumps(self.settings)}".encode())
        digest.update(self.item_factors.tobytes())
        return digest.hexdigest()

    def _fold_in(self, histories: tf.Tensor) -> tf.Tensor:
        """`M^1/2 x` of each history, float64 [num_rows, embedding_dim]."""
        used = tf.reduce_any(histories > columns.PADDING, axis=0)
        histories = tf.boolean_mask(histories, used, axis=1)
        same = histories[:, :, None] == histories[:, None, :]
        places = tf.range(tf.shape(histories)[1])
        again = tf.reduce_any(same & (places[:, None] < places), axis=2)
        latest = (histories > columns.PADDING) & ~again
        confidence = self.confidence * tf.cast(recency(histories, self.decay), tf.float64)
        confidence = tf.where(latest, confidence, 0.0)
        factors = tf.where(latest[:, :, None], tf.gather(self._factors, histories), 0.0)
        left = (confidence - 1.0)[:, :, None] * tf.matmul(factors, factors, transpose_b=True)
        left += tf.eye(tf.shape(histories)[1], dtype=tf.float64)
        weights = tf.linalg.solve(left, confidence[:, :, None])
        return tf.reduce_sum(weights * factors, axis=1)


def require_implicit() -> ModuleType:
    """The package `implicit`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import implicit
    except ImportError as error:
        raise MissingExtraError("implicit", "als", "Alternating least squares") from error
    module: ModuleType = implicit
    return module


def _item_factors(
    train: Windows, embedding_dim: int, l2: float, confidence: float, seed: int
) -> np.ndarray:
    """Return the item factors, float32 [num_items + 1, embedding_dim]; 0 for padding."""
    require_implicit()
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix, vstack  # comes with implicit
    from threadpoolctl import threadpool_limits  # comes with implicit, too

    interactions = vstack(
        [csr_matrix(block) for block in user_item_blocks(train, weighted=True)], format="csr"
    )
    with threadpool_limits(1, "blas"):  # implicit itself uses threads, over users and items
        model = AlternatingLeastSquares(
            factors=embedding_dim,
            regularization=l2,
            alpha=confidence,
            iterations=NUM_ITERATIONS,
            random_state=seed,
        )
        model.fit(interactions, show_progress=False)
    factors = np.array(model.item_factors, np.float32)
    factors[columns.PADDING] = 0.0
    return factors
