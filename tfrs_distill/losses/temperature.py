"""The check of a temperature."""

from __future__ import annotations

import math
from typing import Any


def checked_temperature(temperature: Any) -> float:
    """Return the temperature.

    Raises:
        ValueError: it is not a finite number above 0.

    Example:
    >>> checked_temperature(2.0)
    2.0
    """
    if not (isinstance(temperature, (int, float)) and 0 < temperature < math.inf):
        raise ValueError(
            "`temperature` must be a finite number greater than 0. Received: "
            f"temperature={temperature!r}."
        )
    return temperature
