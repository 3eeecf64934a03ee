"""The cost of teachers, as ratios measured in turn in one run; see `benchmarks/teachers.py`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill.pipeline.recipe import Recipe

import tensorflow as tf  # isort: skip

from rows import Row, row  # isort: skip


def encoding(rounds: int) -> list[Row]:
    """Encoding a catalogue, compared with the bare forward pass and with plain padding.

    The bare forward is one `tf.function` for all shapes, model and pooling, on arrays that were
    tokenized, sorted by length and batched before the timing starts; its batch size is the best of
    four in this run.
    """
    encoder = td.teachers.TextEncoder(td.data.minilm_folder())
    texts = td.data.movielens_100k().catalogue.texts
    ids, mask = encoder.tokenize(texts)
    lengths = mask.sum(axis=1)
    order = np.argsort(-lengths, kind="stable")
    shape = tf.TensorSpec([None, None], tf.int32)
    forward = tf.function(encoder.pooled, input_signature=[shape, shape])

    def batches(batch_size: int, longest: int | None) -> list[tuple[tf.Tensor, tf.Tensor]]:
        parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        widths = [longest or int(lengths[rows].max()) for rows in parts]
        return [
            (tf.constant(ids[rows, :width]), tf.constant(mask[rows, :width]))
            for rows, width in zip(parts, widths)
        ]

    def run(arrays: list[tuple[tf.Tensor, tf.Tensor]]) -> Callable[[], object]:
        return lambda: [forward(*array).numpy() for array in arrays]

    bare = {f"bare forward, batches of {n}": run(batches(n, None)) for n in (32, 64, 128, 256)}
    longest = int(lengths.max())
    padded = batches(64, longest)
    ways = {"encode": lambda: encoder.encode(texts), "padded": run(padded), **bare}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(rounds + 1):  # the first is a warm-up
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(bare, key=lambda name: median[name])
    bucketed = sum(int(np.prod(a.shape)) for a, _ in batches(64, None))
    whole = sum(int(np.prod(a.shape)) for a, _ in padded)
    return [
        row(
            "encode the catalogue / bare BERT forward",
            median["encode"] / median[best],
            "",
            "<= 1.3",
            f"{len(texts):,} texts, MiniLM; {best}: {median[best]:.2f} s; {rounds} rounds",
        ),
        row(
            "bucketed by length / padded to the longest",
            median["bare forward, batches of 64"] / median["padded"],
            "",
            "",
            f"{int(lengths.sum()):,} tokens padded to {bucketed:,} and to {whole:,}",
        ),
    ]


TUNING = """
import json, sys, time
import tfrs_distill as td
import numpy as np
from tfrs_distill.pipeline.recipe import Recipe

kind, num_steps, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def peak():  # of this program alone; getrusage would count its parent's before it began
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20


recipe = Recipe.named("movielens-100k")
max_history = recipe.data.max_history
splits = td.data.split_by_time(td.data.movielens_100k(), max_history=max_history)
encoder = td.teachers.TextEncoder(td.data.minilm_folder())
teacher = td.teachers.BertTwoTower(encoder.encode(splits.catalogue.texts), max_history=max_history)
tuning = {"lora": td.teachers.LoRA(), "full": td.teachers.AllLayers()}[kind]
before, stamps = peak(), [time.perf_counter()]
tuned = td.teachers.finetune(
    teacher, encoder, splits.train, tuning=tuning, num_steps=num_steps, seed=0,
    advance=lambda steps: stamps.append(time.perf_counter()),
)
if tuned.attached:
    tuned.attached.save(folder + "/tuned.safetensors")
print(json.dumps({
    "before": before, "peak": peak(), "step": float(np.median(np.diff(stamps)[1:])),
    "trained": tuned.num_parameters, "of": encoder.num_parameters,
}))
"""


def memory_of_tuning(num_steps: int) -> list[Row]:
    """Peak memory, time per step and trained parameters of LoRA and of full fine-tuning."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("lora", "full"):
            found[kind] = _in_fresh_process(TUNING, kind, str(num_steps), folder)
        size = (Path(folder) / "tuned.safetensors").stat().st_size
    lora, full = found["lora"], found["full"]
    return [
        row(
            "LoRA: trained parameters / the encoder's",
            lora["trained"] / lora["of"],
            "",
            "<= 0.02",
            f"{lora['trained']:,} of {lora['of']:,}; its file {size / 1e6:.2f} MB",
        ),
        row(
            "LoRA: peak memory / full fine-tuning's",
            lora["peak"] / full["peak"],
            "",
            "",
            f"peak of the process {lora['peak']:.2f} and {full['peak']:.2f} GiB, before the first "
            f"step {lora['before']:.2f} and {full['before']:.2f}",
        ),
        row(
            "LoRA: a step / a step of full fine-tuning",
            lora["step"] / full["step"],
            "",
            "",
            f"{lora['step']:.2f} and {full['step']:.2f} s, median of {num_steps - 1}",
        ),
    ]


def reading(num_epochs: int) -> list[Row]:
    """Examples per second that `tf.data` reads from a cache, and that the student is trained on.

    At the recipe's default sizes. The teacher is untrained, because its outputs do not change the
    reading time. Each epoch is read, then trained, in turn.
    """
    recipe = Recipe.named("movielens-100k")
    splits = td.data.split_by_time(td.data.movielens_100k(), max_history=recipe.data.max_history)
    text = np.random.default_rng(0).normal(size=(splits.catalogue.num_items, 384))

    def untrained(windows: td.data.Windows, fold: int) -> td.teachers.BertTwoTower:
        return td.teachers.BertTwoTower(text, max_history=recipe.data.max_history, seed=fold)

    with tempfile.TemporaryDirectory() as folder:
        cached = td.cross_fit(
            untrained,
            splits.train,
            folder,
            fingerprint="untrained",
            num_folds=recipe.knowledge.folds,
            top_k=recipe.knowledge.top_k,
            temperatures=(recipe.distillation.temperature,),
        )
        student = td.models.RetrievalStudent.from_history(
            num_items=splits.catalogue.num_items,
            max_history=recipe.data.max_history,
            embedding_dim=recipe.student.embedding_dim,
            seed=0,
        )
        student.compile(optimizer="adam")
        plain = splits.train.batches(recipe.training.batch_size, seed=0)
        forms = {
            form: cached.join(splits.train, form=form).batches(recipe.training.batch_size, seed=0)
            for form in ("top_k", "embeddings")
        }
        ratios: dict[str, list[float]] = {form: [] for form in forms}
        student.fit(plain, epochs=1, verbose=0)
        for _ in range(num_epochs):
            start = time.perf_counter()
            student.fit(plain, epochs=1, verbose=0)
            trained = time.perf_counter() - start
            for form, batches in forms.items():
                start = time.perf_counter()
                for _batch in batches:
                    pass
                ratios[form].append(trained / (time.perf_counter() - start))
    detail = f"{len(splits.train):,} windows of {recipe.data.max_history}; {num_epochs} epochs each"
    goals = {"top_k": ">= 5", "embeddings": ""}
    return [
        row(
            f"rate of reading {form} / of training",
            float(np.median(found)),
            "",
            goals[form],
            detail,
        )
        for form, found in ratios.items()
    ]


LARGE_STORE = """
import json, sys, time
from tfrs_distill.keras_version import require_keras_2
require_keras_2()
import numpy as np
import tensorflow as tf
from tfrs_distill.knowledge import cache_item_vectors
from tfrs_distill.knowledge.maintenance import verify

folder, num_items = sys.argv[1], int(sys.argv[2])


class Planted:
    def encode(self, texts):
        first = int(texts[0].split()[1])
        return np.random.default_rng(first).normal(size=(len(texts), 64)).astype(np.float32)

    def fingerprint(self):
        return "planted"


def peak():  # of this program alone; getrusage would count its parent's before it began
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20


tf.matmul(tf.ones([64, 64]), tf.ones([64, 64])).numpy()
texts = [f"item {index}" for index in range(num_items)]
before, start = peak(), time.perf_counter()
cache_item_vectors(Planted(), texts, folder)
written = time.perf_counter()
found = verify(folder)
verified, after = time.perf_counter(), peak()
assert not found["problems"], found
print(json.dumps({
    "above": after - before, "before": before, "written": written - start,
    "verified": verified - written, "bytes": found["bytes"],
}))
"""

OPENING = """
import json, sys, time
from pathlib import Path
from tfrs_distill.keras_version import require_keras_2
require_keras_2()
import tensorflow as tf
from tfrs_distill.knowledge import cache_item_vectors
from tfrs_distill.knowledge.item_vectors import ItemStore


class Planted:
    def fingerprint(self):
        return "planted"


start = time.perf_counter()
store = ItemStore(Path(sys.argv[1]), "planted", "float32")
rows = sum(len(shard.arrays["text_keys"]) for shard in store.shards())
opened = time.perf_counter() - start
texts = [f"item {index}" for index in range(rows)]
start = time.perf_counter()
cache_item_vectors(Planted(), texts, sys.argv[1])
print(json.dumps({"opened": opened, "rows": rows, "found": time.perf_counter() - start}))
"""


def large_item_store(num_items: int) -> list[Row]:
    """Peak memory of writing and verifying many item vectors, and the time of opening them."""
    with tempfile.TemporaryDirectory() as folder:
        made = _in_fresh_process(LARGE_STORE, folder, str(num_items))
        opened = _in_fresh_process(OPENING, folder)
    detail = (
        f"{num_items:,} items of 64 dimensions, {made['bytes'] / 1e6:.0f} MB; written in "
        f"{made['written']:.1f} s, verified in {made['verified']:.1f} s"
    )
    return [
        row("cache of many items: memory above TensorFlow's", made["above"], "GiB", "<= 1", detail),
        row(
            "cache of many items: opened",
            opened["opened"],
            "s",
            "< 1",
            f"{opened['rows']:,} rows; finding as many texts in it took {opened['found']:.1f} s",
        ),
    ]


def _in_fresh_process(program: str, *arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
