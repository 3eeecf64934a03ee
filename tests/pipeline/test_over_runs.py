"""Comparison of finished runs: means over seeds, paired differences, errors."""

import itertools
import json
import re

import numpy as np
import pytest
from made_runs import MODELS, USERS, rows_of, values_of, write_rows_run, write_run

from tfrs_distill.cli import main
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.metrics import bootstrap_interval, permutation_p
from tfrs_distill.pipeline.report.compare import compare
from tfrs_distill.pipeline.report.over_runs import between_settings, over_seeds, read_settings
from tfrs_distill.pipeline.report.page import html_page


def test_a_report_over_seeds_has_means_with_intervals_over_users_and_seeds(tmp_path):
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
    assert (
        not {"training", "lists"} & report.keys()
        and report["resampled"]["what"] == "test users and 3 seeds"
    )
    assert report["verdict"].startswith("The teacher helped: the student's NDCG@10 is ")
    assert "its best control" in report["verdict"]
    html_page(report)  # and a page can be written from it


def test_segments_over_seeds_use_all_runs(tmp_path, capsys):
    folders = [write_run(tmp_path / f"films-seed-{seed}", seed) for seed in (0, 1, 2)]
    report = over_seeds(read_settings(folders)[0])
    (compared,) = report["segments"]["comparisons"]
    gains = [values_of(seed)["student"] - values_of(seed)["twin"] for seed in (0, 1, 2)]
    tail = np.stack(gains)[:, :3]
    assert compared["segments"]["tail"]["difference"] == pytest.approx(tail.mean())
    assert compared["segments"]["tail"]["interval"] == list(bootstrap_interval(tail))
    student = report["segments"]["models"]["student"]["tail"]
    assert student["value"] == pytest.approx(
        np.mean([values_of(seed)["student"][:3] for seed in (0, 1, 2)])
    )
    assert main(["compare", *map(str, folders)]) == 0
    output = capsys.readouterr().out
    assert "tail: those of tail" in output and f" {tail.mean():.4f} (" in output
    assert main(["compare", str(folders[0])]) == 0  # of one seed it is that run's


def test_the_page_of_tables_has_the_readers_sentences(tmp_path):
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
    sizes = {name: part["queries"] for name, part in second["segments"].items()}
    assert sizes == {"all": 40, "tail": 3, "gender: F": 10}
    for name, part in second["segments"].items():
        assert part["difference"] == pytest.approx(0.05), name
        assert (part["gained"], part["lost"]) == (1.0, 0.0)


def test_shares_of_better_and_worse_users_in_a_segment_use_its_users_alone(tmp_path):
    runs = [write_run(tmp_path / "a", 0), write_run(tmp_path / "b", 0, temperature=3.0)]
    path = runs[1] / "stages" / "evaluate" / "ndcg.npz"
    arrays = dict(np.load(path))
    arrays["segments/tail/student"] = arrays["segments/tail/student"] + [0.3, -0.1, 0.0]
    np.savez(path, **arrays)
    parts = between_settings(read_settings(runs), "student", "next_item")[1]["segments"]
    assert parts["tail"]["difference"] == pytest.approx(0.2 / 3)
    assert (parts["tail"]["gained"], parts["tail"]["lost"]) == pytest.approx((1 / 3, 1 / 3))
    assert parts["all"]["difference"] == 0.0
    arrays["segments/tail/student"] = arrays["segments/tail/student"][:2]
    np.savez(path, **{name: v[:2] if "/tail/" in name else v for name, v in arrays.items()})
    with pytest.raises(InputError, match="have different test users or histories"):
        between_settings(read_settings(runs), "student", "next_item")


def test_the_p_value_is_that_of_all_signs():
    differences = np.array([0.3, -0.1, 0.25, 0.2, 0.05, 0.4, -0.02, 0.1])
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean()
    assert permutation_p(differences, num_samples=40000) == pytest.approx(exact, abs=0.003)
    assert permutation_p(-differences, num_samples=40000) == pytest.approx(exact, abs=0.003)
    assert permutation_p(differences, num_samples=99) == permutation_p(differences, num_samples=99)


def test_incompatible_runs_are_refused(tmp_path):
    run = write_run(tmp_path / "runs" / "a", 0)
    with pytest.raises(InputError, match=r"runs is not the folder of a fin.* has the runs a: give"):
        read_settings([tmp_path / "runs"])
    with pytest.raises(InputError, match=r"a and .*a are the same run"):
        read_settings([run, run])
    others = write_run(tmp_path / "b", 1, users=np.arange(USERS) + 1)
    with pytest.raises(InputError, match="have different test users or histories"):
        over_seeds(read_settings([run, others])[0])
    hotter = write_run(tmp_path / "c", 0, temperature=5.0)
    with pytest.raises(InputError, match=r"has no model 'teachr' of 'next_item'\. It has: teacher"):
        between_settings(read_settings([run, hotter]), "teachr", "next_item")
    path = tmp_path / "b" / "stages" / "evaluate" / "ndcg.npz"
    np.savez(path, student=np.zeros(3))
    with pytest.raises(InputError, match="was evaluated by an earlier version"):
        read_settings([others])
    path.unlink()
    with pytest.raises(InputError, match="was evaluated by an earlier version"):
        read_settings([others])
    rows = write_rows_run(tmp_path / "rows", 0)
    with pytest.raises(InputError, match=r"no task in common.*a: next_item; .*rows: like, rating"):
        compare([run, rows], model="student", users=[])
    with pytest.raises(InputError, match="a ranking run has none"):
        compare([rows], model="student", users=["u1"])


def changed(folder, old, new):
    path = folder / "report.json"
    path.write_text(path.read_text().replace(old, new))
    return folder


def test_lists_are_compared_for_any_name_of_the_task_but_by_one_metric(tmp_path):
    run = write_run(tmp_path / "a", 0)
    staged = write_run(tmp_path / "b", 1, temperature=3.0)
    changed(staged, '"next_item"', '"relevance"')
    found = compare([run, staged], model="student", users=["u3"])
    expected = (values_of(1)["student"] - values_of(0)["student"]).mean()
    assert found.between["next_item"][1]["against_first"]["difference"] == pytest.approx(expected)
    assert found.lists["users"][0]["lists"][1]["value"] == values_of(1)["student"][3]
    changed(staged, '"ndcg@10"', '"ndcg@20"')
    with pytest.raises(InputError, match=r"a was evaluated by ndcg@10, .*b by ndcg@20\. Set the"):
        compare([run, staged], model="student", users=[])


def figure_of(report, model, task, key):
    return report["models"][model]["metrics"][task][key]


def test_a_report_over_seeds_of_rows_has_every_task(tmp_path):
    folders = [write_rows_run(tmp_path / f"likes-seed-{seed}", seed) for seed in (0, 1)]
    (runs,) = read_settings(folders)
    report = over_seeds(runs)
    by_seed = {"like": [], "rating": []}
    for seed in (0, 1):
        labels, models = rows_of(seed)
        yes, no = (models["student"]["like"][labels["like"] == label] for label in (1, 0))
        above = (yes[:, None] > no[None]) + 0.5 * (yes[:, None] == no[None])
        by_seed["like"].append(above.mean())
        errors = models["student"]["rating"] - labels["rating"]
        by_seed["rating"].append(np.sqrt(np.nanmean(errors**2)))  # where there is a label
    for task, key in (("like", "auc"), ("rating", "rmse")):
        figure = figure_of(report, "student", task, key)
        assert figure["by_seed"] == pytest.approx(by_seed[task], rel=1e-9), task
        assert figure["value"] == pytest.approx(np.mean(by_seed[task]))
        assert figure["interval"][0] < figure["value"] < figure["interval"][1]
    assert figure_of(report, "student", "like", "recall@10")["value"] == pytest.approx(0.05)
    found = report["comparisons"]["student_vs_twin"]["rating"]
    of_twin = figure_of(report, "twin", "rating", "rmse")["value"]
    assert found["difference"] == pytest.approx(np.mean(by_seed["rating"]) - of_twin)
    assert found["interval"][1] < 0 and found["seeds"] == [0, 1]
    assert "For rating, the teacher helped (" in report["verdict"]
    html_page(report)


def test_seeds_with_different_test_rows_make_one_report_and_are_paired_by_seed(tmp_path):
    settings = {"drawn_by_seed": True}
    folders = [write_rows_run(tmp_path / f"a-{seed}", seed, **settings) for seed in (0, 1)]
    settings["temperature"] = 5.0
    folders += [write_rows_run(tmp_path / f"b-{n}", n, lift=0.2, **settings) for n in (0, 1)]
    a, b = read_settings(folders)
    what = over_seeds(a)["resampled"]["what"]
    assert what == "test users and 2 seeds, each with test rows of its own"
    _, found = between_settings([a, b], "student", "rating")
    assert found["against_first"]["interval"][1] < 0
    with pytest.raises(InputError, match=r"seed by seed\..*2 and 1 runs\. Give the same number"):
        between_settings([a, b[:1]], "student", "rating")
    with pytest.raises(InputError, match="the same split and the same seeds"):
        between_settings([a, b[::-1]], "student", "rating")


def test_rows_that_no_seed_draws_must_be_equal(tmp_path):
    folders = [write_rows_run(tmp_path / f"a-{seed}", seed) for seed in (0, 1)]
    path = folders[1] / "stages" / "evaluate" / "predictions.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"labels/like": 1.0 - arrays["labels/like"]})
    with pytest.raises(InputError, match="have different test users or histories"):
        over_seeds(read_settings(folders)[0])


def gained_and_lost(rows):
    """The shares of a segment's users for whom the setting "hot" is better and worse."""
    first = np.mean([values_of(seed)["student"] for seed in (0, 1)], axis=0)
    difference = (values_of(0, 0.05)["student"] - first)[rows]
    return (difference > 0).mean(), (difference < 0).mean()


def test_the_command_prints_tables_and_sentences(tmp_path, capsys):
    runs = [write_run(tmp_path / f"a-{seed}", seed) for seed in (0, 1)]
    runs.append(write_run(tmp_path / "hot", 0, lift=0.05, temperature=3.0))
    assert main(["compare", *map(str, runs)]) == 0
    output = " ".join(re.sub(r"[─]+", "", capsys.readouterr().out).split())
    assert "a, seeds 0, 1" in output and "hot, seed 0" in output
    assert "hot (distillation.temperature = 3.0)" in output
    best = "The best student by NDCG@10 is that of hot (distillation.temperature = 3.0), "
    assert f"{best}significantly better than the first setting." in output
    assert "hot (distillation.temperature = 3.0), by segment" in output
    gained, lost = (f"{100 * share:.1f} %" for share in gained_and_lost(slice(10, 20)))
    assert re.search(rf"gender: F 10 \S+ \S+ to \S+ {gained} {lost}", output)
    assert main(["compare", *map(str, runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["settings"]) == 2 and len(found["between"]["next_item"]) == 2
    assert main(["compare", str(tmp_path / "none")]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err


def test_the_command_compares_rows_task_by_task(tmp_path, capsys):
    runs = [write_rows_run(tmp_path / "a", 0)]
    runs.append(write_rows_run(tmp_path / "hot", 0, lift=0.2, temperature=3.0))
    assert main(["compare", *map(str, runs)]) == 0
    output = " ".join(re.sub(r"[─]+", "", capsys.readouterr().out).split())
    assert "The best student by AUC is that of hot" in output
    assert "The best student by RMSE is that of hot" in output
    assert "Users better" not in output and "histories" not in output  # rows have none


def test_a_page_of_settings_is_complete_and_shows_the_terminals_text(tmp_path, capsys):
    runs = [str(write_run(tmp_path / f"a-{seed}", seed)) for seed in (0, 1)]
    runs.append(str(write_run(tmp_path / "hot", 0, lift=0.05, temperature=3.0)))
    page = tmp_path / "pages" / "compared.html"
    assert main(["compare", *runs, "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<title>Comparison of a with hot</title>" in text and "src=" not in text
    assert "The best student by NDCG@10 is that of hot" in text
    assert "<h3>hot (distillation.temperature = 3.0), by segment</h3>" in text
    assert "<td>gender: F</td>" in text
    assert text.count('class="zero"') == 1  # of the setting that is compared with the first
    assert text.count("<h2>Recommendations to the same users</h2>") == 1
    capsys.readouterr()
    assert main(["compare", *runs, "--html", str(page)]) == 2
    assert "already exists. Give another file by --html." in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text
    alone = tmp_path / "alone.html"
    assert main(["compare", *runs[:2], "--html", str(alone)]) == 0
    text = alone.read_text(encoding="utf-8")
    assert "seeds 0, 1" in text and "lists of seed 0." in text
    assert "<h3>Time</h3>" not in text  # of a single run
