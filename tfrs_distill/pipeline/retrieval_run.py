"""The stages of a retrieval run, in their order."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill.data.splits import split_by_time
from tfrs_distill.data.windows import Windows
from tfrs_distill.knowledge import CachedTeacher, cross_fit, prune
from tfrs_distill.models import TwoTower
from tfrs_distill.pipeline.dataset import load_data, read_data, source_fingerprint
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.measure import SHAPE, MeasuredTeacher, measure
from tfrs_distill.pipeline.ranking.run import write_run_report
from tfrs_distill.pipeline.ranking.tasks import NEXT_ITEM
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.resume import Result, Stages, forget_other_trainings
from tfrs_distill.pipeline.teacher_kinds import EnsembleOf, Setting, teacher_kind
from tfrs_distill.pipeline.training import train_student
from tfrs_distill.progress import Progress
from tfrs_distill.serving.artefact import Artefact

CACHE = "cache"  # of the knowledge stage's folder
SPLIT = (
    "Each user's interactions stand in order of time: the first 80 % train, the next 10 % "
    "validate, the last 10 % test."
)


class RetrievalRun:
    """One retrieval recipe's run in one folder."""

    num_stages = 7

    def __init__(self, recipe: Recipe, out: Path, progress: Progress) -> None:
        self.recipe, self.progress = recipe, progress
        self.home = out / recipe.name
        self.version = self.home / str(recipe.export.version)
        self.stages = Stages(self.home / "stages", self.num_stages, recipe.seed, progress)
        self.k = recipe.evaluation.k

    def all_stages(self) -> dict[str, Any]:
        """Run every stage and write the report."""
        data = self._data()
        teacher = self._teacher()
        knowledge = self._knowledge()
        curves = {"teacher": teacher["curves"]} if "curves" in teacher else {}
        for name, heard in (("twin", None), ("student", knowledge)):
            curves[name] = self._student(name, heard)["curves"]
        self._export(data, curves)
        measured = self._measure(teacher)
        return self._report(data, curves, measured)

    def _data(self) -> Result:
        """Read the data; the teacher's kind is known from here on."""
        recipe = self.recipe
        data = self.stages.run(
            "data",
            [source_fingerprint(recipe), dataclasses.asdict(recipe.data) | {"folder": ""}],
            lambda folder: read_data(recipe, folder),
        )
        self.data = load_data(self._file("data"))
        self.splits = split_by_time(self.data, max_history=recipe.data.max_history)
        self.kind = teacher_kind(Setting(recipe, self.data, self.splits, self.progress))
        return data

    def _file(self, stage: str, name: str = "") -> Path:
        return self.stages.folder / stage / name

    def _model(self, stage: str, name: str) -> TwoTower:
        model: TwoTower = tf.keras.models.load_model(self._file(stage, name))
        return model

    def _teacher(self) -> Result:
        recipe = self.recipe
        parts = (recipe.teacher, recipe.tuning, recipe.cross_encoder)
        settings = [dataclasses.asdict(part) for part in parts]

        def work(folder: Path) -> tuple[Result, str]:
            forget_other_trainings(folder, self.stages.fingerprints["teacher"])
            facts = self.kind.train(folder)
            return facts, facts.pop("line")

        return self.stages.run(
            "teacher", [settings, self.kind.settings(), self.k], work, after=["data"]
        )

    def _knowledge(self) -> CachedTeacher:
        """Cross-fit the knowledge; what is on disk is opened, not asked for again."""
        recipe, whole = self.recipe, self._file("teacher")
        temperatures = (recipe.distillation.temperature,)
        settings = [dataclasses.asdict(recipe.knowledge), temperatures]

        def work(folder: Path) -> tuple[Result, str]:
            fingerprint = self.stages.fingerprints["knowledge"]
            kept = folder / f"teachers-{fingerprint[:16]}"  # until all folds have spoken
            for stale in set(folder.glob("teachers-*")) - {kept}:
                shutil.rmtree(stale)

            def train(windows: Windows, fold: int) -> Any:
                own = kept / str(fold)
                own.mkdir(parents=True, exist_ok=True)
                return self.kind.train_fold(windows, fold, whole, own)

            cross_fit(
                train,
                self.splits.train,
                folder / CACHE,
                fingerprint=fingerprint,
                num_folds=recipe.knowledge.folds,
                top_k=min(recipe.knowledge.top_k, self.splits.catalogue.num_items - 1),
                temperatures=temperatures,
                seed=recipe.seed,
                progress=self.progress,
            )
            shutil.rmtree(kept, ignore_errors=True)
            prune(folder / CACHE)
            named = recipe.teacher
            kinds = named.members if named.kind == "ensemble" else (named.kind,)
            who = "a teacher that never saw it"
            if "array" in kinds:
                who = "a teacher that may have seen it: the maker of its array knows"
            return {}, f"{recipe.knowledge.folds} folds of users, each labelled by {who}"

        self.stages.run("knowledge", settings, work, after=["teacher"])
        return CachedTeacher.open(self._file("knowledge", CACHE))

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
        files = {name: self._file(name, "student.keras") for name in ("twin", "student")}

        def work(folder: Path) -> tuple[Result, str]:
            whole = self._file("teacher")
            members = {}
            if isinstance(self.kind, EnsembleOf):
                opened = self.kind.members.items()
                members = {name: member.open(whole / name) for name, member in opened}
            return measure(
                self.recipe,
                self.splits,
                {name: self._model(name, path.name) for name, path in files.items()},
                files,
                MeasuredTeacher(self.kind.open(whole), whole, teacher, members),
                Artefact.read(self.version),
                folder,
                self.progress,
            )

        return self.stages.run(
            "evaluate",
            [dataclasses.asdict(self.recipe.evaluation), SHAPE],
            work,
            after=["teacher", "twin", "student", "export"],
        )

    def _report(self, data: Result, curves: dict[str, Any], measured: Result) -> dict[str, Any]:
        recipe = self.recipe
        asked = f"ranked the whole catalogue, {history_in_words(recipe)}."
        report: dict[str, Any] = {
            "protocol": {
                "split": SPLIT,
                "models": f"Every model got the same history and {asked}",
                "twin": "same model, same data, same budget, same seed",
            },
            "rows_are": "query",
            "tasks": {
                NEXT_ITEM: {
                    "metric": f"ndcg@{self.k}",
                    "what": "The items that come next: same test users, same histories, whole "
                    "catalogue.",
                }
            },
            "data": data,
            "training": curves,
            **measured,
        }
        return write_run_report(report, self.home, recipe, self.stages)


def history_in_words(recipe: Recipe) -> str:
    """Whether the history's items can be recommended."""
    return f"{'without' if recipe.data.exclude_seen else 'with'} the items of the history"
