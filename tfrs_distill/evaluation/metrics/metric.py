"""What people call a metric and which way it is better; declared beside the metric's function."""

from __future__ import annotations

import math
from dataclasses import dataclass

NOISE = 1e-12  # two figures that are no further apart are the same, but for rounding


@dataclass(frozen=True)
class Metric:
    """A metric as a report shows it.

    Args:
        key: its name in a report, without `@k`.
        name: its name for people.
        lower_is_better: whether less of it is better, as of an error.
        is_share: whether it is shown as a percentage.
        note: what it is, where its name does not say it.
    """

    key: str
    name: str
    lower_is_better: bool = False
    is_share: bool = False
    note: str = ""

    def gain(self, difference: float) -> float:
        """A difference of two figures as a gain: positive where the first is better."""
        return -difference if self.lower_is_better else difference

    def share_of_gain(
        self, base: float | None, teacher: float | None, student: float | None
    ) -> float | None:
        """How much of the teacher's gain on a base the student has.

        Below 0 where the student is worse than the base, above 1 where it is better than the
        teacher.

        Returns:
            None where the teacher is no better than the base, or one of the three was not measured.

        Example:
        >>> rmse = Metric("rmse", "RMSE", lower_is_better=True)
        >>> round(rmse.share_of_gain(1.0, 0.8, 0.9), 3), rmse.share_of_gain(1.0, 1.1, 0.9)
        (0.5, None)
        """
        if base is None or teacher is None or student is None or math.isnan(student):
            return None
        gain = self.gain(teacher - base)
        return self.gain(student - base) / gain if gain > NOISE else None
