"""The small recommender that ranks: it scores (query, item) pairs for one or several tasks."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tfrs_ranking_student import TFRSRankingStudent


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RankingStudent(RankingModel):
    """A deep and cross network; trained alone it is the twin, in a `Distiller` the student.

    Its arguments, equations and sources are those of `RankingModel`.

    Example:
    >>> from tfrs_distill.models.features import HistoryFeature, ItemFeature
    >>> from tfrs_distill.models.tasks import Binary, NextItem, Regression
    >>> item = ItemFeature(num_items=9, embedding_dim=4)
    >>> student = RankingStudent(
    ...     [item, HistoryFeature(item, max_history=3, reads_ratings=False)],
    ...     [Regression("rating", low=1, high=5), Binary("like"), NextItem("next_item", 9)])
    >>> query = {"history": tf.constant([[0, 2, 7]])}
    >>> predictions = student.rank(query | {"item_id": tf.constant([1, 3, 5, 8])})
    >>> sorted(predictions), predictions["like"].shape.as_list()
    (['like', 'next_item', 'rating'], [4])
    """

    @staticmethod
    def from_tfrs(
        model: tfrs.Model, *, task: str = "rating", inputs: Mapping[str, str]
    ) -> TFRSRankingStudent:
        """Adopt an existing `tfrs.Model`, as the ranking tutorial writes it, without changing it.

        Called are `model(features)`, features being what `inputs` names; or, in a model without a
        `call` of its own, `model.ranking_model` or `model.rating_model` with the tuple of them, as
        older versions of the tutorial do.

        Args:
            model: gives [num_rows, 1] or [num_rows], and has one `tfrs.tasks.Ranking`, whose loss
                and metrics are kept; trained in place.
            task: the task's name; its labels are in the column `columns.label(task)`.
            inputs: by the name of each feature that the model reads, the batch's column.

        Raises:
            TypeError: `model` is no `tfrs.Model`.
            ValueError: it has no ranking task or several, one whose loss is of probabilities, or
                nothing to call; or `inputs` is empty.

        Example:
        >>> class MovielensModel(tfrs.Model):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.user = tf.keras.Sequential([
        ...             tf.keras.layers.StringLookup(vocabulary=["ann", "bob"]),
        ...             tf.keras.layers.Embedding(3, 4)])
        ...         self.rating = tf.keras.layers.Dense(1)
        ...         self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())
        ...     def call(self, features):
        ...         return self.rating(self.user(features["user_id"]))
        >>> student = RankingStudent.from_tfrs(MovielensModel(), inputs={"user_id": "user_id"})
        >>> student({"user_id": tf.constant(["ann", "bob"])}).heads["rating"].logits.shape.as_list()
        [2, 1]
        """
        return TFRSRankingStudent(model, task=task, inputs=inputs)
