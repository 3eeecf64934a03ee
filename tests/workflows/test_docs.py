"""Pages that are generated from the code are current, and the pages' programs run."""

import json
import re
import runpy
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly
from tiny_bert import write_tiny_bert

import tfrs_distill as td
from tfrs_distill.cli import main

DOCS = Path(__file__).parents[2] / "docs"


def test_the_recipe_page_is_current():
    """Refresh it with `python docs/make_recipe.py`."""
    made = runpy.run_path(str(DOCS / "make_recipe.py"))["page"]()
    assert (DOCS / "recipe.md").read_text(encoding="utf-8") == made


@pytest.fixture(params=["eager", nightly("graph")])
def mode(request):
    """By default without graphs: a page's small models take longer to trace than to train."""
    tf.config.run_functions_eagerly(request.param == "eager")
    yield
    tf.config.run_functions_eagerly(False)


def after_the_programs_of(page, how_many):
    """The names defined by a page's programs, run one after the other."""
    text = (DOCS / page).read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(programs) == how_many
    names = {"__name__": "docs"}
    for program in programs:
        exec(compile(program, f"docs/{page}", "exec"), names)
    return names


def test_the_programs_about_the_distiller_run_one_after_the_other(mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = after_the_programs_of("distiller.md", how_many=8)
    assert (tmp_path / "distiller.keras").is_file()
    assert names["distiller"].student is names["student"]


def test_the_programs_about_new_items_run(mode, tmp_path, monkeypatch):
    """With a tiny BERT in place of MiniLM."""
    write_tiny_bert(tmp_path / "bert")
    monkeypatch.setattr("tfrs_distill.data.minilm_folder", lambda: tmp_path / "bert")
    monkeypatch.chdir(tmp_path)
    names = after_the_programs_of("new_items.md", how_many=2)
    assert names["distiller"].student.task_names == ("next_item", "cold_items")
    assert {item.item_id[0] for item in names["young"]} == {"A"}


@pytest.mark.nightly
def test_the_programs_about_compression_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = after_the_programs_of("compression.md", how_many=1)
    assert (
        names["found"].chosen.bytes
        == Path(names["found"].chosen.folder, "student.tflite").stat().st_size
    )
    assert td.Recommender.load("small").artefact.num_items == names["items"].num_items


def test_the_programs_about_evaluation_run_one_after_the_other(tmp_path, monkeypatch):
    pytest.importorskip("implicit")
    monkeypatch.chdir(tmp_path)
    names = after_the_programs_of("evaluation.md", how_many=7)
    assert names["by_als"].ndcg.mean() > names["popular"].ndcg.mean()
    assert names["found"]["p"] < 0.001
    assert (tmp_path / "histories" / "histories.inter").is_file()


@pytest.mark.nightly
def test_the_models_of_other_libraries_run_in_their_environments(
    tmp_path, monkeypatch, capsys, peer_python
):
    """Both are EASE of the same 0/1 matrix: equal to NumPy's float64 solution."""
    pytest.importorskip("implicit")
    monkeypatch.chdir(tmp_path)
    names = after_the_programs_of("evaluation.md", how_many=7)
    text = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    programs = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    for library, program in zip(("rectools", "recbole"), programs, strict=True):
        python = peer_python(library)
        subprocess.run([str(python), "-c", program], check=True, capture_output=True)
    capsys.readouterr()
    split = ["--recipe", "synthetic", "--json", "-k", "20"]
    assert main(["evaluate", "rectools.npz", "recbole.npz", *split]) == 0
    found = json.loads(capsys.readouterr().out)["models"]
    queries = names["queries"]
    interacted = np.zeros((len(queries), queries.catalogue.num_items))
    for row, history in zip(interacted, queries.histories):
        row[history - 1] = 1
    inverse = np.linalg.inv(interacted.T @ interacted + 10.0 * np.eye(interacted.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    expected = td.evaluate(interacted @ weights, queries, k=20).figures()
    ndcg = {library: model["figures"]["ndcg@20"] for library, model in found.items()}
    assert ndcg["recbole.npz"] == pytest.approx(expected["ndcg@20"], abs=1e-9)
    # From there on RecTools' lists differ where scores differ by a few hundredths.
    assert ndcg["rectools.npz"] == pytest.approx(expected["ndcg@20"], abs=0.01)


def test_the_programs_about_own_data_run_one_after_the_other(mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = after_the_programs_of("own_data.md", how_many=7)
    assert names["data"].num_users == 40 and names["books"].catalogue.titles == ("Emma", "Dune")
    assert set(names["liked"].ratings) == {5.0} and len(names["liked"]) < len(names["data"])
    weights = names["splits"].train.weights
    assert 0 < weights[weights > 0].min() < 1 < weights.max()
    assert set(names["signed"].train.weights.ravel()) == {-1.0, 1.0}
    assert names["parts"].test.features["history_ratings"].shape == (80, 8)
    assert names["known"].label_names == ("brand=B0", "brand=B1")
    assert names["distiller"].student is names["student"]


@pytest.mark.nightly
def test_the_programs_about_ranking_run_one_after_the_other(mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    after_the_programs_of("ranking.md", how_many=8)
    assert list(tmp_path.glob("*.keras"))


@pytest.mark.nightly
def test_the_programs_about_teachers_run_one_after_the_other(mode, tmp_path, monkeypatch):
    """With a tiny BERT in place of MiniLM."""
    write_tiny_bert(tmp_path / "bert")
    monkeypatch.setattr("tfrs_distill.data.minilm_folder", lambda: tmp_path / "bert")
    the_programs_about_teachers(tmp_path, monkeypatch)


@pytest.mark.nightly
@pytest.mark.realdata
def test_the_programs_about_teachers_run_with_minilm(tmp_path, monkeypatch):
    the_programs_about_teachers(tmp_path, monkeypatch)


def the_programs_about_teachers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = after_the_programs_of("teachers.md", how_many=7)
    assert set(next(iter(names["batches"]))) >= {"history", "teacher_query_embeddings"}


def test_every_test_named_on_a_page_exists():
    tests = Path(__file__).parents[1]
    named = set()
    for page in DOCS.glob("*.md"):
        named |= set(re.findall(r"`([\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8")))
    assert len(named) > 50
    for file, name in sorted(named):
        assert f"def {name}(" in (tests / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_the_programs_about_serving_recommend_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    after_the_programs_of("serving.md", how_many=2)
    of_recommender, of_interpreter = capsys.readouterr().out.splitlines()
    assert of_recommender == of_interpreter and of_recommender.count("'") == 10
