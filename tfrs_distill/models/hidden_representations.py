"""The outputs of the layers inside a Keras model during a forward pass, by their paths."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

_PATCHING = threading.Lock()


def layers_by_path(model: tf.keras.Model) -> dict[str, tf.keras.layers.Layer]:
    """Every layer inside a model, however deeply nested, by its path of names.

    A layer's path is the names of the layers that hold it, outermost first, and its name:
    `"history_tower/decayed_average/feed_forward"`. The model's name is omitted. Two layers of
    one path are numbered: `"dense"`, `"dense#2"`.
    """
    layers = [m for m in model.submodules if isinstance(m, tf.keras.layers.Layer)]
    layers = [m for m in layers if not isinstance(m, tf.keras.metrics.Metric)]
    inside = {id(layer): {id(m) for m in layer.submodules} for layer in layers}
    paths: dict[str, tf.keras.layers.Layer] = {}
    for layer in layers:
        holders = [other for other in layers if id(layer) in inside[id(other)]]
        holders.sort(key=lambda holder: len(inside[id(holder)]), reverse=True)
        path = unique = "/".join([*(holder.name for holder in holders), layer.name])
        number = 1
        while unique in paths:
            number += 1
            unique = f"{path}#{number}"
        paths[unique] = layer
    return paths


@contextlib.contextmanager
def recorded(model: tf.keras.Model) -> Iterator[dict[str, Any]]:
    """Fills the yielded dict with every layer's output while the model runs inside the context.

    A layer that runs several times leaves its last output. The model is as before afterwards. The
    replicas of `tf.distribute` run one model in threads that wait for each other midway: each
    records the outputs of its thread.

    Example:
    >>> model = tf.keras.Sequential([tf.keras.layers.Dense(3, name="inner")])
    >>> with recorded(model) as hidden:
    ...     _ = model(tf.zeros([2, 5]))
    >>> hidden["inner"].shape.as_list()
    [2, 3]
    """
    outputs: dict[str, Any] = {}
    layers = layers_by_path(model)
    recording = object()
    with _PATCHING:
        for path, layer in layers.items():
            if not hasattr(layer.__dict__.get("call"), "listeners"):
                layer.__dict__["call"] = _recording(layer)
            listener = (threading.get_ident(), path, outputs)
            layer.__dict__["call"].listeners[recording] = listener
    try:
        yield outputs
    finally:
        with _PATCHING:
            for layer in layers.values():
                patched = layer.__dict__["call"]
                del patched.listeners[recording]
                if not patched.listeners:
                    patched.restore()


def _recording(layer: tf.keras.layers.Layer) -> Any:
    """Return the layer's `call`, which records its result for the listeners of its thread."""
    call, patched_call = layer.call, layer.__dict__.get("call")
    listeners: dict[object, tuple[int, str, dict[str, Any]]] = {}

    def recording_call(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        for thread, path, outputs in list(listeners.values()):
            if thread == threading.get_ident():
                outputs[path] = result
        return result

    def restore() -> None:
        del layer.__dict__["call"]
        if patched_call is not None:
            layer.__dict__["call"] = patched_call

    recording_call.listeners = listeners  # type: ignore[attr-defined]
    recording_call.restore = restore  # type: ignore[attr-defined]
    return recording_call


def find(hidden: Mapping[str, Any], name: str, owner: str) -> tf.Tensor:
    """Return the representation of a name: its whole path, or the end of exactly one path.

    Args:
        hidden: representations by path.
        name: a path, or as much of its end as makes it unique.
        owner: whose layers these are, for the message.

    Raises:
        ValueError: no path, or several, end so; lists those there are.
    """
    matches = [name] if name in hidden else [p for p in hidden if p.endswith("/" + name)]
    if len(matches) == 1:
        return hidden[matches[0]]
    what = "several hidden representations" if matches else "no hidden representation"
    raise ValueError(
        f"The {owner} has {what} called {name!r}. "
        + (f"Use one of {matches}." if matches else f"It has: {sorted(hidden)}.")
    )
