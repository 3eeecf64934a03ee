"""Training windows small enough to count by hand, for the tests of any package."""

from dataclasses import replace

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.splits import windows_of
from tfrs_distill.data.windows import Windows


def tiny_catalogue(num_items, texts=None):
    """Items "1", "2", ... called "Film 1", "Film 2", ..."""
    ids = tuple(str(item) for item in range(1, num_items + 1))
    titles = tuple(f"Film {item}" for item in ids)
    return Catalogue(ids, titles, tuple(texts) if texts is not None else titles)


def windows_from(sequences, *, num_items, max_history, texts=None) -> Windows:
    """Windows over the sequences of users 0, 1, ..."""
    return windows_of(
        [np.array(sequence, np.int32) for sequence in sequences],
        np.arange(len(sequences), dtype=np.int32),
        tiny_catalogue(num_items, texts),
        max_history=max_history,
    )


def random_windows(*, num_users=7, num_items=9, max_history=4, seed=0, texts=None) -> Windows:
    """Users with 3 to 8 distinct items each, so that some have several windows."""
    random = np.random.default_rng(seed)
    sequences = [
        random.permutation(num_items)[: random.integers(3, min(9, num_items + 1))] + 1
        for _ in range(num_users)
    ]
    return windows_from(sequences, num_items=num_items, max_history=max_history, texts=texts)


def with_weights(windows, seed=0):
    """The windows with a weight for each label, multiples of a quarter from 0.25 to 4."""
    random = np.random.default_rng(seed)
    weights = random.integers(1, 17, windows.labels.shape) / 4
    return replace(windows, weights=np.where(windows.labels > 0, weights, 0.0))


def with_dislikes(windows):
    """The windows with every third label as a dislike, with a weight below 0."""
    signs = np.ones(windows.labels.shape)
    signs[tuple(np.argwhere(windows.labels)[::3].T)] = -1
    weights = (windows.labels > 0) * 1.0 if windows.weights is None else windows.weights
    return replace(windows, weights=weights * signs)


def next_item_rows(windows):
    """`(history so far, next item)` of every labelled position, by a loop over the windows."""
    rows = []
    for history, labels in zip(windows.history, windows.labels):
        for position, label in enumerate(labels):
            if label:
                rows.append(([item for item in history[: position + 1] if item], int(label)))
    return rows
