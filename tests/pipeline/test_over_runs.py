"""Finished runs beside each other: means over seeds, paired differences, what is refused."""

import itertools
import json
import re

import numpy as np
import pytest

from tfrs_distill.cli import main
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.metrics import bootstrap_interval, permutation_p
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.report.over_runs import between_settings, over_seeds, read_settings
from tfrs_distill.pipeline.report.page import html_page

MODELS = ("teacher", "twin", "plain", "student", "student_tflite", "student_int8")
PAIRS = ("student_vs_twin", "student_vs_teacher", "student_vs_plain", "int8_vs_float32")
USERS = 40


def values_of(seed, lift=0.0):
    """NDCG by model, float [num_users], that differ from seed to seed."""
    random = np.random.default_rng(seed)
    better = {"teacher": 0.3, "student": 0.2 + lift, "student_tflite": 0.2, "student_int8": 0.19}
    return {name: random.random(USERS) / 2 + better.get(name, 0.0) for name in MODELS}


def write_run(folder, seed, *, lift=0.0, users=None, **settings):
    recipe = Recipe.named("movielens-100k").as_dict()
    recipe |= {"seed": seed, "name": folder.name}
    recipe["distillation"] |= settings
    recipe["training"] |= {"controls": ["plain"] * seed}  # who else was trained is no setting
    ndcg = values_of(seed, lift)
    report = {
        "name": folder.name,
        "task": "retrieval",
        "seed": seed,
        "k": 10,
        "recipe": recipe,
        "rows_are": "query",
        "tasks": {"next_item": {"metric": "ndcg@10", "what": "the next item"}},
        "data": {"users": USERS, "reading": ["Columns."]},
        "training": {"student": {"loss": [1.0]}},
        "resampled": {"what": "test users", "number": USERS, "too_few": True},
        "models": {
            name: {
                "metrics": {
                    "next_item": {
                        "ndcg@10": {"value": float(values.mean()), "interval": [0.0, 1.0]},
                        "recall@10": {"value": 0.1 * seed, "interval": None},
                    }
                },
                "parameters": 10,
                "bytes": 100 + seed,
                "latency_ms": {"p50": 1.0 + seed, "p95": 2.0},
            }
            for name, values in ndcg.items()
        },
        "comparisons": {
            name: {
                "next_item": {
                    "metric": "ndcg@10",
                    "seeds": [seed],
                    "difference": 0.0,
                    "interval": [0.0, 0.0],
                    **({"identical_lists": 0.9 - 0.1 * seed} if name == PAIRS[-1] else {}),
                }
            }
            for name in PAIRS
        },
    }
    (folder / "stages" / "evaluate").mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report))
    np.savez(
        folder / "stages" / "evaluate" / "ndcg.npz",
        **ndcg,
        users=np.arange(USERS) if users is None else users,
        history_lengths=np.arange(USERS) + 5,
    )
    return folder


def test_a_report_over_seeds_is_of_means_with_intervals_over_users_and_seeds(tmp_path):
    folders = [write_run(tmp_path / f"films-seed-{seed}", seed) for seed in (0, 1, 2)]
    (runs,) = read_settings(folders)
    report = over_seeds(runs)
    by_seed = [values_of(seed) for seed in (0, 1, 2)]
    stacked = {name: np.stack([one[name] for one in by_seed]) for name in MODELS}
    student = report["models"]["student"]
    figure = student["metrics"]["next_item"]["ndcg@10"]
    assert figure["value"] == pytest.approx(stacked["student"].mean(), rel=1e-12)
    assert figure["by_seed"] == pytest.approx(stacked["student"].mean(axis=1).tolist())
    assert figure["interval"] == list(bootstrap_interval(stacked["student"]))
    assert student["metrics"]["next_item"]["recall@10"]["value"] == pytest.approx(0.1)
    assert student["bytes"] == 102 and student["latency_ms"] == {"p50": 2.0, "p95": 2.0}
    found = report["comparisons"]["student_vs_twin"]["next_item"]
    gain = stacked["student"] - stacked["twin"]
    assert found["difference"] == pytest.approx(gain.mean(), rel=1e-12)
    assert found["interval"] == list(bootstrap_interval(gain)) and found["seeds"] == [0, 1, 2]
    assert found["ratio"] == pytest.approx(stacked["student"].mean() / stacked["twin"].mean())
    assert found["gained"] == pytest.approx((gain.mean(axis=0) > 0).mean())
    forms = report["comparisons"]["int8_vs_float32"]["next_item"]
    assert forms["identical_lists"] == pytest.approx(0.7)  # of the worst run
    expected = (stacked["student_int8"] - stacked["student_tflite"]).mean()
    assert forms["difference"] == pytest.approx(expected)
    assert report["seeds"] == [0, 1, 2] and report["name"] == "films"
    assert "training" not in report and report["resampled"]["what"] == "test users and 3 seeds"
    assert report["verdict"].startswith("The teacher helped: the student's NDCG@10 is ")
    assert "its best control" in report["verdict"]
    html_page(report)  # and a page can be made of it


def test_the_page_of_tables_says_what_was_read(tmp_path):
    report = json.loads((write_run(tmp_path / "a", 0) / "report.json").read_text())
    report["data"]["reading"] = ["Columns: user = 'id'.", "2 of 3 rows are interactions."]
    assert "<p>Columns: user = &#39;id&#39;. 2 of 3 rows are interactions.</p>" in html_page(report)


def test_between_settings_the_same_users_are_compared(tmp_path):
    folders = [write_run(tmp_path / f"a-{seed}", seed) for seed in (0, 1)]
    other = [write_run(tmp_path / f"b-{seed}", seed, lift=0.05, temperature=3.0) for seed in (0, 1)]
    settings = read_settings([folders[1], *other, folders[0]])
    assert [[run.folder.name for run in runs] for runs in settings] == [
        ["a-0", "a-1"],
        ["b-0", "b-1"],
    ]
    first, second = between_settings(settings, "student", "next_item")
    assert first["differs"] == {"distillation.temperature": 2.0} and "against_first" not in first
    assert second["differs"] == {"distillation.temperature": 3.0}
    against = second["against_first"]
    assert against["difference"] == pytest.approx(0.05) and against["p"] == pytest.approx(
        1e-4, rel=0.01
    )
    assert (against["gained"], against["lost"]) == (1.0, 0.0)
    halves = [second[f"{half}_histories"]["difference"] for half in ("short", "long")]
    assert halves == pytest.approx([0.05, 0.05])


def test_the_p_is_that_of_all_signs():
    differences = np.array([0.3, -0.1, 0.25, 0.2, 0.05, 0.4, -0.02, 0.1])
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean()
    assert permutation_p(differences, num_samples=40000) == pytest.approx(exact, abs=0.003)
    assert permutation_p(-differences, num_samples=40000) == pytest.approx(exact, abs=0.003)
    assert permutation_p(differences, num_samples=99) == permutation_p(differences, num_samples=99)


def test_what_cannot_be_compared_is_refused(tmp_path):
    run = write_run(tmp_path / "runs" / "a", 0)
    with pytest.raises(InputError, match=r"runs is no finished run.* holds the runs a: name those"):
        read_settings([tmp_path / "runs"])
    with pytest.raises(InputError, match=r"a and .*a are the same run"):
        read_settings([run, run])
    others = write_run(tmp_path / "b", 1, users=np.arange(USERS) + 1)
    with pytest.raises(InputError, match="tested on other users or other histories"):
        over_seeds(read_settings([run, others])[0])
    hotter = write_run(tmp_path / "c", 0, temperature=5.0)
    with pytest.raises(InputError, match=r"has no model 'teachr'\. It has: teacher, twin"):
        between_settings(read_settings([run, hotter]), "teachr", "next_item")
    path = tmp_path / "b" / "stages" / "evaluate" / "ndcg.npz"
    np.savez(path, student=np.zeros(3))
    with pytest.raises(InputError, match="was measured by an earlier version"):
        read_settings([others])
    path.unlink()
    with pytest.raises(InputError, match="a run of the task 'retrieval': runs of lists alone"):
        read_settings([others])


def test_the_command_prints_tables_and_sentences(tmp_path, capsys):
    runs = [write_run(tmp_path / f"a-{seed}", seed) for seed in (0, 1)]
    runs.append(write_run(tmp_path / "hot", 0, lift=0.05, temperature=3.0))
    assert main(["compare", *map(str, runs)]) == 0
    said = " ".join(re.sub(r"[─]+", "", capsys.readouterr().out).split())
    assert "a, seeds 0, 1" in said and "hot, seed 0" in said
    assert "hot (distillation.temperature = 3.0)" in said
    assert "The best student is that of hot (distillation.temperature = 3.0), beyond" in said
    assert main(["compare", *map(str, runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["settings"]) == 2 and len(found["between"]) == 2
    assert main(["compare", str(tmp_path / "none")]) == 2
    assert "is no finished run" in capsys.readouterr().err
