"""The cost of teachers, as ratios, and the quality of every kind on MovieLens-100K.

    python benchmarks/teachers.py [--quick] [--seeds 0 1 2] [--only NAME ...] [--regimes full]
                                  [--part PART] [--link-titles DIR] [--out DIR] [--json FILE]

Part `figures`: encoding a catalogue compared with the bare forward pass of the BERT; LoRA compared
with full fine-tuning; reading top-K knowledge compared with training on it; a cache of a million
items. Part `evidence` (`teacher_evidence.py`): which teacher is best in which regime, with
intervals; trainings that are on disk are not run again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rows import Row, publish, row
from teacher_evidence import BASE, REGIMES, evidence, mean_of_users, table, teachers
from teacher_figures import encoding, large_item_store, memory_of_tuning, reading

from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.terminal import TerminalProgress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small runs, as a smoke test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="only these teachers; the others are compared with the first",
    )
    parser.add_argument(
        "--regimes", nargs="+", choices=REGIMES, default=REGIMES, help="regimes of the evidence"
    )
    parser.add_argument(
        "--link-titles",
        default="",
        metavar="DIR",
        help="a later MovieLens set that corrects the graph's links; without it no graph",
    )
    parser.add_argument("--part", choices=("figures", "evidence", "both"), default="both")
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks/teachers"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    recipe = Recipe.named("movielens-100k")
    recipe = replace(
        recipe,
        data=replace(recipe.data, link_titles=arguments.link_titles),
        teacher=replace(recipe.teacher, kind="two-tower"),
    )
    out = arguments.out
    if arguments.quick:
        recipe, out = recipe.quick(), out / "quick"
    rows = [] if arguments.part == "evidence" else figures(arguments.quick)
    if arguments.part != "figures":
        names = arguments.only or [BASE, *(name for name in teachers(recipe) if name != BASE)]
        found = evidence(recipe, arguments.seeds, arguments.regimes, names, out, TerminalProgress())
        print(table(found, arguments.seeds))
        rows += lora_against_full(found.get("full", {}))
    publish(rows, arguments.json)


def figures(quick: bool) -> list[Row]:
    """The result rows of one run."""
    return [
        *encoding(rounds=2 if quick else 7),
        *memory_of_tuning(num_steps=2 if quick else 8),
        *reading(num_epochs=1 if quick else 5),
        *large_item_store(100_000 if quick else 1_000_000),
    ]


def lora_against_full(found: dict[str, list[dict]]) -> list[Row]:
    """LoRA's test NDCG divided by full fine-tuning's, if both were trained."""
    if not {"LoRA", "full fine-tuning"} <= found.keys():
        return []
    lora, full = (mean_of_users(found[name]) for name in ("LoRA", "full fine-tuning"))
    ratio = float(np.mean(list(lora.values())) / np.mean(list(full.values())))
    by_seed = [
        f"{one['test']['ndcg'] / other['test']['ndcg']:.4f}"
        for one, other in zip(found["LoRA"], found["full fine-tuning"])
    ]
    detail = f"test NDCG@10 on `full`, by seed {', '.join(by_seed)}"
    return [row("NDCG@10 of LoRA / of full fine-tuning", ratio, "", ">= 0.98", detail)]


if __name__ == "__main__":
    main()
