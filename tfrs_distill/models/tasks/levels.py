"""The base class of the tasks whose label is a rating with levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_distill.models.tasks.task import RankingTask


class LevelsTask(RankingTask):
    """A task whose labels are levels, and whose prediction is the expected level.

    Args:
        name: name of the task.
        levels: the possible labels, ascending.
        label_smoothing: the share of a label that is spread evenly over all classes.

    Raises:
        ValueError: there are fewer than two levels, or they are not ascending.
    """

    logits_less = 0  # number of levels minus number of logits per row

    def __init__(
        self,
        name: str,
        levels: Sequence[float] = (1, 2, 3, 4, 5),
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        self.levels = _checked_levels(levels)
        super().__init__(name, len(self.levels) - self.logits_less, label_smoothing)
        self.valid_label = self.levels[0]

    @property
    def label_range(self) -> str:
        """The levels."""
        return "one of " + ", ".join(f"{level:g}" for level in self.levels)

    def are_labels(self, labels: Any) -> Any:
        """Return which labels are one of the levels."""
        first, *others = (np.float32(level) for level in self.levels)
        is_level = labels == first
        for level in others:
            is_level = is_level | (labels == level)
        return is_level

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal task."""
        return super().get_config() | {"levels": list(self.levels)}


def _checked_levels(levels: Any) -> tuple[float, ...]:
    """Return the levels of a rating as numbers.

    Raises:
        ValueError: there are fewer than two, or they are not ascending in float32, the type of
            labels.
    """
    numbers = tuple(float(level) for level in levels)
    in_float32 = np.array(numbers, np.float32)
    if len(numbers) < 2 or not (np.diff(in_float32) > 0).all() or not np.isfinite(in_float32).all():
        raise ValueError(
            "`levels` must be at least 2 finite, ascending numbers. Received: "
            f"levels={tuple(levels)!r}."
        )
    return numbers
