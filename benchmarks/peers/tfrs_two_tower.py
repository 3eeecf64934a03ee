"""The retrieval tutorial of TensorFlow Recommenders: one embedding per user and per item.

Source: https://www.tensorflow.org/recommenders/examples/basic_retrieval. It learns from
user-item pairs, without time or order. As in the tutorial: the in-batch softmax of
`tfrs.tasks.Retrieval` with its defaults, and Adagrad.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_recommenders as tfrs  # noqa: E402
from exchange import Request  # noqa: E402


class MovielensModel(tfrs.Model):
    """Two embeddings and the retrieval task."""

    def __init__(self, num_users: int, num_items: int, dim: int) -> None:
        super().__init__()
        self.users = tf.keras.layers.Embedding(num_users, dim)
        self.items = tf.keras.layers.Embedding(num_items + 1, dim)
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, pairs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The in-batch softmax cross-entropy, summed over the batch."""
        return self.task(
            self.users(pairs["user"]), self.items(pairs["item"]), compute_metrics=False
        )


def main() -> None:
    request = Request()
    settings = request.settings
    tf.keras.utils.set_random_seed(request.seed)
    lengths = list(map(len, request.train))
    pairs = {
        "user": np.repeat(np.arange(len(lengths)), lengths),
        "item": np.concatenate(request.train),
    }
    model = MovielensModel(len(lengths), request.num_items, settings["dim"])
    model.compile(optimizer=tf.keras.optimizers.Adagrad(settings["learning_rate"]))
    tensors = {name: tf.constant(column) for name, column in pairs.items()}
    rows = tf.data.Dataset.range(len(pairs["item"])).shuffle(len(pairs["item"]), request.seed)
    data = rows.batch(settings["batch_size"]).map(
        lambda batch: {name: tf.gather(column, batch) for name, column in tensors.items()}
    )

    def scores(users: np.ndarray, histories: Sequence[np.ndarray]) -> np.ndarray:
        table = model.users.embeddings.numpy()
        table = np.concatenate([table, table.mean(axis=0)[None]])  # for new users
        return table[users] @ model.items.embeddings.numpy().T

    for _ in range(request.max_epochs):
        model.fit(data, epochs=1, verbose=0)
        if not request.show(scores):
            break
    parameters = (len(lengths) + request.num_items) * settings["dim"]
    request.finish(scores, parameters=parameters, num_bytes=4 * parameters)


if __name__ == "__main__":
    main()
