"""A run whose recipe compresses its student, and `tfrs-distill compress` of a finished run."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly
from tiny_bert import write_tiny_bert
from tiny_films import write_films

from tfrs_distill import cli, pipeline
from tfrs_distill.cli.commands.compress import _bytes
from tfrs_distill.cli.options import share
from tfrs_distill.compress import budget, compress
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.evaluation.two_stage import TwoStages
from tfrs_distill.files import files_sha256, whole_file
from tfrs_distill.pipeline import students
from tfrs_distill.pipeline.compression import fine_tuning
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stage import Stage
from tfrs_distill.pipeline.stages import export, lists, stages_of
from tfrs_distill.pipeline.stages.compress import compress_stage
from tfrs_distill.pipeline.stages.data import data_stage
from tfrs_distill.pipeline.stages.export import export_stage
from tfrs_distill.pipeline.stages.knowledge import knowledge_stage
from tfrs_distill.pipeline.stages.student import student_stage
from tfrs_distill.pipeline.stages.teacher import teacher_stage
from tfrs_distill.pipeline.stages.unlabelled import unlabelled_stage
from tfrs_distill.progress import SilentProgress
from tfrs_distill.serving import Ranker, Recommender
from tfrs_distill.teachers import ItemItemTeacher

CANDIDATES = [[("int8",), ("shared-rows:20", "int4")]]


def recipe_of(**sections):
    recipe = Recipe.named("synthetic")
    smaller = {
        "data": {"max_users": 120, "max_history": 8},
        "teacher": {"kind": "item-item", "modalities": ()},
        "knowledge": {"folds": 2, "top_k": 10},
        "student": {"embedding_dim": 12},
        "training": {"max_epochs": 2, "controls": ()},
        "export": {"k": 10},
        "evaluation": {"k": 3, "bootstrap_samples": 100},
    } | sections
    changed = {name: replace(getattr(recipe, name), **of) for name, of in smaller.items()}
    return replace(recipe, name="shop", **changed)


def up_to_student(run):
    """The stages that a search reads: no twin, files or metrics."""
    stages = [data_stage(run), teacher_stage(run), knowledge_stage(run)]
    stages += [unlabelled_stage(run)] if run.num_unlabelled else []
    if run.recipe.task == "two-stage":
        cross_encoder = Stage("cross-encoder", lambda _: ({}, ""), list, after=("retrieval",))
        stages += [student_stage(run, "retrieval"), cross_encoder, lists.lists_stage(run)]
    return [*stages, student_stage(run, "student")]


def finished_run(recipe, out):
    """The folder of a run that a search accepts as finished."""
    run = Run(recipe, out, SilentProgress())
    run.stages.run(up_to_student(run))
    with whole_file(run.home / "recipe.toml", "w") as file:
        file.write(recipe.to_toml())
    run.version.mkdir()
    facts = {
        "files": {},
        "student": run.fingerprint("student"),
        "training_data": run.result("data")["fingerprint"],
    }
    (run.version / "provenance.json").write_text(json.dumps(facts))
    return run.home


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(recipe_of(), tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of the finished run, with a search of two candidates."""
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 1)
    monkeypatch.setattr(budget, "candidates_of", lambda student: CANDIDATES)
    return Path(shutil.copytree(finished, tmp_path / "shop"))


def files_of(folder):
    return files_sha256(sorted(path for path in folder.rglob("*") if path.is_file()))


@pytest.mark.nightly
def test_a_recipe_exports_the_compressed_student_with_the_original(tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 2)
    recipe = recipe_of(export={"compress": ("units:8", "int4"), "k": 10})
    report, home = pipeline.run(recipe, tmp_path), tmp_path / "shop"
    run = Run(recipe, tmp_path, SilentProgress())
    smaller, whole = run.student("compressed"), run.student("student")
    assert smaller.candidate_tower.methods.bits == 4
    assert smaller.query_tower.encoder.feed_forward.hidden_units == 8
    assert whole.query_tower.encoder.feed_forward.hidden_units == 24
    models = report["models"]
    assert {"student", "compressed", "student_int8", "student_tflite"} <= set(models)
    ndcg = {name: models[name]["metrics"]["next_item"]["ndcg@3"]["value"] for name in models}
    found = evaluate(Recommender.load(home / "1"), run.data.splits.test, k=3).ndcg.mean()
    assert ndcg["student_tflite"] == pytest.approx(found)
    assert ndcg["compressed"] == pytest.approx(found, abs=1e-6)
    assert report["comparisons"]["tflite_vs_keras"]["next_item"]["identical_lists"] == 1.0
    assert models["student_int8"]["name"] == "Compressed, int8"
    compared = report["comparisons"]["compressed_vs_student"]["next_item"]
    assert compared["difference"] == pytest.approx(ndcg["compressed"] - ndcg["student"])
    page = (home / "report.html").read_text()
    assert "Compressed" in page and "the student in fewer bytes" in page


def test_the_recipe_keeps_its_student_and_exports_a_smaller_one(finished, monkeypatch):
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 1)
    recipe = recipe_of(export={"compress": ("units:8", "int4"), "k": 10})
    run = Run(recipe, finished.parent, SilentProgress())
    assert (run.exported, Run(recipe_of(), finished.parent, SilentProgress()).exported) == (
        "compressed",
        "student",
    )
    run.twins = []
    run.stages.run([*up_to_student(run), compress_stage(run)])
    smaller = run.student("compressed")
    assert smaller.candidate_tower.methods.bits == 4
    validation = run.data.splits.validation
    ndcg = evaluate(ModelScorer(smaller), validation, k=3).ndcg.mean()
    assert run.result("compressed")["score"] == pytest.approx(ndcg)
    assert [stage.name for stage in stages_of(run)][-3:] == ["compressed", "export", "evaluate"]
    assert export_stage(run).after == ("compressed",)


def test_an_unknown_method_is_refused_before_any_stage(tmp_path):
    with pytest.raises(InputError, match="no method 'int3'"):
        pipeline.run(recipe_of(export={"compress": ("int3",), "k": 10}), tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_the_command_resumes_and_writes_an_artefact(run, monkeypatch, capsys):
    before = files_of(run / "1")
    command = ["compress", str(run / "1"), "--max-bytes"]
    made, real = [], budget.to_tflite

    def stops_at_the_third(student, path, *rest, **options):
        made.append(path)
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(student, path, *rest, **options)

    monkeypatch.setattr(budget, "to_tflite", stops_at_the_third)
    assert cli.main([*command, "20KB", "--max-drop", "90%"]) == cli.INTERRUPTED
    assert "to resume" in capsys.readouterr().err
    assert not (run / "compressed").exists()
    assert len(list((run / "compress" / "points").glob("[a-z]*"))) == 2
    assert cli.main([*command, "1KB"]) == cli.USERS_ERROR
    assert "into 1,000 bytes. The smallest has" in capsys.readouterr().err
    assert not (run / "compressed").exists()
    assert cli.main([*command, "20KB", "--max-drop", "90%"]) == 0
    assert len(made) == 3 + 3  # two of five files existed
    printed = capsys.readouterr().out
    assert "NDCG@3 on validation" in printed and "in place of" in printed
    assert files_of(run / "1") == before

    folder = run / "compressed" / "1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "provenance.json",
        "signature.json",
        "student.tflite",
        "titles.txt",
        "vocabulary.txt",
    ]
    assert (folder / "student.tflite").stat().st_size <= 20_000
    facts = json.loads((run / "compress" / "compress.json").read_text())
    points = {tuple(point["methods"]): point for point in facts["points"] if not point["tuned"]}
    assert set(points) == {(), *CANDIDATES[0]}
    assert sum(point["tuned"] for point in facts["points"]) == 2
    chosen = facts["points"][facts["chosen"]]
    assert chosen["bytes"] == (folder / "student.tflite").stat().st_size
    recipe = Recipe.from_toml(run / "recipe.toml")
    data = Run(recipe, run.parent, SilentProgress(), home=run).data
    found = evaluate(Recommender.load(folder), data.splits.test, k=3).ndcg.mean()
    assert facts["test"]["chosen"] == pytest.approx(found)
    page = (run / "compress" / "compress.html").read_text()
    assert len(re.findall(r'<tr class="(chosen|dominated|)"', page)) == len(facts["points"])
    history = data.splits.catalogue.titles[:2]
    assert cli.main(["recommend", str(folder), "--history", history[0], "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) > 0


def test_another_folder_is_not_replaced(run, capsys):
    arguments = ["compress", str(run / "1"), "--max-bytes", "20KB", "--to", str(run)]
    assert cli.main(arguments) == cli.USERS_ERROR
    assert "not an artefact" in capsys.readouterr().err
    assert not (run / "compress").exists()


def test_the_runs_own_artefact_is_not_replaced(run, capsys):
    before = files_of(run / "1")
    arguments = [
        "compress",
        str(run / "1"),
        "--max-bytes",
        "20KB",
        "--to",
        f"{run}/compressed/../1",
    ]
    assert cli.main(arguments) == cli.USERS_ERROR
    assert "a version of the run's own artefact" in capsys.readouterr().err
    assert files_of(run / "1") == before and not (run / "compress").exists()


def test_a_run_of_cold_items_is_refused(run, capsys):
    text = Recipe.named("cold-items").to_toml()
    (run / "recipe.toml").write_text(text)
    assert cli.main(["compress", str(run / "1"), "--max-bytes", "20KB"]) == cli.USERS_ERROR
    assert '"cold-items" cannot be compressed' in capsys.readouterr().err.replace("\n", " ")
    recipe = Recipe.named("cold-items")
    with pytest.raises(InputError, match=r"export.compress=\['int4'\]. Leave it empty"):
        replace(recipe, export=replace(recipe.export, compress=("int4",)))


def ranking_recipe(folder, task, **sections):
    """With planted films; students that train in a second."""
    recipe = Recipe.named(task)
    teacher = {"embedding_dim": 8, "hidden_dim": 16, "max_epochs": 2, "num_models": 1}
    smaller = {
        "data": {"folder": str(folder), "max_history": 8},
        "teacher": teacher | {"batch_size": 64, "learning_rate": 0.03, "privileged": ()},
        "knowledge": {"folds": 2},
        "student": {"embedding_dim": 48, "hidden_dim": 32},
        "training": {"batch_size": 64, "max_epochs": 4, "controls": ()},
        "evaluation": {"k": 3, "bootstrap_samples": 100},
        "distillation": {"learning_rate": 0.03},
    } | sections
    changed = {name: replace(getattr(recipe, name), **of) for name, of in smaller.items()}
    return replace(recipe, name=task, **changed)


OF_ROWS = [[("int8",), ("dense-rank:24", "units:16", "int8")]]


@pytest.fixture(scope="module", params=["ranking", nightly("multitask")])
def finished_rows(request, tmp_path_factory):
    films = write_films(tmp_path_factory.mktemp("films") / "data")
    return finished_run(ranking_recipe(films, request.param), tmp_path_factory.mktemp("runs"))


@pytest.mark.nightly
def test_the_command_compresses_a_student_of_rows(finished_rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 1)
    monkeypatch.setattr(budget, "candidates_of", lambda student: OF_ROWS)
    run = Path(shutil.copytree(finished_rows, tmp_path / finished_rows.name))
    command = ["compress", str(run / "1"), "--max-bytes"]
    assert cli.main([*command, "1KB"]) == cli.USERS_ERROR
    assert "into 1,000 bytes. The smallest has" in capsys.readouterr().err
    facts_file = run / "compress" / "compress.json"
    points = sorted((run / "compress" / "points").glob("[a-z]*/student.tflite"))
    largest = max(path.stat().st_size for path in points)
    budget_of = str(largest - 1)
    assert cli.main([*command, budget_of, "--max-drop", "90%"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    facts = json.loads(facts_file.read_text())
    chosen = facts["points"][facts["chosen"]]
    folder = run / "compressed" / "1"
    assert (folder / "student.tflite").stat().st_size == chosen["bytes"] < largest
    assert {tuple(p["methods"]) for p in facts["points"]} == {(), *OF_ROWS[0]}
    recipe = Recipe.from_toml(run / "recipe.toml")
    data = Run(recipe, run.parent, SilentProgress(), home=run).data
    test, ranker = data.splits.test, Ranker.load(folder)
    found = ranker.score({name: test.features[name] for name in ranker.input_columns})
    likes = test.labels_of("like") > 0.5
    pairs = found["like"][likes][:, None] - found["like"][~likes]
    auc = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
    assert facts["test"]["metric"] == "AUC of like"
    assert facts["test"]["chosen"] == pytest.approx(auc)
    assert "AUC of like" in facts["score"]
    assert ("NDCG@3 of next_item" in facts["score"]) == (finished_rows.name == "multitask")
    assert "on test AUC of like is" in printed and "score on validation" in printed
    page = (run / "compress" / "compress.html").read_text()
    assert facts["score"] in page
    assert ranker.artefact.vocabularies["item_id"] == data.catalogue.item_ids
    item = data.catalogue.item_ids[:2]
    query = {"history": [item[0]], "history_ratings": [5.0]}
    assert len(ranker.rank(query=query, items={"item_id": item})["rating"]) == 2


def test_the_stage_makes_a_student_of_rows_no_worse(finished_rows, monkeypatch):
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 1)
    recipe = Recipe.from_toml(finished_rows / "recipe.toml")
    recipe = replace(recipe, export=replace(recipe.export, compress=("units:8", "int8")))
    run = Run(recipe, finished_rows.parent, SilentProgress())
    run.stages.run([*up_to_student(run), compress_stage(run)])
    smaller = run.student("compressed")
    assert smaller.hidden_units == (8, 8)
    assert [feature.table.methods.bits for feature in smaller.table_features] == [8]
    untouched = compress(run.student("student"), recipe.export.compress)
    validation = run.data.splits.validation
    like = validation.labels_of("like") > 0.5
    batch = {n: tf.constant(validation.features[n]) for n in smaller.input_columns}
    found = smaller.predictions(batch)["like"].numpy()
    pairs = found[like][:, None] - found[~like]
    scores = [run.result("compressed")["score"], (pairs > 0).mean() + 0.5 * (pairs == 0).mean()]
    if len(run.tasks) == 1:
        assert scores[0] == pytest.approx(scores[1])
    measure = fine_tuning.Compression(run).measure
    assert measure.of_student(untouched) - 0.02 < scores[0] == measure.of_student(smaller)


@pytest.mark.nightly
def test_a_recipe_of_rows_keeps_its_student_and_exports_a_smaller_one(tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 1)
    films = write_films(tmp_path / "data")
    methods = ("units:8", "int8")
    recipe = ranking_recipe(films, "ranking", export={"compress": methods})
    assert Recipe.from_toml(_written(recipe, tmp_path / "r.toml")) == recipe
    report = pipeline.run(recipe, tmp_path / "out")
    run = Run(recipe, tmp_path / "out", SilentProgress())
    smaller, whole = run.student("compressed"), run.student("student")
    assert (smaller.hidden_units, whole.hidden_units) == ((8, 8), (32, 16))
    assert [feature.table.methods.bits for feature in smaller.table_features] == [8]
    models = report["models"]
    assert models["compressed"]["parameters"] < models["student"]["parameters"]
    assert models["student_tflite"]["parameters"] == models["compressed"]["parameters"]
    values = {n: models[n]["metrics"]["rating"]["rmse"]["value"] for n in models}
    assert values["student_tflite"] == pytest.approx(values["compressed"], abs=1e-5)
    compared = report["comparisons"]["compressed_vs_student"]["rating"]
    assert compared["difference"] == pytest.approx(values["compressed"] - values["student"])
    assert abs(report["comparisons"]["tflite_vs_keras"]["rating"]["difference"]) < 1e-5
    assert models["student_int8"]["name"] == "Compressed, int8"
    assert (
        "the student in fewer bytes" in (tmp_path / "out" / "ranking" / "report.html").read_text()
    )


def _written(recipe, path):
    path.write_text(recipe.to_toml())
    return path


METHODS_OF_STAGES = ("units:8", "int8")


def recipe_of_stages(**sections):
    """With planted items, 18 of them ordered for a user."""
    recipe = Recipe.named("two-stage")
    smaller = {
        "data": {"source": "synthetic", "max_users": 120, "max_history": 8},
        "teacher": {"kind": "item-item", "modalities": ()},
        "knowledge": {"folds": 2, "top_k": 10},
        "student": {"embedding_dim": 12},
        "training": {"max_epochs": 2, "controls": ()},
        "lists": {
            "num_candidates": 18,
            "list_size": 8,
            "num_lists": 120,
            "num_ordered_lists": 10,
            "max_history": 8,
        },
        "evaluation": {"k": 3, "bootstrap_samples": 100},
    } | sections
    changed = {name: replace(getattr(recipe, name), **of) for name, of in smaller.items()}
    return replace(recipe, name="stages", **changed)


@pytest.fixture(scope="module")
def finished_stages(tmp_path_factory):
    """A run with item-item weights in place of a cross-encoder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "open_cross_encoder", lambda r: ItemItemTeacher(r.data.splits.train))
        return finished_run(recipe_of_stages(), tmp_path_factory.mktemp("runs"))


def compressed_run(finished_stages, methods=METHODS_OF_STAGES):
    """The run with its student compressed by its recipe."""
    recipe = Recipe.from_toml(finished_stages / "recipe.toml")
    recipe = replace(recipe, export=replace(recipe.export, compress=methods))
    run = Run(recipe, finished_stages.parent, SilentProgress())
    run.stages.run([*up_to_student(run), compress_stage(run)])
    return run


def test_both_stages_of_a_recipe_are_compressed_and_fine_tuned(finished_stages, monkeypatch):
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 1)
    monkeypatch.setattr(fine_tuning, "NUM_BATCHES", 1)
    trained = []
    real = fine_tuning.fit_until_best

    def fit(distiller, *rest, **options):
        before = distiller.student.get_weights()
        curves = real(distiller, *rest, **options)
        after = distiller.student.get_weights()
        trained.append(any((a != b).any() for a, b in zip(before, after)))
        return curves

    monkeypatch.setattr(fine_tuning, "fit_until_best", fit)
    run = compressed_run(finished_stages)
    assert trained == [True, True]
    smaller, whole = run.whole_student("compressed"), run.whole_student("student")
    assert smaller.num_candidates == whole.num_candidates == 18
    encoders = [s.retrieval_student.query_tower.encoder for s in (smaller, whole)]
    assert [encoder.feed_forward.hidden_units for encoder in encoders] == [8, 24]
    assert smaller.ranking_student.hidden_units == (8, 8)
    assert smaller.retrieval_student.candidate_tower.methods.bits == 8
    result, scorer = run.result("compressed"), TwoStages.of(smaller)
    ndcg = evaluate(scorer, run.data.splits.validation, k=3).ndcg.mean()
    assert result["score"] == pytest.approx(ndcg)
    assert result["retrieval_weight"] == smaller.retrieval_weight


def test_the_second_stage_is_fine_tuned_with_the_compressed_first_one(finished_stages, monkeypatch):
    recipe = Recipe.from_toml(finished_stages / "recipe.toml")
    this = fine_tuning.Compression(Run(recipe, finished_stages.parent, SilentProgress()))
    smaller, seen = compress(this.student, ["int8"]), []
    monkeypatch.setattr(students, "ValidationLists", lambda *given: seen.append(given))

    def fit(distiller, batches, validation, **options):
        seen.append(distiller.student)
        return {"best_epoch": 2}

    monkeypatch.setattr(fine_tuning, "fit_until_best", fit)
    this.fine_tune(smaller)
    first, (_, second, given, queries), trained = seen
    assert first is given is smaller.retrieval_student
    assert trained is second is smaller.ranking_student
    assert queries is this.run.data.splits.validation
    assert smaller.retrieval_weight == this.student.retrieval_weight  # without `ValidationLists`


def test_the_blend_is_that_of_the_best_epoch(finished_stages, monkeypatch):
    recipe = Recipe.from_toml(finished_stages / "recipe.toml")
    this = fine_tuning.Compression(Run(recipe, finished_stages.parent, SilentProgress()))
    smaller = compress(this.student, ["int8"])

    def fit(distiller, batches, validation, **options):
        validation.weights = [0.1, 7.0, 0.2]
        return {"best_epoch": 2}

    monkeypatch.setattr(fine_tuning, "fit_until_best", fit)
    this.fine_tune(smaller)
    assert smaller.retrieval_weight == 7.0


def test_the_export_has_both_compressed_students(finished_stages, monkeypatch):
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 1)
    run = compressed_run(finished_stages)
    run.twins = []
    request = export._request(run)
    names = {name: Path(path).relative_to(run.home) for name, path in request["students"].items()}
    folder = Path("stages") / "compressed"
    assert names == {"student": folder / "student.keras", "retrieval": folder / "retrieval.keras"}
    assert request["retrieval_weight"] == run.result("compressed")["retrieval_weight"]


@pytest.mark.nightly
def test_the_command_compresses_two_stages(finished_stages, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 1)
    monkeypatch.setattr(budget, "candidates_of", lambda student: [[METHODS_OF_STAGES]])
    run = Path(shutil.copytree(finished_stages, tmp_path / "stages"))
    before = files_of(run / "1")
    command = ["compress", str(run / "1"), "--max-bytes"]
    assert cli.main([*command, "1KB"]) == cli.USERS_ERROR
    assert "into 1,000 bytes. The smallest has" in capsys.readouterr().err
    assert not (run / "compressed").exists()
    assert cli.main([*command, "90KB", "--max-drop", "90%"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "NDCG@3 on validation" in printed and "on test NDCG@3 is" in printed
    assert files_of(run / "1") == before
    facts = json.loads((run / "compress" / "compress.json").read_text())
    chosen, folder = facts["points"][facts["chosen"]], run / "compressed" / "1"
    sizes = [file.stat().st_size for file in folder.rglob("*.tflite")]
    assert len(sizes) == 2 and sum(sizes) == chosen["bytes"] <= 90_000
    assert {path.name for path in folder.iterdir()} == {
        *("student.tflite", "ranking", "provenance.json", "signature.json"),
        *("titles.txt", "vocabulary.txt"),
    }
    recipe = Recipe.from_toml(run / "recipe.toml")
    splits = Run(recipe, run.parent, SilentProgress(), home=run).data.splits
    found = evaluate(Recommender.load(folder), splits.test, k=3).ndcg.mean()
    assert facts["test"]["chosen"] == pytest.approx(found)
    assert facts["score"] in (run / "compress" / "compress.html").read_text()
    title = splits.catalogue.titles[0]
    assert cli.main(["recommend", str(folder), "--history", title, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) > 0


@pytest.mark.nightly
def test_a_recipe_of_two_stages_exports_the_smaller_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "MAX_EPOCHS", 2)
    write_tiny_bert(tmp_path)
    recipe = recipe_of_stages(
        encoder={"name": str(tmp_path)},
        cross_encoder={"steps": 1, "max_length": 16, "num_negatives": 2},
        export={"compress": METHODS_OF_STAGES},
    )
    assert Recipe.from_toml(_written(recipe, tmp_path / "r.toml")) == recipe
    report, home = pipeline.run(recipe, tmp_path / "out"), tmp_path / "out" / "stages"
    run = Run(recipe, tmp_path / "out", SilentProgress())
    smaller, models = run.whole_student("compressed"), report["models"]
    assert models["compressed"]["parameters"] == smaller.num_parameters
    assert smaller.num_parameters < models["student"]["parameters"]
    ndcg = {name: models[name]["metrics"]["relevance"]["ndcg@3"]["value"] for name in models}
    for name, scorer in (("compressed", TwoStages.of(smaller)), ("student_tflite", None)):
        found = evaluate(scorer or Recommender.load(home / "1"), run.data.splits.test, k=3)
        assert ndcg[name] == pytest.approx(found.ndcg.mean())
    # ties may be swapped
    assert ndcg["compressed"] == pytest.approx(ndcg["student_tflite"], abs=0.02)
    assert models["student_int8"]["name"] == "Compressed, int8"
    compared = report["comparisons"]["compressed_vs_student"]["relevance"]
    assert compared["difference"] == pytest.approx(ndcg["compressed"] - ndcg["student"])
    assert "the student in fewer bytes" in (home / "report.html").read_text()
    sizes = [path.stat().st_size for path in (home / "1").rglob("student_int8.tflite")]
    assert len(sizes) == 2 and models["student_int8"]["bytes"] == sum(sizes)


def test_two_stages_without_the_lists_stage_are_refused(finished_stages, tmp_path, capsys):
    run = Path(shutil.copytree(finished_stages, tmp_path / "stages"))
    shutil.rmtree(run / "stages" / "lists")
    assert cli.main(["compress", str(run / "1"), "--max-bytes", "90KB"]) == cli.USERS_ERROR
    found = " ".join(capsys.readouterr().err.split())
    assert "not finished: lists. Give one such as" in found
    assert not (run / "compress").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: shutil.rmtree(run / "stages" / "student"), "not the artefact of a finished"),
        (lambda run: (run / "1").rename(run / "2"), "No such|not the artefact"),
        (lambda run: shutil.copytree(run / "1", run / "2"), None),
        (
            lambda run: (run / "1" / "provenance.json").write_text('{"files": {}, "student": "a"}'),
            "from another student or",
        ),
        (
            lambda run: (run / "stages" / "data" / "interactions.npz").unlink(),
            "from another student or",
        ),
    ],
)
def test_an_artefact_without_its_run_is_refused(run, capsys, change, words):
    change(run)
    version = "1" if words else "2"
    assert cli.main(["compress", str(run / version), "--max-bytes", "20KB"]) == cli.USERS_ERROR
    assert re.search(words or "not hold the run's own student", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("32000", 32_000), ("32KB", 32_000), ("1.5 MB", 1_500_000), ("32k", 32_000), ("9B", 9)],
)
def test_sizes_are_read(given, expected):
    assert _bytes(given) == expected


@pytest.mark.parametrize("size", ["", "KB", "-3", "inf", "3 GB of them", "0"])
def test_invalid_sizes_are_refused(size, capsys):
    with pytest.raises(SystemExit):
        cli.main(["compress", "x", "--max-bytes", size])
    assert "is not a size" in capsys.readouterr().err or size == "-3"


def test_shares_are_read():
    assert [share(text) for text in ("2%", "0.02", "0")] == [0.02, 0.02, 0.0]
    np.testing.assert_allclose(share("12.5 %"), 0.125)
