"""The stages of a run, one file each; `stages_of` lists the stages of a recipe in order."""

from __future__ import annotations

from tfrs_distill.pipeline.recipe import RetrievalRecipe
from tfrs_distill.pipeline.run_folder import COMPRESSED, SELF_TAUGHT, STUDENT, Run
from tfrs_distill.pipeline.stage import Stage
from tfrs_distill.pipeline.stages.compress import compress_stage
from tfrs_distill.pipeline.stages.cross_encoder import cross_encoder_stage
from tfrs_distill.pipeline.stages.data import data_stage
from tfrs_distill.pipeline.stages.evaluate import evaluate_stage
from tfrs_distill.pipeline.stages.export import export_stage
from tfrs_distill.pipeline.stages.generated import generated_stage
from tfrs_distill.pipeline.stages.knowledge import knowledge_stage, self_knowledge_stage
from tfrs_distill.pipeline.stages.lists import lists_stage
from tfrs_distill.pipeline.stages.student import student_stage
from tfrs_distill.pipeline.stages.teacher import teacher_stage
from tfrs_distill.pipeline.stages.unlabelled import unlabelled_stage
from tfrs_distill.pipeline.stages.words import words_stage
from tfrs_distill.pipeline.teacher_kinds.cross_encoder import check_reads_pairs

__all__ = ["stages_of"]


def stages_of(run: Run) -> list[Stage]:
    """Return the stages of the run's recipe, in order.

    Raises:
        InputError: the recipe's encoder does not fit a stage.
    """
    two_stage = run.recipe.task == "two-stage"
    if two_stage:
        check_reads_pairs(run.recipe)
    stages = [data_stage(run)]
    if isinstance(run.recipe, RetrievalRecipe) and run.recipe.item_texts.read:
        stages.append(words_stage(run))
    stages += [teacher_stage(run), knowledge_stage(run)]
    if run.num_unlabelled:
        stages.append(unlabelled_stage(run))
    if run.num_generated:
        stages.append(generated_stage(run))
    if two_stage:
        stages += [student_stage(run, "retrieval"), cross_encoder_stage(run), lists_stage(run)]
    stages += [student_stage(run, name) for name in run.twins]
    if SELF_TAUGHT in run.controls:
        stages.append(self_knowledge_stage(run))
    stages += [student_stage(run, name) for name in (STUDENT, *run.controls)]
    if run.exported == COMPRESSED:
        stages.append(compress_stage(run))
    return [*stages, export_stage(run), evaluate_stage(run)]
