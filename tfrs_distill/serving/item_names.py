"""Search for items by id or title."""

from __future__ import annotations

import difflib
import re
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact import Artefact
from tfrs_distill.serving.artefact.files import TITLES

YEAR = re.compile(r"\s*\(\d{4}\)\s*$")


class ItemNames:
    """Find items by id or title; `by_id` has the index of every id.

    Args:
        artefact: the artefact with the ids and titles.
    """

    def __init__(self, artefact: Artefact) -> None:
        self._artefact = artefact
        self.by_id = {item_id: index for index, item_id in enumerate(artefact.item_ids, start=1)}
        self._by_title: dict[str, list[int]] = {}
        self._by_title_without_year: dict[str, list[int]] = {}
        for index, title in enumerate(artefact.titles, start=1):
            folded = title.strip().casefold()
            self._by_title.setdefault(folded, []).append(index)
            self._by_title_without_year.setdefault(YEAR.sub("", folded), []).append(index)

    def find(self, entry: Any) -> int:
        """Return the item index of an id, a title, or a title without its year.

        Raises:
            InputError: there is none, or there are several; or the entry is not text.
        """
        if not isinstance(entry, str):
            raise InputError(
                f"`history` must be ids and titles, which are text. Received: {entry!r}. Give "
                "an id as text, such as '50'; for indices call the recommender itself."
            )
        for item_id in (entry, entry.strip()):  # ids may differ in outer blanks alone
            if item_id in self.by_id:
                return self.by_id[item_id]
        entry = entry.strip()
        for indices_by_title in (self._by_title, self._by_title_without_year):
            found = indices_by_title.get(entry.casefold(), [])
            if len(found) > 1:
                candidates = ", ".join(self._described(index) for index in found)
                raise InputError(
                    f"{entry!r} is the title of {len(found)} items: {candidates}. Give the id."
                )
            if found:
                return found[0]
        raise InputError(
            f"{entry!r} is neither an id nor a title among the {self._artefact.num_items} items "
            f"of {self._artefact.folder}. {self._hint(entry.casefold())}"
        )

    def _hint(self, folded: str) -> str:
        known = self._by_title_without_year | self._by_title
        nearest = difflib.get_close_matches(folded, known, n=10, cutoff=0.5)
        indices = dict.fromkeys(index for title in nearest for index in known[title])
        if not indices:
            return f"All titles are in {TITLES}."
        return f"Nearest titles: {', '.join(map(self._described, list(indices)[:5]))}."

    def _described(self, index: int) -> str:
        artefact = self._artefact
        return f"{artefact.titles[index - 1]!r} (id {artefact.item_ids[index - 1]})"
