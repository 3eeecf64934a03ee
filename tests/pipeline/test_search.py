"""A search for settings: its space, its studies, and its files."""

import json
from dataclasses import replace

import numpy as np
import optuna
import pytest

from tfrs_distill import pipeline
from tfrs_distill.errors import DivergedError, InputError
from tfrs_distill.files import locked
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.search import study as studies
from tfrs_distill.pipeline.search.page import in_short
from tfrs_distill.pipeline.search.space import space_of, with_settings
from tfrs_distill.pipeline.search.study import MIN_EPOCHS, NUM_STARTUP_TRIALS, search
from tfrs_distill.pipeline.search.trials import Trained
from tfrs_distill.progress import SilentProgress

RECIPE = Recipe.named("synthetic")
NUM_EPOCHS = MIN_EPOCHS + 1
BEST_DROPOUT = 0.45  # of the planted score, for student and twin


class Planted:
    """Replaces a training: the score decreases with the distance to a dropout."""

    def __init__(self, monkeypatch):
        self.calls, self.interrupt_at, self.diverge_at = [], None, None
        monkeypatch.setattr(studies, "train", self)

    def __call__(self, recipe, out, name, progress, after_epoch):
        self.calls.append((name, recipe))
        if len(self.calls) == self.interrupt_at:
            raise KeyboardInterrupt
        if len(self.calls) == self.diverge_at:
            raise DivergedError("the loss became nan")
        section = recipe.twin if name == "twin" else recipe.distillation
        score = 1 - abs(section.dropout - BEST_DROPOUT)
        for epoch in range(1, NUM_EPOCHS + 1):
            after_epoch(epoch, score * epoch / NUM_EPOCHS)
        return Trained(score, "validation_ndcg@10", NUM_EPOCHS)


@pytest.fixture
def planted(monkeypatch):
    return Planted(monkeypatch)


def found_by(out, num_trials, space=(), recipe=RECIPE):
    return search(recipe, out, num_trials, list(space), SilentProgress())


def trials_of(found, name="student"):
    return found["studies"][name]["trials"]


def values_of(found, name="student"):
    return [trial["values"] for trial in trials_of(found, name)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search without interruption, and its folder."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        Planted(patch)
        found = pipeline.tune(RECIPE, out, num_trials=9)
    return found, out / RECIPE.name / "tune"


def test_the_best_trials_make_the_recipe_and_both_studies_have_as_many(whole):
    found, folder = whole
    for name, section in (("student", "distillation"), ("twin", "twin")):
        study = found["studies"][name]
        own = getattr(RECIPE, section).dropout
        assert len(study["trials"]) == 9 and study["first"] == 0
        assert study["trials"][0]["values"][f"{section}.dropout"] == own
        tried = [trial["values"][f"{section}.dropout"] for trial in study["trials"]]
        assert len(set(tried)) == 9
        complete = [t["score"] for t in study["trials"] if t["state"] == "complete"]
        best = study["trials"][study["best"]]
        dropout = best["values"][f"{section}.dropout"]
        assert best["score"] == max(complete) == 1 - abs(dropout - BEST_DROPOUT)
        assert best["score"] > 1 - abs(own - BEST_DROPOUT)
        assert found["recipe"][section]["dropout"] == dropout
    assert Recipe.from_toml(folder / "best.toml").as_dict() == found["recipe"]
    assert json.loads((folder / "tune.json").read_text()) == json.loads(json.dumps(found))


@pytest.mark.parametrize("name", ["student", "twin"])
def test_trials_in_the_worst_quarter_so_far_are_stopped(name, whole):
    section = {"student": "distillation", "twin": "twin"}[name]
    states, complete = [], []
    for trial in trials_of(whole[0], name):
        score = 1 - abs(trial["values"][f"{section}.dropout"] - BEST_DROPOUT)
        behind = len(complete) >= NUM_STARTUP_TRIALS // 2 and score < np.percentile(complete, 25)
        assert trial["state"] == ("pruned" if behind else "complete")
        assert trial["epoch"] == (MIN_EPOCHS if behind else NUM_EPOCHS)
        states.append(trial["state"])
        complete += [] if behind else [score]
    assert "pruned" in states


def test_the_page_shows_both_studies(whole):
    found, folder = whole
    page = (folder / "tune.html").read_text()
    for name in ("student", "twin"):
        best = trials_of(found, name)[found["studies"][name]["best"]]
        assert f"the best {name} has {best['score']:.4f}" in page
        assert f'alt="How much each setting decides, of the {name}"' in page
    assert page.count("data:image/svg+xml;base64,") == 8
    assert "distillation.temperature" in page and "twin.dropout" in page
    assert "http" not in page


@pytest.mark.parametrize(("result", "at"), [(True, 3), (False, 3), (True, 1)])
def test_an_interrupted_search_continues_like_an_uninterrupted_one(
    result, at, whole, planted, tmp_path
):
    planted.interrupt_at = at
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if not result:  # as after a killed process
            patch.setattr(studies, "_give_back", lambda *_: None)
        found_by(tmp_path, 4)
    storage = f"sqlite:///{tmp_path / RECIPE.name / 'tune' / 'study.db'}"
    state = optuna.load_study(study_name="student", storage=storage).trials[at - 1].state
    assert state == (optuna.trial.TrialState.FAIL if result else optuna.trial.TrialState.RUNNING)
    planted.interrupt_at = None
    found = found_by(tmp_path, 4)
    for name in ("student", "twin"):
        assert values_of(found, name) == values_of(whole[0], name)[:4]


def test_the_remaining_time_is_not_estimated_from_the_first_trial(planted, tmp_path):
    titles = []

    class Titles(SilentProgress):
        def stage(self, number, total, name):
            titles.append((number, total, name.split(":")[0]))

    search(RECIPE, tmp_path, 3, [], Titles())
    assert titles[0] == (1, 3, "student")
    best = f"best so far {1 - abs(RECIPE.distillation.dropout - BEST_DROPOUT):.4f}"
    assert titles[1] == (2, 3, f"student ({best})")
    assert titles[2][2].startswith("student (best so far ") and titles[2][2].endswith(" left)")


def test_more_trials_can_be_added(whole, planted, tmp_path):
    found_by(tmp_path, 1)
    assert values_of(found_by(tmp_path, 3)) == values_of(whole[0])[:3]
    assert len(planted.calls) == 2 * 3


def test_with_fewer_trials_later_the_twin_still_has_as_many(planted, tmp_path):
    planted.interrupt_at = 4  # the twin's first
    with pytest.raises(KeyboardInterrupt):
        found_by(tmp_path, 3)
    planted.interrupt_at = None
    found = found_by(tmp_path, 1)
    assert len(trials_of(found)) == len(trials_of(found, "twin")) == found["num_trials"] == 3
    assert "of 3 trials each." in in_short(found)


def test_a_trial_that_diverges_is_counted_and_is_not_the_best(planted, tmp_path):
    planted.diverge_at = 2
    trials = trials_of(found_by(tmp_path, 3))
    assert [trial["state"] for trial in trials] == ["complete", "fail", "complete"]
    assert trials[1]["score"] is None


def test_if_all_trials_diverge_it_is_an_error(planted, tmp_path):
    planted.diverge_at = 1
    with pytest.raises(InputError, match="None of the 1 trials of the student.*became nan"):
        found_by(tmp_path, 1)


def test_an_undefined_score_is_a_failed_trial(monkeypatch, tmp_path):
    """Such as the AUC of validation rows of one class."""
    scores = iter([float("nan")])
    monkeypatch.setattr(studies, "train", lambda *_: Trained(next(scores), "validation_auc", 1))
    with pytest.raises(InputError, match="None of the 1 trials.*validation_auc is nan"):
        found_by(tmp_path, 1)


def test_incompatible_settings_are_failed_trials(planted, tmp_path):
    with pytest.raises(InputError, match="None of the 2 trials.*multiple of `teacher.num_heads`"):
        found_by(tmp_path, 2, ["teacher.embedding_dim=15"])
    assert not planted.calls


def test_the_twin_has_the_students_width(planted, tmp_path):
    found = found_by(tmp_path, 3, ["student.embedding_dim=4,8"])
    width = found["recipe"]["student"]["embedding_dim"]
    of_twin = {r.student.embedding_dim for name, r in planted.calls if name == "twin"}
    assert of_twin == {width}
    assert "student.embedding_dim" not in found["studies"]["twin"]["settings"]


def test_a_study_of_another_recipe_is_refused(planted, tmp_path):
    found_by(tmp_path, 1)
    other = replace(RECIPE, training=replace(RECIPE.training, batch_size=7))
    with pytest.raises(InputError, match="another recipe.*training.batch_size.*Remove the file"):
        found_by(tmp_path, 1, recipe=other)
    with pytest.raises(InputError, match="distillation.dropout"):
        found_by(tmp_path, 1, ["distillation.dropout=0:0.1"])
    assert len(planted.calls) == 2


def test_a_study_of_other_data_is_refused_at_any_path_of_the_data(planted, tmp_path):
    table, moved = tmp_path / "orders.csv", tmp_path / "moved" / "orders.csv"
    moved.parent.mkdir()
    table.write_text("user,item\nann,tea\nbob,rice\n")
    recipe = RECIPE.of_tables([str(table)])
    found_by(tmp_path, 1, recipe=recipe)
    table.rename(moved)
    recipe = replace(recipe, data=replace(recipe.data, interactions=(str(moved),)))
    found_by(tmp_path, 1, recipe=recipe)
    assert len(planted.calls) == 2
    moved.write_text("user,item\nann,tea\nbob,rice\nbob,tea\n")
    with pytest.raises(InputError, match="another recipe.*data.content.*Remove the file"):
        found_by(tmp_path, 1, recipe=recipe)


def test_a_study_without_a_finished_trial_can_be_replaced(planted, tmp_path):
    planted.interrupt_at = 1
    with pytest.raises(KeyboardInterrupt):
        found_by(tmp_path, 1)
    planted.interrupt_at = None
    other = replace(RECIPE, training=replace(RECIPE.training, batch_size=7))
    assert len(trials_of(found_by(tmp_path, 1, recipe=other))) == 1
    assert [recipe.training.batch_size for _, recipe in planted.calls] == [32, 7, 7]


def test_settings_of_exports_and_controls_do_not_change_the_recipe(planted, tmp_path):
    found_by(tmp_path, 1)
    same = replace(
        RECIPE,
        export=replace(RECIPE.export, version=2),
        training=replace(RECIPE.training, controls=()),
    )
    found_by(tmp_path, 1, recipe=same)
    assert len(planted.calls) == 2


@pytest.mark.parametrize("name", ["movielens-100k", "two-stage"])
def test_a_twin_after_a_first_stage_is_compared_for_one_first_stage_only(name):
    recipe = Recipe.named(name)
    other = with_settings(recipe, {"distillation.dropout": 0.123})
    one, another = (studies._made_from("twin", of, ()) for of in (recipe, other))
    assert (one == another) is (name != "two-stage")


def test_no_trial_is_stopped_by_its_first_stage(tmp_path):
    def result(epoch, score):
        raise AssertionError

    run = Run(Recipe.named("two-stage"), tmp_path, SilentProgress(), after_epoch=result)
    assert run.after_epoch_of("retrieval") is None
    assert run.after_epoch_of("student") is run.after_epoch_of("twin") is result


def test_a_file_that_is_not_a_study_is_refused_and_kept(planted, tmp_path):
    path = tmp_path / RECIPE.name / "tune" / "study.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"my diary, which is long enough to be no database" * 40)
    with pytest.raises(InputError, match="not a study.*Remove it"):
        found_by(tmp_path, 1)
    assert path.read_bytes().startswith(b"my diary")


def test_two_searches_in_one_folder_are_refused(planted, tmp_path):
    with locked(tmp_path / RECIPE.name / "tune" / "study.db"):
        with pytest.raises(InputError, match="Another process"):
            found_by(tmp_path, 1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("temperature=1:2", "SECTION.NAME"),
        ("distillation.temprature=1:2", "Did you mean distillation.temperature"),
        ("distillation.temperature", "KEY=LOW:HIGH"),
        ("distillation.temperature=2:1", "LOW below HIGH"),
        ("distillation.dropout=0:0.5:log", "above 0 for :log"),
        ("distillation.dropout=0:2", "must be a number"),
        ("distillation.dropout=a,b", "different ones"),
        ("distillation.dropout=0.1,0.1", "different ones"),
        ("student.embedding_dim=0:4", "at least 1"),
        ("student.embedding_dim=1.5:4", "a whole number"),
        ("teacher.members=two-tower+nothing", "a list of different ones"),
        ("data.max_history=4:8", "determines what is measured"),
        ("evaluation.k=5,10", "determines what is measured"),
        ("training.max_epochs=5,10", "how long a model is trained"),
        ("seed=1,2", "SECTION.NAME"),
    ],
)
def test_an_invalid_space_is_refused(entry, message):
    with pytest.raises(InputError, match=message):
        space_of(RECIPE, [entry])


def test_no_trials_are_refused(planted, tmp_path):
    with pytest.raises(InputError, match="--trials must be at least 1. Received: 0"):
        found_by(tmp_path, 0)
    assert not (tmp_path / RECIPE.name).exists()


def test_given_values_replace_default_ones():
    given = [
        "distillation.temperature=2",
        "teacher.members=two-tower+item-item,two-tower+als",
        "twin.exclude_seen=true,false",
        "student.embedding_dim=8:64:log",
    ]
    space = space_of(RECIPE, given)
    student = {dimension.key: dimension for dimension in space["student"]}
    assert student["distillation.temperature"].choices == (2.0,)
    assert student["teacher.members"].choices == (("two-tower", "item-item"), ("two-tower", "als"))
    width = student["student.embedding_dim"]
    assert (width.low, width.high, width.log) == (8, 64, True)
    drawn = [width.suggest(optuna.create_study().ask()) for _ in range(5)]
    assert all(isinstance(value, int) and 8 <= value <= 64 for value in drawn)
    (seen,) = (one for one in space["twin"] if one.key == "twin.exclude_seen")
    assert seen.choices == (True, False) and seen.value("false") is False
    changed = with_settings(RECIPE, {"teacher.members": ("two-tower", "als"), "twin.dropout": 0.1})
    assert changed.teacher.members == ("two-tower", "als") and changed.twin.dropout == 0.1


@pytest.mark.parametrize(
    ("key", "values"),
    [("student.embedding_dim", (10001, 10002)), ("twin.learning_rate", (0.00123451, 0.00123452))],
)
def test_values_that_are_almost_equal_are_tried_separately(key, values):
    space = space_of(RECIPE, [f"{key}={values[0]},{values[1]}"])
    (dimension,) = [one for of_one in space.values() for one in of_one if one.key == key]
    assert tuple(dimension.value(dimension.parameter(value)) for value in values) == values


@pytest.mark.parametrize("name", ["movielens-100k", "ranking", "multitask", "two-stage", "reviews"])
def test_every_task_has_a_default_space_that_includes_its_settings(name):
    recipe = Recipe.named(name)
    for dimensions in space_of(recipe).values():
        assert len(dimensions) >= 4
        for dimension in dimensions:
            section, setting = dimension.key.split(".")
            own = getattr(getattr(recipe, section), setting)
            assert dimension.parameter(own) is not None, dimension.key
