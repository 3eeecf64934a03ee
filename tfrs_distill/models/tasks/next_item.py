"""The next item after a history, from the whole catalogue."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.losses.categorical_cross_entropy import categorical_cross_entropy
from tfrs_distill.models.candidates import MASKED
from tfrs_distill.models.features.feature import known_ids
from tfrs_distill.models.tasks.task import RankingTask
from tfrs_distill.models.tasks.task_metrics import HitRate


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class NextItem(RankingTask):
    """The next item after the history: a softmax over the catalogue.

    `logit_i = history query . embedding_i + bias_i`, for items that are not in the history;
    `loss = -log softmax(logits)_y`. The row's item, `columns.ITEM_ID`, is the label y: there is no
    label column. A row whose item is unknown, or in its history, has weight 0.

    Args:
        name: name of the task.
        num_items: number of items in the catalogue.
        label_smoothing: the share of a label that is spread evenly over all items not in the
            history.

    Example:
    >>> task = NextItem("next_item", num_items=3)
    >>> logits = tf.math.log(tf.constant([[0.2, 0.5, 0.3]]))
    >>> int(task.predict(logits)[0])
    2
    >>> round(float(task.probability(logits, tf.constant([3]))[0]), 4)
    0.3
    """

    valid_label = 1.0

    activation = "softmax"
    leading_metric = "ndcg"

    def __init__(self, name: str, num_items: int, *, label_smoothing: float = 0.0) -> None:
        super().__init__(name, num_items, label_smoothing)
        self.num_items = num_items

    @property
    def label_range(self) -> str:
        """The catalogue's items."""
        return f"a whole number within 1 and {self.num_items}"

    def keras_loss(self) -> tf.keras.losses.Loss:
        """Categorical cross-entropy of item indices."""
        return _CatalogueCrossEntropy(self.label_smoothing)

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """The columns of the labels' logits, int32 [num_rows]."""
        return tf.cast(labels, tf.int32) - 1

    def predict(self, logits: tf.Tensor) -> tf.Tensor:
        """The index of the most likely item, float32."""
        return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) + 1, tf.float32)

    def probability(self, logits: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
        """Compute the probability of the rows' items, float32 [num_rows]; 0 for an unknown item."""
        known = (item_ids > 0) & (item_ids <= self.num_items)
        index = tf.where(known, item_ids - 1, 0)
        shares = tf.nn.softmax(tf.cast(logits, tf.float32))
        return tf.where(known, tf.gather(shares, index, batch_dims=1), 0.0)

    def have_labels(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return which rows have an item that may be recommended: bool [num_rows]."""
        known = (labels >= 1.0) & (labels <= self.num_items)
        index = tf.where(known, self.targets(labels), 0)
        return known & (tf.gather(logits, index, batch_dims=1) > MASKED / 2)

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Share of rows whose item is among the ten most likely."""
        return [HitRate(self)]

    def are_labels(self, labels: Any) -> Any:
        """Item indices."""
        return (labels >= 1) & (labels <= self.num_items) & (labels == labels // 1)

    def head(self, seed: int | None, dtype: Any) -> tf.keras.layers.Layer:
        """A layer that reads history queries, item embeddings and histories, not hidden units."""
        return NextItemHead(self.num_items, dtype=dtype, name=self.name)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal task."""
        return super().get_config() | {"num_items": self.num_items}


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class NextItemHead(tf.keras.layers.Layer):
    """`logit_i = query . embedding_i + bias_i`; `MASKED` for items of the history.

    Args:
        num_items: number of items in the catalogue.
    """

    def __init__(self, num_items: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_items = num_items
        self.biases = self.add_weight(name="biases", shape=[num_items], initializer="zeros")

    def call(self, query: tf.Tensor, items: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
        """The logits, float32 [num_rows, num_items].

        Args:
            query: [num_rows, dim].
            items: embeddings of all items, [num_items, dim].
            history: int32 [num_rows, any length].
        """
        logits = tf.matmul(tf.cast(query, tf.float32), tf.cast(items, tf.float32), transpose_b=True)
        logits += tf.cast(self.biases, tf.float32)
        seen_ids = known_ids(history, self.num_items)
        rows = tf.broadcast_to(tf.range(tf.shape(history)[0])[:, None], tf.shape(history))
        seen = tf.scatter_nd(
            tf.stack([rows, seen_ids], axis=-1),
            tf.ones_like(seen_ids),
            tf.stack([tf.shape(history)[0], self.num_items + 1]),
        )
        return tf.where(seen[:, 1:] > 0, MASKED, logits)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {"num_items": self.num_items}


class _CatalogueCrossEntropy(tf.keras.losses.Loss):
    """Cross-entropy of the label's column, with a softmax over all columns."""

    def __init__(self, label_smoothing: float) -> None:
        super().__init__(reduction=tf.keras.losses.Reduction.NONE)
        self.label_smoothing = label_smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """One value per row."""
        return categorical_cross_entropy(y_true, y_pred, label_smoothing=self.label_smoothing)
