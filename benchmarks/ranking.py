"""Does a teacher help a ranking student? Reviews, ratings and two stages over several seeds.

    python benchmarks/ranking.py [--quick] [--seeds 0 1 2] [--out DIR] [--json FILE]
                                 [--only reviews reviews-by-item ranking multitask two-stage]

Each seed is a whole run of a recipe, from data to files, and beside it the peers of
`ranking_peers.py` on the same rows. Figures are means over the seeds; intervals are 95 % bootstrap
intervals over users (reviews: over reviews), paired for a difference. All controls are
trained. Runs that are on disk are not run again. It needs scikit-learn: `pip install -e ".[test]"`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ranking_peers import gradient_boosted_trees, tfidf_logistic_regression, tutorial_model
from rows import Row, publish, row

from tfrs_distill import pipeline
from tfrs_distill.data import RankingExamples
from tfrs_distill.evaluation import metrics
from tfrs_distill.pipeline.data import read_data
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import CONTROLS
from tfrs_distill.pipeline.terminal import TerminalProgress

BARS = ("twin", "self_taught", "scrambled")  # the controls that a student must beat
MODELS = (
    *("teacher", *BARS, "student", "student_tflite", "student_int8"),
    *("item_mean", "bias_only"),
)
PARTS = ("reviews", "reviews-by-item", "ranking", "multitask", "two-stage")
LEADING = {"recommended": "auc", "like": "auc", "rating": "rmse"}
NUM_SAMPLES = 1000


@dataclass
class Seed:
    """What one seed gave.

    Args:
        report: the run's.
        test: the rows that were asked.
        said: by task and model, predictions [num_rows].
        seed: of the run, and of the resampling where seeds have different test rows.
    """

    report: dict
    test: RankingExamples
    said: dict[str, dict[str, np.ndarray]]
    seed: int

    def value(self, task: str, model: str, metric: str) -> float:
        """A model's figure on all test rows."""
        return float(self._of(task, model, metric)(None))

    def samples(self, task: str, model: str, metric: str, seed: int) -> np.ndarray:
        """The same for resampled users."""
        return metrics.cluster_bootstrap(
            self._of(task, model, metric), self.test.users, num_samples=NUM_SAMPLES, seed=seed
        )

    def _of(self, task: str, model: str, metric: str) -> Callable:
        labels, said = self.test.labels[task], self.said[task][model]

        def figure(weights: np.ndarray | None) -> np.ndarray:
            if metric == "rmse":
                return metrics.rmse(labels, said, weights)
            if metric == "auc":
                return metrics.auc(labels, said, weights)
            return metrics.grouped_auc(labels, said, self.test.users, weights).value

        return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small runs: to see it work")
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
        reports = [pipeline.run(one, arguments.out, TerminalProgress()) for one in seeded]
        if name == "two-stage":
            print(two_stage_table(reports, arguments.seeds))
            rows += two_stage_goals(reports, seeded, arguments.out)
            continue
        found = [with_peers(one, report, arguments.out) for one, report in zip(seeded, reports)]
        for task in found[0].said:
            print(f"\n**{name}, {task}**, seeds {', '.join(map(str, arguments.seeds))}\n")
            print(table(found, task))
        rows += (reviews_goals if name.startswith("reviews") else movielens_goals)(name, found)
    publish(rows, arguments.json)


def recipe_of(part: str) -> Recipe:
    """The recipe that a part runs under other seeds; by item, test items are in no training row."""
    if part != "reviews-by-item":
        return Recipe.named(part)
    recipe = Recipe.named("reviews")
    return replace(recipe, name=part, data=replace(recipe.data, split="item"))


def with_peers(recipe: Recipe, report: dict, out: Path) -> Seed:
    """The run's predictions, and the peers'."""
    data = read_data(recipe)
    splits = data.splits
    said: dict[str, dict[str, np.ndarray]] = {}
    with np.load(out / recipe.name / "stages" / "evaluate" / "predictions.npz") as arrays:
        for key in arrays.files:
            model, task = key.split("/")
            if model in MODELS and task in LEADING:
                said.setdefault(task, {})[model] = arrays[key]
    if recipe.data.source == "clothing-reviews":
        said["recommended"]["TF-IDF + logistic regression"] = tfidf_logistic_regression(splits)
        return Seed(report, splits.test, said, recipe.seed)
    for name, peer in (
        ("gradient-boosted trees", gradient_boosted_trees),
        ("TFRS ranking tutorial", tutorial_model),
    ):
        ratings = peer(data, recipe.seed)
        for task in said:  # an order by predicted rating is one by how well it is liked
            said[task][name] = ratings
    return Seed(report, splits.test, said, recipe.seed)


def table(found: list[Seed], task: str) -> str:
    """The comparison as Markdown."""
    keys = ["rmse"] if task == "rating" else ["auc", "gauc"]
    if task == "recommended":
        keys = ["auc"]  # a review is its own user
    heads = [f"{key.upper()} (95 % interval) | by seed" for key in keys]
    if task != "rating":
        heads.append("accuracy | F1")
    lines = [
        f"| model | {' | '.join(heads)} | parameters | bytes | ms a row, p50 |",
        "|---" * (1 + 2 * len(heads) + 3) + "|",
    ]
    for model in found[0].said[task]:
        cells = []
        for key in keys:
            mean, low, high = over_seeds(found, task, model, key)
            by_seed = ", ".join(f"{one.value(task, model, key):.4f}" for one in found)
            cells.append(f"{mean:.4f} ({low:.4f} to {high:.4f}) | {by_seed}")
        told = [one.report["models"].get(model, {}) for one in found]
        if task != "rating":
            cells.append(decisions(found, task, model))
        cost = [told[0].get(key) for key in ("parameters", "bytes")]
        times = [one["latency_ms"]["p50"] for one in told if "latency_ms" in one]
        shown = [f"{value:,}" if value else "" for value in cost]
        shown.append(f"{np.median(times):.3f}" if times else "")
        lines.append(f"| {model} | {' | '.join(cells)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def decisions(found: list[Seed], task: str, model: str) -> str:
    """Accuracy and F1 at a probability of one half; empty for a model that predicts no such."""
    pairs = [(one.test.labels[task], one.said[task][model]) for one in found]
    if any(said.min() < 0.0 or said.max() > 1.0 for _, said in pairs):
        return " | "
    accuracy = np.mean([metrics.accuracy(*pair) for pair in pairs])
    f1 = np.mean([metrics.precision_recall_f1(*pair).f1 for pair in pairs])
    return f"{accuracy:.4f} | {f1:.4f}"


def over_seeds(
    found: list[Seed], task: str, model: str, metric: str, less: str | None = None
) -> tuple[float, float, float]:
    """A figure, or its difference to that of the model `less`, with its interval.

    Seeds with the same test rows see the same resamples.
    """
    same = all(np.array_equal(one.test.users, found[0].test.users) for one in found)
    values, samples = [], []
    for one in found:
        seed = 0 if same and task != "recommended" else one.seed
        value, sample = one.value(task, model, metric), one.samples(task, model, metric, seed)
        if less is not None:
            value -= one.value(task, less, metric)
            sample = sample - one.samples(task, less, metric, seed)
        values.append(value)
        samples.append(sample)
    low, high = metrics.percentile_interval(np.mean(samples, axis=0))
    return float(np.mean(values)), low, high


def difference_row(
    part: str, found: list[Seed], task: str, metric: str, less: str, goal: str
) -> Row:
    """How far the student is from another model; the goal is of the interval's near end."""
    mean, low, high = over_seeds(found, task, "student", metric, less)
    near = high if metric == "rmse" else low
    return row(
        f"{part}, {task}: {metric.upper()} of student - {less}, near end of the interval",
        near,
        "",
        goal,
        f"difference {mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}",
    )


def beside_best_control(part: str, found: list[Seed], task: str, metric: str, goal: str) -> Row:
    """How far the student is from the best of its controls."""

    def gain(name: str) -> float:
        mean = over_seeds(found, task, name, metric)[0]
        return -mean if metric == "rmse" else mean

    return difference_row(part, found, task, metric, max(BARS, key=gain), goal)


def milliseconds(models: dict, name: str) -> float:
    """The median time of one answer, of a report's models."""
    return models[name]["latency_ms"]["p50"]


def reviews_goals(part: str, found: list[Seed]) -> list[Row]:
    """The bars of the clothing reviews."""
    task, peer = "recommended", "TF-IDF + logistic regression"
    mean = {
        model: np.mean([one.value(task, model, "auc") for one in found])
        for model in found[0].said[task]
    }
    models = [one.report["models"] for one in found]
    size = max(one["student_int8"]["bytes"] for one in models)
    speed = np.median(
        [milliseconds(one, "teacher") / milliseconds(one, "student_int8") for one in models]
    )
    against_peer, low, high = over_seeds(found, task, "student_int8", "auc", peer)
    return [
        row(f"{part}: int8 bytes", size, "bytes", "<= 500000", "largest of the seeds"),
        beside_best_control(part, found, task, "auc", "> 0"),
        row(
            f"{part}: AUC of int8 student / BERT",
            float(mean["student_int8"] / mean["teacher"]),
            "",
            ">= 0.99",
            f"{mean['student_int8']:.4f} of {mean['teacher']:.4f}",
        ),
        row(
            f"{part}: AUC of int8 student - {peer}",
            against_peer,
            "",
            ">= 0",
            f"95 % interval {low:+.4f} to {high:+.4f}",
        ),
        row(f"{part}: BERT's ms a row / int8 student's", float(speed), "x", ">= 200", "median"),
    ]


def movielens_goals(part: str, found: list[Seed]) -> list[Row]:
    """The bars of MovieLens ratings."""

    def mean(model: str) -> float:
        return float(np.mean([one.value("like", model, "auc") for one in found]))

    kept = (mean("student") - mean("item_mean")) / (mean("teacher") - mean("item_mean"))
    models = [one.report["models"] for one in found]
    share = max(one["student_int8"]["bytes"] / one["teacher"]["bytes"] for one in models)
    return [
        beside_best_control(part, found, "rating", "rmse", "< 0"),
        beside_best_control(part, found, "like", "gauc", "> 0"),
        row(
            f"{part}: share of the teacher's AUC gain on the item mean",
            kept,
            "",
            ">= 0.97",
            f"teacher {mean('teacher'):.4f}, student {mean('student'):.4f}, "
            f"item mean {mean('item_mean'):.4f}",
        ),
        row(f"{part}: int8 bytes / teacher's", share, "", "<= 0.05", "largest of the seeds"),
    ]


def two_stage_table(reports: list[dict], seeds: list[int]) -> str:
    """Retrieval alone, two stages and the cross-encoder over the same candidates."""
    lines = [
        f"\n**two stages**, seeds {', '.join(map(str, seeds))}\n",
        "| model | NDCG@10 by seed | mean | bytes | ms a query, p50 |",
        "|---|---|---|---|---|",
    ]
    for model, told in reports[0]["models"].items():
        ndcg = [one["models"][model]["metrics"]["relevance"]["ndcg@10"]["value"] for one in reports]
        times = np.median([milliseconds(one["models"], model) for one in reports])
        lines.append(
            f"| {model} | {', '.join(f'{value:.4f}' for value in ndcg)} | {np.mean(ndcg):.4f} | "
            f"{told['bytes']:,} | {times:.3f} |"
        )
    return "\n".join(lines)


def two_stage_goals(reports: list[dict], recipes: list[Recipe], out: Path) -> list[Row]:
    """The bars of the two stages."""
    ndcg = []
    for recipe in recipes:
        with np.load(out / recipe.name / "stages" / "evaluate" / "ndcg.npz") as arrays:
            ndcg.append({name: arrays[name] for name in ("student", *BARS, "retrieval")})
    mean = {name: np.mean([one[name] for one in ndcg], axis=0) for name in ndcg[0]}
    best = max(BARS, key=lambda name: mean[name].mean())
    models = [one["models"] for one in reports]
    faster = [
        milliseconds(one, "cross_encoder") / milliseconds(one, "student_tflite") for one in models
    ]

    def told(less: str) -> str:
        low, high = metrics.bootstrap_interval(mean["student"] - mean[less])
        by_seed = [f"{one['student'].mean() / one[less].mean():.4f}" for one in ndcg]
        return f"by seed {', '.join(by_seed)}; difference {low:+.4f} to {high:+.4f}"

    return [
        row(
            f"two stages: NDCG@10 / {'retrieval alone' if less == 'retrieval' else less}",
            float(mean["student"].mean() / mean[less].mean()),
            "",
            goal,
            told(less),
        )
        for less, goal in (("retrieval", ">= 1.05"), (best, "> 1"))
    ] + [
        row(
            "two stages: cross-encoder's ms a query / .tflite's",
            float(np.median(faster)),
            "x",
            ">= 100",
            "the same candidates",
        )
    ]


if __name__ == "__main__":
    main()
