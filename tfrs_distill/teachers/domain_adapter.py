"""Adapt a two-tower teacher to another domain with few domain-specific parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tfrs_distill.teachers.bert.bert_two_tower import BertTwoTower
from tfrs_distill.teachers.bert.parameter_efficient.low_rank import LowRankDense
from tfrs_distill.teachers.whole_number import check_whole_number


@contextmanager
def domain_adapter(teacher: BertTwoTower, rank: int, *, seed: int) -> Iterator[LowRankDense]:
    """Make only a teacher's item ids and a low-rank adapter of its text projection trainable.

    Inside the `with` block an item's embedding is `id + W x + c + A B x` with its text vector x.
    The thin matrices A and B and the ids are trained; W, c and the history encoder are frozen. The
    product is 0 before training, so at first the teacher's outputs do not change. At the end of the
    block the product is added to W, and the teacher has its usual form again. Compile inside the
    block.

    Reference: [Hu et al., 2021](https://arxiv.org/abs/2106.09685).

    Args:
        teacher: changed in place.
        rank: rank of the product, at least 1.
        seed: seed of the matrix that does not start at 0.

    Raises:
        ValueError: `rank` is not an integer of at least 1.

    Example:
    >>> import numpy as np
    >>> teacher = BertTwoTower(np.eye(5, 3), max_history=4, embedding_dim=8)
    >>> with domain_adapter(teacher, rank=2, seed=0) as adapter:
    ...     names = [weight.name.rpartition("/")[2] for weight in teacher.trainable_weights]
    >>> sorted(names)
    ['biases:0', 'id_embeddings:0', 'low_rank_down:0', 'low_rank_up:0']
    """
    check_whole_number("rank", rank)
    items, encoder = teacher.candidate_tower, teacher.query_tower.encoder
    projection = items.projection
    adapter = LowRankDense(projection, rank, 1.0, seed)
    projection.trainable = encoder.trainable = False
    items.projection = adapter
    try:
        yield adapter
    finally:
        items.projection = projection
        projection.trainable = encoder.trainable = True
        adapter.merge()
