"""The cost of a distilling step, as ratios to steps timed in turn with it in the same run.

    python benchmarks/distiller_step.py [--quick] [--json FILE]

On MovieLens-100K with the default recipe's models and batch, full catalogue: the twin's step, the
student's with top-K cached knowledge and with cached embeddings, and with the BERT reading the
texts of the batch's histories in every step. On equal dense models, `keras.distillation.Distiller`
(Keras 3) in its own process. Ratios are medians over rounds. All rows except the first are
measured with `keep_freed_memory`, as in a run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill import columns
from tfrs_distill.data.splits import Splits
from tfrs_distill.data.windows import Windows
from tfrs_distill.pipeline.freed_memory import SETTINGS, keep_freed_memory
from tfrs_distill.pipeline.recipe import Recipe

import tensorflow as tf  # isort: skip

from rows import Row, publish, row  # isort: skip

Step = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, as a smoke test")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    num_rounds, num_steps = (3, 5) if arguments.quick else (30, 20)

    recipe = Recipe.named("movielens-100k")
    splits = td.data.split_by_time(td.data.movielens_100k(), max_history=recipe.data.max_history)
    with tempfile.TemporaryDirectory() as folder:
        steps, live = retrieval_steps(recipe, splits, Path(folder))
        given_back = time_in_turn({"twin": steps["twin"]}, num_rounds, num_steps)["twin"]
        keep_freed_memory()
        times = time_in_turn(steps, num_rounds, num_steps)
        live_times = time_in_turn({"live": live, "cached": steps["embeddings"]}, 3, 1)
    for name, values in times.items():
        print(f"{name}: {np.median(values):.2f} ms a step")
    ours, peer, version = beside_keras(num_rounds, num_steps)
    print(
        f"dense models: {np.median(ours):.2f} ms, keras {version} {np.median(peer):.2f} ms a step"
    )

    setting = f"batch {recipe.training.batch_size} x {recipe.data.max_history}, full catalogue"
    rows = [
        ratio_row(
            "twin's step, freed memory given back / kept",
            given_back,
            times["twin"],
            "",
            "glibc's allocator; not interleaved",
        ),
        ratio_row("step with top-K / twin", times["top_k"], times["twin"], "<= 1.8", setting),
        ratio_row(
            "step with embeddings / twin", times["embeddings"], times["twin"], "<= 1.8", setting
        ),
        ratio_row(
            "step with top-K / twin with TensorFlow's own cross-entropy",
            times["top_k"],
            times["twin, tf.nn cross-entropy"],
            "<= 1.3",
            "the twin as Keras and TFRS would train it",
        ),
        ratio_row(
            "step with embeddings / twin with TensorFlow's own cross-entropy",
            times["embeddings"],
            times["twin, tf.nn cross-entropy"],
            "<= 1.3",
            "the twin as Keras and TFRS would train it",
        ),
        ratio_row(
            "step with live BERT / with cached embeddings",
            live_times["live"],
            live_times["cached"],
            ">= 20",
            "MiniLM reads the texts of the batch's histories",
        ),
        ratio_row(
            "step of dense models / keras.distillation.Distiller",
            ours,
            peer,
            "<= 1",
            f"keras {version}, the faster of its XLA settings; batch 256",
        ),
    ]
    publish(rows, arguments.json)


def ratio_row(name: str, above: list[float], below: list[float], goal: str, detail: str) -> Row:
    """One row of the results: the median over rounds of the ratio of two times."""
    ratios = np.array(above) / np.array(below)
    value = float(np.median(ratios))
    low, high = np.percentile(ratios, [25, 75])
    detail += f"; {len(ratios)} rounds, middle half {low:.3g} to {high:.3g}"
    detail += f"; tensorflow {tf.__version__}"
    return row(name, value, "", goal, detail)


def time_in_turn(steps: dict[str, Step], num_rounds: int, num_steps: int) -> dict[str, list[float]]:
    """Milliseconds per step, one value per round; the contestants take turns within a round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(num_rounds + 1):
        for name, step in steps.items():
            step()
            start = time.perf_counter()
            for _ in range(num_steps):
                step()
            if round_number:  # the first round is a warm-up
                times[name].append((time.perf_counter() - start) / num_steps * 1e3)
    return times


def step_of(model: tf.keras.Model, data: Any, optimizer: str = "adam") -> Step:
    """Keras' own training step, repeated on one batch."""
    model.compile(optimizer=optimizer)
    train = model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(data).repeat())
    return lambda: train(batches)


class TwinWithStandardLoss(td.models.RetrievalStudent):
    """The student with TensorFlow's cross-entropy instead of this package's."""

    def hard_loss(self, batch: dict, outputs: Any) -> tf.Tensor:
        """TensorFlow's sparse softmax cross-entropy."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            outputs.candidates.labels, outputs.logits
        )


def retrieval_steps(recipe: Recipe, splits: Splits, folder: Path) -> tuple[dict[str, Step], Step]:
    """The steps over the catalogue, and the one that runs the BERT."""
    catalogue, settings = splits.catalogue, recipe.distillation
    encoder = td.teachers.TextEncoder(td.data.minilm_folder())
    vectors = encoder.encode(catalogue.texts)

    def untrained(windows: Windows, fold: int) -> td.teachers.BertTwoTower:
        return td.teachers.BertTwoTower(
            vectors,
            max_history=recipe.data.max_history,
            embedding_dim=recipe.teacher.embedding_dim,
            seed=fold,
        )

    knowledge = td.cross_fit(
        untrained,
        splits.train,
        folder,
        fingerprint="untrained: its weights do not change its time",
        num_folds=recipe.knowledge.folds,
        top_k=recipe.knowledge.top_k,
        temperatures=(settings.temperature,),
    )

    def student(kind: type = td.models.RetrievalStudent) -> td.models.RetrievalStudent:
        return kind.from_history(
            num_items=catalogue.num_items,
            max_history=recipe.data.max_history,
            embedding_dim=recipe.student.embedding_dim,
            dropout=settings.dropout,
            seed=0,
        )

    def distiller(teacher: Any) -> td.Distiller:
        loss = td.losses.SoftTargetKLDivergence(temperature=settings.temperature)
        weight = settings.student_loss_weight
        return td.Distiller(student(), teacher, loss, student_loss_weight=weight)

    def batch(windows: Windows) -> dict[str, tf.Tensor]:
        return next(iter(windows.batches(recipe.training.batch_size, seed=0)))

    steps = {
        "twin": step_of(student(), batch(splits.train)),
        "twin, tf.nn cross-entropy": step_of(student(TwinWithStandardLoss), batch(splits.train)),
        "top_k": step_of(distiller(knowledge), batch(knowledge.join(splits.train, form="top_k"))),
        "embeddings": step_of(distiller(knowledge), batch(knowledge.join(splits.train))),
    }
    live = live_teacher(untrained(splits.train, 0), encoder, catalogue.texts)
    return steps, step_of(distiller(live), batch(splits.train))


def live_teacher(
    teacher: td.teachers.BertTwoTower, encoder: td.teachers.TextEncoder, texts: tuple[str, ...]
) -> Callable[[dict, tf.Tensor], tf.Tensor]:
    """A teacher whose BERT reads the texts of the batch's histories at every call."""
    tokens, mask = (tf.constant(array) for array in encoder.tokenize(texts))

    def logits(batch: dict, candidate_ids: tf.Tensor) -> tf.Tensor:
        items = tf.unique(tf.reshape(batch[columns.HISTORY], [-1])).y
        items = tf.boolean_mask(items, items > columns.PADDING)
        fresh = encoder.pooled(tf.gather(tokens, items - 1), tf.gather(mask, items - 1))
        table = teacher.candidate_tower.text_vectors
        with tf.control_dependencies([table.scatter_nd_update(items[:, None], fresh)]):
            return teacher.logits(batch, candidate_ids)

    return logits


def beside_keras(num_rounds: int, num_steps: int) -> tuple[list[float], list[float], str]:
    """This package's step and Keras 3's on equal dense models, in turn; and Keras 3's version."""
    batch_size = 256
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(batch_size, 64)), tf.float32)
    y = tf.constant(random.integers(0, 100, batch_size), tf.int32)

    def mlp(width: int, depth: int) -> tf.keras.Model:
        layers = [tf.keras.layers.Dense(width, activation="relu") for _ in range(depth)]
        return tf.keras.Sequential([tf.keras.Input([64]), *layers, tf.keras.layers.Dense(100)])

    loss = td.losses.SoftTargetKLDivergence(temperature=2.0)
    step = step_of(td.Distiller(mlp(64, 1), mlp(512, 2), loss), (x, y))
    script = Path(__file__).with_name("keras_distiller_peer.py")
    command = [sys.executable, str(script), str(batch_size), str(num_steps)]
    kept = {variable: str(value) for variable, (_, value) in SETTINGS.items()}
    ours, theirs = [], []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | kept
    ) as peer:
        version = peer.stdout.readline().strip()
        for round_number in range(num_rounds + 1):
            own = time_in_turn({"ours": step}, 1, num_steps)["ours"][0]
            print("go", file=peer.stdin, flush=True)
            fastest = min(float(peer.stdout.readline()) for _ in range(2))
            if round_number:
                ours.append(own)
                theirs.append(fastest)
        peer.stdin.close()
    return ours, theirs, version


if __name__ == "__main__":
    main()
