"""`tfrs-distill evaluate`: every kind of model on the same queries, and errors."""

import json
import re
import shutil

import numpy as np
import pytest
from planted_student import PlantedStudent, catalogue_of
from scipy.stats import spearmanr

from tfrs_distill.cli import main
from tfrs_distill.data.splits import split_by_time
from tfrs_distill.evaluation import evaluate, metrics, whole_catalogue
from tfrs_distill.export import export_artefact
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.evaluate_scorers import evaluate_scorers
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.source import read_data

DATA = read_data(Recipe.named("synthetic"))
QUERIES, TRAIN = DATA.splits.test, DATA.splits.train
NUM_ITEMS = DATA.catalogue.num_items
SCORES = np.random.default_rng(0).normal(size=(len(QUERIES), NUM_ITEMS)).astype(np.float32)
MODELS = '''
import numpy as np
import tensorflow as tf

import tfrs_distill as td
from tfrs_distill.teachers import FunctionTeacher


def first_items(train, seed):
    """A teacher that likes every item less than the one before it."""
    def logits(batch, candidate_ids):
        rows = tf.math.count_nonzero(batch["labels"], dtype=tf.int32)
        return tf.tile(-tf.cast(candidate_ids, tf.float32)[None] / 10, [rows, 1])

    return FunctionTeacher(logits)


def most_met(train, seed):
    return td.popularity(train)


def last_items(train, seed):
    """A scorer of the items with the highest numbers that are not in the history."""
    assert train.labels.any() and seed == 0

    def scorer(histories, k):
        item_ids = [
            [item for item in range(train.catalogue.num_items, 0, -1) if item not in history][:k]
            for history in map(set, histories)
        ]
        return -np.ones((len(histories), k)), np.array(item_ids)

    return scorer


def by_chance(train, seed):
    """A scorer of an order that NumPy's own seed decides."""
    order = np.random.permutation(train.catalogue.num_items) + 1

    def scorer(histories, k):
        item_ids = [
            [item for item in order if item not in history][:k] for history in map(set, histories)
        ]
        return -np.ones((len(histories), k)), np.array(item_ids)

    return scorer


def seen_too(train, seed):
    def scorer(histories, k):
        return np.zeros((len(histories), k)), np.stack([np.resize(h, k) for h in histories])

    return scorer


def raises(train, seed):
    raise KeyError("weights")


def raises_later(train, seed):
    def scorer(histories, k):
        raise RuntimeError("no GPU")
    return scorer


def short_lists(train, seed):
    return lambda histories, k: (np.zeros((len(histories), 2)), np.ones((len(histories), 2), int))


def no_items(train, seed):
    return lambda histories, k: (np.zeros((len(histories), k)), np.full((len(histories), k), 999))


def fractions(train, seed):
    return lambda histories, k: (np.zeros((len(histories), k)), np.full((len(histories), k), 1.5))


def a_number(train, seed):
    return 3


not_a_function = 3
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The artefact of a planted student, the same scores as arrays, and a Python file."""
    folder = tmp_path_factory.mktemp("scorers")
    export_artefact(PlantedStudent(NUM_ITEMS), folder / "1", DATA.catalogue, k=20)
    export_artefact(PlantedStudent(30), folder / "small", catalogue_of(30), k=20)
    (folder / "bare").mkdir()
    shutil.copy(folder / "1" / "saved_model.pb", folder / "bare")
    shutil.copytree(folder / "1" / "variables", folder / "bare" / "variables")
    np.save(folder / "scores.npy", SCORES)
    np.savez(
        folder / "scores.npz",
        query_ids=np.array([DATA.interactions.user_ids[user] for user in QUERIES.users]),
        item_ids=np.array(DATA.catalogue.item_ids[::-1]),
        scores=SCORES[:, ::-1],
    )
    (folder / "models.py").write_text(MODELS)
    return folder


def figures_of(capsys, folder, *scorers, options=()):
    """The JSON of the command."""
    paths = [str(folder / scorer) for scorer in scorers]
    assert main(["evaluate", *paths, "--recipe", "synthetic", "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["models"]) == paths
    return found, paths


def test_every_kind_of_scorer_has_the_results_of_evaluate(folder, capsys):
    kinds = ("scores.npy", "scores.npz", "models.py:last_items", "models.py:first_items")
    found, paths = figures_of(capsys, folder, *kinds, options=["-k", "5", "10"])
    order = np.tile(np.arange(NUM_ITEMS, dtype=np.float32), (len(QUERIES), 1))
    expected = [SCORES, SCORES, order, -order]
    for path, scores in zip(paths, expected):
        for k in (5, 10):
            whole = evaluate(scores, QUERIES, k=k).figures()
            figures = found["models"][path]["figures"]
            assert {key: figures[key] for key in whole} == whole
    assert (found["split"], found["k"], found["queries"]) == ("test", [5, 10], len(QUERIES))


def test_a_functions_random_draws_do_not_depend_on_earlier_models(folder, capsys):
    alone, (path,) = figures_of(capsys, folder, "models.py:by_chance")
    behind, _ = figures_of(capsys, folder, "models.py:most_met", "models.py:by_chance")
    assert behind["models"][path]["figures"] == alone["models"][path]["figures"]


def test_an_artefact_in_every_form_recommends_the_same(folder, capsys):
    forms = ("1", "1/student.tflite", "1/saved_model.pb", "bare")
    found, paths = figures_of(capsys, folder, *forms)
    ndcg = [found["models"][path]["figures"]["ndcg@10"] for path in paths]
    assert ndcg == pytest.approx([ndcg[0]] * 4, rel=1e-9)
    assert [found["models"][path]["overlap@10"] for path in paths] == [1.0] * 4
    assert found["models"][paths[3]]["rank_correlation"] == pytest.approx(1.0)
    assert found["models"][paths[0]]["calibration"] is None  # lists of 20, not scores of all


def test_of_many_queries_the_same_sample_is_fully_ranked(folder, capsys, monkeypatch):
    monkeypatch.setattr(whole_catalogue, "WHOLE_RANKINGS", 7)
    found, (array, teacher) = figures_of(capsys, folder, "scores.npy", "scores.npz")
    result = found["models"][array]["calibration"]
    assert result == found["models"][teacher]["calibration"]
    assert found["models"][teacher]["rank_correlation"] == pytest.approx(1.0)
    rows = np.linspace(0, len(QUERIES) - 1, 7).round().astype(int)
    log_p = SCORES - np.log(np.exp(SCORES.astype(float)).sum(1, keepdims=True))
    nll = -np.mean([log_p[row, QUERIES.positives[row][0] - 1] for row in rows])
    assert result["negative_log_likelihood"] == pytest.approx(nll, rel=1e-6)


def users_who_met(item):
    interacted = (TRAIN.history == item).any(axis=1) | (TRAIN.labels == item).any(axis=1)
    return len(np.unique(TRAIN.users[interacted]))


def test_models_are_compared_with_the_first(folder, capsys):
    found, (first, second) = figures_of(capsys, folder, "scores.npy", "models.py:most_met")
    ours = evaluate(SCORES, QUERIES)
    counts = np.array([users_who_met(item) for item in range(1, NUM_ITEMS + 1)], np.float32)
    theirs = evaluate(np.tile(counts, (len(QUERIES), 1)), QUERIES)
    expected = metrics.paired_difference(theirs.ndcg, ours.ndcg)
    assert found["comparisons"][second] == expected
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(ours.item_ids, theirs.item_ids)]
    assert found["models"][second]["overlap@10"] == pytest.approx(np.mean(shared))
    left = [np.setdiff1d(np.arange(1, NUM_ITEMS + 1), history) for history in QUERIES.histories]
    rhos = [
        spearmanr(SCORES[row, items - 1], counts[items - 1])[0] for row, items in enumerate(left)
    ]
    assert found["models"][second]["rank_correlation"] == pytest.approx(np.mean(rhos), abs=1e-5)
    log_p = SCORES - np.log(np.exp(SCORES.astype(float)).sum(1, keepdims=True))
    next_items = [positives[0] for positives in QUERIES.positives]
    nll = -log_p[np.arange(len(QUERIES)), np.array(next_items) - 1].mean()
    result = found["models"][first]["calibration"]
    assert result["negative_log_likelihood"] == pytest.approx(nll, rel=1e-6)
    lists, (_, listed) = figures_of(capsys, folder, "scores.npy", "models.py:last_items")
    rhos = [spearmanr(SCORES[row, items - 1], items)[0] for row, items in enumerate(left)]
    result = lists["models"][listed]
    assert result["rank_correlation"] == pytest.approx(np.mean(rhos), abs=1e-5)
    assert result["calibration"] is None
    (pair,) = found["segments"]["comparisons"]
    assert pair["models"] == [second, first]
    assert pair["segments"]["all"] == expected


def test_diversity_uses_the_given_vectors(folder, capsys):
    vectors = np.random.default_rng(1).normal(size=(NUM_ITEMS, 3))
    np.save(folder / "vectors.npy", vectors)
    options = ["--item-vectors", str(folder / "vectors.npy"), "--split", "validation"]
    np.save(folder / "validation.npy", SCORES[: len(DATA.splits.validation)])
    found, (path,) = figures_of(capsys, folder, "validation.npy", options=options)
    ours = evaluate(SCORES[: len(DATA.splits.validation)], DATA.splits.validation)
    expected = metrics.intra_list_diversity(ours.item_ids, vectors).mean()
    assert found["models"][path]["figures"]["diversity@10"] == pytest.approx(expected)
    assert found["split"] == "validation" and found["comparisons"] == {}


def test_groups_of_users_are_compared(folder):
    splits = split_by_time(DATA.interactions)
    groups = {"gender": ["F" if user % 2 else "M" for user in range(200)]}
    data = RetrievalData(DATA.interactions, splits, user_groups=groups)
    path = str(folder / "scores.npy")
    found = evaluate_scorers([path], data, num_samples=200)["segments"]
    ndcg = evaluate(SCORES, splits.test).ndcg
    women, men = (ndcg[splits.test.users % 2 == odd] for odd in (1, 0))
    result = found["models"][path]["gender: F"]
    assert result["value"] == pytest.approx(women.mean())
    assert result["against_others"]["difference"] == pytest.approx(women.mean() - men.mean())
    assert found["segments"]["gender: M"] == {
        "what": "users whose gender is M",
        "queries": len(men),
        "attribute": "gender",
    }


def test_the_data_of_a_runs_folder(folder, capsys, tmp_path):
    run = tmp_path / "planted"
    (run / "stages" / "data").mkdir(parents=True)
    DATA.save(run / "stages" / "data")
    (run / "stages" / "data" / "done.json").touch()
    (run / "recipe.toml").write_text(Recipe.named("synthetic").to_toml())
    scores = str(folder / "scores.npy")
    assert main(["evaluate", scores, "--run", str(run), "--json"]) == 0
    of_run = json.loads(capsys.readouterr().out)
    assert of_run == figures_of(capsys, folder, "scores.npy")[0]


def test_tables_can_be_the_data_and_are_read_as_by_run(folder, capsys, tmp_path):
    rows = [(user, item, 10 * item + user) for user in range(12) for item in range(10)]
    shop = tmp_path / "shop.csv"
    shop.write_text("user,item,time\n" + "".join(f"C{u},SKU-{i},{t}\n" for u, i, t in rows))
    scores = tmp_path / "scores.npy"
    np.save(scores, np.zeros((12, 10)))
    command = ["evaluate", str(scores), "--interactions", str(shop), "-k", "2"]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "shop, test: 12 queries. Only 12 queries: bootstrap intervals" in output


def test_tables_of_models_differences_and_segments_are_printed(folder, capsys):
    command = ["evaluate", str(folder / "scores.npy"), str(folder / "models.py:last_items")]
    assert main([*command, "--recipe", "synthetic", "-k", "10", "5"]) == 0
    output = " ".join(re.sub(r"[─]+", "", capsys.readouterr().out).split())
    ours = evaluate(SCORES, QUERIES)
    for k in (10, 5):
        assert f"First {k} NDCG 95 % interval Recall MRR Hit rate MAP" in output
        figures = ours.at(k).figures()
        low, high = figures[f"ndcg@{k}_interval"]
        assert f"scores.npy {figures[f'ndcg@{k}']:.4f} {low:.4f} to {high:.4f}" in output
    assert "NDCG@10 minus" in output and "p Queries better Queries worse" in output
    assert "Segment Queries" in output and "better / worse" in output
    assert re.search(r"all 200 0\.\d+ \(0\.\d+ to 0\.\d+\)", output)


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        ("nothing", "There is no .*nothing. A scorer is an artefact's folder"),
        ("models.py", "needs the name of a function"),
        ("gone.py:scorer", "There is no file .*gone.py"),
        ("models.py:gone", "models.py has no function 'gone'"),
        ("models.py:not_a_function", "has no function 'not_a_function'"),
        ("models.py:raises", "models.py:raises fails: KeyError: 'weights'"),
        ("models.py:raises_later", "models.py:raises_later fails: RuntimeError: no GPU"),
        ("models.py:short_lists", r"item ids of shape \(200, 10\).*Received: shape \(200, 2\)"),
        ("models.py:no_items", "item indices from 1 to 60, 0 in empty slots. Received: 999 to 999"),
        ("models.py:fractions", "as whole numbers. Received: float64"),
        ("models.py:seen_too", "recommends the item .* whose history holds it"),
        ("models.py:a_number", "must return a scorer.*Received: int"),
        ("few.npy", r"scores of shape \[200, 60\].*Received: float32 of shape \[3, 60\]"),
        ("torn.npy", "torn.npy cannot be read as an array of numbers"),
        ("torn.npz", "torn.npz cannot be read"),
        ("others.npz", "1 of 2 queries are not among the 200 users of the data"),
        ("some.npz", "some.npz lacks 199 of the 200 users of the split, first: 'u"),
        ("nan.npy", "The scores of query 3, of user .*hold NaN"),
        ("small", "small is of another catalogue: it has 30 items, .*the data has 60 items"),
        ("seen", "was exported with exclude_seen=False, but the data has exclude_seen=True"),
        ("tower", "tower is a SavedModel, but not one that recommends"),
        ("words.txt", "words.txt is not a scorer"),
        ("empty", "empty is not an artefact: it has no provenance.json"),
    ],
)
def test_an_invalid_scorer_is_one_clear_error(folder, capsys, scorer, words):
    import tensorflow as tf

    if scorer == "tower" and not (folder / "tower").exists():
        module = tf.Module()
        module.f = tf.function(lambda x: x + 1.0, input_signature=[tf.TensorSpec([None])])
        tf.saved_model.save(module, str(folder / "tower"), {"serving_default": module.f})
    if scorer == "seen" and not (folder / "seen").exists():
        from dataclasses import replace

        seen = replace(DATA.catalogue, exclude_seen=False)
        export_artefact(PlantedStudent(NUM_ITEMS), folder / "seen", seen, k=20)
    np.save(folder / "few.npy", SCORES[:3])
    (folder / "torn.npy").write_bytes((folder / "scores.npy").read_bytes()[:100])
    (folder / "torn.npz").write_bytes((folder / "scores.npz").read_bytes()[:100])
    ids = {"item_ids": np.array(DATA.catalogue.item_ids)}
    user = DATA.interactions.user_ids[0]
    np.savez(folder / "others.npz", query_ids=["nobody", user], scores=SCORES[:2], **ids)
    np.savez(folder / "some.npz", query_ids=[user], scores=SCORES[:1], **ids)
    with_nan = SCORES.copy()
    with_nan[3, 5] = np.nan
    np.save(folder / "nan.npy", with_nan)
    (folder / "words.txt").write_text("words")
    (folder / "empty").mkdir(exist_ok=True)
    assert main(["evaluate", str(folder / scorer), "--recipe", "synthetic"]) == 2
    output = capsys.readouterr().err
    assert re.search(words, output) and output.startswith("error: ") and output.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-k", "0"], "`k` must be different lengths of lists, from 1 to 60"),
        (["-k", "61"], "`k` must be different lengths of lists, from 1 to 60"),
        (["-k", "5", "5"], "`k` must be different lengths"),
        (["--recipe", "ranking"], 'a recipe whose `task` is "ranking"'),
        (
            ["--recipe", "movielens-100k", "--run", "nowhere"],
            "nowhere is not the folder of a finished",
        ),
        (["--run", "nowhere"], "--run determines the data"),
        (
            ["--recipe", "movielens-100k", "--run", "nowhere", "--disliked-below", "3"],
            "--run determines the data",
        ),
        (["--items", "a.csv"], "--items describes --interactions, which is missing."),
        (["--item-vectors", "gone.npy"], "gone.npy must be a .npy file of finite vectors, float"),
    ],
)
def test_invalid_options_are_one_clear_error(folder, capsys, options, words):
    assert main(["evaluate", str(folder / "scores.npy"), "--recipe", "synthetic", *options]) == 2
    output = capsys.readouterr().err
    assert words in output and output.startswith("error: ") and output.count("\n") == 1


def test_a_model_that_is_given_twice_or_has_too_short_lists_is_refused(folder, capsys):
    scores, artefact = str(folder / "scores.npy"), str(folder / "1")
    assert main(["evaluate", scores, scores, "--recipe", "synthetic"]) == 2
    assert "is named twice" in capsys.readouterr().err
    assert main(["evaluate", artefact, "--recipe", "synthetic", "-k", "21"]) == 2
    assert "returns at most 20 items" in capsys.readouterr().err
