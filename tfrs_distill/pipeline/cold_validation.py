"""Score a student on cold items after every epoch: with all inputs, and from texts alone."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_distill.data.cold_items import ColdItems
from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation import ValidationNDCG, evaluate
from tfrs_distill.models import RetrievalStudent


class ColdValidationNDCG(ValidationNDCG):
    """Adds the mean of two NDCGs to the logs, in place of the value of `ValidationNDCG`.

    The validation items have texts that are available in training, so the student may train their
    ids with the teacher's ranking. Some test items have only a text. So one NDCG uses all that the
    student has of the items, and the other only their texts, as if they were added later.

    Args:
        queries: of validation.
        cold: the items that are in no training row.
        k: length of the lists.
        student: reads texts.
    """

    def __init__(
        self, queries: Queries, cold: ColdItems, *, k: int, student: RetrievalStudent
    ) -> None:
        super().__init__(queries, k=k, model=student)
        self.cold, self.items = cold.described, student.candidate_tower

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate the validation queries twice."""
        logs = {} if logs is None else logs
        super().on_epoch_end(epoch, logs)
        assert self.scorer is not None
        texts = self.items.embed_texts(tf.gather(self.items.pieces, self.cold))
        self.scorer.catalogue[:, self.cold] = tf.transpose(texts)
        by_texts = evaluate(self.scorer, self.queries, k=self.k).ndcg.mean()
        logs[self.log_name] = (logs[self.log_name] + float(by_texts)) / 2.0
