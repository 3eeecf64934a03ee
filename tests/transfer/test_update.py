"""Updates of a finished run: new data is appended, and no worse version is published."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nightly import nightly
from tiny_bert import write_tiny_bert

from tfrs_distill import cli, pipeline
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.errors import InputError
from tfrs_distill.files import content_sha256, files_sha256, whole_file
from tfrs_distill.pipeline.data import TABLES_FILE
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stages.data import data_stage
from tfrs_distill.pipeline.stages.export import export_stage
from tfrs_distill.pipeline.stages.knowledge import knowledge_stage
from tfrs_distill.pipeline.stages.student import student_stage
from tfrs_distill.pipeline.stages.teacher import teacher_stage
from tfrs_distill.pipeline.stages.words import words_stage
from tfrs_distill.pipeline.updates import publish, stages
from tfrs_distill.progress import SilentProgress
from tfrs_distill.serving.recommender import Recommender

DATA = synthetic(num_users=120)
BY_TIME = np.argsort(DATA.timestamps, kind="stable")
NEW_ITEMS = (3, 7)  # in no earlier interaction
CUT = int(0.75 * len(BY_TIME))


def write_interactions(path, rows, **changed):
    """Rows of `DATA` as a table; `changed` replaces values of a column in the first of them."""
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["user_id", "item_id", "timestamp"])
        for number, row in enumerate(rows):
            cells = {
                "user": DATA.user_ids[DATA.users[row]],
                "item": DATA.catalogue.item_ids[DATA.items[row] - 1],
                "time": DATA.timestamps[row],
            } | (changed if number == 0 else {})
            table.writerow(cells.values())
    return str(path)


def write_items(path, items):
    catalogue = DATA.catalogue
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["item_id", "title"])
        for item in items:
            table.writerow([catalogue.item_ids[item - 1], catalogue.texts[item - 1]])
    return str(path)


@pytest.fixture(scope="module", params=["item-item", nightly("ensemble")])
def finished(request, tmp_path_factory):
    """A run without stages that an update does not read: a twin, controls and metrics."""
    folder = tmp_path_factory.mktemp("update")
    write_tiny_bert(folder / "bert")
    before = [row for row in BY_TIME[:CUT] if DATA.items[row] not in NEW_ITEMS]
    known = [item for item in range(1, DATA.catalogue.num_items + 1) if item not in NEW_ITEMS]
    tables = write_interactions(folder / "old.csv", before), write_items(folder / "i.csv", known)
    plans = [
        f"{user},{'gold' if number % 2 else 'free'}" for number, user in enumerate(DATA.user_ids)
    ]
    (folder / "users.csv").write_text("\n".join(["user_id,plan", *plans]))
    users = [str(folder / "users.csv")]
    recipe = Recipe.named("movielens-100k").of_tables([tables[0]], [tables[1]], users=users)
    recipe = replace(
        recipe,
        name="shop",
        data=replace(recipe.data, max_history=8, user_attributes=("plan",)),
        teacher=replace(recipe.teacher, kind=request.param, embedding_dim=8, max_epochs=1),
        encoder=replace(recipe.encoder, name=str(folder / "bert")),
        knowledge=replace(recipe.knowledge, folds=2, top_k=10),
        student=replace(recipe.student, embedding_dim=4),
        item_texts=replace(recipe.item_texts, read=True, num_common=10, piece_dim=2),
        training=replace(recipe.training, max_epochs=1, controls=()),
        evaluation=replace(recipe.evaluation, k=3),
    )
    run = Run(recipe, folder / "runs", SilentProgress())
    run.twins = []
    run.stages.run(
        [
            data_stage(run),
            words_stage(run),
            teacher_stage(run),
            knowledge_stage(run),
            student_stage(run, "student"),
            export_stage(run),
        ]
    )
    with whole_file(run.home / "recipe.toml", "w") as file:
        file.write(recipe.to_toml())
    return run.home


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    middle = CUT + (len(BY_TIME) - CUT) // 2
    return [
        (
            write_interactions(folder / "first.csv", BY_TIME[CUT:middle]),
            write_items(folder / "items.csv", NEW_ITEMS),
        ),
        (write_interactions(folder / "second.csv", BY_TIME[middle:]), None),
    ]


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, which a test can change."""
    return Path(shutil.copytree(finished, tmp_path / "shop"))


def files_of(folder):
    return files_sha256(sorted(path for path in folder.rglob("*") if path.is_file()))


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_an_update_resumes_and_another_follows_it(run, tables, monkeypatch, capsys):
    (first, items), (second, _) = tables
    shutil.copytree(run / "1", run / "1.kept")  # no version
    before = files_of(run)
    for owner, name in ((publish, "export_stage"), (publish.shutil, "copytree")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                pipeline.update(run, [first], [items], max_drop=0.9)
        visible = {path.name for path in run.iterdir() if path.name[0] != "."}
        encodes = Recipe.from_toml(run / "recipe.toml").teacher.kind == "ensemble"
        expected = {"1", "1.kept", "recipe.toml", "stages", "updates"}
        assert visible == expected | ({"item_vectors"} if encodes else set())
    options = ["--max-drop", "90%", "--json"]
    command = ["update", str(run), "--new-interactions", first, "--new-items", items]
    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit_until_best", interrupted)  # nothing is trained again
        assert cli.main([*command, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["before"], found["published"]) == (2, 1, True)
    assert "2 new items" in found["new"]
    assert set(found["ndcg"]["all users"]) == {"new", "last", "first"}
    old, new = (Recommender.load(run / version) for version in "12")
    assert new.artefact.item_ids[: len(old.artefact.item_ids)] == old.artefact.item_ids
    of_new = [DATA.catalogue.item_ids[item - 1] for item in NEW_ITEMS]
    assert list(new.artefact.item_ids[-2:]) == of_new
    assert len(new.recommend(of_new, k=3, attributes={"plan": "gold"})) == 3
    assert new.artefact.user_attributes == old.artefact.user_attributes
    (named, known), (named_later, known_later) = (
        json.loads((home / "stages" / "data" / "user_attributes.json").read_text())
        for home in (run, run / "updates" / "2")
    )
    assert named_later == named == [{"name": "plan", "values": ["free", "gold"]}]
    assert known_later[: len(known)] == known and {(1,), (2,)} == set(map(tuple, known))
    assert all(indices == [0] for indices in known_later[len(known) :])

    assert cli.main(["update", str(run), "--new-interactions", second, *options[:2]]) == 0
    result = " ".join(capsys.readouterr().out.split())
    assert " 0 new items" in result and f"Published: {run / '3'}" in result
    assert "users without new data" in result
    copy = shutil.copy(first, run.parent / "copy.csv")
    (old,) = Recipe.from_toml(run / "recipe.toml").data.interactions
    for table, part in ((second, "version 3"), (copy, "version 2"), (old, "the data")):
        with pytest.raises(InputError, match=rf"\.csv is in {part} of .* would count twice"):
            pipeline.update(run, table)
    third = shutil.copy(second, run.parent / "third.csv")
    with open(third, "a") as file:
        file.write("\n")
    with pytest.raises(InputError, match=r"third\.csv is in .*third\.csv, given before it"):
        pipeline.update(run, [third, third])
    later = Recommender.load(run / "3")
    assert later.artefact.item_ids == new.artefact.item_ids
    found = json.loads((run / "updates" / "3" / "update.json").read_text())
    assert (found["version"], found["before"]) == (3, 2)
    assert 0 < found["queries"]["users without new data"] < found["queries"]["all users"]
    tables_file = run / "stages" / "data" / TABLES_FILE  # of a first run of other items
    text = tables_file.read_text()
    name, users, catalogue = json.loads(text)
    catalogue["item_ids"].reverse()
    tables_file.write_text(json.dumps([name, users, catalogue]))
    with pytest.raises(InputError, match=r"repeated with other data since"):
        pipeline.update(run, [second])
    tables_file.write_text(text)
    for path in ("updates", "2", "3"):
        shutil.rmtree(run / path)
    assert files_of(run) == before  # the first version is unchanged


def test_a_worse_student_is_not_published(run, tables, monkeypatch):
    ((first, items), _), fit = tables, stages.fit_until_best

    def forgetful(model, *arguments, **settings):
        curves = fit(model, *arguments, **settings)
        items = model.student.candidate_tower
        interacted = np.bincount(DATA.items, minlength=items.num_items + 1)
        items.biases.assign(-100.0 * interacted)  # the rarest first
        return curves

    monkeypatch.setattr(stages, "fit_until_best", forgetful)
    with pytest.raises(InputError, match=r"is worse than an earlier one.*at most 2.0% is allowed"):
        pipeline.update(run, [first], [items])
    assert not (run / "2").exists()
    written = json.loads((run / "updates" / "2" / "update.json").read_text())
    assert not written["published"]
    assert written["ndcg"]["all users"]["new"] < written["ndcg"]["all users"]["last"]


ROWS = BY_TIME[CUT:]
NEW_ROW = next(row for row in ROWS if DATA.items[row] in NEW_ITEMS)


@pytest.mark.parametrize(
    ("rows", "changed", "items", "words"),
    [
        (ROWS, {"time": 0}, NEW_ITEMS, r"1 of \d+ new interactions are older than the run's last"),
        (ROWS, {"time": "2024-01-01"}, NEW_ITEMS, r"holds .* not a date|need times like those"),
        (
            ROWS,
            {"item": "nobody"},
            NEW_ITEMS,
            r"have 1 items that are neither .* new items, such as 'nobody'",
        ),
        ([NEW_ROW, *ROWS], {}, (), r"that are neither .*\(--new-items\)"),
        (ROWS, {}, (*NEW_ITEMS, 1), r"1 of its 3 ids are in the run already, such as 'i1'"),
    ],
    ids=["older", "dates", "unknown item", "no items", "taken id"],
)
def test_invalid_new_tables_are_refused(finished, tmp_path, rows, changed, items, words):
    before = files_of(finished)
    interactions = write_interactions(tmp_path / "new.csv", rows, **changed)
    new_items = [write_items(tmp_path / "items.csv", items)] if items else []
    with pytest.raises(InputError, match=words):
        pipeline.update(finished, [interactions], new_items)
    assert files_of(finished) == before


def test_a_new_item_needs_a_new_id_and_a_text(finished, tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\nx,\n")
    rows = write_interactions(tmp_path / "new.csv", ROWS, item="x")
    with pytest.raises(InputError, match=r"1 of 1 have neither a title nor another text"):
        pipeline.update(finished, [rows], [str(tmp_path / "items.csv")])


def test_runs_that_cannot_be_updated_are_refused(finished, run, tables, tmp_path):
    ((first, items), _) = tables
    with pytest.raises(InputError, match=r"is not the folder of a finished run"):
        pipeline.update(tmp_path, [first])
    with pytest.raises(InputError, match=r"`max_drop` must be at least 0 and below 1"):
        pipeline.update(finished, [first], max_drop=1.0)
    with pytest.raises(InputError, match=r"at least one table of new interactions"):
        pipeline.update(finished, [])
    titles = (run / "1" / "vocabulary.txt").read_text().splitlines()
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(
        re.sub('(?m)^kind = "(item-item|ensemble)"', 'kind = "cross-encoder"', recipe)
    )
    with pytest.raises(InputError, match=r"kind cross-encoder cannot continue from an earlier run"):
        pipeline.update(run, [first], [items])
    (run / "recipe.toml").write_text(recipe)
    (run / "1" / "vocabulary.txt").write_text("\n".join(["other", *titles[1:]]) + "\n")
    with pytest.raises(InputError):  # the artefact's checksum, or another vocabulary
        pipeline.update(run, [first], [items])


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("student", lambda note: note.update(fingerprint="of other settings")),
        ("data", lambda note: note["result"].update(fingerprint="of other windows")),
    ],
)
def test_a_run_that_was_continued_with_other_settings_is_refused(run, tables, stage, change):
    """Its last version is of one student, and its stages contain another."""
    ((first, items), _) = tables
    path = run / "stages" / stage / "done.json"
    note = json.loads(path.read_text())
    del note["sha256"]
    change(note)
    path.write_text(json.dumps(note | {"sha256": content_sha256(note)}))
    before = files_of(run)
    with pytest.raises(InputError, match=r"was continued with other settings.*to the end first"):
        pipeline.update(run, [first], [items])
    assert files_of(run) == before
