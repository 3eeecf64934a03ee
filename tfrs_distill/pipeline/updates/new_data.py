"""The data of an update: the run's data and the new data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.tables.batches import open_table
from tfrs_distill.data.tables.facts import TableFacts
from tfrs_distill.data.tables.items_table import read_items
from tfrs_distill.data.tables.read import interactions_of_tables
from tfrs_distill.data.tables.roles import ATTRIBUTE, GROUP, TIME, Columns
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.recipe import RetrievalRecipe
from tfrs_distill.pipeline.recipe.sections import COLUMNS_OF_TABLES, SHUFFLED

SHOWN = 3  # ids in a sentence


def joined_data(
    earlier: RetrievalData,
    recipe: RetrievalRecipe,
    interactions: Sequence[str],
    items: Sequence[str],
    columns: Columns,
) -> tuple[RetrievalData, str]:
    """Read new interactions and items, and put them behind those of the earlier run.

    Args:
        earlier: the earlier run's data.
        recipe: of the run.
        interactions: files with a row a new interaction.
        items: files with a row a new item; empty where there are none.
        columns: as for `read_table`; others are those of the recipe.

    Returns:
        All data, split as the recipe says, and a sentence about what is new.

    Raises:
        InputError: a table cannot be read, an item has an existing id or no text, or an
            interaction is older than the run's data or of an unknown item.
    """
    before, data = earlier.interactions, recipe.data
    named: dict[str, Any] = {
        role: getattr(data, setting)
        for role, setting in COLUMNS_OF_TABLES.items()
        if role not in (ATTRIBUTE, GROUP) and data.interactions and getattr(data, setting)
    }
    named |= columns
    catalogue = before.catalogue
    if items:
        catalogue = catalogue.joined(_new_items(catalogue, items, named))
    later, facts = interactions_of_tables(
        list(interactions),
        None,
        columns={role: column for role, column in named.items() if role not in ("id", "title")},
        min_rating=data.min_rating or None,
        disliked_below=data.disliked_below or None,
        weigh_by_rating=data.weigh_by_rating,
        added=True,
        name=before.name,
    )
    _check_items(later, catalogue)
    later = _in_time(before, later, TIME in facts.columns, some_users=bool(data.max_users))
    if data.ties == SHUFFLED:
        later = later.shuffle_ties(recipe.seed)
    both = replace(before, catalogue=catalogue).joined(later)
    if data.weigh_by_rating:
        both = _weighed_alike(both)
    groups: Mapping[str, Sequence[str]] = {
        name: [*of_users, *[""] * (both.num_users - before.num_users)]
        for name, of_users in earlier.user_groups.items()
    }
    known = earlier.known_users
    known = None if known is None else known.with_new(both.num_users)
    joined = RetrievalData.of(both, recipe, user_groups=groups, known_users=known)
    left_out = ", ".join(f"{number:,} {why}" for why, number in facts.dropped.items())
    return joined, (
        f"{len(later):,} new interactions of {later.num_users:,} users, "
        f"{both.num_users - before.num_users:,} of them new; "
        f"{catalogue.num_items - before.catalogue.num_items:,} new items"
        f"{f'; dropped: {left_out}' if left_out else ''}"
    )


def over_all_items(earlier: RetrievalData, recipe: RetrievalRecipe, all_items: Catalogue) -> Any:
    """The earlier run's data over a catalogue whose first items are the earlier ones."""
    whole = replace(earlier.interactions, catalogue=all_items)
    return RetrievalData.of(
        whole, recipe, user_groups=earlier.user_groups, known_users=earlier.known_users
    )


def _new_items(catalogue: Catalogue, items: Sequence[str], columns: Columns) -> Catalogue:
    table = open_table(list(items))
    new = read_items(table, columns, TableFacts())
    taken = sorted(set(new.item_ids) & set(catalogue.item_ids))
    if taken:
        raise InputError(
            f"{table.title} must have new items only, but {len(taken):,} of its "
            f"{new.num_items:,} ids are in the run already, such as {_some(taken)}. Remove these "
            "rows, or give new items other ids."
        )
    nameless = [item_id for item_id, text in zip(new.item_ids, new.texts) if text == item_id]
    if nameless and catalogue.titles != catalogue.item_ids:
        raise InputError(
            f"{table.title} must describe every new item as those of the run are: "
            f"{len(nameless):,} of {new.num_items:,} have neither a title nor another text, such "
            f"as {_some(nameless)}."
        )
    return new


def _check_items(later: Interactions, catalogue: Catalogue) -> None:
    known = set(catalogue.item_ids)
    unknown = [item_id for item_id in later.catalogue.item_ids if item_id not in known]
    if unknown:
        raise InputError(
            f"The new interactions have {len(unknown):,} items that are neither in the run nor in "
            f"the table of new items, such as {_some(unknown)}. Add them to a table of new items "
            "(--new-items)."
        )


def _weighed_alike(data: Interactions) -> Interactions:
    """The likes' weights relative to the mean rating of all likes, not of each table's."""
    if data.weights is None:
        return data
    liked = data.weights > 0
    mean = data.ratings.mean(dtype=np.float64, where=liked)
    return replace(data, weights=np.where(liked, data.ratings / mean, data.weights))


def _in_time(
    before: Interactions, later: Interactions, has_times: bool, *, some_users: bool = False
) -> Interactions:
    """The later interactions, with times that continue those of the run.

    Raises:
        InputError: they have no such times.
    """
    if not has_times:
        times = np.sort(before.timestamps)
        are_rows = np.array_equal(times, np.arange(len(before)))
        if some_users and before.time_unit is None:  # numbers of rows, but not of all
            are_rows = len(np.unique(times)) == len(times)
        if not are_rows:
            raise InputError(
                "The run's interactions have timestamps, but no column of them was found in the "
                "new ones. Name it, for example with --column time=ts."
            )
        return replace(later, timestamps=times[-1] + 1 + later.timestamps)
    if (before.timestamps.dtype.kind == "M") != (later.timestamps.dtype.kind == "M"):
        kinds = {"M": "dates"}
        raise InputError(
            "New interactions need times like those of the run. Received: "
            f"{kinds.get(later.timestamps.dtype.kind, 'numbers')}, where the run has "
            f"{kinds.get(before.timestamps.dtype.kind, 'numbers')}."
        )
    last = before.timestamps.max()
    older = int((later.timestamps < last).sum())
    if older:
        raise InputError(
            f"{older:,} of {len(later):,} new interactions are older than the run's last, which "
            f"is of {last}: the first is of {later.timestamps.min()}. An update needs later "
            "interactions: remove those that the run has already, or train a new run on all data "
            "with `tfrs-distill run`."
        )
    return later


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
