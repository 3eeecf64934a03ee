"""Sequential peers that are not trained by gradients: sequential rules and V-SKNN.

Both follow [Ludewig and Jannach, 2018](https://arxiv.org/abs/1803.09587), for which no maintained
library exists; a user's training items are one session.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_distill.data import Windows
from tfrs_distill.evaluation.top_k import BlockScorer


def training_sequences(train: Windows) -> dict[int, np.ndarray]:
    """Each user's training items, oldest first: the first of a window, then all labels."""
    sequences: dict[int, list[np.ndarray]] = {}
    for user, history, labels in zip(train.users, train.history, train.labels):
        if user not in sequences:
            sequences[user] = [history[history > 0][:1]]
        sequences[user].append(labels[labels > 0])
    return {int(user): np.concatenate(parts) for user, parts in sequences.items()}


class HistoryScorer(BlockScorer):
    """A scorer that weights an item of the history by `exp(-age / decay)`."""

    def __init__(self, train: Windows, decay: float) -> None:
        self.num_items, self.exclude_seen = train.catalogue.num_items, train.catalogue.exclude_seen
        self.decay = decay

    def _weights(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """The weight of each item, float32 [num_queries, num_items + 1]."""
        weights = np.zeros((len(histories), self.num_items + 1), np.float32)
        for row, history in zip(weights, histories):
            row[history] = np.exp(-np.arange(len(history) - 1, -1, -1) / self.decay)
        return weights


class SequentialRules(HistoryScorer):
    """Rules 'after an interaction with a follows one with b', stronger with fewer items between.

    `rule[a, b] = sum over the times that b follows a, at most `window` items later, of
    1 / (items from a to b) / (1 + times of a) ** normalisation`;
    `score_b = sum over the history's a of exp(-age_a / decay) rule[a, b]`. The paper uses the last
    item alone, as a small decay does.

    Args:
        train: training windows.
        window: in items.
        decay: in items.
        normalisation: 1 turns the rules into shares, 0 keeps counts.
    """

    def __init__(
        self, train: Windows, *, window: int = 50, decay: float = 8.0, normalisation: float = 0.5
    ) -> None:
        super().__init__(train, decay)
        rules = np.zeros((self.num_items + 1, self.num_items + 1), np.float32)
        times = np.ones(self.num_items + 1, np.float32)
        for sequence in training_sequences(train).values():
            np.add.at(times, sequence, 1.0)
            for distance in range(1, min(window, len(sequence) - 1) + 1):
                np.add.at(rules, (sequence[:-distance], sequence[distance:]), 1.0 / distance)
        self.rules = rules / times[:, None] ** normalisation

    @property
    def num_parameters(self) -> int:
        """Rules that are not 0."""
        return int(np.count_nonzero(self.rules))

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        scores: np.ndarray = self._weights(histories) @ self.rules
        return scores


class VSKNN(HistoryScorer):
    """Items of the sessions nearest to the history, whose latest items have the largest weight.

    `similarity_s = sum over the items i of both of exp(-age_i / decay) * rarity_i / sqrt(items of
    s)`; `score_i = rarity_i * sum over the nearest sessions s with i of similarity_s`, with
    `rarity_i = log(1 + sessions / sessions with i) ** rarity`.

    Args:
        train: training windows.
        neighbours: nearest sessions.
        decay: in items.
        rarity: 0 weights all items equally.
    """

    def __init__(
        self,
        train: Windows,
        *,
        neighbours: int = 100,
        decay: float = 8.0,
        rarity: float = 0.0,
    ) -> None:
        super().__init__(train, decay)
        sequences = list(training_sequences(train).values())
        self.interacted = np.zeros((len(sequences), self.num_items + 1), np.float32)
        for row, sequence in zip(self.interacted, sequences):
            row[sequence] = 1.0
        self.neighbours = min(neighbours, len(sequences))
        sessions = np.maximum(self.interacted.sum(axis=0), 1.0)
        self.rarity = np.log(1.0 + len(sequences) / sessions) ** rarity
        self.lengths = np.sqrt(self.interacted.sum(axis=1))

    @property
    def num_parameters(self) -> int:
        """Items of all sessions."""
        return int(self.interacted.sum())

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        similarity = (self._weights(histories) * self.rarity) @ self.interacted.T / self.lengths
        least = np.partition(similarity, -self.neighbours, axis=1)[:, -self.neighbours, None]
        scores: np.ndarray = np.where(similarity >= least, similarity, 0.0) @ self.interacted
        return scores * self.rarity
