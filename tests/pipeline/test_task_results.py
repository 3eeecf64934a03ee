"""Metrics of test rows over runs: by hand, in pairs, and with rows that each seed draws."""

import numpy as np
import pytest

from tfrs_distill.evaluation.metrics import bootstrap_interval, paired_difference
from tfrs_distill.pipeline.report.task_results import TaskResults, difference_over_runs, over_runs

USERS = np.repeat(np.arange(30), 4)


def of_ratings(seed, drawn_by=None):
    random = np.random.default_rng(seed)
    labels = random.integers(1, 6, len(USERS)).astype(float)
    models = {
        "student": labels + random.normal(0.0, 0.5, len(USERS)),
        "twin": labels + random.normal(0.0, 1.0, len(USERS)),
    }
    return TaskResults("rmse", USERS, models, labels, drawn_by)


def with_labels_of(one, seed):
    other = of_ratings(seed)
    models = {name: values - other.labels + one.labels for name, values in other.models.items()}
    return TaskResults("rmse", USERS, models, one.labels)


def test_a_metric_and_weights_as_repeated_rows():
    task = of_ratings(0)
    errors = task.models["student"] - task.labels
    assert task.figure("student") == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-12)
    weights = np.random.default_rng(1).integers(0, 3, [2, len(USERS)]).astype(float)
    repeated = [np.repeat(errors, row.astype(int)) for row in weights]
    expected = [np.sqrt((one**2).mean()) for one in repeated]
    np.testing.assert_allclose(task.figure("student", "", weights), expected, rtol=1e-12)


def test_a_binary_task_has_auc_and_gauc_of_its_rows():
    users, labels = np.array([1, 1, 1, 2, 2]), np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    task = TaskResults("auc", users, {"student": np.array([0.9, 0.1, 0.95, 0.2, 0.3])}, labels)
    # Pairs of a positive and a negative: 0.9 beats 0.1, 0.3; 0.2 beats 0.1. Within users 1 of 2 and
    # 0 of 1.
    assert task.figure("student") == pytest.approx(3 / 6)
    weight_of_users = (3 * (1 / 2) + 2 * 0.0) / 5
    assert task.figure("student", "gauc") == pytest.approx(weight_of_users)


def test_one_run_of_rows_has_the_interval_of_resampled_users():
    task = of_ratings(0)
    squares = ((task.models["student"] - task.labels) ** 2).reshape(30, 4).sum(axis=1)
    drawn = np.random.default_rng(5).integers(0, 30, [20000, 30])
    expected = np.percentile(np.sqrt(squares[drawn].sum(axis=1) / 120), [2.5, 97.5])
    found = over_runs([task], "student")
    np.testing.assert_allclose(found["interval"], expected, atol=0.006)  # of 1000 resamples
    assert found["by_seed"] == [found["value"]]


def test_over_runs_of_rows_the_interval_includes_the_seeds():
    first = of_ratings(0)
    runs = [first, with_labels_of(first, 1), with_labels_of(first, 2)]
    worse = TaskResults("rmse", USERS, {"student": first.labels + 3.0}, first.labels)
    narrow, wide = over_runs(runs, "student"), over_runs([first, worse], "student")
    assert narrow["value"] == pytest.approx(np.mean([run.figure("student") for run in runs]))
    assert wide["interval"][0] < 0.6 and wide["interval"][1] == pytest.approx(3.0)


def test_a_difference_of_rows_is_paired_in_users_and_in_runs():
    first = of_ratings(0)
    runs = [first, with_labels_of(first, 1)]
    same = difference_over_runs(runs, "student", runs, "student")
    assert same == {"difference": 0.0, "interval": [0.0, 0.0]}
    found = difference_over_runs(runs, "student", runs, "twin")
    by_run = [run.figure("student") - run.figure("twin") for run in runs]
    assert found["difference"] == pytest.approx(np.mean(by_run), rel=1e-12)
    assert found["interval"][0] < np.mean(by_run) < found["interval"][1] < 0


def test_a_difference_over_runs_includes_the_variation_of_seeds():
    labels = of_ratings(0).labels

    def off_by(student, twin):
        return TaskResults("rmse", USERS, {"a": labels + student, "b": labels + twin}, labels)

    runs = [off_by(0.1, 0.2), off_by(0.1, 0.5)]  # the same for all users, not in both runs
    found = difference_over_runs(runs, "a", runs, "b")
    assert found["interval"] == pytest.approx([-0.4, -0.1])
    assert found["difference"] == pytest.approx(-0.25)
    of_one = difference_over_runs(runs[:1], "a", runs, "b")  # not pairs of runs
    assert of_one["interval"] == pytest.approx([-0.25, -0.25])


def test_queries_are_compared_as_in_a_run():
    random = np.random.default_rng(0)
    runs = [
        TaskResults("ndcg@10", np.arange(50), {name: random.random(50) for name in ("a", "b")})
        for _ in range(3)
    ]
    values = {name: np.stack([run.models[name] for run in runs]) for name in ("a", "b")}
    found = over_runs(runs, "a")
    assert found["interval"] == list(bootstrap_interval(values["a"]))
    assert found["value"] == pytest.approx(values["a"].mean())
    expected = paired_difference(values["a"], values["b"])
    assert difference_over_runs(runs, "a", runs, "b") == expected


def test_several_rows_of_a_user_are_resampled_together():
    task = TaskResults("ndcg@10", np.repeat([1, 2], 50), {"a": np.repeat([0.0, 1.0], 50)})
    assert over_runs([task], "a")["interval"] == [0.0, 1.0]  # one of the users twice


def test_rows_that_each_seed_draws_are_resampled_for_each_run():
    def runs_of(values, *drawn_by):
        return [
            TaskResults("ndcg@10", np.arange(400), {"a": values}, drawn_by=seed)
            for seed in drawn_by
        ]

    ratios = []
    for seed in range(8):
        values = np.random.default_rng(seed).random(400)
        ends = [over_runs(runs_of(values, *seeds), "a") for seeds in ((None, None), (0, 1))]
        (low, high), (of_drawn_low, of_drawn_high) = (found["interval"] for found in ends)
        ratios.append((of_drawn_high - of_drawn_low) / (high - low))
    # The mean of two independent runs has half of a run's variance, and a resample of two runs is
    # one of them twice in half of the cases: 3/4 of it together. A width varies by some 5 %.
    assert np.mean(ratios) == pytest.approx(np.sqrt(0.75), abs=0.05)
    same, drawn = runs_of(values, None, None), runs_of(values, 0, 1)
    assert not drawn[0].has_rows_of(drawn[1]) and same[0].has_rows_of(same[1])
    assert "p" in difference_over_runs(same, "a", same, "a")
    assert "p" not in difference_over_runs(drawn, "a", drawn, "a")


def test_other_labels_or_users_are_other_rows():
    first = of_ratings(0)
    assert first.has_rows_of(with_labels_of(first, 3))
    assert not first.has_rows_of(of_ratings(1))
    assert not first.has_rows_of(TaskResults("rmse", USERS + 1, first.models, first.labels))
