"""Conversion to a `.tflite` file: for LiteRT on a phone, in a browser, or without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from tfrs_distill.errors import InputError, first_line
from tfrs_distill.export.forms.flatbuffer import rewritten
from tfrs_distill.export.forms.form import Arrays, ExportForm, ServedModule
from tfrs_distill.files import whole_file
from tfrs_distill.serving.interpreter import TFLiteModel
from tfrs_distill.serving.quiet import quiet_stderr

QUANTIZATIONS = ("float32", "float16", "int8")
TOLERANCE = 1e-4  # for an output of 1; measured float32 files differ from the model by up to 1e-6


def tflite_form(key: str, title: str, what: str, *, file: str, quantization: str) -> ExportForm:
    """Return the form of a `.tflite` file in one of `QUANTIZATIONS`."""
    return ExportForm(
        key,
        title,
        what,
        file,
        lambda module, folder: write_tflite(module, folder, folder / file, quantization),
    )


def write_tflite(module: ServedModule, saved_model: Path, path: Path, quantization: str) -> None:
    """Convert the SavedModel of `module`, with nothing on standard error, and run the result once.

    Args:
        module: the saved module.
        saved_model: the SavedModel's folder.
        path: the file to write.
        quantization: see `to_tflite`.

    Raises:
        InputError: LiteRT has no built-in operator for a part of the student, TensorFlow cannot
            convert it, LiteRT cannot run the file, or it computes other outputs in float32.
    """
    inputs = module.example_inputs
    with quiet_stderr():
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(saved_model), signature_keys=list(inputs)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.allow_custom_ops = True  # stored constants are such operators until rewritten
        if quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization == "int8" and module.has_one_table:
            # The matrix product can use one scale per row, but the lookup needs a single scale: the
            # file would hold the table twice.
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        model, missing = rewritten(converted(converter, "The student"))
    if missing:
        raise InputError(
            "The student cannot be converted to a .tflite file: LiteRT has no built-in operator "
            f"for a part of {module.part}. Write that part differently (in float32, where it "
            f"computes in 16 bits), or export a SavedModel. Missing: {', '.join(missing)}."
        )
    with whole_file(path) as file:
        file.write(model)
    outputs = _run(path, inputs, module.part)
    if quantization == "float32":
        _check_outputs(outputs, module)


def converted(converter: tf.lite.TFLiteConverter, what: str) -> bytes:
    """Return the content of a model's `.tflite` file.

    Args:
        converter: converts the model.
        what: the model, in the message.

    Raises:
        InputError: the converter does not support a part of the model.
    """
    try:
        return bytes(converter.convert())
    except ConverterError as error:
        raise InputError(
            f"{what} cannot be converted to a .tflite file: TensorFlow's converter does not "
            "support a part of it, such as a loop that collects its results. Write that part "
            f"differently, or keep a SavedModel. TensorFlow says: {first_line(error)}"
        ) from error


def _run(path: Path, inputs: Mapping[str, Arrays], part: str) -> dict[str, dict[str, np.ndarray]]:
    """Return the file's outputs by signature; the converter may also write models that fail."""
    try:
        model = TFLiteModel(path)
        return {name: model.run(name, arrays) for name, arrays in inputs.items()}
    except (InputError, ValueError, RuntimeError) as error:
        raise InputError(
            "The student was converted, but LiteRT cannot run the result: a part of "
            f"{part} is written in a way that the converter does not support for "
            f"dynamic sizes. Write it differently, or export a SavedModel. LiteRT says: {error}"
        ) from error


def _check_outputs(outputs: Mapping[str, Arrays], module: ServedModule) -> None:
    """Compare the outputs of LiteRT and TensorFlow for the same inputs."""
    for name, expected in module.example_outputs().items():
        for output, values in expected.items():
            difference = np.abs(outputs[name][output] - values)
            if not (difference <= TOLERANCE * np.maximum(1.0, np.abs(values))).all():
                raise InputError(
                    f"LiteRT computes other values than TensorFlow: predictions of {output!r} by "
                    f"{name!r} differ by up to {difference.max():g}. A part of {module.part} is "
                    "written in a way that is converted wrongly. Write it differently."
                )
