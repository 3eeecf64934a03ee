"""Which teacher is best in which regime: every kind on MovieLens-100K, over several seeds.

Called by `benchmarks/teachers.py`. Each teacher is trained as in a recipe, chosen on validation,
and evaluated on test once. Results are kept in a folder, one file per teacher, regime and seed, and
not computed again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_distill.data import Interactions, movielens_100k, split_by_time, split_cold_items
from tfrs_distill.data.cold_items import choose_cold_items
from tfrs_distill.data.splits import Splits
from tfrs_distill.evaluation import evaluate, metrics
from tfrs_distill.evaluation.teacher_report import scorer_of
from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.encoders import open_bert
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.run_folder import ITEM_VECTORS
from tfrs_distill.pipeline.teacher_kinds import TeacherContext, teacher_kind
from tfrs_distill.pipeline.teacher_kinds.adapted_encoder import PRETRAINED_FILES, pretrain
from tfrs_distill.progress import Progress

MODALITIES = ("text", "attributes", "knowledge-graph")
REGIMES = ("full", "cold items")
BASE = "frozen BERT + ids"
EASE, RIDGE, ALS = "item-item", "next-item-ridge", "als"


def teachers(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe of every teacher that is compared, by its name in the table."""

    def kind(**changes: object) -> Recipe:
        return replace(recipe, teacher=replace(recipe.teacher, **changes))

    def joined(*members: str, **changes: object) -> Recipe:
        return kind(kind="ensemble", members=members, **changes)

    def tuned(method: str, pretrain_steps: int = 0) -> Recipe:
        tuning = replace(recipe.tuning, method=method, pretrain_steps=pretrain_steps)
        return replace(recipe, tuning=tuning)

    graph = {
        "text + attributes + graph + ids": kind(modalities=MODALITIES),
        "text + graph + ids": kind(modalities=("text", "knowledge-graph")),
        "attributes + graph + ids": kind(modalities=("attributes", "knowledge-graph")),
        "ensemble of all modalities and EASE": joined("two-tower", EASE, modalities=MODALITIES),
    }
    graph = graph if recipe.data.link_titles else {}  # without the titles its links cannot be used
    return {
        "ids alone": kind(modalities=()),
        BASE: recipe,
        "frozen BERT + ids, after MLM": tuned("none", 300),
        "LoRA": tuned("lora"),
        "LoRA, after MLM": tuned("lora", 300),
        "full fine-tuning": tuned("all-layers"),
        "full fine-tuning, after MLM": tuned("all-layers", 300),
        "EASE": kind(kind=EASE),
        "next-item ridge": kind(kind=RIDGE),
        "ALS": kind(kind=ALS),
        "EASE + ridge": joined(EASE, RIDGE),
        "EASE + ALS": joined(EASE, ALS),
        "ridge + ALS": joined(RIDGE, ALS),
        "EASE + ridge + ALS": joined(EASE, RIDGE, ALS),
        **graph,
        "text + attributes + ids": kind(modalities=("text", "attributes")),
        "ensemble of frozen BERT + ids and EASE": joined("two-tower", EASE),
        "ensemble of frozen BERT + ids, EASE and ridge": joined("two-tower", EASE, RIDGE),
        "ensemble of frozen BERT + ids, EASE, ridge and ALS": joined("two-tower", EASE, RIDGE, ALS),
        "cross-encoder over frozen BERT + ids": kind(kind="cross-encoder"),
    }


def splits_of(data: Interactions, regime: str, recipe: Recipe) -> Splits:
    """Training and evaluation data of a regime; the seed draws the cold items."""
    if regime == "full":
        return split_by_time(data, max_history=recipe.data.max_history)
    cold = choose_cold_items(data.catalogue.num_items, seed=recipe.seed)
    return split_cold_items(data, cold, cold.all, max_history=recipe.data.max_history)


def measure(
    name: str, recipe: Recipe, regime: str, data: Interactions, folder: Path, progress: Progress
) -> dict:
    """Train one teacher and evaluate it, or read its result from `folder`."""
    file = folder / f"{name} - {regime} - {recipe.seed}.json"
    if file.exists():
        found: dict = json.loads(file.read_text())
        return found
    splits = splits_of(data, regime, recipe)
    tf.keras.utils.set_random_seed(recipe.seed)
    kept = folder / ITEM_VECTORS
    context = TeacherContext(recipe, RetrievalData(data, splits), [], progress, kept)
    kind = teacher_kind(context)
    kind.settings()
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if recipe.tuning.pretrain_steps:
        _pretrained(context, folder, work)
    start = time.monotonic()
    facts = kind.train(work)
    seconds = time.monotonic() - start
    teacher = kind.open(work)
    found = {"seconds": seconds, "encoder": facts.get("encoder"), "line": facts["line"]}
    for part, queries in (("validation", splits.validation), ("test", splits.test)):
        evaluation = evaluate(scorer_of(teacher, queries, recipe.data.max_history), queries, k=10)
        found[part] = {"ndcg": float(evaluation.ndcg.mean()), "users": queries.users.tolist()}
        found[part]["ndcg_of_users"] = evaluation.ndcg.tolist()
    with whole_file(file, "w") as out:
        json.dump(found, out)
    shutil.rmtree(work)
    return found


def _pretrained(context: TeacherContext, folder: Path, work: Path) -> None:
    """Put the seed's pre-trained BERT into `work`: the same for every teacher and regime."""
    shared = folder / f"pre-trained - {context.recipe.seed}"
    shared.mkdir(exist_ok=True)
    pretrain(open_bert(context.recipe), context, shared)
    for name in PRETRAINED_FILES:
        shutil.copy(shared / name, work / name)


def evidence(
    recipe: Recipe,
    seeds: list[int],
    regimes: Sequence[str],
    names: list[str],
    folder: Path,
    progress: Progress,
) -> dict[str, dict[str, list[dict]]]:
    """Every teacher's results, by regime and name, one entry per seed."""
    data = movielens_100k(recipe.data.folder or None)
    found: dict[str, dict[str, list[dict]]] = {regime: {} for regime in regimes}
    jobs = [(seed, regime, name) for seed in seeds for regime in regimes for name in names]
    with progress.bar("teachers", len(jobs)) as advance:
        for seed, regime, name in jobs:
            own = replace(teachers(recipe)[name], seed=seed)
            given = measure(name, own, regime, data, folder, progress)
            found[regime].setdefault(name, []).append(given)
            advance(note=f"{name}, {regime}, seed {seed}: {given['validation']['ndcg']:.4f}")
    return found


def table(found: dict[str, dict[str, list[dict]]], seeds: list[int]) -> str:
    """The comparison as Markdown, one section per regime; each teacher with the first one."""
    blocks = []
    for regime, by_name in found.items():
        base = next(iter(by_name))
        lines = [
            f"**{regime}**, seeds {', '.join(map(str, seeds))}",
            "",
            "| teacher | validation NDCG@10 | test NDCG@10 (95 % interval) | by seed | "
            f"test, difference to {base} (95 % interval) | minutes to train |",
            "|---|---|---|---|---|---|",
        ]
        for name, given in by_name.items():
            test = mean_of_users(given)
            low, high = metrics.bootstrap_interval(np.array(list(test.values())))
            lines.append(
                f"| {name} | {np.mean([one['validation']['ndcg'] for one in given]):.4f} | "
                f"{np.mean(list(test.values())):.4f} ({low:.4f} to {high:.4f}) | "
                f"{', '.join(format(one['test']['ndcg'], '.4f') for one in given)} | "
                f"{difference(test, mean_of_users(by_name[base])) if name != base else ''} | "
                f"{np.median([one['seconds'] for one in given]) / 60:.1f} |"
            )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def mean_of_users(given: list[dict]) -> dict[int, float]:
    """Each user's test NDCG, averaged over the seeds in which the user was evaluated."""
    of_user: dict[int, list[float]] = {}
    for one in given:
        for user, ndcg in zip(one["test"]["users"], one["test"]["ndcg_of_users"]):
            of_user.setdefault(user, []).append(ndcg)
    return {user: float(np.mean(values)) for user, values in sorted(of_user.items())}


def difference(test: dict[int, float], base: dict[int, float]) -> str:
    """The paired difference with its interval, over the same users."""
    paired = np.array([test[user] - base[user] for user in test])
    low, high = metrics.bootstrap_interval(paired)
    return f"{paired.mean():+.4f} ({low:+.4f} to {high:+.4f})"
