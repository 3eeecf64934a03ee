"""The peers of `benchmarks/peers.py` that are implemented here, and its processes' data."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tfrs_distill.data import Catalogue, Windows
from tfrs_distill.data.splits import windows_of

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FILMS = Catalogue(*(tuple("abcde"),) * 3)
SEQUENCES = [np.array([1, 2, 3], np.int32), np.array([2, 3, 4, 1, 5], np.int32)]


@pytest.fixture
def benchmarks(monkeypatch):
    """Makes the scripts importable, and removes them again."""
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name in ("peers", "session_peers", "exchange", "rows"):
            del sys.modules[name]


def train(max_history: int = 2) -> Windows:
    return windows_of(SEQUENCES, np.array([4, 9], np.int32), FILMS, max_history=max_history)


@pytest.mark.parametrize("max_history", [2, 3, 50])
def test_sequences_are_restored_from_their_windows(benchmarks, max_history):
    from session_peers import training_sequences

    found = training_sequences(train(max_history))
    assert list(found) == [4, 9]
    for sequence, items in zip(SEQUENCES, found.values()):
        np.testing.assert_array_equal(items, sequence)


def test_sequential_rules_equal_those_counted_by_hand(benchmarks):
    from session_peers import SequentialRules

    scorer = SequentialRules(train(), window=2, decay=2.0, normalisation=0.0)
    # 2 -> 3 twice, next to each other; 2 -> 4 once and 1 -> 3 once, with one item between.
    assert scorer.rules[2, [1, 3, 4, 5]].tolist() == [0.0, 2.0, 0.5, 0.0]
    assert scorer.rules[1].tolist() == [0.0, 0.0, 1.0, 0.5, 0.0, 1.0]
    shares = SequentialRules(train(), window=2, decay=2.0, normalisation=1.0)
    np.testing.assert_allclose(shares.rules[2], scorer.rules[2] / 3)  # 2 items and 1 for safety
    # After 1, 2 the latter has weight 1, the former exp(-1 / 2): 3 gets 2 + .5 e, 4 .5, 5 1 e.
    scores, items = scorer([np.array([1, 2])], 3)
    assert items.tolist() == [[3, 5, 4]]
    e = np.exp(-0.5)
    np.testing.assert_allclose(scores[0], [2 + 0.5 * e, e, 0.5], rtol=1e-6)


def test_the_nearest_sessions_provide_the_items(benchmarks):
    from session_peers import VSKNN

    # After 4, 3: the first session shares 3, sqrt(3) long; the second both, sqrt(5) long.
    first, second = 1 / np.sqrt(3), (1 + np.exp(-1 / 4)) / np.sqrt(5)
    scores, items = VSKNN(train(), neighbours=2, decay=4.0)([np.array([4, 3])], 3)
    assert items.tolist() == [[1, 2, 5]]
    np.testing.assert_allclose(scores[0], [first + second, first + second, second], rtol=1e-6)
    scores, items = VSKNN(train(), neighbours=1, decay=4.0)([np.array([4, 3])], 3)
    np.testing.assert_allclose(scores[0], [second] * 3, rtol=1e-6)  # only the nearest is left
    rare = VSKNN(train(), neighbours=2, decay=4.0, rarity=1.0)
    np.testing.assert_allclose(rare.rarity[[1, 4]], np.log([2.0, 3.0]), rtol=1e-6)


def test_every_peer_gets_as_many_different_trials_and_its_default_settings_first(benchmarks):
    from peers import ENVIRONMENTS, PEERS, folder_name

    for name, peer in PEERS.items():
        size = int(np.prod([len(values) for values in peer.space.values()]))
        trials = peer.trials(9)
        assert len(trials) == min(9, size), name
        assert len({json.dumps(settings) for settings in trials}) == len(trials)
        assert trials[0] == {key: values[0] for key, values in peer.space.items()}
        assert trials[:4] == peer.trials(4)  # more trials keep the existing ones
        assert (peer.make is None) == bool(peer.script)
        assert not peer.script or (BENCHMARKS / "peers" / peer.script).is_file()
        assert not peer.environment or peer.environment in ENVIRONMENTS
    assert len({folder_name(name) for name in PEERS}) == len(PEERS)


def test_a_process_gets_histories_without_positives_and_its_lists_exclude_the_history(
    benchmarks, tmp_path
):
    from exchange import Queries, Request, history_weights
    from peers import exchanged

    from tfrs_distill.data.splits import Queries as SplitQueries
    from tfrs_distill.data.splits import Splits

    users = np.array([9, 7], np.int32)  # 7 is in no training row
    histories = tuple(np.array(items, np.int32) for items in ([2, 3, 4, 1, 5], [3]))
    queries = SplitQueries(FILMS, users, histories, (np.array([1]), np.array([2])))
    arrays = exchanged(Splits("planted", FILMS, train(), queries, queries))
    assert not any("positive" in name for name in arrays)
    assert arrays["validation_users"].tolist() == [1, -1]
    assert arrays["test_histories"].tolist() == [[2, 3, 4, 1, 5], [0, 0, 0, 0, 3]]
    np.savez(tmp_path / "data.npz", **arrays)

    request = object.__new__(Request)
    request.model, request._k, request.exclude_seen = "planted", 3, bool(arrays["exclude_seen"])
    scores = np.array([[9.0, 5, 4, 3, 2, 1], [9.0, 1, 1, 9, 4, 1]])
    requested = Queries(arrays["test_users"], list(histories))
    best = request._best(lambda users, histories: scores, requested)
    assert best.tolist() == [[0, 0, 0], [4, 1, 2]]  # all seen; equal scores in catalogue order
    request.exclude_seen = False
    best = request._best(lambda users, histories: scores, requested)
    assert best.tolist() == [[1, 2, 3], [3, 4, 1]]
    weights = history_weights([histories[1], np.array([2, 5])], 5, 2.0)
    np.testing.assert_allclose(weights[1], [0, 0, np.exp(-0.5), 0, 0, 1], rtol=1e-6)
    assert history_weights([np.array([2, 5])], 5, None).tolist() == [[0, 0, 1, 0, 0, 1]]


def test_a_reworded_script_is_the_same_and_a_changed_one_is_not(benchmarks, tmp_path):
    from peers import code_sha256

    def sha_of(code: str) -> str:
        script = tmp_path / "script.py"
        script.write_text(code, encoding="utf-8")
        return code_sha256(script)

    first = sha_of('"""One."""\n\ndef f(x):\n    """Two."""\n    return x + 1  # three\n')
    assert sha_of('"""A."""\ndef f(x):\n    """B."""\n\n    return x + 1\n') == first
    assert sha_of('"""One."""\ndef f(x):\n    """Two."""\n    return x + 2\n') != first
