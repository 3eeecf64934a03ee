"""What the converter's files become: stored constants, and no contents twice."""

import tempfile

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.schema_py_generated import BuiltinOperator, TensorType
from tensorflow.lite.tools import flatbuffer_utils

from tfrs_distill.export.forms.flatbuffer import rewritten
from tfrs_distill.models.stored_constant import all_rows, stored_codes, stored_constant

RNG = np.random.default_rng(0)
TYPES = {8: TensorType.INT8, 4: TensorType.INT4, 2: TensorType.INT2}


def file_of(function, *, layer=None, optimizations=()):
    """A rewritten file of a function of `x`, int32 [n]; and the names of missing operators."""
    spec = tf.TensorSpec([None], tf.int32, name="x")
    module = tf.Module()
    module.layer = layer
    module.serve_it = tf.function(
        lambda x: {"found": function(x)}, input_signature=[spec], autograph=False
    )
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, {"serving_default": module.serve_it})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.allow_custom_ops, converter.optimizations = True, list(optimizations)
        return rewritten(converter.convert())


def run(model, x):
    runner = Interpreter(model_content=model).get_signature_runner()
    (output,) = runner(x=np.int32(x)).values()
    return output


def operators(model):
    """The operators of a file, each by name with the types and shapes of its constants."""
    names = {number: name for name, number in vars(BuiltinOperator).items() if name.isupper()}
    opened = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    (graph,) = opened.subgraphs
    found = []
    for operator in graph.operators:
        inputs = [graph.tensors[i] for i in operator.inputs if i >= 0]
        held = [t for t in inputs if opened.buffers[t.buffer].data is not None]
        name = names[opened.operatorCodes[operator.opcodeIndex].builtinCode]
        found.append((name, [(t.type, tuple(t.shape)) for t in held]))
    return found


@pytest.mark.parametrize("shape", [(5, 4), (5, 3), (7, 1)])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_codes_are_read_from_few_bits(bits, shape):
    least = -(2 ** (bits - 1))
    codes = RNG.integers(least, -least, size=shape)
    codes[0, 0], codes[1, 0] = least, -least - 1
    stored = tf.constant(codes, tf.int8)
    model, missing = file_of(lambda x: tf.gather(stored_codes(stored, bits, 0.25), x))
    assert not missing
    np.testing.assert_array_equal(run(model, [4, 0, 1]), 0.25 * codes[[4, 0, 1]])
    (first, held), (second, _) = operators(model)
    assert (first, second, held) == ("DEQUANTIZE", "GATHER", [(TYPES[bits], shape)])
    opened = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    assert [len(b.data) for b in opened.buffers[1:]] == [-(-codes.size * bits // 8)]
    # TensorFlow's op_version.cc: DEQUANTIZE of INT4 came with version 6. Older ones read bytes.
    versions = {code.builtinCode: code.version for code in opened.operatorCodes}
    assert versions[BuiltinOperator.DEQUANTIZE] == 6
    assert opened.metadata is None
    # In TensorFlow, and so in a SavedModel, it is the same.
    np.testing.assert_array_equal(stored_codes(stored, bits, 0.25), 0.25 * codes)


def test_codes_that_are_read_twice_are_unpacked_once():
    codes = RNG.integers(-8, 8, size=[6, 4])
    stored = tf.constant(codes, tf.int8)

    def read_twice(x):
        rows = tf.gather(stored_codes(stored, 4), x)
        return tf.matmul(rows, stored_codes(stored, 4), transpose_b=True)

    model, _ = file_of(read_twice)
    assert [name for name, _ in operators(model)].count("DEQUANTIZE") == 1
    np.testing.assert_allclose(run(model, [5, 2]), codes[[5, 2]] @ codes.T, rtol=1e-6)


def test_a_constant_is_held_in_place_of_what_is_computed_from_it():
    codes = RNG.integers(0, 200, size=[50, 3])
    stored = tf.constant(codes, tf.uint8)

    def sums_of(constant):
        return lambda x: x + tf.reduce_sum(tf.cast(constant(stored), tf.int32) * 7, axis=0)

    (model, missing), (computed, _) = map(file_of, (sums_of(stored_constant), sums_of(tf.identity)))
    assert not missing
    assert (TensorType.UINT8, (50, 3)) in sum((held for _, held in operators(model)), [])
    assert len(operators(computed)) == 1  # without the call the converter computes the sum
    expected = np.array([1, 2, 3]) + 7 * codes.sum(axis=0)
    np.testing.assert_array_equal(run(model, [1, 2, 3]), expected)


def test_a_constant_can_be_an_output():
    stored = tf.constant([3, 5], tf.int32)
    model, missing = file_of(lambda x: stored_constant(stored))
    assert not missing
    np.testing.assert_array_equal(run(model, [1]), [3, 5])
    interpreter = Interpreter(model_content=model)  # without the signature
    interpreter.allocate_tensors()
    interpreter.invoke()
    (output,) = interpreter.get_output_details()
    np.testing.assert_array_equal(interpreter.get_tensor(output["index"]), [3, 5])


def test_a_constant_keeps_32_bits_in_a_quantized_file():
    weights = np.float32(RNG.normal(size=[64, 64]))
    stored = tf.constant(weights)

    def product(x):
        return tf.matmul(tf.cast(x, tf.float32)[None], stored_constant(stored))

    model, _ = file_of(product, optimizations=[tf.lite.Optimize.DEFAULT])
    x = np.arange(64)
    np.testing.assert_allclose(run(model, x), np.float64(x)[None] @ weights, rtol=1e-4, atol=1e-4)
    assert len(model) > 4 * weights.size


def test_all_rows_are_computed_not_stored():
    model, missing = file_of(lambda x: x[0] + all_rows(5000) % 7)
    assert not missing and len(model) < 3000
    np.testing.assert_array_equal(run(model, [3]), 3 + np.arange(5000) % 7)


def test_operators_that_litert_does_not_have_are_named():
    _, missing = file_of(lambda x: tf.math.digamma(tf.cast(x, tf.float32)))
    assert missing == ["Digamma"]


@pytest.mark.parametrize("length", [6, -1])
def test_recurrent_layers_and_their_loops_stay_the_same(length):
    layer = tf.keras.layers.LSTM(3)
    layer(tf.zeros([1, 6, 2]))

    def encode(x):
        steps = tf.stack([tf.sin(tf.cast(x, tf.float32)), tf.cast(x, tf.float32)], axis=-1)
        return layer(tf.reshape(steps, [1, length, 2]))

    model, missing = file_of(encode, layer=layer)
    assert not missing
    x = np.arange(6) - 2
    np.testing.assert_allclose(run(model, x), encode(tf.constant(x)), rtol=1e-4, atol=1e-5)


def test_scales_of_blocks_are_kept_and_named_by_their_new_number():
    weights = np.float32(RNG.normal(size=[2, 32]))
    model, _ = file_of(lambda x: tf.cast(x, tf.float32)[None] @ tf.constant(weights))
    opened = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    (graph,) = opened.subgraphs
    for content in (b"never read", b"scales"):
        buffer, tensor = schema.BufferT(), schema.TensorT()
        buffer.data, tensor.shape = np.frombuffer(content, np.uint8), np.array([1], np.int32)
        tensor.buffer = len(opened.buffers)
        opened.buffers.append(buffer)
        graph.tensors.append(tensor)
    (held,) = (t for t in graph.tensors if sorted(t.shape) == [2, 32])
    held.quantization = schema.QuantizationParametersT()
    held.quantization.scale = np.ones(1, np.float32)
    held.quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    held.quantization.details = schema.BlockwiseQuantizationT()
    held.quantization.details.scales = held.quantization.details.zeroPoints = len(graph.tensors) - 1
    model, _ = rewritten(flatbuffer_utils.convert_object_to_bytearray(opened))
    assert b"never read" not in model
    again = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    tensors = again.subgraphs[0].tensors
    (details,) = (t.quantization.details for t in tensors if t.quantization is not None)
    assert details.scales == details.zeroPoints
    assert bytes(again.buffers[tensors[details.scales].buffer].data) == b"scales"


def test_equal_descriptions_are_written_once():
    def steps(num_steps):
        def function(x):
            for step in range(num_steps):
                x = tf.maximum(x * 3, step)
            return x

        return function

    (short, _), (long, _) = file_of(steps(10)), file_of(steps(110))
    x = np.array([2, -5], np.int32)
    with np.errstate(over="ignore"):
        for step in range(110):
            x = np.maximum(x * np.int32(3), np.int32(step))
    np.testing.assert_array_equal(run(long, [2, -5]), x)
    # A step has 2 operators, 2 results and a constant: with a description for each result, and
    # options for each operator, it took 208 bytes.
    assert (len(long) - len(short)) / 100 < 140
