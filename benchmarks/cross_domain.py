"""Runs that start from those of other data, beside the same without: parts of `transfer.py`."""

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
BEST_OF = ("student", "teacher", "twin", "ease", "popularity")  # of a run without transfer
GENERATED = 5  # histories for each training window, where there are few
NOT_GENERATED = "none generated"
SHARES = {"cross-domain": 0.05, "scarce": 0.1}  # of each user's training interactions
GAIN = ">= 1.1"
DOUBTS = {  # about leaks, by source and target
    ("movielens-1m", "movielens-100k"): "by GroupLens' word the two sets hold ratings of other "
    "users, of 2000-2003 and of 1997-1998, but whether somebody was asked for both cannot be told "
    "from the data",
}
Values = dict[str, np.ndarray]  # NDCG by model, [num_users], and `USERS`


@dataclass(frozen=True)
class Pair:
    """Two data sets, one of which serves the other.

    Args:
        source: recipe whose teacher is trained on all of its data.
        target: recipe that has a share of its training interactions.
        doubt: what may be wrong with the pair, for the rows.
    """

    source: RetrievalRecipe
    target: RetrievalRecipe
    doubt: str

    @classmethod
    def named(cls, source: str, target: str, *, quick: bool) -> Pair:
        """Two recipes, built in or in files, small ones where it is to be quick."""
        recipes = [Recipe.load(name) for name in (source, target)]
        if quick:
            recipes = [recipe.quick() for recipe in recipes]
        return cls(*recipes, DOUBTS.get((source, target), ""))


def cross_domain(pair: Pair, seeds: Sequence[int], out: Path) -> list[Row]:
    """A teacher of texts of one domain in another, of which little or nothing is known.

    All teachers are two-towers, so that nothing but the transfer differs: with all weights trained
    on the target, with adapters, and not trained at all. What they must beat is the same teacher of
    the target alone; the last row has the best of all models of the target alone in its place.
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
    best = max(BEST_OF, key=lambda model: of_model(runs[ALONE], model).mean())
    for model in dict.fromkeys(("student", best)):
        name = f"cross-domain: student, transfer / {model}, alone"
        told = detail if model == "student" else f"the best without transfer; {detail}"
        rows.append(compared(name, student, of_model(runs[ALONE], model), GAIN, told, seeds))
    return rows


def scarce(pair: Pair, seeds: Sequence[int], out: Path) -> list[Row]:
    """The student, its controls and its teacher where each user has a tenth of the interactions.

    Teachers, and twins for the self-taught students, continue histories. A run without these
    stands beside the one that starts from the source.
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
    """The folder of the source's run: its data and its two-tower teacher, which is all it needs."""
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
    """The target's recipe with this share of the interactions, from the source or alone."""
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
    """What a whole run measured, by model."""
    pipeline.run(recipe, out, TerminalProgress(), processes=default_processes())
    with np.load(out / recipe.name / NDCG_FILE) as arrays:
        return {name: arrays[name] for name in arrays if "/" not in name}


def teacher_of(recipe: RetrievalRecipe, out: Path) -> Values:
    """What the teacher of a run gives, without more of the run than it needs."""
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
    told = metrics.paired_difference(one, other)
    low, high = told["interval"]
    said = (
        f"NDCG {one.mean():.4f} and {other.mean():.4f}, difference {told['difference']:+.4f} "
        f"({low:+.4f} to {high:+.4f}), seeds {list(seeds)}; {detail}"
    )
    return row(name, one.mean() / other.mean(), "", goal, said)
