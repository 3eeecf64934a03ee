"""Reads the tensors of a `torch.save` file as NumPy arrays, without PyTorch or the file's code.

Since PyTorch 1.6 such a file is a zip archive: `data.pkl` is a pickle of the object, in which every
tensor names a storage, and `data/KEY` holds that storage's numbers
([PyTorch's notes on serialization](https://pytorch.org/docs/stable/notes/serialization.html)).
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from tfrs_distill.errors import InputError

STORAGE_TYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(np.uint16),  # the upper half of a float32's bits
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # pickle of 0x1950a86a20f9469cfc6c
CONVERT = (
    "Turn it into safetensors where PyTorch is installed (pip install torch): "
    "transformers.AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)."
)


ByteOrder = Literal["<", ">"]


class _StorageType(NamedTuple):
    name: str


class _Storage(NamedTuple):
    type_name: str
    key: str
    num_elements: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pytorch_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the tensors of a `torch.save` file by name, without PyTorch.

    Reads the zip format (PyTorch 1.6 and later) of a state dict: strings to tensors. The file's
    pickle may name only `OrderedDict`, the storage types and the functions that build a tensor;
    neither these nor anything else in the file is executed.

    Args:
        path: the file, such as `pytorch_model.bin`.

    Returns:
        Arrays with the types in the file, in C order; bfloat16 becomes float32.

    Raises:
        InputError: the file is truncated, changed or in the older format, or has other contents
            than tensors by name.

    Example:
    >>> read_pytorch_file("pytorch_model.bin")["pooler.dense.bias"].shape  # doctest: +SKIP
    (384,)
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        raise InputError(_why_no_zip(path))
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive)
    except InputError:
        raise
    except Exception as error:  # an arbitrary file can fail in any way
        raise InputError(
            f"The PyTorch file {path} cannot be read ({type(error).__name__}: {error}). It may be "
            "truncated or altered; fetch it again."
        ) from error


def _read_archive(path: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        found = ", ".join(archive.namelist()[:5]) or "nothing"
        raise InputError(
            f"{path} is a zip archive, but not one of torch.save: it needs one NAME/data.pkl. It "
            f"holds: {found}."
        )
    root = pickles[0].removesuffix("data.pkl")
    state = _StateUnpickler(path, archive.read(pickles[0])).load()
    if not isinstance(state, Mapping):
        raise InputError(_no_state_dict(path, f"a {type(state).__name__}"))
    order: ByteOrder = "<"
    if f"{root}byteorder" in archive.namelist():
        order = ">" if archive.read(f"{root}byteorder") == b"big" else "<"
    storages: dict[_Storage, np.ndarray] = {}
    arrays = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise InputError(_no_state_dict(path, f"{name!r}: {type(tensor).__name__}"))
        storage = tensor.storage
        if storage not in storages:
            content = archive.read(f"{root}data/{storage.key}")
            storages[storage] = _numbers(path, storage, content, order)
        arrays[name] = _array(path, name, tensor, storages[storage])
    return arrays


class _StateUnpickler(pickle.Unpickler):
    """Unpickles descriptions of tensors; rejects every name that a state dict does not need."""

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGE_TYPES:
            return _StorageType(name)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, shape, strides
            )
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        raise InputError(
            f"The PyTorch file {self.path} names {module}.{name}, which is none of the few names "
            f"that a state dict of plain tensors needs; it is not executed. {CONVERT}"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _, num_elements = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise ValueError(f"{pid!r} is not a storage")
        return _Storage(storage_type.name, key, num_elements)


def _numbers(path: Path, storage: _Storage, content: bytes, order: ByteOrder) -> np.ndarray:
    dtype = STORAGE_TYPES[storage.type_name]
    if len(content) != storage.num_elements * dtype.itemsize:
        raise InputError(
            f"The PyTorch file {path} is altered: storage {storage.key} needs "
            f"{storage.num_elements} x {dtype.itemsize} bytes and has {len(content)}."
        )
    numbers = np.frombuffer(content, dtype.newbyteorder(order)).astype(dtype, copy=False)
    if storage.type_name == "BFloat16Storage":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers


def _array(path: Path, name: str, tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Return a tensor's part of a storage; reject a tensor that is not within the storage."""
    _, offset, shape, strides = tensor
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 in shape:
        return np.zeros(shape, numbers.dtype)
    if min([offset, *shape, *strides]) < 0 or last >= len(numbers):
        raise InputError(
            f"The PyTorch file {path} is altered: {name!r} (shape {shape}, strides {strides}, from "
            f"{offset}) is not within its storage of {len(numbers)}."
        )
    bytes_per_step = [stride * numbers.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided(numbers[offset:], shape, bytes_per_step)
    return np.asarray(view, order="C")


def _why_no_zip(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(24)
    if start.startswith(LEGACY_START):
        return (
            f"The PyTorch file {path} has the format of PyTorch before 1.6, which cannot be read "
            f"without PyTorch. {CONVERT}"
        )
    if start.startswith(b"PK"):
        return (
            f"The PyTorch file {path} is a zip archive without its end: truncated. Fetch it again."
        )
    return (
        f"The PyTorch file {path} is not a zip archive of torch.save; it begins with {start!r}. "
        "Fetch it again."
    )


def _no_state_dict(path: Path, found: str) -> str:
    return (
        f"The PyTorch file {path} must hold a state dict, names to tensors. It holds {found}. "
        f"{CONVERT}"
    )
