"""The stages of a run, in their order."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill.artefact import Artefact
from tfrs_distill.atomic import whole_file
from tfrs_distill.pipeline.dataset import (
    encoder_folder,
    load_splits,
    read_data,
    source_fingerprint,
)
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.measure import measure
from tfrs_distill.pipeline.resume import Result, Stages
from tfrs_distill.pipeline.training import train_fold_teacher, train_student, train_teacher
from tfrs_distill.progress import Progress, SilentProgress
from tfrs_distill.recipe import Recipe
from tfrs_distill.report import verdict, write_report
from tfrs_distill.teacher_cache import CachedTeacher, cross_fit_teacher
from tfrs_distill.teachers import checkpoint_fingerprint
from tfrs_distill.towers import TwoTower

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-recommenders", "transformers", "numpy")


def run(recipe: Recipe, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Run a recipe, from interactions and item text to a small recommender on disk and a report.

    Writes `out/<name>/<version>/` (the artefact), `report.json`, `report.html` and `recipe.toml` to
    `out/<name>/`, and keeps what each stage made in `out/<name>/stages/`, so that an interrupted
    run resumes and an unchanged stage is not run again.

    Args:
        recipe: the run, as data.
        out: folder of all runs, such as `saved_models`.
        progress: told of stages, bars and results.

    Returns:
        The report, as in `report.json`.

    Raises:
        InputError: the data, the encoder or an earlier run's files cannot be used.
    """
    return Run(recipe, Path(out), progress or SilentProgress()).all_stages()


class Run:
    """One recipe's run in one folder."""

    def __init__(self, recipe: Recipe, out: Path, progress: Progress) -> None:
        self.recipe, self.progress = recipe, progress
        self.home = out / recipe.name
        self.version = self.home / str(recipe.export.version)
        self.stages = Stages(self.home / "stages", 7, recipe.seed, progress)
        self.k = recipe.evaluation.k

    def all_stages(self) -> dict[str, Any]:
        """Run every stage and write the report."""
        recipe, stages = self.recipe, self.stages
        data = stages.run(
            "data",
            [source_fingerprint(recipe), dataclasses.asdict(recipe.data) | {"folder": ""}],
            lambda folder: read_data(recipe, folder),
        )
        self.splits = load_splits(recipe, self._file("data"))
        teacher = self._teacher()
        knowledge = self._knowledge(teacher)
        curves = {"teacher": teacher["curves"]}
        for name, heard in (("twin", None), ("student", knowledge)):
            curves[name] = self._student(name, heard)["curves"]
        self._export(data, curves)
        measured = self._measure(teacher)
        return self._report(data, curves, measured)

    def _file(self, stage: str, name: str = "") -> Path:
        return self.stages.folder / stage / name

    def _model(self, stage: str, name: str) -> TwoTower:
        model: TwoTower = tf.keras.models.load_model(self._file(stage, name))
        return model

    def _teacher(self) -> Result:
        recipe = self.recipe
        encoder = encoder_folder(recipe)
        settings = dataclasses.asdict(recipe.teacher) | {"encoder": checkpoint_fingerprint(encoder)}
        return self.stages.run(
            "teacher",
            [settings, self.k],
            lambda folder: train_teacher(recipe, self.splits, encoder, folder, self.progress),
            after=["data"],
        )

    def _knowledge(self, teacher: Result) -> CachedTeacher:
        """Cross-fit the knowledge; a fold that is on disk is opened, not trained again."""
        recipe, epochs = self.recipe, int(teacher["curves"]["best_epoch"])
        temperatures = (recipe.distillation.temperature,)
        settings = [dataclasses.asdict(recipe.knowledge), temperatures]
        opened: list[CachedTeacher] = []

        def work(folder: Path) -> tuple[Result, str]:
            whole = self._model("teacher", "teacher.keras")
            vectors = whole.candidate_tower.item_text_vectors()
            opened.append(
                cross_fit_teacher(
                    lambda windows, fold: train_fold_teacher(
                        recipe, vectors, windows, fold, epochs
                    ),
                    self.splits.train,
                    folder,
                    fingerprint=self.stages.fingerprints["knowledge"],
                    num_folds=recipe.knowledge.folds,
                    top_k=recipe.knowledge.top_k,
                    temperatures=temperatures,
                    seed=recipe.seed,
                    progress=self.progress,
                )
            )
            line = (
                f"{recipe.knowledge.folds} folds of users, each labelled by a teacher of {epochs} "
                "epochs that never saw it"
            )
            return {}, line

        self.stages.run("knowledge", settings, work, after=["teacher"])
        return opened[0] if opened else CachedTeacher.open(self._file("knowledge"))

    def _student(self, name: str, knowledge: CachedTeacher | None) -> Result:
        recipe = self.recipe
        own = recipe.twin if knowledge is None else recipe.distillation
        settings = [dataclasses.asdict(part) for part in (recipe.student, recipe.training, own)]
        return self.stages.run(
            name,
            settings,
            lambda folder: train_student(recipe, self.splits, knowledge, folder, self.progress),
            after=["data"] if knowledge is None else ["knowledge"],
        )

    def _export(self, data: Result, curves: dict[str, Any]) -> None:
        recipe = self.recipe
        best = {name: max(found[f"validation_ndcg@{self.k}"]) for name, found in curves.items()}
        request = {
            "student": str(self._file("student", "student.keras")),
            "data": str(self._file("data")),
            "directory": str(self.version),
            "k": recipe.export.k,
            "provenance": {
                "recipe": recipe.as_dict(),
                "training_data": data["fingerprint"],
                "student": self.stages.fingerprints["student"],
                "metrics": {f"{name} validation_ndcg@{self.k}": best[name] for name in best},
            },
        }

        def work(_: Path) -> tuple[Result, str]:
            in_fresh_process("tfrs_distill.pipeline.export_student", request)
            artefact = Artefact.read(self.version)
            sizes = {name: artefact.bytes_of(name) for name in artefact.tflite_files}
            line = ", ".join(f"{name} {size / 1000:.1f} kB" for name, size in sizes.items())
            return {}, f"{line}, SavedModel in {self.version}"

        settings = dataclasses.asdict(recipe.export)
        self.stages.run("export", settings, work, after=["student"], output=self.version)

    def _measure(self, teacher: Result) -> Result:
        files = {
            name: self._file(name, "teacher.keras" if name == "teacher" else "student.keras")
            for name in ("teacher", "twin", "student")
        }
        return self.stages.run(
            "evaluate",
            dataclasses.asdict(self.recipe.evaluation),
            lambda folder: measure(
                self.recipe,
                self.splits,
                {name: self._model(name, path.name) for name, path in files.items()},
                files,
                {"parameters": teacher["encoder_parameters"], "bytes": teacher["encoder_bytes"]},
                Artefact.read(self.version),
                folder,
                self.progress,
            ),
            after=["teacher", "twin", "student", "export"],
        )

    def _report(self, data: Result, curves: dict[str, Any], measured: Result) -> dict[str, Any]:
        report: dict[str, Any] = {
            "name": self.recipe.name,
            "seed": self.recipe.seed,
            "k": self.k,
            "recipe": self.recipe.as_dict(),
            "data": {key: value for key, value in data.items() if key != "fingerprint"},
            "training": curves,
            "models": measured["models"],
            "comparisons": measured["comparisons"],
            "versions": versions(),
            "stages": {name: {"seconds": value} for name, value in self.stages.seconds.items()},
        }
        report["verdict"] = verdict(report)
        with whole_file(self.home / "recipe.toml", "w") as file:
            file.write(self.recipe.to_toml())
        write_report(report, self.home)
        return report


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    return {"python": platform.python_version()} | {
        package: importlib.metadata.version(package) for package in PACKAGES
    }
