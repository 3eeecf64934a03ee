"""The metrics compared with those of ranx and RecTools, each in a separate environment."""

import json
import subprocess
from math import isnan

import numpy as np
import pytest
from tiny_data import tiny_catalogue, windows_from

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation import evaluate

NUM_ITEMS, NUM_QUERIES, K = 40, 60, 10
RANX = """
import json, sys
from ranx import Qrels, Run, evaluate

given = json.load(open(sys.argv[1]))
name = lambda row: f"q{row:04d}"
qrels = Qrels({name(q): {f"d{i}": 1 for i in items} for q, items in enumerate(given["positives"])})
run = Run({
    name(q): {f"d{i}": 1.0 - place / 100 for place, i in enumerate(items)}
    for q, items in enumerate(given["lists"])
})
metrics = {"ndcg": "ndcg", "recall": "recall", "mrr": "mrr", "hit_rate": "hit_rate",
           "map": "map", "precision": "precision"}
found = {
    f"{ours}@{k}": evaluate(qrels, run, f"{theirs}@{k}", return_mean=False).tolist()
    for ours, theirs in metrics.items() for k in (5, 10)
}
json.dump(found, open(sys.argv[2], "w"))
"""
RECTOOLS = """
import json, sys
import numpy as np, pandas as pd
from rectools import metrics
from rectools.metrics.distances import PairwiseHammingDistanceCalculator

given = json.load(open(sys.argv[1]))
def table(rows, column):
    cells = [(q, i, place) for q, items in enumerate(rows) for place, i in enumerate(items, 1)]
    return pd.DataFrame(cells, columns=["user_id", "item_id", column])

lists, met = table(given["lists"], "rank"), table(given["train"], "weight")
positives = table(given["positives"], "weight")
features = pd.DataFrame({"group": given["groups"]}, index=range(1, len(given["groups"]) + 1))
found = {}
for k in (5, 10):
    distance = PairwiseHammingDistanceCalculator(features)
    wanted = {
        "novelty": metrics.MeanInvUserFreq(k=k),
        "popularity": metrics.AvgRecPopularity(k=k),
        "diversity": metrics.IntraListDiversity(k=k, distance_calculator=distance),
        "ndcg": metrics.NDCG(k=k, divide_by_achievable=True),
        "coverage": metrics.CatalogCoverage(k=k, normalize=True),
    }
    of_k = metrics.calc_metrics(wanted, reco=lists, interactions=positives, prev_interactions=met,
                                catalog=list(range(1, given["num_items"] + 1)))
    found |= {f"{name}@{k}": value for name, value in of_k.items()}
json.dump(found, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="module")
def planted():
    """Lists, relevant items, users' training items, and a group for each item."""
    random = np.random.default_rng(0)

    def some(number):
        return (random.permutation(NUM_ITEMS)[:number] + 1).tolist()

    return {
        "num_items": NUM_ITEMS,
        "lists": [some(K) for _ in range(NUM_QUERIES)],
        "positives": [some(random.integers(1, 14)) for _ in range(NUM_QUERIES)],
        "train": [some(random.integers(2, 9)) for _ in range(NUM_QUERIES)],
        "groups": random.integers(0, 4, NUM_ITEMS).tolist(),
    }


def answer(python, script, planted, folder):
    (folder / "given.json").write_text(json.dumps(planted))
    command = [str(python), "-c", script, str(folder / "given.json"), str(folder / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


def evaluation(planted):
    lists = np.array(planted["lists"])
    nothing = (np.zeros(0, np.int32),) * NUM_QUERIES
    positives = tuple(np.array(items, np.int32) for items in planted["positives"])
    users = np.arange(NUM_QUERIES, dtype=np.int32)
    queries = Queries(tiny_catalogue(NUM_ITEMS), users, nothing, positives)
    return evaluate(lambda histories, k: (np.zeros(lists.shape), lists), queries, k=K)


@pytest.mark.nightly
def test_ranx_returns_the_same_for_every_query(peer_python, planted, tmp_path):
    found = answer(peer_python("ranx"), RANX, planted, tmp_path)
    assert len(found) == 12
    for key, values in found.items():
        metric, _, k = key.partition("@")
        ours = evaluation(planted).at(int(k)).values[metric]
        np.testing.assert_allclose(ours, values, rtol=0, atol=1e-9, err_msg=key)


@pytest.mark.nightly
def test_rectools_returns_the_same_beyond_accuracy(peer_python, planted, tmp_path):
    found = answer(peer_python("rectools"), RECTOOLS, planted, tmp_path)
    train = windows_from(planted["train"], num_items=NUM_ITEMS, max_history=12)
    # 1 - cosine is 1 if groups differ, like the Hamming distance
    vectors = np.eye(4)[planted["groups"]]
    for k in (5, 10):
        ours = evaluation(planted).at(k)
        result = ours.figures(num_samples=10) | ours.beyond_accuracy(train, vectors)
        for name in ("novelty", "popularity", "diversity", "ndcg", "coverage"):
            assert result[f"{name}@{k}"] == pytest.approx(found[f"{name}@{k}"], abs=1e-9), name
        assert isnan(result[f"popularity_lift@{k}"])  # no user has a history
