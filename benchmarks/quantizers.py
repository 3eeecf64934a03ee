"""Is litert-quantizer better than this package's own quantization of a student?

    pip install litert-quantizer==0.11.0
    python benchmarks/quantizers.py RUN [RUN ...] [--json FILE]

RUN is the folder of a finished retrieval run; of several runs the table has the means. The student
without its text tower is quantized in both ways, without fine-tuning, and every file is measured:
bytes, NDCG@10 on validation, and milliseconds in one process with one thread, all files in turn.
litert-quantizer leaves a GATHER in 32 bits, so its other files read the table by EMBEDDING_LOOKUP.
All files are shrunk in the same way. RUN is not changed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from rows import publish, row

from tfrs_distill.compress import compress, quantization_of
from tfrs_distill.evaluation import evaluate
from tfrs_distill.export import to_tflite
from tfrs_distill.export.forms.flatbuffer import rewritten
from tfrs_distill.export.retrieval_module import WholeTable
from tfrs_distill.pipeline.compression.fine_tuning import Compression
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.terminal import TerminalProgress
from tfrs_distill.serving import Recommender

import tensorflow as tf  # isort: skip  (after tfrs_distill, which chooses Keras 2)
from ai_edge_litert.tools import flatbuffer_utils  # isort: skip
from litert_quantizer import algorithm_manager, qtyping, quantizer  # isort: skip

NUM_TIMED, ROUNDS = 300, 3
COMPARED = "int4:tensor"
OURS = ("int8", "int4", "int2:tensor", COMPARED, "shared-rows:841 int4:tensor")
MIN_MAX = "MIN_MAX_UNIFORM_QUANT"
DENSE = {"": (8, "TENSORWISE"), ", dense int4": (4, "BLOCKWISE_32")}
THEIRS = {  # of the table: mode, bits, scales and the algorithm that finds them
    "dynamic int8": ("dynamic", 8, "TENSORWISE", MIN_MAX),
    "dynamic int4": ("dynamic", 4, "TENSORWISE", "MSE"),
    "dynamic int2": ("dynamic", 2, "TENSORWISE", "OCTAV"),
    "weight-only int8": ("weight_only", 8, "TENSORWISE", MIN_MAX),
    "weight-only int4:row": ("weight_only", 4, "CHANNELWISE", "MSE"),
    "weight-only int4:tensor": ("weight_only", 4, "TENSORWISE", "MSE"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = [of_run(folder) for folder in arguments.runs]
    mean = {name: np.mean([files[name] for files in found], axis=0) for name in found[0]}
    print("\n| file | bytes | validation NDCG@10 | ms p50 |\n|---|---|---|---|")
    for name, (size, ndcg, p50) in mean.items():
        print(f"| {name} | {size:,.0f} | {ndcg:.4f} | {p50:.3f} |")
    rows = []
    for dense in DENSE:
        theirs = f"litert: weight-only {COMPARED}{dense}"
        size, ndcg, p50 = mean[theirs] / mean[COMPARED]
        words = f"of {COMPARED}; of its NDCG@10 {ndcg:.4f}, of its ms {p50:.2f}"
        rows.append(row(theirs, size, "of the bytes", "", f"{words}; {len(found)} runs"))
    publish(rows, arguments.json)


def of_run(folder: Path) -> dict[str, tuple[float, float, float]]:
    """Each file's bytes, NDCG@10 and median milliseconds, by name."""
    recipe = Recipe.from_toml(folder / "recipe.toml")
    run = Run(recipe, folder.parent, TerminalProgress(), home=folder)
    this, validation, files = Compression(run), run.data.splits.validation, {}

    def made(name: str = "") -> Any:
        return compress(this.student, ["ids-only", *name.split()], **this.weights)

    def write(name: str, student: Any, quantization: str = "float32") -> Path:
        path = Path(temporary) / str(len(files)) / "student.tflite"
        files[name] = to_tflite(student, path, validation.catalogue, quantization=quantization)
        return path

    def quantize(name: str, student: Any, table: tuple[Any, ...]) -> None:
        for dense in DENSE if table[:3] == THEIRS["weight-only int4:tensor"][:3] else [""]:
            path = write(f"litert: {name}{dense}", student)
            rows = validation.catalogue.num_items + 1
            path.write_bytes(quantized(path.read_bytes(), table, DENSE[dense], rows))
            files[f"litert: {name}{dense}"].write()

    with tempfile.TemporaryDirectory() as temporary:
        write("float32", made())
        for name in OURS:
            write(name, made(name), quantization_of(name.split()))
        quantize("dynamic int8, GATHER", made(), THEIRS["dynamic int8"])
        with patch.object(WholeTable, "gather", lookup):
            for name, table in THEIRS.items():
                quantize(name, made(), table)
        readers = {name: Recommender.load(of.folder) for name, of in files.items()}
        sizes = {name: (of.folder / "student.tflite").stat().st_size for name, of in files.items()}
    times: dict[str, list[float]] = {name: [] for name in readers}
    for history in [*validation.histories[:NUM_TIMED]] * ROUNDS:
        for name, reader in readers.items():
            start = time.perf_counter()
            reader([history], 10)
            times[name].append(1000 * (time.perf_counter() - start))
    ndcg = {name: evaluate(reader, validation, k=10).ndcg for name, reader in readers.items()}
    return {name: (sizes[name], ndcg[name].mean(), np.median(times[name])) for name in readers}


def quantized(model: bytes, table: tuple[Any, ...], dense: tuple[int, str], rows: int) -> bytes:
    """Quantize a float32 file, and shrink it as this package does its own."""
    opened = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    for number, tensor in enumerate(opened.subgraphs[0].tensors):  # their names select operators
        width = tensor.shape[-1] if len(tensor.shape) else 0
        tensor.name = tensor.name or f"{number}_width_{width}_".encode()
    quantize = quantizer.Quantizer(flatbuffer_utils.convert_object_to_bytearray(opened))
    for operator, outputs, (mode, num_bits, scales, algorithm) in (
        ("FULLY_CONNECTED", ".*", ("dynamic", *dense, MIN_MAX)),
        ("FULLY_CONNECTED", f".*_width_{rows}_", table),
        ("EMBEDDING_LOOKUP", ".*", table),
    ):
        getattr(quantize, f"add_{mode}_config")(
            outputs,
            qtyping.TFLOperationName[operator],
            num_bits,
            granularity=qtyping.QuantGranularity[scales],
            algorithm_key=algorithm_manager.AlgorithmName[algorithm],
        )
    with contextlib.redirect_stdout(io.StringIO()):
        written = bytes(quantize.quantize().quantized_model)
    opened = flatbuffer_utils.convert_bytearray_to_object(bytearray(written))
    for buffer in opened.buffers:
        if buffer.data is None and buffer.offset:  # a large one, behind the FlatBuffer
            buffer.data = written[buffer.offset : buffer.offset + buffer.size]
            buffer.offset = buffer.size = 0
    for tensor in opened.subgraphs[0].tensors:
        if tensor.quantization is not None and tensor.quantization.details is not None:
            tensor.quantization.scale = []  # or `rewritten` removes the scales of blocks
    return rewritten(flatbuffer_utils.convert_object_to_bytearray(opened))[0]


@tf.function(experimental_implements="embedding_matmul", autograph=False)
def embedding_lookup(table: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    return tf.gather(table, rows)  # the converter writes EMBEDDING_LOOKUP for this function


def lookup(table: WholeTable, rows: tf.Tensor) -> tf.Tensor:
    """Rows of a table by EMBEDDING_LOOKUP, which reads a flat list of indices."""
    if rows.shape.rank == 1:
        return embedding_lookup(table.values, rows)
    shape = tf.concat([tf.shape(rows), [table.values.shape[1]]], axis=0)
    return tf.reshape(embedding_lookup(table.values, tf.reshape(rows, [-1])), shape)


if __name__ == "__main__":
    main()
