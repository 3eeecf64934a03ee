"""A check of arguments that must be whole numbers."""

from __future__ import annotations


def check_whole_number(name: str, value: float, least: int = 1) -> None:
    """Require a whole number of at least `least`.

    Args:
        name: name of the argument.
        value: its value.
        least: the smallest allowed value.

    Raises:
        ValueError: `value` is below `least` or not a whole number.
    """
    if not (value >= least and value % 1 == 0):
        raise ValueError(
            f"`{name}` must be a whole number of at least {least}. Received: {name}={value!r}."
        )
