"""Does the teacher help? The main recipe over several seeds, each a whole run from data to files.

    python benchmarks/retrieval.py [--quick] [--seeds 0 1 2 3 4] [--recipe NAME] [--split SPLIT]
        [--controls NAME ...] [--out DIR] [--json FILE]

Prints the table of `benchmarks/RESULTS.md`, and the student's gain on each control: the twin (label
smoothing alone), the plain, the self-taught and the scrambled student. Intervals are 95 % bootstrap
intervals over users and seeds, paired for a difference. Runs that are on disk are not run again.
Without `--controls` all controls are trained, whichever the recipe names.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rows import Row, publish, row

from tfrs_distill import pipeline
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import (
    CONTROLS,
    FILMS,
    FILMS_1M,
    LEAVE_ONE_OUT,
    USER_TIME,
)
from tfrs_distill.pipeline.report.cautions import limits_of_split
from tfrs_distill.pipeline.report.over_runs import over_seeds, read_settings
from tfrs_distill.pipeline.tasks import NEXT_ITEM
from tfrs_distill.pipeline.terminal import TerminalProgress
from tfrs_distill.pipeline.worker import default_processes

BARS = ("twin", "plain", "self_taught", "scrambled")  # the controls that a student must beat
GOALS = {  # by data and split, for the rows below
    (FILMS, USER_TIME): {"teacher_ndcg": ">= 0.215", "int8_bytes": "<= 150000"},
    (FILMS_1M, LEAVE_ONE_OUT): {
        "teacher_ndcg": ">= 0.188",
        "int8_ndcg": ">= 0.178",
        "int8_bytes": "<= 250000",
    },
}
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
    parser.add_argument("--quick", action="store_true", help="small runs, as a smoke test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--recipe", default="movielens-100k", help="a built-in recipe or a file")
    parser.add_argument("--split", help="such as leave-one-out; default: the recipe's")
    parser.add_argument("--controls", nargs="*", default=CONTROLS, help="default: all")
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    recipe = Recipe.load(arguments.recipe)
    recipe = recipe.quick() if arguments.quick else recipe
    controls = tuple(arguments.controls)
    recipe = replace(recipe, training=replace(recipe.training, controls=controls))
    recipe = with_split(recipe, arguments.split)
    folders = []
    for seed in arguments.seeds:
        seeded = replace(recipe, seed=seed, name=f"{recipe.name}-seed-{seed}")
        pipeline.run(seeded, arguments.out, TerminalProgress(), processes=default_processes())
        folders.append(arguments.out / seeded.name)
    (runs,) = read_settings(folders)
    report = over_seeds(runs)
    print(table(report))
    print(f"\n{report['verdict']}\n\n{limits_of_split(report)}")
    publish(goals(report, GOALS.get((recipe.data.source, recipe.data.split), {})), arguments.json)


def with_split(recipe: Recipe, split: str | None) -> Recipe:
    """A recipe with another split, and a run folder of its own; None for the recipe's split."""
    if split is None:
        return recipe
    data = replace(recipe.data, split=split)
    return replace(recipe, name=f"{recipe.name}-{split}", data=data)


def table(report: dict) -> str:
    """The comparison as Markdown."""
    k, seeds = report["k"], ", ".join(map(str, report["seeds"]))
    lines = [
        f"| model | NDCG@{k} (95 % interval) | by seed {seeds} | Recall@{k} | MRR@{k} | "
        f"coverage@{k} | overlap@{k} with teacher | parameters | bytes | ms p50 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        if name not in report["models"]:
            continue
        row = report["models"][name]
        figures = row["metrics"][NEXT_ITEM]
        leading = figures[f"ndcg@{k}"]
        low, high = leading["interval"]
        by_seed = ", ".join(f"{value:.4f}" for value in leading["by_seed"])
        values = [
            f"{figures[key]['value']:.4f}" if key in figures else ""
            for key in (f"recall@{k}", f"mrr@{k}", f"coverage@{k}", f"overlap@{k}")
        ]
        lines.append(
            f"| {name} | {leading['value']:.4f} ({low:.4f} to {high:.4f}) | {by_seed} | "
            f"{' | '.join(values)} | {row['parameters']:,} | {row['bytes']:,} | "
            f"{row['latency_ms']['p50']:.3f} |"
        )
    return "\n".join(lines)


def goals(report: dict, of_data: dict[str, str]) -> list[Row]:
    """The result rows with their goals; some goals depend on the data (`of_data`)."""
    of_k = f"ndcg@{report['k']}"
    averages = {
        name: row["metrics"][NEXT_ITEM][of_k]["value"] for name, row in report["models"].items()
    }
    compared = {name: found[NEXT_ITEM] for name, found in report["comparisons"].items()}
    bars = [name for name in BARS if name in averages]
    best = max(bars, key=averages.__getitem__)
    found = []
    for name in bars:
        of_control = compared[f"student_vs_{name}"]
        low, high = of_control["interval"]
        detail = (
            f"difference {of_control['difference']:.4f}, 95 % interval {low:.4f} to {high:.4f} "
            f"over {report['resampled']['what']}, p {of_control['p']:.4f}"
        )
        goal = ">= 1.05" * (name == best)
        found.append((f"student_ndcg_over_{name}", of_control["ratio"], goal, detail))
        if name == best:
            found.append(("student_minus_best_control_low", low, "> 0", f"the best is {best}"))
    if "plain" in averages:
        gain = averages["student"] - averages["plain"]
        others = [name for name in bars if name != "plain"]
        shares = {name: (averages[name] - averages["plain"]) / gain for name in others}
        of_gain = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        left = 1 - max(*shares.values(), 0.0)
        detail = f"of the gain {gain:.4f} on the plain student: {of_gain}"
        found.append(("share_left_for_the_teachers_knowledge", left, "", detail))
    models = report["models"]
    share = models["student"]["bytes"] / models["teacher"]["bytes"]
    identical = compared["tflite_vs_keras"]["identical_lists"]
    int8, float32 = (
        models[name]["metrics"][NEXT_ITEM][of_k]["by_seed"]
        for name in ("student_int8", "student_tflite")
    )
    found += [
        ("teacher_ndcg", averages["teacher"], of_data.get("teacher_ndcg", ""), "mean over seeds"),
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
        (
            "int8_ndcg_over_float32",
            min(a / b for a, b in zip(int8, float32)),
            ">= 0.98",
            "worst seed",
        ),
        (
            "int8_ndcg",
            averages["student_int8"],
            of_data.get("int8_ndcg", ""),
            "mean over seeds",
        ),
        (
            "int8_bytes",
            models["student_int8"]["bytes"],
            of_data.get("int8_bytes", ""),
            "largest of the seeds",
        ),
    ]
    return [
        row(name, value, "bytes" if name.endswith("bytes") else "ratio", goal, detail)
        for name, value, goal, detail in found
    ]


if __name__ == "__main__":
    main()
