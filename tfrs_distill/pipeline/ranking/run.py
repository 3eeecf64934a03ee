"""The stages of a run whose student predicts labels of rows, in their order."""

from __future__ import annotations

import dataclasses
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.unlabelled_rows import unlabelled_rows
from tfrs_distill.files import whole_file
from tfrs_distill.knowledge import CachedTeacher, cross_fit, prune
from tfrs_distill.models.tasks import RankingTask
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.measure import SHAPE
from tfrs_distill.pipeline.ranking.dataset import (
    facts_of_split,
    ranking_source_fingerprint,
    read_ranking_data,
)
from tfrs_distill.pipeline.ranking.export_student import described
from tfrs_distill.pipeline.ranking.measure import MeasuredModels, measure_ranking
from tfrs_distill.pipeline.ranking.tasks import leading_metric, make_tasks, what
from tfrs_distill.pipeline.ranking.teachers import KERAS_FILES, RankingSetting, ranking_teacher
from tfrs_distill.pipeline.ranking.training import STUDENT_FILE, train_ranking_student
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.report import verdict, write_report
from tfrs_distill.pipeline.resume import Result, Stages, forget_other_trainings
from tfrs_distill.pipeline.versions import versions
from tfrs_distill.progress import Progress
from tfrs_distill.teachers import row_logits

CACHE = "cache"  # of the knowledge stage's folder
LOGITS_FILE = "logits.npz"  # of the unlabelled stage's
SAME_AS_STUDENT = "same model, same labels, as many epochs at most, same seed"


class RankingRun:
    """One ranking or multitask recipe's run in one folder."""

    def __init__(self, recipe: Recipe, out: Path, progress: Progress) -> None:
        self.recipe, self.progress = recipe, progress
        self.home = out / recipe.name
        self.version = self.home / str(recipe.export.version)
        self.alone = recipe.ranking.tasks if recipe.task == "multitask" else ()
        total = 7 + len(self.alone) + bool(recipe.ranking.unlabelled_per_row)
        self.stages = Stages(self.home / "stages", total, recipe.seed, progress)

    def all_stages(self) -> dict[str, Any]:
        """Run every stage and write the report."""
        data_facts = self._data()
        self.tasks = make_tasks(self.recipe, self.data)
        number = self.recipe.ranking.unlabelled_per_row
        if number:  # before a teacher is trained: whether there are such rows is the data's affair
            drawn = unlabelled_rows(self.data.splits.train, number, seed=self.recipe.seed)
        setting = RankingSetting(self.recipe, self.data, self.progress)
        self.kind = ranking_teacher(setting, self.tasks)
        teacher = self._teacher()
        heard = self._knowledge()
        if number:
            heard = heard.joined(self._labelled(drawn))
        curves = _curves_of_teacher(teacher)
        curves["twin"] = self._student("twin", self.tasks, self.data.splits.train)
        for name in self.alone:
            own = make_tasks(self.recipe, self.data, [name])
            curves[f"twin_of_{name}"] = self._student(
                f"twin_of_{name}", own, self.data.splits.train
            )
        curves["student"] = self._student("student", self.tasks, heard)
        self._export(data_facts, curves)
        measured = self._measure(teacher)
        return self._report(data_facts, curves, measured)

    def _file(self, stage: str, name: str = "") -> Path:
        return self.stages.folder / stage / name

    def _data(self) -> Result:
        recipe = self.recipe
        settings = [
            ranking_source_fingerprint(recipe),
            dataclasses.asdict(recipe.data) | {"folder": ""},
        ]
        self.data = read_ranking_data(recipe)

        def work(_: Path) -> tuple[Result, str]:
            facts = self.data.facts() | facts_of_split(recipe, self.data)
            items = f"{facts['items']:,} items, {facts['rows']:,} rows"
            times = f", {self.data.times}" if self.data.times else ""
            return facts, f"{self.data.splits.name}: {items}{times}"

        return self.stages.run("data", settings, work)

    def _teacher(self) -> Result:
        recipe = self.recipe
        settings = [
            dataclasses.asdict(recipe.teacher),
            recipe.ranking.of_labels,
            recipe.evaluation.k,
            self.kind.settings(),
        ]

        def work(folder: Path) -> tuple[Result, str]:
            forget_other_trainings(folder, self.stages.fingerprints["teacher"])
            facts = self.kind.train(folder)
            return facts, facts.pop("line")

        return self.stages.run("teacher", settings, work, after=["data"])

    def _knowledge(self) -> RankingExamples:
        """The training rows with logits of teachers that never saw them; folds on disk are read."""
        recipe, whole = self.recipe, self._file("teacher")

        def train(folder: Path, examples: RankingExamples, fold: int) -> Any:
            own = folder / "teachers" / str(fold)
            own.mkdir(parents=True, exist_ok=True)
            return self.kind.train_fold(examples, fold, whole, own)

        def work(folder: Path) -> tuple[Result, str]:
            forget_other_trainings(folder, self.stages.fingerprints["knowledge"])
            cross_fit(
                partial(train, folder),
                self.data.rows_of_teacher,
                folder / CACHE,
                fingerprint=self.stages.fingerprints["knowledge"],
                num_folds=recipe.knowledge.folds,
                by=recipe.knowledge.by,
                seed=recipe.seed,
                progress=self.progress,
            )
            prune(folder / CACHE)
            shutil.rmtree(folder / "teachers", ignore_errors=True)  # all folds have spoken
            folds = recipe.knowledge.folds
            return {}, f"{folds} parts of the rows, each labelled by a teacher that never saw it"

        settings = [recipe.knowledge.folds, recipe.knowledge.by]
        self.stages.run("knowledge", settings, work, after=["teacher"])
        knowledge = CachedTeacher.open(self._file("knowledge", CACHE))
        labelled = knowledge.join(self.data.rows_of_teacher)
        return self.data.splits.train.with_teacher(labelled.teacher_logits)

    def _labelled(self, drawn: RankingExamples) -> RankingExamples:
        """Rows that nobody has labelled, with what the teacher says of them."""

        def work(folder: Path) -> tuple[Result, str]:
            said = row_logits(self.kind.open(self._file("teacher")), drawn)
            with whole_file(folder / LOGITS_FILE) as file:
                np.savez(file, **said)
            return {}, f"{len(drawn):,} rows of items for which their users have no training row"

        settings = [self.recipe.ranking.unlabelled_per_row]
        self.stages.run("unlabelled", settings, work, after=["teacher"])
        with np.load(self._file("unlabelled", LOGITS_FILE)) as arrays:
            said = {task: arrays[task] for task in arrays.files}
        return drawn.with_teacher(said)

    def _student(
        self, name: str, tasks: list[RankingTask], examples: RankingExamples
    ) -> dict[str, Any]:
        recipe, taught = self.recipe, name == "student"
        own = recipe.distillation if taught else recipe.twin
        parts = (recipe.student, recipe.words, recipe.training, own)
        settings = [
            [dataclasses.asdict(part) for part in parts],
            recipe.ranking.of_labels,
            [task.name for task in tasks],
            recipe.evaluation.k,
        ]

        def work(folder: Path) -> tuple[Result, str]:
            return train_ranking_student(
                recipe,
                self.data,
                tasks,
                examples,
                folder,
                self.progress,
                description=name.replace("_", " "),
                taught=taught,
            )

        unlabelled = ["unlabelled"] if recipe.ranking.unlabelled_per_row else []
        after = ["knowledge", *unlabelled] if taught else ["data"]
        curves: dict[str, Any] = self.stages.run(name, settings, work, after=after)["curves"]
        return curves

    def _export(self, data: Result, curves: dict[str, Any]) -> None:
        recipe = self.recipe
        request = {
            "student": str(self._file("student", STUDENT_FILE)),
            "directory": str(self.version),
            **described(self.data),
            "provenance": {
                "recipe": recipe.as_dict(),
                "training_data": data["fingerprint"],
                "student": self.stages.fingerprints["student"],
                "metrics": {
                    f"{name} validation_score": max(told["validation_score"])
                    for name, told in curves.items()
                },
            },
        }

        def work(_: Path) -> tuple[Result, str]:
            in_fresh_process("tfrs_distill.pipeline.ranking.export_student", request)
            return {}, sizes_line(self.version)

        settings = dataclasses.asdict(recipe.export)
        self.stages.run("export", settings, work, after=["student"], output=self.version)

    def _measure(self, teacher: Result) -> Result:
        names = ["twin", *(f"twin_of_{name}" for name in self.alone), "student"]

        def work(folder: Path) -> tuple[Result, str]:
            models = MeasuredModels(
                teacher=self.kind.open(self._file("teacher")),
                teacher_files=sorted(self._file("teacher").rglob(f"{KERAS_FILES}*.keras")),
                teacher_facts=teacher,
                files={name: self._file(name, STUDENT_FILE) for name in names},
                artefact=self.version,
            )
            return measure_ranking(
                self.recipe, self.data, self.tasks, models, folder, self.progress
            )

        settings = [dataclasses.asdict(self.recipe.evaluation), SHAPE]
        return self.stages.run("evaluate", settings, work, after=["teacher", *names, "export"])

    def _report(self, data: Result, curves: dict[str, Any], measured: Result) -> dict[str, Any]:
        recipe = self.recipe
        report: dict[str, Any] = {
            "protocol": {
                "split": self.data.protocol,
                "models": "Every model answered the same test rows.",
                "twin": f"{SAME_AS_STUDENT}{self._beside_labels()}",
                "score": "The mean over the tasks of AUC (yes or no), of 1 - RMSE / standard "
                "deviation (ratings) and of NDCG (items)",
            },
            "rows_are": "row",
            "tasks": {
                task.name: {
                    "metric": leading_metric(task, recipe.evaluation.k),
                    "what": what(task),
                }
                for task in self.tasks
            },
            "data": data,
            "training": curves,
            **measured,
        }
        return write_run_report(report, self.home, recipe, self.stages)

    def _beside_labels(self) -> str:
        """What the student has beside what its twin has."""
        number = self.recipe.ranking.unlabelled_per_row
        rows = f"unlabelled rows, {number:,} for each labelled one"
        return f" (the student also has {rows})" if number else ""


def write_run_report(
    report: dict[str, Any], home: Path, recipe: Recipe, stages: Stages
) -> dict[str, Any]:
    """Add what every report has, and write it with the recipe."""
    facts: dict[str, Any] = {
        "name": recipe.name,
        "task": recipe.task,
        "seed": recipe.seed,
        "k": recipe.evaluation.k,
        "recipe": recipe.as_dict(),
    }
    report = facts | report
    report["data"] = {key: told for key, told in report["data"].items() if key != "fingerprint"}
    report["versions"] = versions()
    report["stages"] = {name: {"seconds": value} for name, value in stages.seconds.items()}
    report["verdict"] = verdict(report)
    with whole_file(home / "recipe.toml", "w") as file:
        file.write(recipe.to_toml())
    write_report(report, home)
    return report


def sizes_line(folder: Path) -> str:
    """What was exported, in a sentence's part."""
    files = sorted(folder.rglob("*.tflite"))
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1000:.1f} kB" for path in files)
    return f"{sizes}, SavedModel in {folder}"


def _curves_of_teacher(teacher: Result) -> dict[str, Any]:
    if "curves" in teacher:
        return {"teacher": teacher["curves"]}
    return {
        f"teacher of {name}": told["curves"]
        for name, told in teacher.get("members", {}).items()
        if "curves" in told
    }
