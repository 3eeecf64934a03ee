"""Initial weights that a seed fixes."""

from __future__ import annotations

import tensorflow as tf


def seeded(initializer: str, seed: int | None, offset: int) -> tf.keras.initializers.Initializer:
    """Return the named Keras initializer with the seed `seed + offset`."""
    built = tf.keras.initializers.get(initializer)
    if seed is None:
        return built
    return built.__class__.from_config(built.get_config() | {"seed": seed + offset})
