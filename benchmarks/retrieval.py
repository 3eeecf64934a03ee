"""Does the teacher help? The main recipe over several seeds, each a whole run from data to files.

    python benchmarks/retrieval.py [--quick] [--seeds 0 1 2 3 4] [--recipe NAME] [--out DIR]
        [--json FILE]

Prints the table of `benchmarks/RESULTS.md`, and what the student has above each control: the twin
(label smoothing alone), the self-taught and the scrambled student. Intervals are 95 % bootstrap
intervals over users and seeds, paired for a difference. Runs that are on disk are not run again.
All controls are trained, whatever the recipe names.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rows import Row, publish, row

from tfrs_distill import pipeline
from tfrs_distill.evaluation import metrics
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import CONTROLS
from tfrs_distill.pipeline.report.cautions import limits_of_split
from tfrs_distill.pipeline.tasks import NEXT_ITEM
from tfrs_distill.pipeline.terminal import TerminalProgress

BARS = ("twin", "plain", "self_taught", "scrambled")  # the controls that a student must beat
MODELS = (
    "teacher",
    *BARS,
    "student",
    "saved_model",
    "student_tflite",
    "student_int8",
    "ease",
    "popularity",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small runs: to see it work")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--recipe", default="movielens-100k", help="a built-in recipe or a file")
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    recipe = Recipe.load(arguments.recipe)
    recipe = recipe.quick() if arguments.quick else recipe
    recipe = replace(recipe, training=replace(recipe.training, controls=CONTROLS))
    reports, ndcg = [], []
    for seed in arguments.seeds:
        seeded = replace(recipe, seed=seed, name=f"{recipe.name}-seed-{seed}")
        reports.append(pipeline.run(seeded, arguments.out, TerminalProgress()))
        with np.load(arguments.out / seeded.name / "stages" / "evaluate" / "ndcg.npz") as arrays:
            ndcg.append({name: arrays[name] for name in MODELS})
    by_model = {name: np.stack([seed[name] for seed in ndcg]) for name in MODELS}
    print(table(reports, by_model, arguments.seeds))
    print(limits_of_split(reports[0]))
    rows = goals(reports, by_model, arguments.seeds)
    publish(rows, arguments.json)


def table(reports: list[dict], ndcg: dict[str, np.ndarray], seeds: list[int]) -> str:
    """The comparison as Markdown; `ndcg` [num_seeds, num_users] by model."""
    k = reports[0]["k"]
    lines = [
        f"| model | NDCG@{k} (95 % interval) | by seed {', '.join(map(str, seeds))} | Recall@{k} | "
        f"MRR@{k} | coverage@{k} | overlap@{k} with teacher | parameters | bytes | ms p50 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        rows = [report["models"][name] for report in reports]
        told = [row["metrics"][NEXT_ITEM] for row in rows]
        low, high = metrics.bootstrap_interval(ndcg[name])
        by_seed = ", ".join(f"{one[f'ndcg@{k}']['value']:.4f}" for one in told)
        values = [
            f"{np.mean([one[key]['value'] for one in told]):.4f}" if key in told[0] else ""
            for key in (f"recall@{k}", f"mrr@{k}", f"coverage@{k}", f"overlap@{k}")
        ]
        lines.append(
            f"| {name} | {ndcg[name].mean():.4f} ({low:.4f} to {high:.4f}) | {by_seed} | "
            f"{' | '.join(values)} | {rows[0]['parameters']:,} | {rows[0]['bytes']:,} | "
            f"{np.median([row['latency_ms']['p50'] for row in rows]):.3f} |"
        )
    return "\n".join(lines)


def goals(reports: list[dict], ndcg: dict[str, np.ndarray], seeds: list[int]) -> list[Row]:
    """What the figures must show, as rows with a goal; `ndcg` [num_seeds, num_users] by model."""
    averages = {name: float(values.mean()) for name, values in ndcg.items()}
    best = max(BARS, key=averages.__getitem__)
    found = []
    for name in BARS:
        difference = ndcg["student"] - ndcg[name]
        low, high = metrics.bootstrap_interval(difference)
        ratios = ndcg["student"].mean(axis=1) / ndcg[name].mean(axis=1)
        detail = (
            f"difference {difference.mean():.4f}, 95 % interval {low:.4f} to {high:.4f} over users"
            f"{' and seeds' * (len(seeds) > 1)}; seeds {seeds}: "
            f"{', '.join(f'{ratio:.4f}' for ratio in ratios)}"
        )
        ratio = averages["student"] / averages[name]
        found.append((f"student_ndcg_over_{name}", ratio, ">= 1.05" * (name == best), detail))
        if name == best:
            found.append(("student_minus_best_control_low", low, "> 0", f"the best is {best}"))
    gain = averages["student"] - averages["plain"]
    others = [name for name in BARS if name != "plain"]
    shares = {name: (averages[name] - averages["plain"]) / gain for name in others}
    of_gain = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    left = 1 - max(*shares.values(), 0.0)
    detail = f"of the gain {gain:.4f} on the plain student: {of_gain}"
    found.append(("share_left_for_the_teachers_knowledge", left, "", detail))
    compared = [report["comparisons"] for report in reports]
    identical = min(one["tflite_vs_keras"][NEXT_ITEM]["identical_lists"] for one in compared)
    int8 = min(one["int8_vs_float32"][NEXT_ITEM]["ratio"] for one in compared)
    int8_bytes = max(r["models"]["student_int8"]["bytes"] for r in reports)
    share = max(r["models"]["student"]["bytes"] / r["models"]["teacher"]["bytes"] for r in reports)
    found += [
        ("teacher_ndcg", averages["teacher"], ">= 0.215", "mean over seeds"),
        (
            "student_ndcg_over_teacher",
            averages["student"] / averages["teacher"],
            ">= 0.97",
            f"at {share:.2%} of its bytes",
        ),
        (
            "student_ndcg_over_ease",
            averages["student"] / averages["ease"],
            "> 1",
            "its settings chosen on validation",
        ),
        ("tflite_lists_identical_to_keras", identical, ">= 1", "share of users, worst seed"),
        ("int8_ndcg_over_float32", int8, ">= 0.98", "worst seed"),
        ("int8_bytes", int8_bytes, "<= 100000", "largest of the seeds"),
    ]
    return [
        row(name, value, "bytes" if name.endswith("bytes") else "ratio", goal, detail)
        for name, value, goal, detail in found
    ]


if __name__ == "__main__":
    main()
