"""The complete report: every value against its definition, for every kind of teacher."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.splits import split_by_time
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate, metrics
from tfrs_distill.evaluation.calibration_error import calibration
from tfrs_distill.evaluation.retrieval import ModelScorer, TeacherScorer
from tfrs_distill.evaluation.segments import segments
from tfrs_distill.evaluation.teacher_report import compare_teachers
from tfrs_distill.evaluation.top_k import top_k_unseen
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.teachers.arrays.array_teacher import ArrayTeacher

K = 5


@pytest.fixture(scope="module")
def splits():
    """Planted data whose validation has histories of 3 to 7 items and 3 positives each."""
    planted = synthetic(num_users=40, num_items=30, num_blocks=2, seed=0)
    splits = split_by_time(planted, max_history=8)
    histories = tuple(h[-(3 + row % 5) :] for row, h in enumerate(splits.validation.histories))
    positives = tuple(map(np.append, splits.validation.positives, splits.test.positives))
    validation = replace(splits.validation, histories=histories, positives=positives)
    return replace(splits, validation=validation)


def model_of(splits, seed):
    model = RetrievalStudent.from_history(
        num_items=splits.catalogue.num_items, max_history=8, embedding_dim=4, seed=seed
    )
    random = np.random.default_rng(seed)
    model.query_tower.set_weights(
        [random.normal(size=w.shape) for w in model.query_tower.get_weights()]
    )
    return model


class Oracle:
    """Predicts each user's next items exactly, and has no item encoder."""

    def __init__(self, queries):
        self.scores = np.zeros((queries.users.max() + 1, queries.catalogue.num_items), np.float32)
        for user, positives in zip(queries.users, queries.positives):
            self.scores[user, positives - 1] = 9.0

    def logits(self, batch, candidate_ids):
        rows = tf.gather(self.scores, batch[columns.USER_ID])
        return tf.gather(rows, candidate_ids - 1, axis=1)


@pytest.fixture(scope="module")
def result(splits):
    queries = splits.validation
    catalogue = splits.catalogue
    random = np.random.default_rng(0)
    array = ArrayTeacher.from_scores(
        queries.users, random.normal(size=(len(queries), catalogue.num_items))
    )
    first_items = np.tile(np.arange(catalogue.num_items, -1, -1.0), (len(queries), 1))

    def scorer(histories, k):
        return top_k_unseen(first_items[: len(histories)], histories, k)

    models = {
        "towers": model_of(splits, 1),
        "oracle": Oracle(queries),
        "array": array,
        "scorer": scorer,
    }
    twin = model_of(splits, 2)
    report = compare_teachers(models, splits, twin=twin, k=K, num_samples=200, seed=3)
    scorers = {
        "towers": ModelScorer(models["towers"]),
        "oracle": TeacherScorer(models["oracle"], queries, max_history=8),
        "array": TeacherScorer(array, queries, max_history=8),
        "scorer": scorer,
        "twin": ModelScorer(twin),
    }
    return report, scorers, models


def test_it_is_plain_json_and_contains_its_settings(result, splits):
    report = result[0]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["k"], report["seed"], report["bootstrap_samples"]) == (K, 3, 200)
    assert report["queries"] == len(splits.validation)
    assert list(report["models"]) == ["towers", "oracle", "array", "scorer", "twin"]
    assert list(report["segments"]) == ["all", "head", "middle", "tail", "short", "long"]


def test_quality_by_segment_is_that_of_the_same_lists(result, splits):
    report, scorers, _ = result
    for part in segments(splits.train, splits.validation):
        assert report["segments"][part.name] == {"what": part.what, "queries": len(part.rows)}
        for name, scorer in scorers.items():
            items = evaluate(scorer, splits.validation, k=K).item_ids
            figures = report["models"][name]["quality"][part.name]
            if not len(part.rows):
                assert figures["ndcg@5"] is None and figures["ndcg@5_interval"] is None
                continue
            ndcg = metrics.ndcg(items[part.rows], part.positives)
            assert figures["ndcg@5"] == pytest.approx(ndcg.mean())
            low, high = metrics.bootstrap_interval(ndcg, num_samples=200, seed=3)
            assert figures["ndcg@5_interval"] == pytest.approx([low, high])
            recall = metrics.recall(items[part.rows], part.positives)
            assert figures["recall@5"] == pytest.approx(recall.mean())
            assert figures["recall@5_interval"] == pytest.approx(
                metrics.bootstrap_interval(recall, num_samples=200, seed=3)
            )


def test_every_teacher_is_paired_with_the_twin_by_query(result, splits):
    report, scorers, _ = result
    twin = evaluate(scorers["twin"], splits.validation, k=K).ndcg
    for name in ("towers", "oracle", "array", "scorer"):
        difference = evaluate(scorers[name], splits.validation, k=K).ndcg - twin
        against = report["models"][name]["quality"]["all"]["vs_twin"]
        assert against["difference"] == pytest.approx(difference.mean())
        assert against["interval"] == pytest.approx(
            metrics.bootstrap_interval(difference, num_samples=200, seed=3)
        )
        long = report["models"][name]["quality"]["long"]
        of_twin = report["models"]["twin"]["quality"]["long"]["ndcg@5"]
        assert long["vs_twin"]["difference"] == pytest.approx(long["ndcg@5"] - of_twin)
    assert "vs_twin" not in report["models"]["twin"]["quality"]["all"]


def test_a_perfect_model_is_best_everywhere(result):
    report = result[0]
    for segment, part in report["segments"].items():
        if not part["queries"]:
            continue
        figures = report["models"]["oracle"]["quality"][segment]
        if segment in ("all", "short", "long"):
            assert figures["ndcg@5"] == pytest.approx(1.0)
        for other in ("towers", "array", "scorer", "twin"):
            assert figures["ndcg@5"] > report["models"][other]["quality"][segment]["ndcg@5"]
    assert report["models"]["oracle"]["quality"]["all"]["vs_twin"]["interval"][0] > 0


def test_calibration_is_of_the_next_item_over_all_items(result, splits):
    report, scorers, _ = result
    next_items = np.array([positives[0] for positives in splits.validation.positives])
    for name in ("oracle", "array"):
        expected = calibration(scorers[name].logits()[:, 1:], next_items - 1)
        found = report["models"][name]["calibration"]
        assert found["temperature"] == pytest.approx(expected["temperature"])
        assert found["negative_log_likelihood"] == pytest.approx(
            expected["negative_log_likelihood"]
        )
        assert found["bins"] == [pytest.approx(told_bin) for told_bin in expected["bins"]]
    assert report["models"]["towers"]["calibration"]["negative_log_likelihood"] > 0
    assert report["models"]["scorer"]["calibration"] is None  # it has no probabilities


def test_agreement_names_every_model_and_is_symmetric(result, splits):
    report, scorers, _ = result
    agreement = report["agreement"]
    assert agreement["names"] == list(scorers)
    lists = {n: evaluate(s, splits.validation, k=K).item_ids for n, s in scorers.items()}
    for a, one in enumerate(scorers):
        for b, other in enumerate(scorers):
            shared = [
                len(set(x) & set(y)) / K for x, y in zip(lists[one].tolist(), lists[other].tolist())
            ]
            assert agreement["overlap@5"][a][b] == pytest.approx(np.mean(shared))
    correlation = np.array(agreement["rank_correlation"])
    np.testing.assert_allclose(correlation, correlation.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(correlation), 1.0, atol=1e-6)
    assert (np.abs(correlation - np.eye(5)) < 0.9).all()


def test_item_cost_only_for_teachers_with_an_item_encoder(result):
    report, _, _ = result
    costs = {name: figures["cost"] for name, figures in report["models"].items()}
    for name in ("oracle", "array", "scorer"):
        assert costs[name]["items_ms_per_1000"] is None
    assert all(figures["queries_ms_per_1000"] > 0 for figures in costs.values())
    # 60 s for 30 items are 2,000,000 ms for 1,000; the towers' own time is negligible.
    for name in ("towers", "twin"):
        assert 0 < costs[name]["items_ms_per_1000"] < 1e5


def test_of_many_queries_a_sample_is_fully_ranked_and_timed(result, splits, monkeypatch):
    from tfrs_distill.evaluation import whole_catalogue
    from tfrs_distill.evaluation.teacher_report import report as report_module

    monkeypatch.setattr(whole_catalogue, "WHOLE_RANKINGS", 3)
    monkeypatch.setattr(report_module, "TIMED", 2)
    _, scorers, models = result
    requested = []

    def scorer(histories, k):
        requested.append((tuple(map(len, histories)), k))
        return models["scorer"](histories, k)

    found = compare_teachers({"oracle": models["oracle"]}, splits, twin=scorer, k=K)
    lengths = [len(history) for history in splits.validation.histories]
    first, middle, last = lengths[0], lengths[20], lengths[39]  # 40 queries: 0, 19.5 and 39
    assert requested[0] == (tuple(lengths), K)
    assert requested[1:5] == [((first, last), K)] * 4
    assert requested[5:] == [((first, middle, last), 30)]
    expected = sum(
        told_bin["observed_items"] for told_bin in found["models"]["oracle"]["calibration"]["bins"]
    )
    assert expected == 3
    assert found["models"]["oracle"]["quality"]["all"]["ndcg@5"] == pytest.approx(1.0)
    assert found["queries"] == len(splits.validation)


def test_only_candidates_of_the_queries_are_ranked(result, splits):
    _, _, models = result
    requested = np.array([3, 7, 8, 21, 30], np.int32)
    queries = splits.validation
    rows = np.flatnonzero([np.isin(p, requested).any() for p in queries.positives])
    cold = replace(
        queries.subset(rows),
        positives=tuple(
            queries.positives[row][np.isin(queries.positives[row], requested)] for row in rows
        ),
        candidates=requested,
    )
    array, scorer = models["array"], models["scorer"]
    found = compare_teachers({"array": array}, replace(splits, validation=cold), twin=scorer, k=2)
    logits = TeacherScorer(array, cold, max_history=8).logits()[:, requested]
    labels = np.array([requested.tolist().index(p[0]) for p in cold.positives])
    told_of_array = found["models"]["array"]["calibration"]
    assert told_of_array["negative_log_likelihood"] == pytest.approx(
        calibration(logits, labels)["negative_log_likelihood"]
    )
    rhos = []
    for row, history in enumerate(cold.histories):
        left = np.setdiff1d(requested, history)
        ours = logits[row, np.searchsorted(requested, left)]
        ranks = np.argsort(np.argsort(ours))
        if len(left) > 1:
            rhos.append(np.corrcoef(ranks, -left.argsort())[0, 1])
    assert found["agreement"]["rank_correlation"][0][1] == pytest.approx(np.mean(rhos), abs=1e-6)


def test_invalid_input_is_refused(result, splits):
    _, _, models = result
    towers = models["towers"]
    with pytest.raises(ValueError, match=r"at least one teacher\. Received: none"):
        compare_teachers({}, splits, twin=towers)
    with pytest.raises(ValueError, match=r'"twin" is the name of the model without a teacher'):
        compare_teachers({"twin": towers}, splits, twin=towers)
    with pytest.raises(ValueError, match=r"Model 'odd' must have `logits.*Received: int"):
        compare_teachers({"odd": 3}, splits, twin=towers)
    with pytest.raises(ValueError, match=r"Model 'twin' must have"):
        compare_teachers({"towers": towers}, splits, twin=None)
    stranger = ArrayTeacher.from_scores(np.array([99]), np.zeros((1, 30)))
    with pytest.raises(InputError, match=r"no finite score .* for user"):
        compare_teachers({"stranger": stranger}, splits, twin=towers, k=K)


def test_progress_has_a_step_for_every_model(result, splits):
    _, _, models = result
    recorded = []

    class Bar:
        def bar(self, description, total):
            import contextlib

            recorded.append((description, total))
            return contextlib.nullcontext(lambda steps=1, note="": recorded.append(note))

    compare_teachers(
        {"scorer": models["scorer"]}, splits, twin=models["array"], k=K, progress=Bar()
    )
    assert recorded == [("teachers", 2), "scorer", "twin"]
