"""The parts of a report that the evaluations of rows and of lists share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrs_distill.evaluation import metrics
from tfrs_distill.export.forms import FORMS
from tfrs_distill.pipeline.recipe.sections import COLD_ITEMS, PLANTED, REVIEWS, SHUFFLED
from tfrs_distill.pipeline.report.models import FORM_PAIRS, MODELS
from tfrs_distill.pipeline.run_folder import COMPRESSED, STUDENT, Run

PAIRS = {
    "student_vs_twin": ("student", "twin"),
    "student_vs_teacher": ("student", "teacher"),
} | FORM_PAIRS


def name_forms(rows: dict[str, dict[str, Any]], student: str) -> None:
    """Add the report's names of the student's exported forms to `rows`."""
    for form in reversed(FORMS.values()):  # the smallest first
        if form.key in rows:
            names = {"name": f"{student}, {form.title}", "what": form.what, "form_of": "student"}
            rows[form.key] = rows.pop(form.key) | names


def pairs_of_controls(run: Run) -> dict[str, tuple[str, str]]:
    """Return the comparisons of the student with the controls."""
    return {f"student_vs_{name}": ("student", name) for name in run.controls}


def pairs_of(run: Run) -> dict[str, tuple[str, str]]:
    """Return all comparisons of one student's run; also those of a compressed student."""
    pairs = PAIRS | pairs_of_controls(run)
    if run.exported == COMPRESSED:
        pairs |= {
            "compressed_vs_student": (COMPRESSED, STUDENT),
            "tflite_vs_keras": ("student_tflite", COMPRESSED),
        }
    return pairs


def name_of_exported(run: Run) -> str:
    """Return the report's name of the exported student."""
    return "Compressed" if run.exported == COMPRESSED else "Student"


def describe_controls(run: Run, rows: dict[str, dict[str, Any]], start: str = "") -> None:
    """Add to `rows` descriptions of twin and controls that their keys do not contain."""
    smoothing = run.recipe.twin.label_smoothing
    if smoothing:
        what = rows["twin"].get("what") or MODELS["twin"][1]
        rows["twin"]["what"] = f"{what}; label smoothing {smoothing:g}"
    for name in run.controls if start else ():
        rows[name]["name"] = start + MODELS[name][0].lower()


def artefacts_to_time(folder: Path) -> dict[str, list[str]]:
    """Return the exported forms in a request to `evaluation.latency`."""
    return {form.key: [str(form.path(folder)), form.format] for form in FORMS.values()}


def resampled(recipe: Any, what: str, number: int, num_users: int) -> dict[str, Any]:
    """Return what the report's intervals resample, and whether it is too few for intervals.

    `drawn_by_seed` is True if the test rows depend on the recipe's seed.

    Args:
        recipe: of the run.
        what: the name of the resampled units.
        number: the number of units.
        num_users: number of users in the data that was read.
    """
    users, lists = getattr(recipe.data, "max_users", 0), getattr(recipe.evaluation, "max_lists", 0)
    some = 0 < users <= num_users or 0 < lists <= number
    by_chance = recipe.data.source in (REVIEWS, PLANTED)
    by_chance |= getattr(recipe.data, "ties", None) == SHUFFLED  # the seed breaks ties
    by_chance |= recipe.data.split == COLD_ITEMS
    return {
        "what": what,
        "number": number,
        "too_few": metrics.too_few_to_resample(number),
        "drawn_by_seed": by_chance or some,
    }
