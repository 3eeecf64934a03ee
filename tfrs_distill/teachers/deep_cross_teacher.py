"""A wide deep and cross network that reads whatever is known of a row: a teacher for ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.models.features import RankingFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import RankingTask


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class DeepCrossTeacher(RankingModel):
    """A `RankingModel`, wider than a student, that answers for whole data sets.

    Its features need not be the student's: it may read what cannot be had when serving (privileged
    features), such as who the user is, and teach a student without it. Trained as any
    `RankingModel`, by `compile` and `fit` on `examples.batches(...)`.

    The default sizes were chosen on MovieLens-100K's validation rows (likes, best GAUC of 10
    epochs, one seed): .685; 1 or 2 cross layers .678, .687; twice as wide .688; dropout of 0 or
    0.5 .675. So dropout matters, and width hardly does: what a teacher knows more than a student is
    what it may read.

    References: [Wang et al., 2021](https://arxiv.org/abs/2008.13535) (DCN V2); privileged features:
    [Xu et al., 2020](https://arxiv.org/abs/1907.05171).

    Args:
        features: what is read of a row.
        tasks: what it is asked.
        num_cross_layers: cross layers.
        hidden_units: width of each hidden layer.
        dropout: share of hidden units dropped while training.
        kwargs: the other arguments of `RankingModel`.

    Raises:
        ValueError: as `RankingModel`.

    Example:
    >>> from tfrs_distill.models.features import IdFeature
    >>> from tfrs_distill.models.tasks import Binary
    >>> examples = RankingExamples(
    ...     {}, {"like": np.array([1.0, 0.0])}, users=np.array([1, 2]), queries=np.array([1, 2]))
    >>> teacher = DeepCrossTeacher([IdFeature("user_id", 2, 4, side="query")], [Binary("like")])
    >>> teacher.compile("adam")
    >>> history = teacher.fit(examples.batches(2, seed=0), epochs=40, verbose=0)
    >>> (teacher.answers(examples)["like"][:, 0] > 0).tolist()
    [True, False]
    """

    def __init__(
        self,
        features: Sequence[RankingFeature],
        tasks: Sequence[RankingTask],
        *,
        num_cross_layers: int = 3,
        hidden_units: Sequence[int] = (256, 128),
        dropout: float = 0.2,
        name: str = "deep_cross_teacher",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            features,
            tasks,
            num_cross_layers=num_cross_layers,
            hidden_units=hidden_units,
            dropout=dropout,
            name=name,
            **kwargs,
        )

    def answers(
        self,
        examples: RankingExamples,
        *,
        batch_size: int = 4096,
        advance: Callable[[int], Any] | None = None,
    ) -> dict[str, np.ndarray]:
        """Logits for every row, float32 [num_rows, width] by task.

        Args:
            examples: rows with the features' columns.
            batch_size: rows asked about at a time.
            advance: called with the number of rows done since the last call.
        """
        said = {
            name: np.empty((len(examples), task.width), np.float32)
            for name, task in self.tasks.items()
        }
        ask, done = tf.function(self.logits, reduce_retracing=True), 0
        for batch in examples.batches(batch_size):
            answered = ask(batch)
            num_rows = len(next(iter(answered.values())))
            for name, logits in answered.items():
                said[name][done : done + num_rows] = logits.numpy()
            done += num_rows
            if advance is not None:
                advance(num_rows)
        return said
