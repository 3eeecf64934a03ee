"""LoRA: a matrix of the model plus a learned product of two thin matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from tfrs_distill.teachers.bert.parameter_efficient.attached import AddedLayer, Attached
from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import TARGETS
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.whole_number import check_whole_number


@dataclass(frozen=True)
class LoRA:
    """Low-rank adaptation: `y = W x + b + (alpha / rank) B A x`; only A and B are trained.

    A `[rank, in]` starts random and B `[out, rank]` at 0, so that an encoder with untrained LoRA
    returns exactly the same vectors as before. `Attached.merge` adds `(alpha / rank) B A` to W:
    then inference has no additional cost. Reference:
    [Hu et al., 2021](https://arxiv.org/abs/2106.09685), where `query` and `value` are adapted.

    Args:
        rank: rank of the product, at least 1.
        alpha: scale of the product; the paper keeps it fixed while it varies the rank.
        targets: the adapted matrices of every layer, of "query", "key", "value",
            "attention_output", "intermediate" and "output".
        seed: seed of A.

    Raises:
        ValueError: `rank` or `alpha` is not above 0, or `targets` are none, unknown or repeated.

    Example:
    >>> LoRA(rank=4).targets
    ('query', 'value')
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("query", "value")
    seed: int = 0

    default_learning_rate: ClassVar[float] = 5e-4

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        check_whole_number("rank", self.rank)
        if not self.alpha > 0:
            raise ValueError(f"`alpha` must be greater than 0. Received: alpha={self.alpha!r}.")
        known = set(self.targets) <= set(TARGETS)
        if not (self.targets and known and len(set(self.targets)) == len(self.targets)):
            raise ValueError(
                f"`targets` must be some of {', '.join(TARGETS)}, each once. Received: "
                f"targets={self.targets!r}."
            )

    def attach(self, encoder: TextEncoder) -> Attached:
        """Add the low-rank products to the encoder's matrices; its vectors do not change.

        Args:
            encoder: a text encoder of the BERT family; its model is changed in place.

        Returns:
            The attached layers, which can be trained, saved, merged and detached.

        Raises:
            ValueError: the encoder already has added layers, or is of another family.
        """
        attached = Attached(encoder, self)
        stack, added = attached.stack, []
        for number, layer in enumerate(stack.layers):
            for place, target in enumerate(self.targets):
                owner, attribute = stack.owner(layer, target)
                seed = 1000 * self.seed + len(TARGETS) * number + place
                dense = LowRankDense(
                    getattr(owner, attribute), self.rank, self.alpha / self.rank, seed
                )
                attached.replace(owner, attribute, dense)
                attached.train(f"layer.{number}.{target}.down", dense.down)
                attached.train(f"layer.{number}.{target}.up", dense.up)
                added.append(dense)

        def merge() -> None:
            for dense in added:
                dense.merge()

        return attached.ready(merge)


class LowRankDense(AddedLayer):
    """A frozen dense layer plus `scale * (x down) up`; `down` is A, `up` is B, both transposed."""

    def __init__(self, dense: Any, rank: int, scale: float, seed: int) -> None:
        super().__init__(name=dense.name)
        self.dense, self.scale = dense, scale
        num_inputs, num_outputs = dense.kernel.shape
        self.down = self.add_weight(
            name="low_rank_down",
            shape=[num_inputs, rank],
            initializer=tf.keras.initializers.LecunNormal(seed=seed),
        )
        self.up = self.add_weight(
            name="low_rank_up", shape=[rank, num_outputs], initializer="zeros"
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """`[..., in]` to `[..., out]`."""
        low = tf.matmul(inputs, tf.cast(self.down, inputs.dtype))
        return self.dense(inputs) + self.scale * tf.matmul(low, tf.cast(self.up, inputs.dtype))

    def merge(self) -> None:
        """Add the product to the dense layer's matrix; the dense layer alone is then equivalent."""
        self.dense.kernel.assign_add(self.scale * tf.matmul(self.down, self.up))
