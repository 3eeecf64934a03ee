"""Does a teacher help a ranking student? Reviews, ratings and two stages over several seeds.

    python benchmarks/ranking.py [--quick] [--seeds 0 1 2] [--out DIR] [--json FILE]
                                 [--only reviews reviews-by-item ranking multitask two-stage]

Each seed is a whole run of a recipe, from data to files, compared with the peers of
`ranking_peers.py` on the same rows. Values are means over the seeds; intervals are 95 % bootstrap
intervals over users (reviews: over each seed's own reviews) and seeds, paired for a difference. All
controls are trained. Runs that are on disk are not run again. It needs scikit-learn:
`pip install -e ".[test]"`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from ranking_peers import gradient_boosted_trees, tfidf_logistic_regression, tutorial_model
from rows import Row, publish, row

from tfrs_distill import pipeline
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import CONTROLS
from tfrs_distill.pipeline.report.over_runs import (
    FinishedRun,
    over_seeds,
    read_settings,
    results_of,
)
from tfrs_distill.pipeline.report.task_results import TaskResults, difference_over_runs, over_runs
from tfrs_distill.pipeline.source import read_data
from tfrs_distill.pipeline.terminal import TerminalProgress
from tfrs_distill.pipeline.worker import default_processes
from tfrs_distill.teachers.candidate_lists import RELEVANCE

BARS = ("twin", "self_taught", "scrambled")  # the controls that a student must beat
MODELS = (
    *("teacher", *BARS, "student", "student_tflite", "student_int8"),
    *("item_mean", "bias_only"),
)
PARTS = ("reviews", "reviews-by-item", "ranking", "multitask", "two-stage")
TASKS = ("recommended", "like", "rating")
TFIDF = "TF-IDF + logistic regression"
FILM_PEERS = {
    "gradient-boosted trees": gradient_boosted_trees,
    "TFRS ranking tutorial": tutorial_model,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small runs, as a smoke test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    rows: list[Row] = []
    for name in arguments.only:
        recipe = recipe_of(name)
        recipe = recipe.quick() if arguments.quick else recipe
        recipe = replace(recipe, training=replace(recipe.training, controls=CONTROLS))
        seeded = [
            replace(recipe, seed=seed, name=f"{recipe.name}-seed-{seed}")
            for seed in arguments.seeds
        ]
        for one in seeded:
            pipeline.run(one, arguments.out, TerminalProgress(), processes=default_processes())
        (runs,) = read_settings([arguments.out / one.name for one in seeded])
        report = over_seeds(runs)
        seeds = ", ".join(map(str, report["seeds"]))
        if name == "two-stage":
            print(f"\n**two stages**, seeds {seeds}\n\n{two_stage_table(report)}")
            rows += two_stage_goals(report, runs)
            continue
        for one, run in zip(seeded, runs):
            add_peers(one, run)
        for task in (one for one in TASKS if one in runs[0].tasks):
            print(f"\n**{name}, {task}**, seeds {seeds}\n")
            print(table(report, results_of(runs, task), task))
        rows += (reviews_goals if name.startswith("reviews") else movielens_goals)(name, runs)
    publish(rows, arguments.json)


def recipe_of(part: str) -> Recipe:
    """The recipe of a part; split by item, test items are in no training row."""
    if part != "reviews-by-item":
        return Recipe.named(part)
    recipe = Recipe.named("reviews")
    return replace(recipe, name=part, data=replace(recipe.data, split="item"))


def add_peers(recipe: Recipe, run: FinishedRun) -> None:
    """Add the peers' predictions of the test rows to a run's models."""
    data = read_data(recipe)
    of_reviews = recipe.data.source == "clothing-reviews"
    peers = {TFIDF: tfidf_logistic_regression(data.splits)} if of_reviews else {}
    if not of_reviews:
        peers = {name: peer(data, recipe.seed) for name, peer in FILM_PEERS.items()}
    for task in (one for one in TASKS if one in run.tasks):
        labelled = ~np.isnan(data.splits.test.labels[task])
        for name, predictions in peers.items():
            # Ordering by predicted rating is also an ordering by the likelihood of a like.
            run.tasks[task].models[name] = predictions[labelled]


def table(report: dict, runs: list[TaskResults], task: str) -> str:
    """The comparison as Markdown."""
    keys = ["rmse"] if task == "rating" else ["auc", "gauc"]
    if task == "recommended":
        keys = ["auc"]  # each review counts as a separate user
    heads = [f"{key.upper()} (95 % interval) | by seed" for key in keys]
    if task != "rating":
        heads.append("accuracy | F1")
    lines = [
        f"| model | {' | '.join(heads)} | parameters | bytes | ms a row, p50 |",
        "|---" * (1 + 2 * len(heads) + 3) + "|",
    ]
    for model in (name for name in (*MODELS, TFIDF, *FILM_PEERS) if name in runs[0].models):
        cells = []
        for key in keys:
            found = over_runs(runs, model, key)
            low, high = found["interval"]
            by_seed = ", ".join(f"{value:.4f}" for value in found["by_seed"])
            cells.append(f"{found['value']:.4f} ({low:.4f} to {high:.4f}) | {by_seed}")
        if task != "rating":
            cells.append(decisions(runs, model))
        row = report["models"].get(model, {})
        cost = [row.get(key) for key in ("parameters", "bytes")]
        shown = [f"{value:,}" if value else "" for value in cost]
        shown.append(f"{row['latency_ms']['p50']:.3f}" if "latency_ms" in row else "")
        lines.append(f"| {model} | {' | '.join(cells)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def decisions(runs: list[TaskResults], model: str) -> str:
    """Accuracy and F1 at a probability of one half; empty for a model without probabilities."""
    if any(run.models[model].min() < 0.0 or run.models[model].max() > 1.0 for run in runs):
        return " | "
    means = [np.mean([run.figure(model, key) for run in runs]) for key in ("accuracy", "f1")]
    return " | ".join(f"{mean:.4f}" for mean in means)


def mean(runs: list[TaskResults], model: str, metric: str = "") -> float:
    """The mean of a metric over the seeds."""
    return float(np.mean([run.figure(model, metric) for run in runs]))


def beside_best_control(
    part: str, all_runs: list[FinishedRun], task: str, metric: str, goal: str
) -> Row:
    """The difference of the student to its best control, by the interval's end nearest to 0."""
    runs, lower = results_of(all_runs, task), metric == "rmse"
    best = (min if lower else max)(BARS, key=lambda name: mean(runs, name, metric))
    found = difference_over_runs(runs, "student", runs, best, metric)
    low, high = found["interval"]
    return row(
        f"{part}, {task}: {metric.upper()} of student - {best}, near end of the interval",
        high if lower else low,
        "",
        goal,
        f"difference {found['difference']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}",
    )


def milliseconds(models: dict, name: str) -> float:
    """The median time of one query, for a report's models."""
    return models[name]["latency_ms"]["p50"]


def reviews_goals(part: str, all_runs: list[FinishedRun]) -> list[Row]:
    """The goals of the clothing reviews."""
    task = "recommended"
    runs = results_of(all_runs, task)
    int8, bert = mean(runs, "student_int8"), mean(runs, "teacher")
    models = [one.report["models"] for one in all_runs]
    size = max(one["student_int8"]["bytes"] for one in models)
    speed = np.median(
        [milliseconds(one, "teacher") / milliseconds(one, "student_int8") for one in models]
    )
    against_peer = difference_over_runs(runs, "student_int8", runs, TFIDF)
    low, high = against_peer["interval"]
    return [
        row(f"{part}: int8 bytes", size, "bytes", "<= 500000", "largest of the seeds"),
        beside_best_control(part, all_runs, task, "auc", "> 0"),
        row(
            f"{part}: AUC of int8 student / BERT",
            int8 / bert,
            "",
            ">= 0.99",
            f"{int8:.4f} of {bert:.4f}",
        ),
        row(
            f"{part}: AUC of int8 student - {TFIDF}",
            against_peer["difference"],
            "",
            ">= 0",
            f"95 % interval {low:+.4f} to {high:+.4f}",
        ),
        row(f"{part}: BERT's ms a row / int8 student's", float(speed), "x", ">= 200", "median"),
    ]


def movielens_goals(part: str, all_runs: list[FinishedRun]) -> list[Row]:
    """The goals of MovieLens ratings."""
    runs = results_of(all_runs, "like")
    teacher, student, base = (mean(runs, name) for name in ("teacher", "student", "item_mean"))
    models = [one.report["models"] for one in all_runs]
    share = max(one["student_int8"]["bytes"] / one["teacher"]["bytes"] for one in models)
    return [
        beside_best_control(part, all_runs, "rating", "rmse", "< 0"),
        beside_best_control(part, all_runs, "like", "gauc", "> 0"),
        row(
            f"{part}: share of the teacher's AUC gain on the item mean",
            (student - base) / (teacher - base),
            "",
            ">= 0.97",
            f"teacher {teacher:.4f}, student {student:.4f}, item mean {base:.4f}",
        ),
        row(f"{part}: int8 bytes / teacher's", share, "", "<= 0.05", "largest of the seeds"),
    ]


def two_stage_table(report: dict) -> str:
    """Retrieval alone, two stages and the cross-encoder over the same candidates."""
    lines = [
        "| model | NDCG@10 by seed | mean | bytes | ms a query, p50 |",
        "|---|---|---|---|---|",
    ]
    for model, found in report["models"].items():
        ndcg = found["metrics"][RELEVANCE]["ndcg@10"]
        by_seed = ", ".join(f"{value:.4f}" for value in ndcg["by_seed"])
        lines.append(
            f"| {model} | {by_seed} | {ndcg['value']:.4f} | {found['bytes']:,} | "
            f"{milliseconds(report['models'], model):.3f} |"
        )
    return "\n".join(lines)


def two_stage_goals(report: dict, runs: list[FinishedRun]) -> list[Row]:
    """The goals of the two stages."""
    ndcg = {
        name: found["metrics"][RELEVANCE]["ndcg@10"] for name, found in report["models"].items()
    }
    best = max(BARS, key=lambda name: ndcg[name]["value"])
    models = [run.report["models"] for run in runs]
    faster = [
        milliseconds(one, "cross_encoder") / milliseconds(one, "student_tflite") for one in models
    ]
    goals = []
    for less, goal in (("retrieval", ">= 1.05"), (best, "> 1")):
        low, high = report["comparisons"][f"student_vs_{less}"][RELEVANCE]["interval"]
        pairs = zip(ndcg["student"]["by_seed"], ndcg[less]["by_seed"])
        by_seed = ", ".join(f"{one / other:.4f}" for one, other in pairs)
        goals.append(
            row(
                f"two stages: NDCG@10 / {'retrieval alone' if less == 'retrieval' else less}",
                ndcg["student"]["value"] / ndcg[less]["value"],
                "",
                goal,
                f"by seed {by_seed}; difference {low:+.4f} to {high:+.4f}",
            )
        )
    return [
        *goals,
        row(
            "two stages: cross-encoder's ms a query / .tflite's",
            float(np.median(faster)),
            "x",
            ">= 100",
            "the same candidates",
        ),
    ]


if __name__ == "__main__":
    main()
