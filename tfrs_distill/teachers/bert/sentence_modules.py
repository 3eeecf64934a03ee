"""The modules after the model in a sentence-transformers folder: pooling, dense, normalization."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.pooling import Pooling, unit_length
from tfrs_distill.teachers.bert.pytorch_file import read_pytorch_file

MODULES, CONFIG = "modules.json", "config.json"
PROMPTS = "config_sentence_transformers.json"
DENSE_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in this order
MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "Identity": tf.identity,
    "Tanh": tf.tanh,
    "ReLU": tf.nn.relu,
    "GELU": tf.nn.gelu,
    "SiLU": tf.nn.silu,
    "Sigmoid": tf.sigmoid,
}  # by the last part of PyTorch's names
KINDS = ("Transformer", "Pooling", "Dense", "Normalize")


@dataclasses.dataclass(frozen=True)
class Dense:
    """`activation(vectors kernel + bias)`: a constant layer after the pooling."""

    kernel: np.ndarray  # float32 [in_features, out_features]
    bias: np.ndarray | None  # float32 [out_features]
    activation: Callable[[tf.Tensor], tf.Tensor]

    def __call__(self, vectors: tf.Tensor) -> tf.Tensor:
        """[num_texts, in_features] to [num_texts, out_features]."""
        product = tf.matmul(vectors, self.kernel)
        return self.activation(product if self.bias is None else product + self.bias)


@dataclasses.dataclass(frozen=True)
class SentenceModules:
    """The folder's settings; None if a setting is missing.

    Args:
        pooling: the pooling of tokens to one vector.
        max_length: maximum length of a text in wordpieces, including special tokens; 0 is the
            maximum of the model and its tokenizer.
        lower_case: whether texts are converted to lower case first.
        layers: layers applied to the pooled vectors, in order.
    """

    pooling: Pooling | None
    max_length: int | None
    lower_case: bool
    layers: tuple[Callable[[tf.Tensor], tf.Tensor], ...]

    @property
    def dense(self) -> list[Dense]:
        """The layers that have weights."""
        return [layer for layer in self.layers if isinstance(layer, Dense)]

    def apply(self, pooled: tf.Tensor) -> tf.Tensor:
        """Apply the folder's layers: [num_texts, hidden_dim] to [num_texts, dim]."""
        for layer in self.layers:
            pooled = layer(pooled)
        return pooled


def module_files(folder: Path) -> list[Path]:
    """Return the files of all modules after the model (`1_Pooling/config.json`, ...), in order."""
    names = (CONFIG, *DENSE_WEIGHTS)
    paths = [path / name for _, path in _modules(folder) if path != folder for name in names]
    return [path for path in paths if path.is_file()]


def read_sentence_modules(
    folder: Path, *, hidden_dim: int, pooling: Pooling | None = None
) -> SentenceModules:
    """Read `modules.json` and the modules in it, or else the folders `1_Pooling`, `2_Dense`, ...

    Args:
        folder: folder of the checkpoint.
        hidden_dim: width of the model's last layer.
        pooling: the user's pooling; None for the folder's.

    Returns:
        The folder's settings, with the user's pooling if it is given.

    Raises:
        InputError: a file is missing or damaged, or needs something unsupported: another pooling,
            another module, a default prompt.
    """
    _check_prompt(folder)
    modules = [module for module in _modules(folder) if module[0] != "Transformer"]
    layers: list[Callable[[tf.Tensor], tf.Tensor]] = []
    width = hidden_dim
    for place, (kind, path) in enumerate(modules):
        if (kind == "Pooling") != (place == 0) or kind not in KINDS:
            kinds = ", ".join(name for name, _ in modules)
            raise InputError(
                f"The encoder folder {folder} computes its vectors with {kinds}. Supported is "
                "one Pooling, then any Dense and Normalize. Give another encoder."
            )
        if kind == "Pooling":
            pooling = _stated_pooling(path) if pooling is None else pooling
        elif kind == "Dense":
            dense = _read_dense(path, width)
            layers.append(dense)
            width = dense.kernel.shape[1]
        else:
            layers.append(unit_length)
    max_length, lower_case = _stated_texts(folder)
    return SentenceModules(pooling, max_length, lower_case, tuple(layers))


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Return kind and folder of every module, in order."""
    if (folder / MODULES).is_file():
        listed: list[tuple[str, Path]] = _parsed(
            folder / MODULES,
            lambda entries: [
                (str(entry["type"]).rsplit(".", 1)[-1], folder / entry["path"])
                for entry in sorted(entries, key=lambda entry: entry["idx"])
            ],
        )
        return listed
    named = [(path.name.partition("_"), path) for path in folder.iterdir() if path.is_dir()]
    numbered = sorted((int(name[0]), name[2], path) for name, path in named if name[0].isdecimal())
    return [
        (kind, path)
        for _, kind, path in numbered
        if kind in KINDS or (kind[:1].isupper() and (path / CONFIG).is_file())
    ]


def _stated_pooling(path: Path) -> Pooling:
    config = _read(path / CONFIG)
    named = config.get("pooling_mode")  # in newer files
    if named is None:
        config.setdefault("pooling_mode_mean_tokens", True)
        chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
        modes = [MODES.get(key, key) for key in chosen]
    else:
        modes = named.split("+") if isinstance(named, str) else [str(mode) for mode in named]
    for pooling in get_args(Pooling):
        if modes == [pooling]:
            return pooling  # type: ignore[no-any-return]
    raise InputError(
        f"{path / CONFIG} pools tokens by {' and '.join(modes) or 'nothing'}, but only one of "
        "'mean', 'cls' and 'max' is supported. Give `pooling`, one of these, to replace the "
        "folder's."
    )


def _read_dense(path: Path, in_features: int) -> Dense:
    config = _read(path / CONFIG)
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = ACTIVATIONS.get(name.rsplit(".", 1)[-1])
    if activation is None:
        raise InputError(
            f"{path / CONFIG} has the activation {name}, but only {', '.join(ACTIVATIONS)} are "
            "supported. Give another encoder."
        )
    ends = {config.get(f"module_{end}_name", "sentence_embedding") for end in ("input", "output")}
    if ends != {"sentence_embedding"}:
        raise InputError(
            f"{path / CONFIG} is a layer on {', '.join(sorted(map(str, ends)))}, but only one on "
            "the sentence embedding is supported. Give another encoder."
        )
    weights = _dense_weights(path)
    with_bias = bool(config.get("bias", True))
    out_features = config.get("out_features")
    expected: dict[str, tuple[Any, ...]] = {"linear.weight": (out_features, in_features)}
    expected |= {"linear.bias": (out_features,)} if with_bias else {}
    found = {name: weight.shape for name, weight in weights.items()}
    if found != expected:
        raise InputError(
            f"The weights in {path} do not fit: expected {expected} for vectors of width "
            f"{in_features}. Received: {found}."
        )
    as_float = {name: np.asarray(weight, np.float32) for name, weight in weights.items()}
    return Dense(as_float["linear.weight"].T, as_float.get("linear.bias"), activation)


def _dense_weights(path: Path) -> dict[str, np.ndarray]:
    file = next((path / name for name in DENSE_WEIGHTS if (path / name).is_file()), None)
    if file is None:
        raise InputError(f"{path} holds no weights: {' or '.join(DENSE_WEIGHTS)}. Fetch them.")
    if file.suffix == ".bin":
        return read_pytorch_file(file)
    try:
        return dict(safetensors.numpy.load_file(file))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}). Fetch it again.") from error


def _stated_texts(folder: Path) -> tuple[int | None, bool]:
    """Return the maximum length of a text, and whether texts are converted to lower case."""
    files = sorted(folder.glob("sentence_*_config.json"))  # older files have a model's name in it
    if not files:
        return None, False
    config = _read(files[0])
    length = config.get("max_seq_length") or 0
    if not isinstance(length, int):
        raise InputError(
            f"{files[0]} has the `max_seq_length` {length!r}, not a whole number. Fetch it again."
        )
    return length, bool(config.get("do_lower_case", False))


def _check_prompt(folder: Path) -> None:
    if not (folder / PROMPTS).is_file():
        return
    config = _read(folder / PROMPTS)
    name = config.get("default_prompt_name")
    if name is not None and (config.get("prompts") or {}).get(name):
        raise InputError(
            f"{folder / PROMPTS} puts a prompt before every text, {config['prompts'][name]!r}, "
            "which is not supported. Put it before your texts and remove `default_prompt_name` "
            "from the file."
        )


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = _parsed(path, lambda content: dict(content.items()))
    return content


def _parsed(path: Path, parse: Callable[[Any], Any]) -> Any:
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {MODULES} names it. Fetch it.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Fetch it again."
        ) from error
