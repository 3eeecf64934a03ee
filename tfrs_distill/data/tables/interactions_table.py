"""The table of interactions, read batch by batch into arrays."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions, dislikes_sentence
from tfrs_distill.data.tables import values
from tfrs_distill.data.tables.batches import TableBatch
from tfrs_distill.data.tables.facts import TableFacts
from tfrs_distill.data.tables.numbered_ids import NumberedIds
from tfrs_distill.data.tables.roles import ITEM, RATING, TIME, USER
from tfrs_distill.data.times import seconds_since_1970
from tfrs_distill.errors import InputError

SHOWN = 3  # examples in a sentence


class InteractionRows:
    """The interactions read so far (20 bytes each), and facts about the other rows.

    Args:
        columns: the column of each role.
        catalogue: the items; None if there is no items table.
        min_rating: interactions with a lower rating, or none, are dropped.
        disliked_below: interactions with a lower rating are dislikes; None for no dislikes.
        weigh_by_rating: whether ratings are weights; interactions without one are then dropped.
        rated_only: whether interactions without a rating are dropped.
        in_order: whether the row order is the time order if there are no timestamps.
        facts: facts about the rows, updated here.
        added: whether the rows are added to other interactions: they may then all be of one user,
            or all be dislikes.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        catalogue: Catalogue | None,
        min_rating: float | None,
        disliked_below: float | None,
        weigh_by_rating: bool,
        rated_only: bool,
        in_order: bool,
        facts: TableFacts,
        added: bool = False,
    ) -> None:
        import pyarrow as arrow

        self.in_order, self.added = in_order, added
        self.columns, self.catalogue = columns, catalogue
        self.min_rating, self.weigh_by_rating, self.facts = min_rating, weigh_by_rating, facts
        self.disliked_below = disliked_below
        self.rated_only = rated_only or weigh_by_rating or min_rating is not None
        self.known_items = None if catalogue is None else arrow.array(catalogue.item_ids)
        self.user_ids, self.item_ids = NumberedIds(), NumberedIds()
        self.items, self.ratings = array("i"), array("f")  # `items` if there is an items table
        self.disliked = bytearray()  # if `disliked_below` is set
        self.times: array[Any] = array("q")
        self.kind: str | None = None  # kind of the timestamps, from the first batch with any
        self.highest = -np.inf  # rating
        self.unrated = 0
        self.unknown_item: str | None = None  # the first id that is not in the items table

    def add(self, batch: TableBatch) -> None:
        """Add the rows of a batch that are interactions."""
        import pyarrow as arrow
        from pyarrow import compute

        columns = self.columns
        found = {role: batch.columns[name] for role, name in columns.items()}
        self.facts.rows += len(batch)
        users = values.ids(columns[USER], found[USER], batch.place)
        items = values.ids(columns[ITEM], found[ITEM], batch.place)
        keep = np.ones(len(batch), bool)
        keep &= self._without(keep, users.is_null(), "without a user")
        keep &= self._without(keep, items.is_null(), "without an item")
        times = ratings = None
        if TIME in found:
            times, known = self._times(found[TIME], batch)
            keep &= self._without(keep, ~known, "without a time")
        if RATING in found:
            ratings = values.ratings(columns[RATING], found[RATING], batch.place)
            unrated = np.isnan(ratings)
            if self.rated_only:
                keep &= self._without(keep, unrated, "without a rating")
            self.unrated += int((keep & unrated).sum())
            ratings = np.where(unrated, 1.0, ratings)  # as in a data set without ratings
            self.highest = max(self.highest, np.max(ratings, initial=-np.inf, where=keep))
            disliked = np.zeros(len(batch), bool)
            if self.disliked_below is not None:
                disliked = (ratings < self.disliked_below) & ~unrated
            if self.min_rating is not None:
                low = np.less(ratings, self.min_rating, where=keep, out=np.zeros_like(keep))
                keep &= self._without(keep, low, f"rated below {self.min_rating:g}")
            if self.weigh_by_rating:
                self._check_weights(np.where(keep & ~disliked, ratings, 1.0), batch)
        if self.known_items is not None:
            places = compute.index_in(items, value_set=self.known_items)
            unknown = np.asarray(places.is_null())
            if self.unknown_item is None and (keep & unknown).any():
                self.unknown_item = items[int(np.argmax(keep & unknown))].as_py()
            keep &= self._without(keep, unknown, "of items that are not in the items table")
            self.items.frombytes(places.fill_null(0).to_numpy()[keep].tobytes())
        kept = arrow.array(keep)
        self.user_ids.add(users.filter(kept))
        if self.known_items is None:
            self.item_ids.add(items.filter(kept))
        if ratings is not None:
            self.ratings.frombytes(ratings[keep].astype(np.float32).tobytes())
            if self.disliked_below is not None:
                self.disliked += disliked[keep].tobytes()
        if times is not None:
            self.times.frombytes(times[keep].tobytes())

    def _check_weights(self, ratings: np.ndarray, batch: TableBatch) -> None:
        """Raise an InputError if a rating cannot be a weight."""
        low = np.flatnonzero(ratings <= 0)
        if len(low):
            row = int(low[0])
            raise InputError(
                f"{batch.place(row)}: column {self.columns[RATING]!r} holds {ratings[row]:g}, but "
                "a weight must be greater than 0. Drop such rows with `min_rating`, mark them as "
                "dislikes with `disliked_below`, convert the ratings to a scale above 0, or "
                "do not use `weigh_by_rating`."
            )

    def _without(self, keep: np.ndarray, wrong: Any, why: str) -> np.ndarray:
        """Count the kept rows that are wrong; return the mask of rows that are not wrong."""
        wrong = np.asarray(wrong)
        number = int((keep & wrong).sum())
        if number:
            self.facts.dropped[why] += number
        return ~wrong

    def _times(self, column: Any, batch: TableBatch) -> tuple[np.ndarray, np.ndarray]:
        """Return the batch's timestamps, in the array type used so far, and which are present."""
        name = self.columns[TIME]
        kind, times, known = values.times(name, column, batch.place)
        if not known.any():
            return times.astype(self.times.typecode), known
        if self.kind is None:
            self.kind = kind
        if (kind == values.DATES) != (self.kind == values.DATES):
            row = int(np.argmax(known))
            text = column[row].as_py()
            expected = "a date" if self.kind == values.DATES else "a number"
            raise InputError(
                f"{batch.place(row)}: column {name!r} holds {text!r}, not {expected} as in earlier "
                "rows."
            )
        if kind == values.FRACTIONS and self.times.typecode == "q":
            self.times = array("d", self.times)
        return times.astype(self.times.typecode), known

    def interactions(self, title: str, name: str) -> Interactions:
        """Return all kept interactions.

        Raises:
            InputError: there are none; or all are of one user or dislikes, and are not `added`.
        """
        facts = self.facts
        if not facts.kept:
            why = ", ".join(f"{number:,} are {reason}" for reason, number in facts.dropped.items())
            hint = f" The highest rating is {self.highest:g}." if self.highest > -np.inf else ""
            if self.unknown_item is not None and self.catalogue is not None:
                hint += (
                    f" Ids in the column {self.columns[ITEM]!r} are such as {self.unknown_item!r}, "
                    f"those of the items table such as {self.catalogue.item_ids[0]!r}."
                )
            raise InputError(
                f"{title} holds no interactions: {f'of {facts.rows:,} rows {why}' if why else ''}"
                f"{'it has no rows' if not facts.rows else ''}.{hint}"
            )
        user_ids, users = self.user_ids.finish()
        if len(user_ids) == 1 and not self.added:
            (user,) = user_ids
            raise InputError(
                f"All interactions of {title} are of one user, {user!r} in the column "
                f"{self.columns[USER]!r}: at least two users are needed. Is it the right column?"
            )
        catalogue, items = self.catalogue, np.frombuffer(self.items, np.int32)
        if catalogue is None:
            item_ids, items = self.item_ids.finish()
            catalogue = Catalogue(item_ids, item_ids, item_ids)
            facts.notes.append(
                "There is no items table: ids are used as titles, and a text teacher has no texts "
                "to read."
            )
        if self.unrated:
            facts.notes.append(f"Interactions without a rating: {self.unrated:,}, kept as rated 1.")
        ratings = np.ones(facts.kept, np.float32)
        if RATING in self.columns:
            ratings = np.frombuffer(self.ratings, np.float32)
        weights, disliked = None, np.zeros(facts.kept, bool)
        if self.disliked_below is not None:
            disliked = np.frombuffer(self.disliked, bool)
        liked = np.ones(facts.kept, bool) if disliked.all() else ~disliked
        only_dislikes = self.added and bool(disliked.all())
        if only_dislikes:
            weights = np.full(facts.kept, -1.0, np.float32)
        elif self.weigh_by_rating:
            mean = ratings.mean(dtype=np.float64, where=liked)
            weights = np.where(liked, ratings / mean, 1.0).astype(np.float32)
            of_likes = weights[liked]
            facts.notes.append(
                "Ratings are label weights in the losses: the weight of a label is its rating "
                f"divided by the mean, {mean:.4g}, so from {of_likes.min():.3g} to "
                f"{of_likes.max():.3g}. "
                "EASE, popularity and all metrics use equal weights."
            )
        facts.notes += _look_alikes("user", user_ids)
        facts.notes += _look_alikes("item", catalogue.item_ids)
        found = Interactions(
            name,
            catalogue,
            user_ids,
            users,
            items + 1,
            ratings,
            self._timestamps(),
            weights=weights,
        )
        if self.disliked_below is None:
            return found
        facts.notes.append(dislikes_sentence(disliked, self.disliked_below))
        return found if only_dislikes else found.with_dislikes(disliked)

    def _timestamps(self) -> np.ndarray:
        notes = self.facts.notes
        if TIME not in self.columns and not self.in_order:
            notes.append("There is no column of timestamps.")
            return np.zeros(self.facts.kept, np.int64)
        if TIME not in self.columns:
            notes.append(
                "There is no column of timestamps: the row order is the time order. If it is "
                'not, set `split = "random"` in [data] of the recipe.'
            )
            return np.arange(self.facts.kept)
        numbers = np.frombuffer(self.times, self.times.typecode)
        times = numbers.view("M8[ns]") if self.kind == values.DATES else numbers
        if self.in_order and (times == times[0]).all():
            notes.append("All timestamps are equal: the row order is the time order.")
        seconds = seconds_since_1970(times)
        if seconds is not None:
            late = int((seconds > time.time()).sum())
            if late:
                notes.append(f"Times later than now: {late:,}.")
        return times


def _look_alikes(what: str, ids: Sequence[str]) -> list[str]:
    """Return a sentence about ids that differ only in case or outer blanks."""
    if len(set(map(str.casefold, map(str.strip, ids)))) == len(ids):
        return []
    groups: dict[str, list[str]] = {}
    for text in ids:
        groups.setdefault(text.strip().casefold(), []).append(text)
    alike = [group for group in groups.values() if len(group) > 1]
    shown = "; ".join(" and ".join(map(repr, group)) for group in alike[:SHOWN])
    more = f"; and {len(alike) - SHOWN:,} more" if len(alike) > SHOWN else ""
    return [f"Ids of {what}s that differ only in case or blanks are kept separate: {shown}{more}."]
