"""`keras.distillation.Distiller` on Keras 3, timed on request: the peer of `distiller_step.py`.

Runs in its own process, because Keras 2 and Keras 3 cannot share one. Prints its version, then for
every input line the milliseconds of a training step: with Keras' default compilation, and without
XLA.
"""

from __future__ import annotations

import os
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.pop("TF_USE_LEGACY_KERAS", None)

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras.distillation import Distiller, LogitsDistillation  # noqa: E402


def mlp(width: int, depth: int) -> keras.Model:
    layers = [keras.layers.Dense(width, activation="relu") for _ in range(depth)]
    return keras.Sequential([keras.Input([64]), *layers, keras.layers.Dense(100)])


def main() -> None:
    batch_size, num_steps = int(sys.argv[1]), int(sys.argv[2])
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(batch_size, 64)), tf.float32)
    y = tf.constant(random.integers(0, 100, batch_size), tf.int32)
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    steps = {}
    for jit_compile in ("auto", False):
        distiller = Distiller(
            mlp(512, 2), mlp(64, 1), LogitsDistillation(temperature=2.0), student_loss_weight=0.5
        )
        distiller.compile(
            optimizer="adam",
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit_compile,
        )
        distiller.make_train_function()
        steps[jit_compile] = (distiller.train_function, iter(data))
    print(keras.__version__, flush=True)
    for _ in sys.stdin:
        for step, batches in steps.values():
            step(batches)
            start = time.perf_counter()
            for _ in range(num_steps):
                step(batches)
            print((time.perf_counter() - start) / num_steps * 1e3, flush=True)


if __name__ == "__main__":
    main()
