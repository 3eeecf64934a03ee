"""A student of mixed precision as one that computes in float32, as LiteRT's operators do."""

from __future__ import annotations

from typing import Any

from tfrs_distill.models.ordered_weights import copy_weights
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.two_tower import TwoTower

MIXED = ("mixed_float16", "mixed_bfloat16")


def in_float32(student: Any) -> Any:
    """Return a copy of a student that computes in float32; the student itself if it already does.

    Its weights are float32 in mixed precision too, so they do not change.
    """
    if not isinstance(student, (TwoTower, RankingModel)):
        return student
    config = student.get_config()
    changed = _without_mixed_policies(config)
    if changed == config:
        return student
    copy = type(student).from_config(changed)
    copy_weights(student, copy)
    return copy


def _without_mixed_policies(config: Any) -> Any:
    """A configuration whose layers all compute in float32."""
    if isinstance(config, dict):
        if config.get("class_name") == "Policy" and config["config"]["name"] in MIXED:
            return "float32"
        of_layer = {"dtype": "float32"} if config.get("dtype") in MIXED else {}
        return {key: _without_mixed_policies(value) for key, value in config.items()} | of_layer
    if isinstance(config, (list, tuple)):
        return type(config)(map(_without_mixed_policies, config))
    return config
