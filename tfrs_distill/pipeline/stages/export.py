"""Write the artefact, in a fresh process."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stage import Result, Stage
from tfrs_distill.pipeline.stages.student import best_score


def export_stage(run: Run) -> Stage:
    """Return the stage; its output is the artefact's folder, `run.version`."""
    recipe = run.recipe

    def settings() -> Any:
        return recipe.as_dict()  # it is in the artefact's provenance

    def work(_: Path) -> tuple[Result, str]:
        in_fresh_process("tfrs_distill.pipeline.stages.export_student", _request(run))
        files = sorted(run.version.rglob("*.tflite"))
        sizes = ", ".join(f"{path.name} {path.stat().st_size / 1000:.1f} kB" for path in files)
        return {}, f"{sizes}, SavedModel in {run.version}"

    return Stage(
        "export", work, settings, after=(*run.compared_stages, run.exported), output=run.version
    )


def _request(run: Run) -> dict[str, Any]:
    """Return the input of `export_student`."""
    recipe, data = run.recipe, run.data
    trained = [
        name
        for name in (*run.compared_stages, "student", "retrieval")
        if name in run.stages.results
    ]
    curves = {name: run.result(name)["curves"] for name in trained}
    students = {"student": str(run.student_file(run.exported))}
    request: dict[str, Any] = {
        "directory": str(run.version),
        "catalogue": data.catalogue and asdict(data.catalogue),
        "provenance": {
            "recipe": recipe.as_dict(),
            "training_data": run.result("data")["fingerprint"],
            "student": run.fingerprint(run.exported),
            "metrics": {f"{name} validation": best_score(found) for name, found in curves.items()},
        },
    }
    if recipe.task == "two-stage":
        students["retrieval"] = str(run.retrieval_file(run.exported))
        request["num_candidates"] = recipe.lists.num_candidates
        request["retrieval_weight"] = run.result(run.exported)["retrieval_weight"]
    elif run.tasks:
        words = data.words
        request["vocabularies"] = {name: list(ids) for name, ids in data.vocabularies.items()}
        request["words"] = words and {"words": words.words, "max_words": words.max_words}
    else:
        request["k"] = recipe.export.k
    return request | {"students": students}
