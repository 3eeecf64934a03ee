"""The untrained controls of `benchmarks/transfer.py`, against float64 NumPy and planted vectors."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfrs_distill.data import Catalogue
from tfrs_distill.data.splits import Queries

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILMS = Catalogue(*(tuple("abcdef"),) * 3)


@pytest.fixture
def transfer(monkeypatch):
    """The script; its imports are removed afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    import transfer

    yield transfer
    for name in set(sys.modules) - before:
        if (BENCHMARKS / f"{name}.py").exists():
            del sys.modules[name]


def test_an_average_is_the_cosine_with_the_history_the_latest_first(transfer):
    vectors = np.random.default_rng(0).normal(size=[6, 4])
    scorer = transfer.Average(vectors, decay=2.0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = unit @ (np.exp(-1 / 2) * unit[2] + unit[0])
    np.testing.assert_allclose(scorer._score_items([np.array([3, 1])])[0, 1:], expected, rtol=1e-5)


def test_vectors_are_centred_if_validation_is_better_with_it(transfer):
    # The common part, (9, 9), hides the groups from the cosine.
    output = np.array([[1, 0, -4], [1, 0, 0], [1, 0, 0], [0, 1, 4], [0, 1, 0], [0, 1, 0]], float)
    histories = tuple(np.array([item], np.int32) for item in (2, 2, 5, 6))
    positives = tuple(np.array([item], np.int32) for item in (3, 3, 4, 4))  # of the same group
    users = np.arange(4, dtype=np.int32)
    validation = Queries(FILMS, users, histories, positives, candidates=np.array([3, 4]))
    data = SimpleNamespace(splits=SimpleNamespace(validation=validation))
    best = transfer.best_average([np.ones([6, 2]), output + [9.0, 9.0, 0.0]], data, k=1)
    centred = output - [0.5, 0.5, 0.0]
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(best.vectors[1:], expected, atol=1e-6)
