"""Stage 1: read the data once and keep it as arrays."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.atomic import whole_file
from tfrs_distill.checksums import files_sha256
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.movielens import movielens_100k
from tfrs_distill.data.split_facts import split_facts
from tfrs_distill.data.splits import split_by_time
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.recipe import Recipe

ARRAYS = ("users", "items", "ratings", "timestamps")


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
    splits = split_by_time(data, max_history=recipe.data.max_history)
    with whole_file(folder / "interactions.npz") as file:
        np.savez(file, **{name: getattr(data, name) for name in ARRAYS})
    catalogue = data.catalogue
    with whole_file(folder / "catalogue.json", "w") as file:
        fields = [data.name, data.user_ids, catalogue.item_ids, catalogue.titles, catalogue.texts]
        json.dump(fields, file)
    result = {
        "users": data.num_users,
        "items": catalogue.num_items,
        "interactions": len(data),
        "train_labels": splits.train.num_labels,
        "validation_queries": len(splits.validation),
        "test_queries": len(splits.test),
        "split": dataclasses.asdict(split_facts(data)),
        "fingerprint": splits.train.fingerprint(),
    }
    line = (
        f"{data.name}: {data.num_users:,} users, {catalogue.num_items:,} items, "
        f"{len(data):,} interactions"
    )
    return result, line


def load_data(folder: Path) -> Interactions:
    """What `read_data` left in `folder`."""
    name, user_ids, *fields = json.loads((folder / "catalogue.json").read_text())
    with np.load(folder / "interactions.npz") as arrays:
        return Interactions(
            name,
            Catalogue(*map(tuple, fields)),
            tuple(user_ids),
            **{array: arrays[array] for array in ARRAYS},
        )
