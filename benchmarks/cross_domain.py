"""Runs that start from runs on other data, and the same runs without: parts of `transfer.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfrs_distill import pipeline
from tfrs_distill.evaluation import evaluate, metrics
from tfrs_distill.evaluation.teacher_report import scorer_of
from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.freed_memory import keep_freed_memory
from tfrs_distill.pipeline.recipe import Recipe, RetrievalRecipe
from tfrs_distill.pipeline.recipe.sections import (
    ADAPTERS,
    ALL,
    CONTROLS,
    NOTHING,
    TWO_TOWER,
    TransferSettings,
)
from tfrs_distill.pipeline.report.over_runs import NDCG_FILE, USERS
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stages.data import data_stage
from tfrs_distill.pipeline.stages.teacher import teacher_stage
from tfrs_distill.pipeline.terminal import TerminalProgress
from tfrs_distill.pipeline.worker import default_processes

from rows import Row, row  # isort: skip

ALONE = "alone"  # trained on the target alone
TRAINS = {"transfer": ALL, "adapters": ADAPTERS, "untrained": NOTHING}  # the other variants
OF_CONTROLS = ("twin", *(name.replace("-", "_") for name in CONTROLS))
BEST_OF = ("student", "teacher", "twin", "ease", "popularity")  # models of a run without transfer
GENERATED = 5  # histories per training window, with scarce data
NOT_GENERATED = "none generated"
SHARES = {"cross-domain": 0.05, "scarce": 0.1}  # of each user's training interactions
GAIN = ">= 1.1"
DOUBTS = {  # about leaks, by source and target
    ("movielens-1m", "movielens-100k"): "according to GroupLens the two sets hold ratings of "
    "other users, of 2000-2003 and of 1997-1998, but the data cannot show whether a person is in "
    "both",
}
Values = dict[str, np.ndarray]  # NDCG by model, [num_users], and `USERS`


@dataclass(frozen=True)
class Pair:
    """Two data sets: a source and a target of the transfer.

    Args:
        source: recipe whose teacher is trained on all of its data.
        target: recipe that keeps a share of its training interactions.
        doubt: a possible leak between the two, for the rows' details.
    """

    source: RetrievalRecipe
    target: RetrievalRecipe
    doubt: str

    @classmethod
    def named(cls, source: str, target: str, *, quick: bool) -> Pair:
        """Two recipes, built in or in files; small ones with `--quick`."""
        recipes = [Recipe.load(name) for name in (source, target)]
        if quick:
            recipes = [recipe.quick() for recipe in recipes]
        return cls(*recipes, DOUBTS.get((source, target), ""))


def cross_domain(pair: Pair, seeds: Sequence[int], out: Path) -> list[Row]:
    """A text teacher of one domain, transferred to another with few or no interactions.

    All teachers are two-towers, so only the transfer differs: all weights trained on the target,
    adapters trained, or nothing trained. Each is compared with the same teacher of the target
    alone; the last row compares with the best of all models of the target alone.
    """
    share = SHARES["cross-domain"]
    target = replace(pair.target, teacher=replace(pair.target.teacher, kind=TWO_TOWER))
    teachers: dict[str, list[Values]] = {}
    runs: dict[str, list[Values]] = {}
    for seed in seeds:
        source = source_run(pair.source, seed, out)
        for variant in (ALONE, *TRAINS):
            recipe = of_variant(target, "xd", share, variant, seed, source)
            if variant in (ALONE, "transfer"):
                runs.setdefault(variant, []).append(whole_run(recipe, out))
            teachers.setdefault(variant, []).append(teacher_of(recipe, out))
    detail = f"{share:.0%} of the target's training interactions; {pair.doubt}".rstrip("; ")
    rows = []
    for variant in TRAINS:
        name = f"cross-domain: teacher, {variant} / alone"
        goal = GAIN if variant == "transfer" else ""
        pairs = of_model(teachers[variant], "teacher"), of_model(teachers[ALONE], "teacher")
        rows.append(compared(name, *pairs, goal, detail, seeds))
    student = of_model(runs["transfer"], "student")
    measured = [model for model in BEST_OF if model in runs[ALONE][0]]  # no EASE of many items
    best = max(measured, key=lambda model: of_model(runs[ALONE], model).mean())
    for model in dict.fromkeys(("student", best)):
        name = f"cross-domain: student, transfer / {model}, alone"
        of_row = detail if model == "student" else f"the best without transfer; {detail}"
        rows.append(compared(name, student, of_model(runs[ALONE], model), GAIN, of_row, seeds))
    return rows


def scarce(pair: Pair, seeds: Sequence[int], out: Path) -> list[Row]:
    """The student, its controls and its teacher with a tenth of each user's interactions.

    Teachers, and twins for the self-taught students, continue histories. The run that starts from
    the source is also compared with one without these histories.
    """
    share = SHARES["scarce"]
    runs: dict[str, list[Values]] = {}
    few = {"training": replace(pair.target.training, controls=CONTROLS)}
    few["knowledge"] = replace(pair.target.knowledge, generated_per_window=GENERATED)
    many = replace(pair.target, **few)
    none = replace(pair.target, training=replace(pair.target.training, controls=()))
    variants = {ALONE: (many, ALONE), "transfer": (many, "transfer")}
    variants |= {NOT_GENERATED: (none, "transfer")}
    for seed in seeds:
        source = source_run(pair.source, seed, out)
        for variant, (target, start) in variants.items():
            part = f"scarce-{variant.replace(' ', '-')}"
            recipe = of_variant(target, part, share, start, seed, source)
            runs.setdefault(variant, []).append(whole_run(recipe, out))
    detail = f"{share:.0%} of the training interactions"
    rows = []
    for variant in (ALONE, "transfer"):
        found = runs[variant]
        student = of_model(found, "student")
        best = max(OF_CONTROLS, key=lambda model: of_model(found, model).mean())
        for other in (*OF_CONTROLS, "teacher"):
            name = f"scarce: student / {other}, {variant}"
            goal = GAIN if other == best else ""
            rows.append(compared(name, student, of_model(found, other), goal, detail, seeds))
    detail = f"{detail}; {pair.doubt}".rstrip("; ")
    for model in ("teacher", "student"):
        name = f"scarce: {model}, transfer / alone"
        values = of_model(runs["transfer"], model), of_model(runs[ALONE], model)
        rows.append(compared(name, *values, "", detail, seeds))
    pairs = of_model(runs["transfer"], "student"), of_model(runs[NOT_GENERATED], "student")
    name = "scarce: student, transfer / without generated histories"
    rows.append(compared(name, *pairs, "", detail, seeds))
    return rows


def source_run(recipe: RetrievalRecipe, seed: int, out: Path) -> Path:
    """The folder of the source's run, which needs only its data and its two-tower teacher."""
    keep_freed_memory()
    recipe = replace(
        recipe,
        name=f"{recipe.name}-source-seed-{seed}",
        seed=seed,
        teacher=replace(recipe.teacher, kind=TWO_TOWER),
    )
    run = Run(recipe, out, TerminalProgress())
    run.stages.run([data_stage(run), teacher_stage(run)])
    return run.home


def of_variant(
    recipe: RetrievalRecipe, part: str, share: float, variant: str, seed: int, source: Path
) -> RetrievalRecipe:
    """The target's recipe with this share of the interactions, with or without transfer."""
    transfer = TransferSettings()
    if variant != ALONE:
        transfer = TransferSettings(run=str(source), trains=TRAINS[variant])
    return replace(
        recipe,
        name=f"{recipe.name}-{part}-{variant}-seed-{seed}",
        seed=seed,
        data=replace(recipe.data, train_share=share),
        transfer=transfer,
    )


def whole_run(recipe: RetrievalRecipe, out: Path) -> Values:
    """The NDCG values of a whole run, by model."""
    pipeline.run(recipe, out, TerminalProgress(), processes=default_processes())
    with np.load(out / recipe.name / NDCG_FILE) as arrays:
        return {name: arrays[name] for name in arrays if "/" not in name}


def teacher_of(recipe: RetrievalRecipe, out: Path) -> Values:
    """The NDCG values of a run's teacher; only the stages that it needs are run."""
    keep_freed_memory()
    run = Run(recipe, out, TerminalProgress())
    run.stages.run([data_stage(run), teacher_stage(run)])
    file = run.home / f"teacher-{run.fingerprint('teacher')[:16]}.npz"
    if not file.exists():
        test = run.data.splits.test.answerable()
        scorer = scorer_of(run.teacher.open(run.file("teacher")), test, recipe.data.max_history)
        ndcg = evaluate(scorer, test, k=recipe.evaluation.k).ndcg
        with whole_file(file) as kept:
            np.savez(kept, **{"teacher": ndcg, USERS: test.users})
    with np.load(file) as arrays:
        return dict(arrays)


def of_model(runs: Sequence[Values], model: str) -> np.ndarray:
    """A model's NDCG, [num_seeds, num_users]: the same users in every run."""
    users = runs[0][USERS]
    if any(not np.array_equal(of[USERS], users) for of in runs):
        raise ValueError("The runs of the seeds were tested on other users.")
    return np.stack([of[model] for of in runs])


def compared(
    name: str, one: np.ndarray, other: np.ndarray, goal: str, detail: str, seeds: Sequence[int]
) -> Row:
    """The ratio of two models' mean NDCG, with the interval of the difference."""
    paired = metrics.paired_difference(one, other)
    low, high = paired["interval"]
    text = (
        f"NDCG {one.mean():.4f} and {other.mean():.4f}, difference {paired['difference']:+.4f} "
        f"({low:+.4f} to {high:+.4f}), seeds {list(seeds)}; {detail}"
    )
    return row(name, one.mean() / other.mean(), "", goal, text)
