"""Placement of a chart's labels without overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER = 7.0  # px, the width of a character of the charts' bold 12 px
LINE = 14.0  # px, a label's height


@dataclass(frozen=True)
class Box:
    """A rectangle of the drawing, in px from its top left corner."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, frame: Box) -> float:
        """The area that `frame` does not cover."""
        area = (self.right - self.left) * (self.bottom - self.top)
        return area - self.overlap(frame)


def place(x: float, y: float, text: str, taken: Sequence[Box], frame: Box) -> Box:
    """The box for a label of the point (x, y): the nearest place with the least overlap.

    Args:
        x: px from the left.
        y: px from the top.
        text: the label.
        taken: boxes that the label should not cover: points, intervals, other labels.
        frame: the box in which the label should stay.
    """
    width = CHARACTER * len(text)
    candidates = []
    for distance in range(0, 6):
        for side in (1, -1):
            for lift in (-1, 1) if distance else (1,):
                left = x + 9 if side > 0 else x - 9 - width
                middle = y + lift * distance * 0.6 * LINE
                candidates.append(Box(left, middle - LINE / 2, left + width, middle + LINE / 2))
    return min(
        candidates,  # `min` keeps the first, that is the nearest, of equals
        key=lambda box: 2 * box.outside(frame) + sum(box.overlap(other) for other in taken),
    )
