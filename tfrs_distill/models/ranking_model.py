"""The deep and cross network that scores (query, item) rows for several tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.models.features import (
    ITEM,
    QUERY,
    HistoryFeature,
    ItemFeature,
    RankingFeature,
)
from tfrs_distill.models.features.table import TableFeature
from tfrs_distill.models.multi_task_model import MultiTaskModel
from tfrs_distill.models.seeded import seeded
from tfrs_distill.models.student_outputs import Head, StudentOutputs
from tfrs_distill.models.task_balance import TaskBalance
from tfrs_distill.models.tasks import NextItem, RankingTask


@tf.keras.utils.register_keras_serializable("tfrs_distill")
class RankingModel(MultiTaskModel):
    """Deep and cross network (DCN V2) with one head per task.

    `x_0 = [feature_1, ..., feature_m]`; `x_{l+1} = x_0 * (W_l x_l + b_l) + x_l` for each cross
    layer (`tfrs.layers.dcn.Cross`), `h = relu(... relu(V_1 x_L + c_1))`, and the heads read h. A
    `NextItem` task reads the history query and the items' embeddings instead.

    Trains alone with `compile(optimizer)` and `fit` on batches of rows: a dict of the features'
    columns, `columns.label(task)` for each task (NaN = no label), and optionally
    `columns.SAMPLE_WEIGHT`.

    Reference: [Wang et al., 2021](https://arxiv.org/abs/2008.13535) (DCN V2, stacked).

    Args:
        features: features of a row, with different names.
        tasks: tasks with different names.
        num_cross_layers: number of cross layers.
        projection_dim: rank of W_l = U_l V_l; None for full matrices.
        hidden_units: width of each hidden layer; () for heads on the crossed features.
        dropout: share of hidden units dropped in training.
        task_balance: how the tasks' losses are combined; `FixedWeights()` by default.
        seed: int or None; fixes initial weights and dropout, except in features.
        name: name of the model.
        kwargs: `dtype`, the policy of crosses, hidden layers and heads, such as `"mixed_bfloat16"`;
            logits are always float32.

    Raises:
        ValueError: there is no feature or task, names are not unique, a size is out of range, or a
            `NextItem` task lacks its features.

    Example:
    >>> from tfrs_distill.models.features import IdFeature, ItemFeature
    >>> from tfrs_distill.models.tasks import Binary
    >>> features = [IdFeature("user_id", 9, 4, side="query"), ItemFeature(20, 4)]
    >>> model = RankingModel(features, [Binary("like")], hidden_units=(8,), seed=0)
    >>> rows = {"user_id": tf.constant([1, 2]), "item_id": tf.constant([7, 20])}
    >>> model.predictions(rows)["like"].shape.as_list()
    [2]
    """

    def __init__(
        self,
        features: Sequence[RankingFeature],
        tasks: Sequence[RankingTask],
        *,
        num_cross_layers: int = 2,
        projection_dim: int | None = None,
        hidden_units: Sequence[int] = (64, 32),
        dropout: float = 0.0,
        task_balance: TaskBalance | None = None,
        seed: int | None = None,
        name: str = "ranking_model",
        **kwargs: Any,
    ) -> None:
        super().__init__(tasks, task_balance, name=name, **kwargs)
        _check_network(features, num_cross_layers, projection_dim, hidden_units)
        self.features = list(features)
        self.num_cross_layers, self.projection_dim = num_cross_layers, projection_dim
        self.hidden_units, self.dropout_rate = tuple(hidden_units), dropout
        self.seed = seed
        policy = self.dtype_policy
        self.crosses = [
            tfrs.layers.dcn.Cross(
                projection_dim,
                kernel_initializer=seeded("truncated_normal", seed, 200 + index),
                dtype=policy,
                name=f"cross_{index}",
            )
            for index in range(num_cross_layers)
        ]
        self.hidden_layers = [
            _hidden_layer(index, units, seed, policy) for index, units in enumerate(hidden_units)
        ]
        self.dropouts = [
            _dropout(index, dropout, seed, policy) for index in range(len(self.hidden_units))
        ]
        self.heads = {
            task.name: task.head(None if seed is None else seed + 500 + index, policy)
            for index, task in enumerate(tasks)
        }
        self.build_layers()

    @property
    def column_specs(self) -> dict[str, tf.TensorSpec]:
        """Type and shape of every column that is read; the first axis is the rows."""
        return {
            name: spec for feature in self.features for name, spec in feature.column_specs.items()
        }

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The batch's columns that the features read."""
        return tuple(self.column_specs)

    @property
    def table_features(self) -> list[TableFeature]:
        """The features that read a table, those that a history is read with included, each once."""
        found = [getattr(feature, "item_feature", feature) for feature in self.features]
        return [part for part in dict.fromkeys(found) if isinstance(part, TableFeature)]

    @property
    def shared_variables(self) -> list[tf.Variable]:
        """The last layer that all heads read; with a `NextItem` task, the items' embeddings."""
        if any(isinstance(task, NextItem) for task in self.tasks.values()):
            items = [feature for feature in self.features if isinstance(feature, ItemFeature)]
            return [weight for item in items for weight in item.table.trainable_variables]
        layers = [*self.features, *self.crosses, *self.hidden_layers]
        return list(
            [layer for layer in layers if layer.trainable_variables][-1].trainable_variables
        )

    def encode(
        self, batch: Mapping[str, tf.Tensor], training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """Compute each feature of the batch, float [num_rows, dim] by name.

        Raises:
            ValueError: a column is missing.
        """
        for feature in self.features:
            missing = [name for name in feature.columns if name not in batch]
            if missing:
                raise ValueError(
                    f"Feature {feature.name!r} reads the columns {list(feature.columns)}, but the "
                    f"batch has no {missing}. It has: {sorted(batch)}."
                )
        return {feature.name: feature(batch, training=training) for feature in self.features}

    def call(self, batch: Mapping[str, tf.Tensor], training: bool | None = None) -> StudentOutputs:
        """The rows' logits, and the outputs of crosses (`"cross"`) and hidden layers (`"deep"`)."""
        return self._outputs(self.encode(batch, training), batch, training)

    def rank(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Predict the tasks for many items of one query, whose features are computed once.

        Args:
            batch: the query columns with one row, the item columns with `num_items` rows.

        Returns:
            float32 [num_items] by task, equal to `predictions` for the pairs.
        """
        encoded = self.encode(batch, training=False)
        sides = {feature.name: feature.side for feature in self.features}
        num_rows = tf.shape(next(e for name, e in encoded.items() if sides[name] == ITEM))[0]
        rows = {
            name: _repeated(values, num_rows) if sides[name] == QUERY else values
            for name, values in encoded.items()
        }
        return self.predictions_of(self._outputs(rows, batch, False), batch)

    def _outputs(
        self,
        encoded: Mapping[str, tf.Tensor],
        batch: Mapping[str, tf.Tensor],
        training: bool | None,
    ) -> StudentOutputs:
        parts = [tf.cast(values, self.compute_dtype) for values in encoded.values()]
        crossed = first = tf.concat(parts, axis=-1)
        for cross in self.crosses:
            crossed = cross(first, crossed)
        deep = crossed
        for hidden, dropout in zip(self.hidden_layers, self.dropouts):
            deep = dropout(hidden(deep), training=training)
        heads = {}
        for name, head in self.heads.items():
            task = self.tasks[name]
            if isinstance(task, NextItem):
                items, histories = _compared_features(task, self.features)
                query = encoded[histories.name][:, : histories.query_dim]
                # Computed when the graph runs: a converter would store all rows of the catalogue.
                indices = tf.range(1, 1 + items.num_items + tf.minimum(tf.shape(query)[0], 0))
                catalogue = items.embed(indices, training=training)
                logits = head(query, catalogue, batch[columns.HISTORY])
            else:
                logits = head(deep)
            heads[name] = Head(tf.cast(logits, tf.float32))
        return StudentOutputs(heads, {"cross": crossed, "deep": deep})

    def build_layers(self) -> None:
        """Create every weight, so that the model can be loaded, counted or copied before `fit`."""
        self(
            {
                name: tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
                for name, spec in self.column_specs.items()
            }
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of an equal model, not trained."""
        serialize = tf.keras.utils.serialize_keras_object
        return {
            "name": self.name,
            "dtype": tf.keras.mixed_precision.serialize(self.dtype_policy)
            if hasattr(tf.keras.mixed_precision, "serialize")
            else self.dtype_policy.name,
            "features": [serialize(feature) for feature in self.features],
            "tasks": [serialize(task) for task in self.tasks.values()],
            "num_cross_layers": self.num_cross_layers,
            "projection_dim": self.projection_dim,
            "hidden_units": list(self.hidden_units),
            "dropout": self.dropout_rate,
            "task_balance": serialize(self.task_balance),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> RankingModel:
        """Build a model with new features; the histories' item features are shared as before.

        A feature that the configuration holds as a layer stays that layer.
        """
        config = dict(config)

        def restored(item: Any) -> Any:
            if isinstance(item, tf.keras.layers.Layer):
                return item
            return tf.keras.utils.deserialize_keras_object(item, custom_objects=custom_objects)

        features = [restored(item) for item in config.pop("features")]
        by_name = {feature.name: feature for feature in features}
        for index, feature in enumerate(features):
            if not isinstance(feature, HistoryFeature):
                continue
            # All features of a name share the first one, also those that only histories read.
            item_feature = by_name.setdefault(feature.item_feature.name, feature.item_feature)
            if feature.item_feature is not item_feature:
                shared = feature.get_config() | {"item_feature": item_feature}
                features[index] = type(feature).from_config(shared)
        tasks = [restored(item) for item in config.pop("tasks")]
        balance = restored(config.pop("task_balance"))
        return cls(features, tasks, task_balance=balance, **config)


def _check_network(
    features: Sequence[RankingFeature],
    num_cross_layers: int,
    projection_dim: int | None,
    hidden_units: Sequence[int],
) -> None:
    """Raise a ValueError where no network can be built of these, see `RankingModel`."""
    parts = {id(feature): feature for feature in features}
    parts |= {
        id(feature.item_feature): feature.item_feature
        for feature in features
        if isinstance(feature, HistoryFeature)
    }
    names = [feature.name for feature in parts.values()]
    if (
        not features
        or len(set(names)) < len(names)
        or len(features) > len({id(f) for f in features})
    ):
        raise ValueError(
            "`features` must have different names, at least one, also from the item feature that a "
            f"history is read with. Received: {names}."
        )
    of_tables: dict[int, list[str]] = {}
    for feature in parts.values():
        if isinstance(feature, TableFeature):
            of_tables.setdefault(id(feature.table), []).append(feature.name)
    sharing = [names for names in of_tables.values() if len(names) > 1]
    if sharing:
        raise ValueError(
            f"Each feature must have a `table` of its own. Received: one table for {sharing[0]}. "
            "Give each a table, or give one feature."
        )
    sizes = {"num_cross_layers": (num_cross_layers, 0)}
    if projection_dim is not None:
        sizes["projection_dim"] = (projection_dim, 1)
    for name, (size, least) in sizes.items():
        if not size >= least:
            raise ValueError(f"`{name}` must be at least {least}. Received: {name}={size!r}.")
    if not all(units >= 1 for units in hidden_units):
        raise ValueError(
            f"`hidden_units` must be at least 1 each. Received: hidden_units={hidden_units!r}."
        )


def _compared_features(
    task: NextItem, features: Sequence[RankingFeature]
) -> tuple[ItemFeature, HistoryFeature]:
    """Return the features that a next-item task compares.

    Raises:
        ValueError: one is missing or there twice, or they do not fit.
    """
    items = [feature for feature in features if isinstance(feature, ItemFeature)]
    histories = [feature for feature in features if isinstance(feature, HistoryFeature)]
    if len(items) != 1 or len(histories) != 1:
        raise ValueError(
            f"Task {task.name!r} needs one `ItemFeature` and one `HistoryFeature` among the "
            f"features. Received: {len(items)} and {len(histories)}."
        )
    if histories[0].item_feature is not items[0]:
        raise ValueError(
            f"Task {task.name!r} compares history and items, so the `HistoryFeature` must read "
            "with the model's `ItemFeature`. Received: two different item features."
        )
    if items[0].num_items != task.num_items:
        raise ValueError(
            f"Task {task.name!r} is over {task.num_items} items, but the `ItemFeature` has "
            f"{items[0].num_items}."
        )
    return items[0], histories[0]


def _hidden_layer(index: int, units: int, seed: int | None, policy: Any) -> tf.keras.layers.Layer:
    return tf.keras.layers.Dense(
        units,
        activation="relu",
        kernel_initializer=seeded("glorot_uniform", seed, 300 + index),
        dtype=policy,
        name=f"hidden_{index}",
    )


def _dropout(index: int, share: float, seed: int | None, policy: Any) -> tf.keras.layers.Layer:
    seed = None if seed is None else seed + 400 + index
    return tf.keras.layers.Dropout(share, seed=seed, dtype=policy, name=f"dropout_{index}")


def _repeated(values: tf.Tensor, num_rows: tf.Tensor) -> tf.Tensor:
    """One row, `num_rows` times."""
    return tf.broadcast_to(values, tf.stack([num_rows, tf.shape(values)[1]]))
