"""Files in the format of `torch.save`, made without PyTorch.

`data.pkl` comes from Python's pickle with replacements for the few names of PyTorch that it needs;
for the same tensors it is, byte for byte, what PyTorch 2.13 writes (compared by hand).
"""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from unittest import mock

import numpy as np

TYPES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


class Storage:
    """Numbers that tensors are views of."""

    def __init__(self, numbers):
        self.numbers = np.ascontiguousarray(numbers).reshape(-1)


class Tensor:
    """A view of a storage; shape and strides count elements."""

    def __init__(self, storage, offset, shape, strides):
        self.parts = (storage, offset, tuple(shape), tuple(strides))

    def __reduce_ex__(self, protocol):
        return _rebuild_tensor_v2, (*self.parts, False, OrderedDict())


class Parameter:
    """A trainable tensor."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce_ex__(self, protocol):
        return _rebuild_parameter, (self.tensor, True, OrderedDict())


def _rebuild_tensor_v2():
    """Named in the file, never called here."""


def _rebuild_parameter():
    """Named in the file, never called here."""


def tensor(array):
    """A complete array as a tensor with its own storage."""
    strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
    return Tensor(Storage(array), 0, array.shape, strides)


class _Pickler(pickle.Pickler):
    def __init__(self, file, torch):
        super().__init__(file, protocol=2)
        self.torch, self.storages = torch, {}

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        key = self.storages.setdefault(id(value), (str(len(self.storages)), value))[0]
        kind = getattr(self.torch, TYPES[value.numbers.dtype.name])
        return ("storage", kind, key, "cpu", len(value.numbers))


def pickled(state):
    """The bytes of `data.pkl`, and the storages by their keys."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in TYPES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        for function in (_rebuild_tensor_v2, _rebuild_parameter):
            function.__module__ = "torch._utils"
            setattr(utils, function.__name__, function)
        pickler = _Pickler(file, torch)
        pickler.dump(state)
    return file.getvalue(), {key: storage for key, storage in pickler.storages.values()}


def write_torch_file(path, state, *, byteorder="little", data_pickle=None, replace=None):
    """Write a state as `torch.save(state, path)` does.

    Args:
        path: the file.
        state: a dictionary of `Tensor`s, or anything that pickles.
        byteorder: of the numbers: "little", "big", or None for a file that does not say.
        data_pickle: bytes to use instead of the pickled state.
        replace: entries to write instead, by name; None omits one.
    """
    content, storages = pickled(state)
    order = ">" if byteorder == "big" else "<"
    entries = {
        "data.pkl": data_pickle or content,
        ".format_version": b"1",
        ".storage_alignment": b"64",
        "byteorder": byteorder and byteorder.encode(),
        "version": b"3\n",
        ".data/serialization_id": b"0" * 40,
    }
    for key, storage in storages.items():
        numbers = storage.numbers
        numbers = numbers.view(np.uint16) if numbers.dtype.name == "bfloat16" else numbers
        entries[f"data/{key}"] = numbers.astype(numbers.dtype.newbyteorder(order)).tobytes()
    entries |= replace or {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, entry in entries.items():
            if entry is not None:
                archive.writestr(f"archive/{name}", entry)
