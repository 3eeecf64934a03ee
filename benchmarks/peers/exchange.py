"""The peer's side of `benchmarks/peers.py`: inputs and outputs of its process.

The scripts of this folder run in separate Python environments, so they use NumPy and
nothing of the package. A script reads a `Request`, trains, and calls `show` once per epoch, or once
if there are no epochs: it writes the lists for the queries of validation and test, prints a line of
JSON, and waits for the driver, which evaluates the validation lists and replies whether to
continue. `finish` is called last. The output of libraries goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

PARTS = ("validation", "test")
BLOCK = 512  # queries scored at a time
TIMED, WARM_UP = 200, 10  # queries, one at a time
GO_ON = "on"


class Queries(NamedTuple):
    """The queries of a part.

    Args:
        users: int [num_queries]; row numbers of the training sequences, -1 for a user without one.
        histories: int [num_queries][history], item indices from 1, oldest first.
    """

    users: np.ndarray
    histories: list[np.ndarray]


# scores(users, histories): float [num_queries, num_items + 1]; column 0 is not read.
Scores = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]


class Request:
    """The driver's request, read from the file that the command line names.

    Attributes:
        model: the peer's name.
        settings: of the trial.
        seed: of all random numbers.
        max_epochs: the maximum number of calls of `show`.
        num_items: of the catalogue; indices run from 1.
        exclude_seen: whether the history's items are excluded.
        train: int [num_users][items], each user's training items, oldest first.
        queries: by part.
    """

    def __init__(self) -> None:
        with open(sys.argv[1], encoding="utf-8") as file:
            request = json.load(file)
        self.model: str = request["model"]
        self.settings: dict[str, Any] = request["settings"]
        self.seed: int = request["seed"]
        self.max_epochs: int = request["max_epochs"]
        self._k, self._lists = request["k"], request["lists"]
        with np.load(request["data"]) as data:
            self.num_items = int(data["num_items"])
            self.exclude_seen = bool(data["exclude_seen"])
            self.train = unpadded(data["train"])
            self.queries = {
                part: Queries(data[f"{part}_users"], unpadded(data[f"{part}_histories"]))
                for part in PARTS
            }
        self._driver = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._seconds, self._started = 0.0, time.perf_counter()
        self._epoch = 0

    def show(self, scores: Scores) -> bool:
        """Write the current lists of the model; return whether to continue training."""
        self._seconds += time.perf_counter() - self._started
        self._epoch += 1
        lists = {part: self._best(scores, queries) for part, queries in self.queries.items()}
        np.savez(self._lists, **lists)
        self._tell(epoch=self._epoch, seconds=self._seconds)
        go_on = sys.stdin.readline().strip() == GO_ON
        self._started = time.perf_counter()
        return go_on

    def finish(self, scores: Scores, *, parameters: int, num_bytes: int) -> None:
        """Report the size of the model and its time for one query."""
        users, histories = self.queries["test"]
        times = []
        for row in [0] * WARM_UP + list(range(min(TIMED, len(histories)))):
            start = time.perf_counter()
            query = Queries(users[row : row + 1], histories[row : row + 1])
            self._best(scores, query)
            times.append(1000 * (time.perf_counter() - start))
        milliseconds = float(np.median(times[WARM_UP:]))
        self._tell(parameters=int(parameters), bytes=int(num_bytes), milliseconds=milliseconds)

    def _best(self, scores: Scores, queries: Queries) -> np.ndarray:
        """The k best items, int32 [num_queries, k]."""
        lists: list[np.ndarray] = []
        for start in range(0, len(queries.histories), BLOCK):
            histories = queries.histories[start : start + BLOCK]
            found = np.array(scores(queries.users[start : start + BLOCK], histories), np.float32)
            found[:, 0] = -np.inf
            for row, history in zip(found, histories if self.exclude_seen else []):
                row[history] = -np.inf
            if np.isnan(found).any():
                raise ValueError(f"{self.model} gives scores that are no numbers.")
            lists += [first_items(row, self._k) for row in found]
        return np.stack(lists).astype(np.int32)

    def _tell(self, **facts: float) -> None:
        print(json.dumps(facts), file=self._driver, flush=True)


def first_items(scores: np.ndarray, k: int) -> np.ndarray:
    """The k items with the highest scores, ties in index order; 0 for scores of -inf."""
    near = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    best = near[np.argsort(-scores[near], kind="stable")[:k]]
    return np.where(np.isneginf(scores[best]), 0, best)


def unpadded(rows: np.ndarray) -> list[np.ndarray]:
    """The items of each row without the 0s."""
    return [row[row > 0] for row in rows]


def history_weights(
    histories: Sequence[np.ndarray], num_items: int, decay: float | None
) -> np.ndarray:
    """The weight of each item of a history, float32 [num_queries, num_items + 1].

    The weight is `exp(-age / decay)`, where the age is the number of items after it; 1 without
    decay; 0 if the item is not in the history.
    """
    weights = np.zeros((len(histories), num_items + 1), np.float32)
    for row, history in zip(weights, histories):
        age = np.arange(len(history) - 1, -1, -1)
        row[history] = 1.0 if decay is None else np.exp(-age / decay)
    return weights
