"""Dependencies of a run's stages, and errors before later stages begin."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.data import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.pipeline.fit_until_best import save_alone
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stages import stages_of
from tfrs_distill.pipeline.tasks import logits_of_tasks
from tfrs_distill.progress import SilentProgress
from tfrs_distill.teachers import FunctionTeacher


def stages(recipe, tmp_path):
    return {stage.name: stage for stage in stages_of(Run(recipe, tmp_path, SilentProgress()))}


@pytest.mark.parametrize("name", ["synthetic", "ranking", "multitask", "two-stage", "reviews"])
def test_every_stage_reads_earlier_ones_only(name, tmp_path):
    done = set()
    for stage in stages_of(Run(Recipe.named(name), tmp_path, SilentProgress())):
        assert set(stage.after) <= done, stage.name
        done.add(stage.name)
    assert stage.name == "evaluate" and {"twin", "student", "export"} <= set(stage.after)


@pytest.mark.parametrize("name", ["synthetic", "ranking", "two-stage"])
def test_a_twin_is_trained_again_if_the_metric_that_chose_its_epoch_changes(name, tmp_path):
    recipe = Recipe.named(name)
    changed = replace(recipe, evaluation=replace(recipe.evaluation, k=5))
    before, after = (stages(one, tmp_path)["twin"].settings() for one in (recipe, changed))
    assert before != after


def test_the_artefact_is_written_again_if_its_provenance_changes(tmp_path):
    recipe = Recipe.named("synthetic")
    changed = replace(recipe, twin=replace(recipe.twin, learning_rate=0.01))
    before, after = (stages(one, tmp_path)["export"] for one in (recipe, changed))
    assert before.settings() != after.settings()
    assert "twin" in after.after


def test_a_model_is_saved_atomically(tmp_path, monkeypatch):
    student = RetrievalStudent.from_history(num_items=5, max_history=3, embedding_dim=2, seed=0)
    path = tmp_path / "student.keras"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save_alone(student, path)
    assert not path.exists()
    save_alone(student, path)
    assert [file.name for file in tmp_path.iterdir()] == ["student.keras"]
    loaded = tf.keras.models.load_model(path)
    for one, other in zip(student.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


ROWS = RankingExamples(
    {"stars": np.array([2.0, 5.0])},
    {"like": np.array([0.0, 1.0]), "buy": np.array([0.0, 1.0])},
    users=np.array([7, 8]),
    queries=np.array([7, 8]),
)


def teacher(**logits):
    return SimpleNamespace(row_logits=lambda _: {k: np.array(v) for k, v in logits.items()})


def test_only_logits_of_the_tasks_in_two_dimensions():
    both = teacher(like=[0.5, -0.5], more=[1.0, 2.0])
    found = logits_of_tasks(both, ROWS, ["like"])
    assert {task: logits.tolist() for task, logits in found.items()} == {"like": [[0.5], [-0.5]]}
    live = FunctionTeacher(lambda batch, _: {"like": batch["stars"][:, None]})
    assert logits_of_tasks(live, ROWS, ["like"])["like"].tolist() == [[2.0], [5.0]]


def test_a_task_or_a_row_without_logits_is_named():
    with pytest.raises(InputError, match="has logits of like, but none of buy. Have it label"):
        logits_of_tasks(teacher(like=[0.0, 1.0]), ROWS, ["like", "buy"])
    with pytest.raises(InputError, match="no logits of 'like' for 1 of 2 rows, first for row 1"):
        logits_of_tasks(teacher(like=[0.0, np.nan]), ROWS, ["like"])
