"""A BERT-family checkpoint: its folder, its weights files, and its TensorFlow model."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.files import files_sha256
from tfrs_distill.teachers.bert.pruned_heads import shrink_heads
from tfrs_distill.teachers.bert.pytorch_file import read_pytorch_file
from tfrs_distill.teachers.bert.sentence_modules import CONFIG, DENSE_WEIGHTS, module_files

TOKENIZER_FILES = (".json", ".txt", ".model")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # in this order


def checkpoint_fingerprint(name_or_path: str | os.PathLike[str]) -> str:
    """sha256 of a checkpoint's configuration, tokenizer and weights files, without loading it.

    The pooling files of a sentence-transformers folder are included.

    Args:
        name_or_path: as for `TextEncoder`.

    Raises:
        InputError: as `TextEncoder`.
    """
    folder = checkpoint_folder(name_or_path)
    described = [path for path in sorted(folder.glob("*")) if path.suffix in TOKENIZER_FILES]
    return files_sha256(described + weight_files(folder) + module_files(folder))


def checkpoint_folder(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the folder of a checkpoint, downloaded from the Hub if a name is given.

    Raises:
        InputError: there is no such folder, a file is missing, or the model cannot be downloaded.
    """
    folder = Path(name_or_path)
    if not folder.exists():
        folder = _download(str(name_or_path))
    if not folder.is_dir():
        raise InputError(f"The encoder must be a folder or a Hub name. {folder} is a file.")
    if not (folder / "config.json").is_file():
        raise InputError(
            f"The encoder folder {folder} has no config.json. Give the folder of a BERT-family "
            f"checkpoint. It holds: {_holds(folder)}."
        )
    weight_files(folder)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a checkpoint's weights: safetensors if they exist, else PyTorch's.

    Raises:
        InputError: there are none, or one that the index names is missing.
    """
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _files_of_index(index)
    raise InputError(
        f"The encoder folder {folder} has no weights: model.safetensors or pytorch_model.bin is "
        f"needed, or the index of several such files. It holds: {_holds(folder)}."
    )


def load_checkpoint(folder: Path) -> tuple[Any, Any]:
    """Load tokenizer and TensorFlow model from a folder returned by `checkpoint_folder`.

    Returns:
        a transformers tokenizer, and a `TFPreTrainedModel` without head.

    Raises:
        InputError: a file cannot be read, the weights do not fit the configuration, or the model
            is not an encoder.
    """
    import safetensors
    import tensorflow as tf
    from transformers import AutoConfig, AutoTokenizer, TFAutoModel

    with _quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = TFAutoModel.from_config(AutoConfig.from_pretrained(folder))
            model.build_in_name_scope()
            shrink_heads(model)
            missing = _load_weights(model, folder)
        except InputError:
            raise
        except (
            *(OSError, ValueError, KeyError, TypeError, AssertionError, ImportError),
            *(safetensors.SafetensorError, tf.errors.OpError),
        ) as error:
            reason = (str(error).splitlines() or [repr(error)])[0][:200]
            raise InputError(
                f"The encoder folder {folder} cannot be read ({reason}). Its files may be "
                "truncated or of another kind of model; fetch it again."
            ) from error
    missing = [name for name in missing if "pooler" not in name]
    if missing:
        raise InputError(
            f"The weights in {folder} do not fit its config.json: {len(missing)} are missing, "
            f"first {missing[0]!r}."
        )
    if model.config.is_encoder_decoder:
        raise InputError(
            f"The checkpoint in {folder} is a {model.config.model_type}, which has a decoder. Give "
            "an encoder of the BERT family: BERT, MiniLM, DistilBERT, RoBERTa."
        )
    return tokenizer, model


def pieces_of(tokenizer: Any, folder: Path) -> tuple[str, ...]:
    """Return the word pieces of a tokenizer, in the order of their indices.

    Raises:
        InputError: it is another kind of tokenizer, such as RoBERTa's.
    """
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    if type(model).__name__ != "WordPiece":
        kind = type(tokenizer if model is None else model).__name__
        raise InputError(
            "A student's text tower reads word pieces as BERT's tokenizer makes them. The one in "
            f"{folder} is of the kind {kind}. Give a checkpoint such as all-MiniLM-L6-v2."
        )
    index_of = tokenizer.get_vocab()
    return tuple(sorted(index_of, key=index_of.__getitem__))


def max_positions(model: Any) -> int | None:
    """Return the largest number of tokens that a model supports; None if not configured.

    RoBERTa and related models count positions from the padding id + 1, so 2 of the configured
    positions are never used.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    padding = getattr(model.get_input_embeddings(), "padding_idx", None)
    if positions is None or padding is None:
        return positions
    return int(positions) - int(padding) - 1


def check_max_length(tokenizer: Any, model: Any, max_length: int) -> None:
    """Require a length that the model supports and that leaves space for a text.

    Raises:
        ValueError: there is no space in addition to the special tokens.
        InputError: the model has fewer positions.
    """
    special = tokenizer.num_special_tokens_to_add()
    if not max_length > special:
        raise ValueError(
            f"`max_length` must be greater than {special}, the special tokens around a text. "
            f"Received: max_length={max_length!r}."
        )
    positions = max_positions(model)
    if positions is not None and max_length > positions:
        raise InputError(
            f"The checkpoint has positions for {positions} tokens. Received: max_length="
            f"{max_length}. Give at most {positions}; a `TextEncoder` with long_texts='windows' "
            "reads all of longer texts."
        )


def _load_weights(model: Any, folder: Path) -> list[str]:
    """Assign a folder's weights to the model; return the names of missing weights."""
    from safetensors.numpy import load_file
    from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model
    from transformers.modeling_tf_utils import strip_model_name_and_prefix

    weights: dict[str, np.ndarray] = {}
    for path in weight_files(folder):
        weights |= read_pytorch_file(path) if path.suffix == ".bin" else load_file(path)
    if not any(name.endswith(":0") for name in weights):  # the ending of TensorFlow's names
        _, loading = load_pytorch_state_dict_in_tf2_model(
            model, weights, tf_inputs=False, allow_missing_keys=True, output_loading_info=True
        )
        return list(loading["missing_keys"])
    missing = []
    for variable in model.weights:
        name = strip_model_name_and_prefix(variable.name)
        if name in weights:
            variable.assign(weights[name].astype(variable.dtype.as_numpy_dtype))
        else:
            missing.append(name)
    return missing


def _files_of_index(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{index} is not an index of weights files ({type(error).__name__}: {error}). Fetch "
            "it again."
        ) from error
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise InputError(
            f"The encoder folder {index.parent} lacks {len(missing)} of the {len(names)} weights "
            f"files that {index.name} names, first {missing[0]}. Fetch them."
        )
    return [index.parent / name for name in names]


def _holds(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"


def _download(name: str) -> Path:
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise InputError(f"The encoder folder {name} does not exist.")
    from huggingface_hub import snapshot_download

    described = [f"*{suffix}" for suffix in TOKENIZER_FILES]
    try:
        folder = Path(
            snapshot_download(
                name, allow_patterns=[*described, "*.safetensors"], ignore_patterns=["*/*"]
            )
        )
        if not any(folder.glob("*.safetensors")):  # only then PyTorch's file of the same weights
            folder = Path(
                snapshot_download(name, allow_patterns=[*described, "pytorch_model*.bin"])
            )
        of_modules = [f"[0-9]*_[A-Z]*/{file}" for file in (CONFIG, *DENSE_WEIGHTS)]
        snapshot_download(name, allow_patterns=of_modules, ignore_patterns=["*/*/*"])
        return folder
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
        raise InputError(
            f"The encoder {name!r} is neither a folder nor a model that the Hugging Face Hub gives "
            f"({reason}). Check the name and the network, or give the path of a local folder."
        ) from error


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide the library's messages about its TensorFlow classes during loading."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
