"""What limits the student? Changes one setting of the student, or of its twin, at a time.

    python benchmarks/student_settings.py [--quick] [--seed 0] [--only NAME ...] [--out DIR]

Uses the knowledge of one run of the recipe `movielens-100k`: its teacher and folds are trained
once, then a student, or a twin, for each variation. Settings are compared by validation NDCG@10;
test NDCG@10 is printed next to it. The first rows are two trainings of the same settings with
different seeds, whose difference is random. A variation that is on disk is not trained again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill.files import content_sha256, whole_file
from tfrs_distill.pipeline.freed_memory import keep_freed_memory
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.run_folder import STUDENT_FILE, TWIN, Run
from tfrs_distill.pipeline.stages.data import data_stage
from tfrs_distill.pipeline.stages.knowledge import knowledge_stage
from tfrs_distill.pipeline.stages.student import best_score, student_stage
from tfrs_distill.pipeline.stages.teacher import teacher_stage
from tfrs_distill.pipeline.terminal import TerminalProgress

import tensorflow as tf  # isort: skip

STUDENT = "student"
OTHER_SEED = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small trainings, as a smoke test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names in the first column")
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    arguments = parser.parse_args()
    keep_freed_memory()
    recipe = Recipe.named("movielens-100k")
    recipe = recipe.quick() if arguments.quick else recipe
    recipe = replace(recipe, seed=arguments.seed, name=f"{recipe.name}-seed-{arguments.seed}")
    run = Run(recipe, arguments.out, TerminalProgress())
    run.stages.run([data_stage(run), teacher_stage(run), knowledge_stage(run)])
    print("| variation | validation NDCG@10 | its epoch | test NDCG@10 |\n|---|---|---|---|")
    for name, (stage, changed) in variations(recipe).items():
        if not arguments.only or name in arguments.only:
            found = trained(run, stage, changed)
            print(
                f"| {name} | {found['validation']:.4f} | {found['epoch']} | {found['test']:.4f} |",
                flush=True,
            )


def variations(recipe: Any) -> dict[str, tuple[str, Any]]:
    """By name: the stage that trains the variation, and the recipe with one setting changed."""
    found: dict[str, tuple[str, Any]] = {}

    def vary(stage: str, section: str, setting: str, *values: Any) -> None:
        before = getattr(recipe, section)
        for value in values:
            if value != getattr(before, setting):
                changed = replace(recipe, **{section: replace(before, **{setting: value})})
                found[f"{stage}, {setting} {value}"] = (stage, changed)

    for stage in (STUDENT, TWIN):
        found[stage] = (stage, recipe)
        found[f"{stage}, another seed"] = (stage, replace(recipe, seed=recipe.seed + OTHER_SEED))
    for stage, section in ((STUDENT, "distillation"), (TWIN, "twin")):
        vary(stage, "student", "embedding_dim", 16, 24, 32, 48, 64)
        vary(stage, "student", "num_heads", 0, 2)
        vary(stage, section, "dropout", 0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
        vary(stage, section, "learning_rate", 0.001, 0.002, 0.003, 0.004, 0.005)
        vary(stage, section, "label_smoothing", 0.0, 0.4, 0.6, 0.8, 0.9)
        vary(stage, section, "weight_decay", 0.01)
    vary(STUDENT, "distillation", "student_loss_weight", 0.1, 0.2, 0.35, 0.5, 0.7)
    vary(TWIN, "twin", "exclude_seen", True)
    return found


def trained(run: Run, stage: str, recipe: Any) -> dict[str, Any]:
    """Train one variation, or read its earlier result: its scores and its best epoch."""
    key = content_sha256({"after": run.fingerprint("knowledge"), "recipe": recipe.as_dict()})
    folder = run.home / "variations" / f"{stage}-{key[:16]}"
    if (folder / "found.json").is_file():
        return dict(json.loads((folder / "found.json").read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    varied = Run(recipe, run.home.parent, run.progress)
    tf.keras.utils.set_random_seed(recipe.seed)
    result, _ = student_stage(varied, stage).work(folder)
    student = tf.keras.models.load_model(folder / STUDENT_FILE)
    found = {
        "validation": best_score(result["curves"]),
        "epoch": result["curves"]["best_epoch"],
        "test": float(td.evaluate(student, varied.data.splits.test).ndcg.mean()),
    }
    with whole_file(folder / "found.json", "w") as file:
        json.dump(found, file)
    return found


if __name__ == "__main__":
    main()
