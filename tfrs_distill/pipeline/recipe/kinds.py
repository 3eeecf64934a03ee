"""The kinds of teachers, by name: the module of each, and what it can label; no imports."""

from __future__ import annotations

from dataclasses import dataclass

RETRIEVAL, RANKING = "retrieval", "ranking"  # windows of a history; rows of a user and an item


@dataclass(frozen=True)
class Kind:
    """A kind of teacher.

    Args:
        where: its module in `pipeline.teacher_kinds`, ":" and its class.
        labels: `RETRIEVAL`, `RANKING` or both.
    """

    where: str
    labels: tuple[str, ...]


KINDS = {
    "two-tower": Kind("two_tower:TwoTowerOfItems", (RETRIEVAL,)),
    "cross-encoder": Kind("cross_encoder:CrossEncoder", (RETRIEVAL,)),
    "item-item": Kind("item_item:ItemItem", (RETRIEVAL,)),
    "next-item-ridge": Kind("next_item_ridge:NextItemRidge", (RETRIEVAL,)),
    "als": Kind("als:ALS", (RETRIEVAL,)),
    "deep-cross": Kind("deep_cross:DeepCross", (RANKING,)),
    "bert-text": Kind("text_ranker:TextRanker", (RANKING,)),
    "array": Kind("array:Array", (RETRIEVAL, RANKING)),
    "python": Kind("python_file:PythonFile", (RETRIEVAL, RANKING)),
}


def kinds_for(labels: str) -> tuple[str, ...]:
    """The names of the kinds that can label windows or rows."""
    return tuple(name for name, kind in KINDS.items() if labels in kind.labels)
