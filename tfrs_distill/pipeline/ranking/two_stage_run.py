"""The stages of a run that retrieves and then ranks, in their order."""

from __future__ import annotations

import dataclasses
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.baselines import best_ease
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.files import whole_file
from tfrs_distill.knowledge import cross_fit
from tfrs_distill.pipeline.encoders import encoder_fingerprint, is_of_tf_hub, open_bert
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.measure import SHAPE
from tfrs_distill.pipeline.ranking.list_teachers import standardised
from tfrs_distill.pipeline.ranking.run import SAME_AS_STUDENT, sizes_line, write_run_report
from tfrs_distill.pipeline.ranking.training import STUDENT_FILE
from tfrs_distill.pipeline.ranking.two_stage import train_second_stage
from tfrs_distill.pipeline.ranking.two_stage_measure import TwoStageModels, measure_two_stages
from tfrs_distill.pipeline.resume import Result, forget_other_trainings
from tfrs_distill.pipeline.retrieval_run import SPLIT, RetrievalRun, history_in_words
from tfrs_distill.teachers import BertCrossEncoder, FunctionTeacher, ItemItemTeacher, Reranker
from tfrs_distill.teachers.candidate_lists import (
    RELEVANCE,
    CandidateLists,
    first_stage_lists,
    list_examples,
    num_positions,
)
from tfrs_distill.teachers.list_teacher import ListTeacher

FIRST, CROSS_ENCODER, LISTS = "retrieval", "cross-encoder", "lists"
LISTS_FILE, TRAINING = "lists.npz", "training"


class TwoStageRun(RetrievalRun):
    """One two-stage recipe's run: a retrieval student, then a ranking student over what it finds.

    The first stage is distilled from the recipe's teacher as in a retrieval run. The second has two
    teachers, which order training lists: item-item weights, and a cross-encoder, which reads
    history and item together.
    """

    num_stages = 10

    def all_stages(self) -> dict[str, Any]:
        """Run every stage and write the report."""
        if is_of_tf_hub(self.recipe):
            raise InputError(
                "A cross-encoder needs a Hugging Face checkpoint; an encoder from TF-Hub cannot "
                f"read pairs. Received: {self.recipe.encoder.name}."
            )
        data = self._data()
        self._teacher()
        knowledge = self._knowledge()
        retrieval = self._student(FIRST, knowledge)["curves"]
        self.first = self._model(FIRST, STUDENT_FILE)
        facts = self._cross_encoder()
        lists = self._lists()
        trained = {name: self._second_stage(name, lists) for name in ("twin", "student")}
        curves = {name: told["curves"] for name, told in trained.items()}
        weights = {name: told["retrieval_weight"] for name, told in trained.items()}
        self._export_both(data, retrieval, curves, weights["student"])
        measured = self._measure_both(facts, weights)
        return self._report_both(data, curves, measured)

    @cached_property
    def item_item(self) -> ItemItemTeacher:
        """The whole item-item teacher; only stages that run need it."""
        return ItemItemTeacher(self.splits.train, l2=self.l2)

    def _cross_encoder(self) -> Result:
        recipe = self.recipe
        named = recipe.cross_encoder

        def work(folder: Path) -> tuple[Result, str]:
            forget_other_trainings(folder, self.stages.fingerprints[CROSS_ENCODER])
            cross_encoder = self._untrained_cross_encoder()
            with self.progress.bar("cross-encoder steps", named.steps) as advance:
                cross_encoder.fit(
                    self.splits.train,
                    FunctionTeacher(self.first.logits, self.stages.fingerprints[FIRST]),
                    num_steps=named.steps,
                    batch_size=named.batch_size,
                    num_negatives=named.num_negatives,
                    learning_rate=named.learning_rate,
                    seed=recipe.seed,
                    checkpoint_folder=folder / TRAINING,
                    advance=advance,
                )
            cross_encoder.save(folder / CROSS_ENCODER)
            shutil.rmtree(folder / TRAINING, ignore_errors=True)
            encoder = cross_encoder.encoder
            weights = sum(path.stat().st_size for path in (folder / CROSS_ENCODER).iterdir())
            facts = {"parameters": encoder.num_parameters, "bytes": encoder.num_bytes + weights}
            return facts, f"a BERT of {encoder.num_parameters:,} parameters, {named.steps} steps"

        settings = [dataclasses.asdict(named), encoder_fingerprint(recipe)]
        return self.stages.run(CROSS_ENCODER, settings, work, after=[FIRST])

    def _untrained_cross_encoder(self) -> BertCrossEncoder:
        named = self.recipe.cross_encoder
        return BertCrossEncoder(
            open_bert(self.recipe),
            self.splits.catalogue.texts,
            max_history_items=named.max_history_items,
            max_length=named.max_length,
            seed=self.recipe.seed,
        )

    def _re_ranker(self) -> Reranker:
        folder = self._file(CROSS_ENCODER, CROSS_ENCODER)
        texts = self.splits.catalogue.texts
        cross_encoder = BertCrossEncoder.load(folder, open_bert(self.recipe), texts)
        weight = self.recipe.cross_encoder.first_stage_weight
        return Reranker(self.first, cross_encoder, first_stage_weight=weight)

    def _lists(self) -> RankingExamples:
        """Training lists of what the first stage finds, with what the teachers say of them.

        Item-item weights that never met its user order every list, the cross-encoder some of them
        too; a list's scores are those of a `Committee` of its own teachers.
        """
        named, folds = self.recipe.ranking, self.recipe.knowledge.folds
        numbers = [named.list_size, named.num_lists, named.num_ordered_lists, named.max_history]
        settings = [*numbers, folds]

        def work(folder: Path) -> tuple[Result, str]:
            number = min(named.num_lists, num_positions(self.splits.train))
            ordered = min(named.num_ordered_lists, number)
            with self.progress.bar("lists of the first stage", number) as advance:
                lists = first_stage_lists(
                    ModelScorer(self.first, exclude_seen=self.splits.catalogue.exclude_seen),
                    self.splits.train,
                    num_candidates=named.list_size - 1,
                    max_history=named.max_history,
                    num_lists=number,
                    seed=self.recipe.seed,
                    advance=advance,
                )
            examples = list_examples(lists, self.splits.catalogue)
            l2 = best_ease(self.splits, self.k).l2
            said = self._item_item_answers(examples, l2, folder)
            drawn = np.random.default_rng(self.recipe.seed).permutation(number)[:ordered]
            asked = np.isin(examples.queries, drawn)
            with self.progress.bar("lists of the cross-encoder", ordered) as advance:
                teacher = ListTeacher(self._re_ranker())
                crossed = teacher.row_logits(examples.subset(asked), advance=advance)[RELEVANCE]
            said[asked] += standardised(crossed[:, 0], examples.queries[asked])[:, None]
            with whole_file(folder / LISTS_FILE) as file:
                np.savez(file, *lists, said)
            line = f"{number:,} lists of {named.list_size} ordered by item-item weights"
            return {"l2": l2}, f"{line}, {ordered:,} of them by the cross-encoder too"

        self.l2 = self.stages.run(LISTS, settings, work, after=[FIRST, CROSS_ENCODER])["l2"]
        with np.load(self._file(LISTS, LISTS_FILE)) as arrays:
            *lists, said = (arrays[name] for name in arrays.files)
        examples = list_examples(CandidateLists(*lists), self.splits.catalogue)
        return examples.with_teacher({RELEVANCE: said})

    def _item_item_answers(self, examples: RankingExamples, l2: float, folder: Path) -> np.ndarray:
        """What weights that never met the row's user say, standardised: float32 [num_rows, 1]."""
        train = self.splits.train

        def teacher(seen: RankingExamples, fold: int) -> ListTeacher:
            own = train.subset(np.isin(train.users, seen.users))
            return ListTeacher(ItemItemTeacher(own, l2=l2))

        knowledge = cross_fit(
            teacher,
            examples,
            folder / "item-item",
            fingerprint=self.stages.fingerprints[LISTS],
            num_folds=self.recipe.knowledge.folds,
            seed=self.recipe.seed,
        )
        said = knowledge.join(examples).teacher_logits[RELEVANCE][:, 0]
        return standardised(said, examples.queries)[:, None]

    def _second_stage(self, name: str, lists: RankingExamples) -> Result:
        recipe, taught = self.recipe, name == "student"
        own = recipe.distillation if taught else recipe.twin
        parts = (recipe.student, recipe.ranking, recipe.training, own)

        def work(folder: Path) -> tuple[Result, str]:
            return train_second_stage(
                recipe,
                self.splits,
                self.first,
                self.item_item.weights,
                lists,
                folder,
                self.progress,
                taught=taught,
            )

        settings = [[dataclasses.asdict(part) for part in parts], self.k]
        return self.stages.run(name, settings, work, after=[LISTS])

    def _export_both(
        self,
        data: Result,
        retrieval: dict[str, Any],
        curves: dict[str, Any],
        retrieval_weight: float,
    ) -> None:
        recipe = self.recipe
        request = {
            "retrieval": str(self._file(FIRST, STUDENT_FILE)),
            "ranking": str(self._file("student", STUDENT_FILE)),
            "data": str(self._file("data")),
            "directory": str(self.version),
            "retrieval_weight": retrieval_weight,
            "num_candidates": recipe.ranking.num_candidates,
            "provenance": {
                "recipe": recipe.as_dict(),
                "training_data": data["fingerprint"],
                "student": self.stages.fingerprints["student"],
                "metrics": {
                    f"retrieval validation_ndcg@{self.k}": max(
                        retrieval[f"validation_ndcg@{self.k}"]
                    ),
                    f"two stages validation_ndcg@{self.k}": max(
                        curves["student"]["validation_score"]
                    ),
                },
            },
        }

        def work(_: Path) -> tuple[Result, str]:
            in_fresh_process("tfrs_distill.pipeline.ranking.two_stage_export", request)
            return {}, sizes_line(self.version)

        settings = [dataclasses.asdict(recipe.export), recipe.ranking.num_candidates]
        self.stages.run("export", settings, work, after=["student"], output=self.version)

    def _measure_both(self, facts: Result, weights: dict[str, float]) -> Result:
        def work(folder: Path) -> tuple[Result, str]:
            forget_other_trainings(folder, self.stages.fingerprints["evaluate"])
            files = {name: self._file(name, STUDENT_FILE) for name in (FIRST, "twin", "student")}
            teachers = {"cross_encoder": self._re_ranker(), "item_item": self.item_item}
            models = TwoStageModels(teachers, facts, files, self.version, weights)
            return measure_two_stages(self.recipe, self.splits, models, folder, self.progress)

        recipe = self.recipe
        settings = [dataclasses.asdict(recipe.evaluation), recipe.ranking.num_candidates, SHAPE]
        after = [FIRST, CROSS_ENCODER, LISTS, "twin", "student", "export"]
        return self.stages.run("evaluate", settings, work, after=after)

    def _report_both(
        self, data: Result, curves: dict[str, Any], measured: Result
    ) -> dict[str, Any]:
        recipe = self.recipe
        report: dict[str, Any] = {
            "protocol": {
                "split": f"{SPLIT} The first stage finds candidates in the whole catalogue; the "
                "second stages order the same candidates.",
                "models": f"Every model recommended to the same test users, "
                f"{history_in_words(recipe)}.",
                "twin": f"{SAME_AS_STUDENT} (both read the item-item weights of an item's "
                "neighbours, which also teach)",
                "score": "The NDCG of both stages together",
            },
            "rows_are": "query",
            "tasks": {
                RELEVANCE: {
                    "metric": f"ndcg@{self.k}",
                    "what": f"The best {self.k} of the first stage's candidates, "
                    f"{max(recipe.ranking.num_candidates, self.k)} at most.",
                }
            },
            "data": data,
            "training": curves,
            **measured,
        }
        return write_run_report(report, self.home, recipe, self.stages)
