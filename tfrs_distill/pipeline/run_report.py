"""Assemble the report of a run from its stages' results, and write it."""

from __future__ import annotations

from typing import Any

from tfrs_distill.evaluation.baselines import MAX_ITEMS_OF_EASE
from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.recipe import RetrievalRecipe
from tfrs_distill.pipeline.report import verdict, write_report
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.tasks import NEXT_ITEM, leading_metric, what
from tfrs_distill.pipeline.versions import versions
from tfrs_distill.teachers.candidate_lists import RELEVANCE

CONTROLS = {
    "plain": "The plain student is the twin without label smoothing.",
    "self_taught": "The self-taught student is trained like the student, but distilled from "
    "cross-fitted copies of the twin.",
    "scrambled": "The scrambled student is trained like the student, with soft targets that are as "
    "smooth as the teacher's and keep its probability of the label, but are reassigned to other "
    "items of similar popularity, or to other rows with the same label.",
}
SAME_AS_STUDENT = "same model, same labels, same maximum number of epochs, same seed"


def write_run_report(run: Run) -> dict[str, Any]:
    """Write `report.json`, `report.html` and `recipe.toml` of a run with finished stages."""
    recipe = run.recipe
    data = {key: value for key, value in run.result("data").items() if key != "fingerprint"}
    report: dict[str, Any] = {
        "name": recipe.name,
        "task": recipe.task,
        "seed": recipe.seed,
        "k": recipe.evaluation.k,
        "recipe": recipe.as_dict(),
        **(_of_rows(run) if run.tasks else _of_queries(run)),
        "data": data,
        "training": _curves(run),
        **run.result("evaluate"),
        "versions": versions(),
        "stages": {name: {"seconds": value} for name, value in run.stages.seconds.items()},
    }
    if not run.tasks and run.transfer is not None:
        report["transfer"] = run.transfer.facts()
        report["protocol"]["transfer"] = run.transfer.sentences()
    if run.controls:
        report["protocol"]["controls"] = " ".join(CONTROLS[name] for name in run.controls)
    report["verdict"] = verdict(report)
    with whole_file(run.home / "recipe.toml", "w") as file:
        file.write(recipe.to_toml())
    write_report(report, run.home)
    return report


def _curves(run: Run) -> dict[str, Any]:
    """By model, the loss and the validation score of every epoch."""
    teacher, curves = run.result("teacher"), {}
    if "curves" in teacher and run.recipe.task != "two-stage":  # there it is the first stage's
        curves["teacher"] = teacher["curves"]
    elif run.tasks:
        curves = {
            f"teacher of {name}": member["curves"]
            for name, member in teacher.get("members", {}).items()
            if "curves" in member
        }
    return curves | {name: run.result(name)["curves"] for name in (*run.compared_stages, "student")}


def _of_rows(run: Run) -> dict[str, Any]:
    more = ""
    if run.num_unlabelled:
        rows = f"unlabelled rows, {run.num_unlabelled:,} for each labelled one"
        more = f" (the student also has {rows})"
    return {
        "protocol": {
            "split": run.data.protocol,
            "models": "Every model predicted the same test rows.",
            "twin": f"{SAME_AS_STUDENT}{more}",
            "score": "The mean over the tasks of AUC (binary labels), of 1 - RMSE / standard "
            "deviation (ratings) and of NDCG (items)",
        },
        "rows_are": "row",
        "tasks": {
            task.name: {
                "metric": leading_metric(task, run.recipe.evaluation.k),
                "what": what(task, run.recipe.data.liked_from),
            }
            for task in run.tasks
        },
    }


def _of_queries(run: Run) -> dict[str, Any]:
    recipe, split, k = run.recipe, run.data.protocol, run.recipe.evaluation.k
    if recipe.task == "two-stage":
        protocol = {
            "split": f"{split} The first stage retrieves candidates from the whole catalogue; the "
            "second stages rank the same candidates.",
            "models": f"Every model recommended to the same test users, {_history(recipe)}.",
            "twin": f"{SAME_AS_STUDENT} (both read the item-item weights of an item's "
            "neighbours, which are also a teacher)",
            "score": "The NDCG of both stages together",
        }
        most = max(recipe.lists.num_candidates, k)
        task, of_task = RELEVANCE, f"The top {k} of at most {most} candidates of the first stage."
    else:
        protocol = {
            "split": split,
            "models": "Every model got the same history and ranked the whole catalogue, "
            f"{_history(recipe)}.{_without_ease(run)}",
            "twin": f"same model, same data, same budget, same seed{_generated(run)}",
        }
        task = NEXT_ITEM
        items = "that come next" if recipe.data.reads_order else "that were held out"
        of_task = f"The items {items}: same test users, same histories, whole catalogue."
    return {
        "protocol": protocol,
        "rows_are": "query",
        "tasks": {task: {"metric": f"ndcg@{k}", "what": of_task}},
    }


def _generated(run: Run) -> str:
    """The student's data in addition to the twin's."""
    if not run.num_generated:
        return ""
    return (
        f" (the student also has {run.num_generated:,} histories per window, generated by the "
        "teacher, so its epochs are longer)"
    )


def _without_ease(run: Run) -> str:
    """A sentence that EASE was not evaluated, if there are too many items; else empty."""
    if run.result("data")["items"] <= MAX_ITEMS_OF_EASE:
        return ""
    most = f"{MAX_ITEMS_OF_EASE:,}"
    return f" EASE was not evaluated: its matrix of more than {most} items squared is too large."


def _history(recipe: RetrievalRecipe) -> str:
    """Whether items of the history can be recommended, in words."""
    return f"{'without' if recipe.data.exclude_seen else 'with'} the items of the history"
