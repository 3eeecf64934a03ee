"""A number as a feature: an age, a price, a count."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.models.features.feature import RankingFeature

LARGEST = float(np.finfo(np.float32).max)
MAX_DEVIATION = 10.0  # standard deviations


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class NumberFeature(RankingFeature):
    """`[(x - mean) / standard_deviation, 1]`; `[0, 0]` for a missing number.

    NaN and infinities count as missing. Numbers more than 10 standard deviations from the mean are
    clipped to 10, in training and in serving, because cross layers multiply their inputs.

    Args:
        column: float32 [num_rows].
        mean: mean of the training rows' numbers, in the column's unit.
        standard_deviation: standard deviation of the training rows' numbers.
        side: `"query"` or `"item"`.
        name: the column's name by default.

    Raises:
        ValueError: mean or standard deviation is not finite, the latter is not above 0, or the side
            is not one of these.

    Example:
    >>> feature = NumberFeature("age", mean=40.0, standard_deviation=10.0, side="query")
    >>> feature({"age": tf.constant([50.0, float("nan")])}).numpy().tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """

    def __init__(
        self,
        column: str,
        mean: float,
        standard_deviation: float,
        side: str,
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(side, name=name or column, **kwargs)
        if not (math.isfinite(mean) and 0 < standard_deviation < math.inf):
            raise ValueError(
                "`mean` must be finite and `standard_deviation` finite and above 0. Received: "
                f"mean={mean!r}, standard_deviation={standard_deviation!r}."
            )
        self.column = column
        self.mean, self.standard_deviation = float(mean), float(standard_deviation)

    @classmethod
    def fit(cls, column: str, values: np.ndarray, side: str, **kwargs: Any) -> NumberFeature:
        """Build a feature with the mean and standard deviation of the training rows' numbers.

        If all numbers are equal the standard deviation is 1.

        Args:
            column: name of the column.
            values: the training rows' numbers, [num_rows]; values that are not finite are ignored.
            side: `"query"` or `"item"`.
            kwargs: further arguments of the layer.

        Raises:
            InputError: no value is finite.
        """
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            raise InputError(
                f"Column {column!r} holds no finite number, so it has no mean. Remove the feature, "
                "or check how the column was read."
            )
        return cls(column, float(values.mean()), float(values.std()) or 1.0, side, **kwargs)

    @property
    def column_specs(self) -> dict[str, tf.TensorSpec]:
        """The numbers' column."""
        return {self.column: tf.TensorSpec([None], tf.float32)}

    @property
    def dim(self) -> int:
        """Width 2: the number and whether it is present."""
        return 2

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """The rows' numbers and whether they are present, float [num_rows, 2]."""
        numbers = tf.cast(batch[self.column], tf.float32)
        present = tf.abs(numbers) <= LARGEST  # false for NaN too; all converters support it
        scaled = (tf.where(present, numbers, self.mean) - self.mean) / self.standard_deviation
        scaled = tf.clip_by_value(scaled, -MAX_DEVIATION, MAX_DEVIATION)
        features = tf.stack([scaled, tf.cast(present, tf.float32)], axis=-1)
        return tf.cast(features, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments that build an equal layer."""
        return super().get_config() | {
            "column": self.column,
            "mean": self.mean,
            "standard_deviation": self.standard_deviation,
            "side": self.side,
        }
