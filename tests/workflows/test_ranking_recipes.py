"""The recipes of a ranking student from the command line, at small size, on the real data."""

import json
import subprocess
import sys

import pytest

from tfrs_distill.data.assets import CLOTHING_REVIEWS

LABELS = {
    "ranking": {"like": "auc", "rating": "rmse"},
    "multitask": {"like": "auc", "rating": "rmse", "next_item": "ndcg@10"},
    "two-stage": {"relevance": "ndcg@10"},
    "reviews": {"recommended": "auc", "rating": "rmse"},
}


@pytest.mark.nightly
@pytest.mark.realdata
@pytest.mark.parametrize("name", list(LABELS))
def test_a_recipe_runs_from_data_to_tflite_and_report(
    name, movielens_folder, minilm_folder, fetch_or_skip, tmp_path
):
    if name == "reviews":
        fetch_or_skip(CLOTHING_REVIEWS.folder)
    command = [sys.executable, "-m", "tfrs_distill", "run", "--recipe", name, "--quick"]
    command += ["--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    home = tmp_path / f"{name}-quick"
    report = json.loads((home / "report.json").read_text(encoding="utf-8"))
    assert {task: result["metric"] for task, result in report["tasks"].items()} == LABELS[name]
    for task, metric in LABELS[name].items():
        assert report["comparisons"]["student_vs_twin"][task]["metric"] == metric
        result = report["models"]["student"]["metrics"][task][metric]
        low, high = result["interval"]
        assert low < result["value"] < high
    assert report["verdict"] in " ".join(done.stdout.split())
    assert (home / "report.html").is_file() and (home / "1" / "student.tflite").is_file()
    if name in ("ranking", "multitask"):
        assert report["data"]["users"] == report["recipe"]["data"]["max_users"] == 250
    if name == "two-stage":
        command = [sys.executable, "-m", "tfrs_distill", "recommend", str(home / "1"), "--json"]
        result = subprocess.run(
            [*command, "--history", "Star Wars (1977)"], capture_output=True, text=True
        )
        assert len(json.loads(result.stdout)) == 10, result.stderr[-2000:]
