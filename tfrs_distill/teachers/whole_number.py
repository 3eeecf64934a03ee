"""The check of an argument that counts something."""

from __future__ import annotations


def check_whole_number(name: str, value: float, least: int = 1) -> None:
    """Refuse what is no count.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest that is allowed.

    Raises:
        ValueError: `value` is below `least` or not whole.
    """
    if not (value >= least and value % 1 == 0):
        raise ValueError(
            f"`{name}` must be a whole number of at least {least}. Received: {name}={value!r}."
        )
