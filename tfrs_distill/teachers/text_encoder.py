"""A BERT that turns texts into vectors: Hugging Face weights in TensorFlow, without PyTorch."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.checksums import files_sha256
from tfrs_distill.errors import InputError

TOKENIZER_FILES = (".json", ".txt", ".model")
LENGTH_STEP = 8  # texts are padded to a multiple of this, so that few shapes are compiled


class TextEncoder:
    """Sentence vectors of a BERT-family checkpoint: the mean of its last layer, length 1.

    `vector = m / |m|_2` with `m = sum_t mask_t h_t / sum_t mask_t`, h the last layer's outputs:
    what sentence-transformers computes for all-MiniLM-L6-v2.

    Args:
        name_or_path: a folder with `config.json`, `*.safetensors` and tokenizer files, or the name
            of a model on the Hugging Face Hub that has them.
        max_length: longest text in wordpieces; longer ones are cut.

    Raises:
        InputError: the folder misses a file, its weights do not fit its configuration, or the Hub
            does not give the model.

    Example:
    >>> encoder = TextEncoder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> encoder.encode(["Heat (1995)", "Babe (1995)"]).shape  # doctest: +SKIP
    (2, 384)
    """

    def __init__(self, name_or_path: str | os.PathLike[str], *, max_length: int = 128) -> None:
        self.folder = _folder_of(name_or_path)
        self.max_length = max_length
        self.tokenizer, self.model = _load(self.folder)
        self._forward = tf.function(self.pooled, reduce_retracing=False)

    @property
    def text_dim(self) -> int:
        """Width of the vectors."""
        return int(self.model.config.hidden_size)

    @property
    def num_parameters(self) -> int:
        """Parameters of the checkpoint's encoder."""
        return int(self.model.count_params())

    @property
    def num_bytes(self) -> int:
        """Bytes of the weights on disk."""
        return sum(path.stat().st_size for path in _weight_files(self.folder))

    def tokenize(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and attention mask, int32 [num_texts, length], a multiple of 8 long."""
        tokens = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_length,
            pad_to_multiple_of=None if self.max_length % LENGTH_STEP else LENGTH_STEP,
            return_tensors="np",
        )
        return tokens["input_ids"].astype(np.int32), tokens["attention_mask"].astype(np.int32)

    def pooled(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        """Vectors of tokenized texts: int32 [num_texts, length] to [num_texts, text_dim]."""
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, training=False)
        return mean_pool(outputs.last_hidden_state, attention_mask)

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        advance: Callable[[int], Any] | None = None,
    ) -> np.ndarray:
        """Vectors of texts, float32 [num_texts, text_dim], in the order given.

        Texts of like length share a batch, so little is spent on padding.

        Args:
            texts: what to read.
            batch_size: texts at a time.
            advance: called with the number of texts done since the last call.
        """
        lengths = [len(text) for text in texts]
        order = np.argsort(lengths, kind="stable")
        vectors = np.zeros((len(texts), self.text_dim), np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            input_ids, mask = self.tokenize([texts[row] for row in rows])
            vectors[rows] = self._forward(tf.constant(input_ids), tf.constant(mask)).numpy()
            if advance is not None:
                advance(len(rows))
        return vectors

    def fingerprint(self) -> str:
        """sha256 of configuration, tokenizer and weights files."""
        return checkpoint_fingerprint(self.folder)


def checkpoint_fingerprint(name_or_path: str | os.PathLike[str]) -> str:
    """sha256 of a checkpoint's configuration, tokenizer and weights files, without loading it.

    Args:
        name_or_path: as for `TextEncoder`.

    Raises:
        InputError: as `TextEncoder`.
    """
    folder = _folder_of(name_or_path)
    described = [path for path in sorted(folder.glob("*")) if path.suffix in TOKENIZER_FILES]
    return files_sha256(described + _weight_files(folder))


def mean_pool(hidden: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
    """Mean of the tokens that are not padding, scaled to length 1: `[n, length, d]` to `[n, d]`."""
    mask = tf.cast(attention_mask, hidden.dtype)[..., None]
    return tf.math.l2_normalize(
        tf.reduce_sum(hidden * mask, axis=1) / tf.reduce_sum(mask, axis=1), axis=-1
    )


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _folder_of(name_or_path: str | os.PathLike[str]) -> Path:
    folder = Path(name_or_path)
    if not folder.exists():
        folder = _download(str(name_or_path))
    if not folder.is_dir():
        raise InputError(f"The encoder must be a folder or a Hub name. {folder} is a file.")
    found = sorted(path.name for path in folder.iterdir())
    if "config.json" not in found:
        raise InputError(
            f"The encoder folder {folder} has no config.json. Give the folder of a BERT-family "
            f"checkpoint. It holds: {', '.join(found[:8]) or 'nothing'}."
        )
    if not _weight_files(folder):
        raise InputError(
            f"The encoder folder {folder} has no weights: a *.safetensors file is needed. It "
            f"holds: {', '.join(found[:8])}. A checkpoint with pytorch_model.bin alone can be "
            "turned into safetensors with transformers and PyTorch: "
            "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)."
        )
    return folder


def _download(name: str) -> Path:
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise InputError(f"The encoder folder {name} does not exist.")
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.txt", "*.model", "*.safetensors"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
        raise InputError(
            f"The encoder {name!r} is neither a folder nor a model that the Hugging Face Hub gives "
            f"({reason}). Check the name and the network, or give the path of a local folder."
        ) from error


def _load(folder: Path) -> tuple[Any, Any]:
    import safetensors
    import safetensors.numpy
    from transformers import AutoConfig, AutoTokenizer, TFAutoModel
    from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

    with _quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = TFAutoModel.from_config(AutoConfig.from_pretrained(folder))
            model.build_in_name_scope()
            weights: dict[str, np.ndarray] = {}
            for path in _weight_files(folder):
                weights |= safetensors.numpy.load_file(path)
            model, loading = load_pytorch_state_dict_in_tf2_model(
                model, weights, tf_inputs=False, allow_missing_keys=True, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise InputError(
                f"The encoder folder {folder} cannot be read ({str(error).splitlines()[0][:200]}). "
                "Its files may be truncated or of another kind of model; fetch it again."
            ) from error
    missing = [key for key in loading["missing_keys"] if "pooler" not in key]
    if missing:
        raise InputError(
            f"The weights in {folder} do not fit its config.json: {len(missing)} are missing, "
            f"first {missing[0]!r}."
        )
    return tokenizer, model


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep the library's notes on its TensorFlow classes off the screen while loading."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
