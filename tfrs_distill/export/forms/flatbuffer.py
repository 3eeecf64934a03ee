"""Rewriting a converted `.tflite` file: constants in few bits, and no byte that nothing reads."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfrs_distill.models.stored_constant import CODES, CONSTANT

IDENTIFIER = b"TFL3"  # of the file format
ALIGNMENT = 16  # bytes, of weights, as in the format's schema
LONGEST_SHARED = 8  # longest array that is shared, such as a shape
TYPES = {8: 9, 4: 17, 2: 19}  # INT8, INT4 and INT2 in the format's schema, by bits
DEQUANTIZE, DEQUANTIZE_VERSION = 6, 6  # the operator, and its first version for INT4


def rewritten(model: bytes) -> tuple[bytes, list[str]]:
    """Return a converted model with its stored constants, in the fewest bytes.

    Also return the names of its operators that are not built into LiteRT.

    The calls of `stored_constant` are removed, and those of `stored_codes` become one operator each
    that reads packed codes. Then all that LiteRT does not read is removed: the names of functions
    and of tensors that are neither input nor output, empty quantization parameters, metadata,
    unused operators. Equal contents are stored once: buffers (the converter quantizes a constant
    once per operator), short arrays such as shapes, options of operators, and the descriptions of
    tensors without contents.
    """
    opened = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    for number, graph in enumerate(opened.subgraphs):
        _store_constants(opened, graph, number)
    _remove_unread(opened)
    _share(opened)
    builder = SharingBuilder(1024)
    builder.Finish(opened.Pack(builder), file_identifier=IDENTIFIER)
    custom = {code.customCode.decode() for code in opened.operatorCodes if code.customCode}
    return bytes(builder.Output()), sorted(custom)


def _store_constants(model: Any, graph: Any, number: int) -> None:
    """Replace the calls of `tfrs_distill.models.stored_constant` in a graph."""
    same: dict[int, int] = {}  # what each removed result is equal to
    unpacked: dict[tuple[int, str], int] = {}
    operators = []
    for operator in graph.operators:
        given = [] if operator.inputs is None else operator.inputs.tolist()
        inputs = [same.get(i, i) for i in given]
        operator.inputs = np.array(inputs, np.int32)
        name, *numbers = _custom_code(model, operator).split(":")
        if name not in (CONSTANT, CODES):
            operators.append(operator)
            continue
        (source,), (result,) = inputs, operator.outputs.tolist()
        call = (source, ":".join(numbers))
        if name == CONSTANT:
            same[result] = source
        elif call in unpacked:
            same[result] = unpacked[call]
        else:
            unpacked[call] = result
            operator.inputs = np.array([_packed(model, graph, source, *numbers)], np.int32)
            operator.opcodeIndex = _dequantize(model)
            operator.customOptions = None
            operators.append(operator)
    graph.operators = operators
    graph.outputs = np.array([same.get(i, i) for i in graph.outputs], np.int32)
    for end, name in _readers_of_ends(model, number):
        setattr(end, name, same.get(getattr(end, name), getattr(end, name)))


def _custom_code(model: Any, operator: Any) -> str:
    """Return the name of an operator that is not built in; else nothing."""
    return (model.operatorCodes[operator.opcodeIndex].customCode or b"").decode()


def _dequantize(model: Any) -> int:
    """Return the index of the operator that unpacks codes."""
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == DEQUANTIZE and code.version == DEQUANTIZE_VERSION:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = DEQUANTIZE
    code.version = DEQUANTIZE_VERSION
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _packed(model: Any, graph: Any, source: int, bits: str, scale: str) -> int:
    """Add a tensor of packed codes, the first code of a byte in its lowest bits."""
    codes = np.frombuffer(bytes(model.buffers[graph.tensors[source].buffer].data), np.uint8)
    num_codes = 8 // int(bits)
    codes = np.pad(codes, (0, -len(codes) % num_codes)).reshape(-1, num_codes)
    places = int(bits) * np.arange(num_codes)
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = ((codes & (2 ** int(bits) - 1)) << places).sum(axis=1).astype(np.uint8)
    tensor.shape, tensor.type = graph.tensors[source].shape, TYPES[int(bits)]
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([scale], np.float32)
    tensor.quantization.zeroPoint = np.array([0], np.int64)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _remove_unread(model: Any) -> None:
    """Remove names, metadata, and the tensors, buffers and operators that nothing uses."""
    model.metadata = None
    used = sorted({o.opcodeIndex for graph in model.subgraphs for o in graph.operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    buffers, places = [model.buffers[0]], {b"": 0}  # the first one is empty in this format

    def place_of(buffer: int) -> int:
        data = model.buffers[buffer].data
        content = b"" if data is None else bytes(data)
        if content not in places:
            places[content] = len(buffers)
            buffers.append(model.buffers[buffer])
        return places[content]

    for number, graph in enumerate(model.subgraphs):
        graph.name = None
        for operator in graph.operators:
            operator.opcodeIndex = used.index(operator.opcodeIndex)
        ends = {*graph.inputs.tolist(), *graph.outputs.tolist()}
        for tensor in {*range(len(graph.tensors))} - ends:
            graph.tensors[tensor].name = None
        readers = [(graph, "inputs"), (graph, "outputs")]
        for operator in graph.operators:
            names = ("inputs", "outputs", "intermediates")
            readers += [(operator, n) for n in names if getattr(operator, n) is not None]
        readers += _readers_of_scales(graph.tensors)
        readers += _readers_of_ends(model, number)
        read = {i for reader, name in readers for i in np.atleast_1d(getattr(reader, name))}
        kept = sorted(read - {-1})  # -1: an input that is left out
        new = {-1: -1} | {tensor: place for place, tensor in enumerate(kept)}
        for reader, name in readers:
            numbers = getattr(reader, name)
            is_one = isinstance(numbers, int)
            renumbered = new[numbers] if is_one else np.array([new[i] for i in numbers], np.int32)
            setattr(reader, name, renumbered)
        graph.tensors = [graph.tensors[tensor] for tensor in kept]
        for tensor in graph.tensors:
            tensor.buffer = place_of(tensor.buffer)
            if tensor.quantization is not None and tensor.quantization.scale is None:
                tensor.quantization = None
            if np.array_equal(tensor.shapeSignature, tensor.shape):
                tensor.shapeSignature = None
    model.buffers = buffers


def _readers_of_scales(tensors: list[Any]) -> list[tuple[Any, str]]:
    """Return where tensors that are quantized in blocks name the tensors of their scales."""
    details = [getattr(tensor.quantization, "details", None) for tensor in tensors]
    names = ("scales", "zeroPoints")
    return [(one, name) for one in details for name in names if hasattr(one, name)]


def _readers_of_ends(model: Any, graph: int) -> list[tuple[Any, str]]:
    """Return where the signatures of a graph name its inputs and outputs."""
    signatures = [one for one in model.signatureDefs or [] if one.subgraphIndex == graph]
    ends = [end for signature in signatures for end in [*signature.inputs, *signature.outputs]]
    return [(end, "tensorIndex") for end in ends]


def _share(model: Any) -> None:
    """Write equal descriptions of tensors, and equal options of operators, once."""
    packed: dict[str, Once] = {}

    def once(part: Any) -> Any:
        return packed.setdefault(_content(part), Once(part))

    for graph in model.subgraphs:
        graph.tensors = [once(tensor) for tensor in graph.tensors]
        for operator in graph.operators:
            if operator.builtinOptions is not None:
                operator.builtinOptions = once(operator.builtinOptions)


def _content(part: Any) -> str:
    """Describe an object of the format by all of its fields."""
    if isinstance(part, np.ndarray):
        return f"{part.dtype}{part.tolist()}"
    if hasattr(part, "__dict__"):
        fields = {name: _content(value) for name, value in vars(part).items()}
        return f"{type(part).__name__}{fields}"
    return repr(part)


class Once:
    """An object of the format that is written at most once: a reference may be used again."""

    def __init__(self, part: Any) -> None:
        self.part = part
        self.place: int | None = None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 (of the format's objects)
        """Write the object, or return where it is."""
        if self.place is None:
            self.place = int(self.part.Pack(builder))
        return self.place


class SharingBuilder(flatbuffers.Builder):
    """A builder of FlatBuffers that writes short arrays once: many tensors have the same shape."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._places: dict[bytes, int] = {}

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        """Begin an array; weights are aligned so that a device reads them fastest."""
        if elemSize == 1 and numElems >= ALIGNMENT:
            alignment = ALIGNMENT
        return int(super().StartVector(elemSize, numElems, alignment))

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 (of the base class)
        """Write an array, or return an equal one that is already written."""
        if x.dtype != np.int32 or x.size > LONGEST_SHARED:
            return int(super().CreateNumpyVector(x))
        content = x.tobytes()
        if content not in self._places:
            self._places[content] = super().CreateNumpyVector(x)
        return self._places[content]
