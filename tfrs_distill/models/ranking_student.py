"""The ranking student: it scores (query, item) pairs for one or several tasks."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tfrs_ranking_student import TFRSRankingStudent


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RankingStudent(RankingModel):
    """A small deep and cross network; trained alone it is the twin, in a `Distiller` the student.

    Arguments, equations and sources are those of `RankingModel`.

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
        """Adapt an existing `tfrs.Model`, as in the ranking tutorial, without changing its code.

        It calls `model(features)` with the features in `inputs`; or, for a model without a custom
        `call`, `model.ranking_model` or `model.rating_model` with a tuple of them, as in older
        versions of the tutorial.

        Args:
            model: returns [num_rows, 1] or [num_rows], and has one `tfrs.tasks.Ranking`, whose loss
                and metrics are kept; trained in place.
            task: name of the task; its labels are in the column `columns.label(task)`.
            inputs: by name of each feature that the model reads, the batch's column.

        Raises:
            TypeError: `model` is not a `tfrs.Model`.
            ValueError: it has no ranking task or several, a loss of probabilities, or nothing to
                call; or `inputs` is empty.

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
