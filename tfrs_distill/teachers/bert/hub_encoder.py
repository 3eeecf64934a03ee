"""A text encoder from TF Hub, or any SavedModel: strings in, vectors out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.files import file_sha256

PROBE = ("a", "two words", "")  # one of them long, one empty


class HubEncoder:
    """Vectors of texts from a SavedModel, unchanged, through `hub.KerasLayer`.

    The model takes strings [num_texts] and returns vectors [num_texts, text_dim], or several
    outputs by name, of which one is selected. It may be a `tf.Module` with `__call__`, a Keras
    model, or have only signatures. The BERTs of TF Hub have two parts: `preprocessor` converts
    strings to the encoder's input. The vectors are not pooled or scaled here.

    Args:
        handle: a SavedModel's folder, or its address on TF Hub.
        output_key: name of the output, such as "default" or "pooled_output"; None if there is only
            one.
        signature: name of the signature to call; None calls the model itself or, if it cannot be
            called, "serving_default" or its only signature.
        preprocessor: folder or address of a model that converts strings to the encoder's input.

    Raises:
        InputError: a handle does not exist or cannot be read, the model has no such `output_key` or
            `signature`, it does not take strings, or its output is not [num_texts, text_dim].
        MissingExtraError: `tensorflow-hub` is not installed.

    Example:
    >>> import tempfile
    >>> texts = tf.keras.Input((), dtype=tf.string)
    >>> count = tf.keras.layers.TextVectorization(output_mode="count", vocabulary=["film"])
    >>> folder = tempfile.mkdtemp()
    >>> tf.keras.Model(texts, count(texts)).save(folder, save_format="tf")
    >>> HubEncoder(folder).encode(["a film", "film film"]).tolist()  # unknown words, "film"
    [[1.0, 1.0], [0.0, 2.0]]
    """

    def __init__(
        self,
        handle: str | os.PathLike[str],
        *,
        output_key: str | None = None,
        signature: str | None = None,
        preprocessor: str | os.PathLike[str] | None = None,
    ) -> None:
        self.output_key = output_key
        self.signature = signature
        self.folders = [_resolved(handle)]
        self._encoder = _layer(self.folders[0], signature)
        self._preprocessor = None
        if preprocessor is not None:
            self.folders.append(_resolved(preprocessor))
            self._preprocessor = _layer(self.folders[1], None)
        self._forward = self._traced()
        self.text_dim = self._width()

    @property
    def num_parameters(self) -> int:
        """Number of parameters in the variables that the vectors are computed from."""
        return sum(int(np.prod(variable.shape)) for variable in self._forward.variables)

    @property
    def num_bytes(self) -> int:
        """Size of the model's files on disk, including its graph and assets."""
        return sum(path.stat().st_size for folder in self.folders for path in _files(folder))

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        advance: Callable[[int], Any] | None = None,
    ) -> np.ndarray:
        """Vectors of texts, float32 [num_texts, text_dim], in the order given.

        Args:
            texts: the texts to encode.
            batch_size: texts at a time.
            advance: called with the number of texts done since the last call.

        Raises:
            ValueError: `texts` is one string.
        """
        if isinstance(texts, str):
            raise ValueError(f"`texts` must be a sequence of strings. Received: texts={texts!r}.")
        vectors = np.zeros((len(texts), self.text_dim), np.float32)
        for start in range(0, len(texts), batch_size):
            batch = tf.constant(list(texts[start : start + batch_size]))
            vectors[start : start + batch_size] = self._chosen(self._forward(batch)).numpy()
            if advance is not None:
                advance(len(batch))
        return vectors

    def fingerprint(self) -> str:
        """sha256 of everything that decides the vectors: the models' files and the arguments."""
        digest = hashlib.sha256(f"{self.output_key!r}\0{self.signature!r}\0".encode())
        for folder in self.folders:
            digest.update(b"model\0")
            for path in _files(folder):
                name = path.relative_to(folder).as_posix()
                digest.update(f"{name}\0{file_sha256(path)}\0".encode())
        return digest.hexdigest()

    def _traced(self) -> Any:
        """Return one graph from strings to all outputs."""
        try:
            return tf.function(
                self._outputs, input_signature=[tf.TensorSpec([None], tf.string)]
            ).get_concrete_function()
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise InputError(self._no_strings(error)) from error

    def _outputs(self, texts: tf.Tensor) -> Any:
        inputs = texts if self._preprocessor is None else self._preprocessor(texts)
        return self._encoder(inputs)

    def _no_strings(self, error: Exception) -> str:
        return (
            f"The model in {self.folders[0]} does not take strings [num_texts] "
            f"({_first_lines(error)}). If another model prepares its inputs, give that as "
            "preprocessor=."
        )

    def _chosen(self, outputs: Any) -> tf.Tensor:
        """Return the output that `output_key` names."""
        if not isinstance(outputs, dict):
            if self.output_key is not None:
                raise InputError(
                    f"The model in {self.folders[0]} has one output without a name. Received: "
                    f"output_key={self.output_key!r}. Leave it out."
                )
            return outputs
        if self.output_key is None and len(outputs) == 1:
            return next(iter(outputs.values()))
        if self.output_key not in outputs:
            raise InputError(
                f"The model in {self.folders[0]} has the outputs {', '.join(sorted(outputs))}. "
                f"Received: output_key={self.output_key!r}. Give one of them."
            )
        return outputs[self.output_key]

    def _width(self) -> int:
        """Return the width of the vectors, found by encoding a few short texts."""
        try:
            outputs = self._forward(tf.constant(PROBE))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise InputError(self._no_strings(error)) from error
        vectors = self._chosen(outputs)
        expected = f"The model in {self.folders[0]} must return vectors [num_texts, text_dim]."
        if not tf.is_tensor(vectors) or not vectors.dtype.is_floating:
            kind = vectors.dtype.name if tf.is_tensor(vectors) else type(vectors).__name__
            raise InputError(f"{expected} It returns {kind}.")
        if len(vectors.shape) != 2 or vectors.shape[0] != len(PROBE):
            raise InputError(
                f"{expected} For {len(PROBE)} texts it returns {list(vectors.shape)}. If it has "
                "several outputs, output_key chooses another."
            )
        return int(vectors.shape[1])


def _hub() -> Any:
    try:
        import tensorflow_hub
    except ImportError as error:
        raise MissingExtraError("tensorflow-hub", "hub", "HubEncoder") from error
    return tensorflow_hub


def _resolved(handle: str | os.PathLike[str]) -> Path:
    """Return the folder of a handle, downloaded if it is an address."""
    try:
        folder = Path(_hub().resolve(os.fspath(handle)))
    except MissingExtraError:
        raise
    except Exception as error:  # from any resolver and network library
        raise InputError(
            f"The model {os.fspath(handle)} is neither a folder nor a model on TF Hub "
            f"({_first_lines(error)}). Check the path, or the address and the network."
        ) from error
    return folder


def _layer(folder: Path, signature: str | None) -> Any:
    """Return a SavedModel as a Keras layer, which is called with its only input."""
    try:
        model = _hub().load(str(folder))
    except Exception as error:  # an arbitrary model can fail in any way
        if "Op type not registered" in str(error):
            raise InputError(
                f"The model in {folder} needs operations that TensorFlow alone does not have "
                f"({_first_lines(error)}). Import the package that has them first; for the "
                "preprocessors of TF Hub: pip install tensorflow-text, import tensorflow_text."
            ) from error
        raise InputError(
            f"{folder} cannot be read as a SavedModel ({_first_lines(error)}). Give the folder "
            "that holds saved_model.pb."
        ) from error
    signatures = getattr(model, "signatures", {})
    if signature is None and not callable(model):
        names = sorted(signatures)
        signature = names[0] if len(names) == 1 else "serving_default"
    if signature is None:
        return _hub().KerasLayer(model)
    if signature not in signatures:
        raise InputError(
            f"The model in {folder} has no signature {signature!r}. Give one of those it has as "
            f"signature=: {', '.join(sorted(signatures)) or 'none'}."
        )
    layer = _hub().KerasLayer(signatures[signature])
    layer.model = model  # holds the variables of its signatures
    return layer


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
