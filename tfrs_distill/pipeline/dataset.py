"""Stage 1: read the data once and keep it as arrays."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.movielens import movielens_100k
from tfrs_distill.data.split_facts import split_facts
from tfrs_distill.data.splits import Queries, split_by_time
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.data.times import times_line
from tfrs_distill.files import files_sha256, whole_file
from tfrs_distill.pipeline.recipe import Recipe

ARRAYS = ("users", "items", "ratings", "timestamps")
MANY_LEFT_OUT = 0.1  # of the test positives: from here on people may be coming back


def source_fingerprint(recipe: Recipe) -> str:
    """What decides the data: the source's name, or the content of every file of the folder."""
    if not recipe.data.folder:
        return recipe.data.source
    files = [path for path in sorted(Path(recipe.data.folder).glob("*")) if path.is_file()]
    return files_sha256(files)


def read_data(recipe: Recipe, folder: Path) -> tuple[dict[str, Any], str]:
    """Read the recipe's data set into `folder`."""
    if recipe.data.source == "synthetic":
        data: Interactions = synthetic(seed=recipe.seed)
    else:
        data = movielens_100k(recipe.data.folder or None)
    splits = split_by_time(
        data, max_history=recipe.data.max_history, exclude_seen=recipe.data.exclude_seen
    )
    with whole_file(folder / "interactions.npz") as file:
        np.savez(file, **{name: getattr(data, name) for name in ARRAYS})
    catalogue = splits.catalogue
    with whole_file(folder / "catalogue.json", "w") as file:
        fields = [data.name, data.user_ids, dataclasses.asdict(catalogue)]
        json.dump(fields, file)
    times = times_line(data.timestamps)
    result = {
        "users": data.num_users,
        "items": catalogue.num_items,
        "interactions": len(data),
        "times": times,
        "train_labels": splits.train.num_labels,
        "validation_queries": len(splits.validation.answerable_rows),
        "test_queries": len(splits.test.answerable_rows),
        "test_positives": splits.test.num_positives,
        "test_positives_left_out": splits.test.num_left_out,
        "split": dataclasses.asdict(split_facts(data)),
        "fingerprint": splits.train.fingerprint(),
    }
    line = (
        f"{data.name}: {data.num_users:,} users, {catalogue.num_items:,} items, "
        f"{len(data):,} interactions, {times}"
    )
    repeats = repeats_sentence(splits.test)
    if repeats:
        result["repeats"] = repeats
        line += f". {repeats}"
    return result, line


def repeats_sentence(queries: Queries) -> str:
    """What to think of where much of what comes next is in the history; empty where little is."""
    if queries.num_left_out <= MANY_LEFT_OUT * queries.num_positives:
        return ""
    return (
        f"{queries.num_left_out:,} of {queries.num_positives:,} test positives "
        f"({queries.num_left_out / queries.num_positives:.1%}) are in their user's history and "
        "were left out, since items of the history are never recommended: if people come back to "
        "the same items here, as to music or in a shop, exclude_seen = false in [data] of the "
        "recipe may be what is wanted."
    )


def load_data(folder: Path) -> Interactions:
    """What `read_data` left in `folder`."""
    name, user_ids, of_catalogue = json.loads((folder / "catalogue.json").read_text())
    texts = {field: tuple(of_catalogue.pop(field)) for field in ("item_ids", "titles", "texts")}
    with np.load(folder / "interactions.npz") as arrays:
        return Interactions(
            name,
            Catalogue(**texts, **of_catalogue),
            tuple(user_ids),
            **{array: arrays[array] for array in ARRAYS},
        )
