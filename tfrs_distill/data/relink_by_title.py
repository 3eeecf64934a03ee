"""Corrects knowledge graph links that use another data set's item ids, by matching titles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace

from tfrs_distill.columns import plain_texts
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.item_features import year_of
from tfrs_distill.data.knowledge_graph import KnowledgeGraph
from tfrs_distill.errors import InputError

ARTICLES = {"a", "an", "the", "le", "la", "les", "l", "il", "el", "der", "die", "das"}


def relink_by_title(
    graph: KnowledgeGraph, titles: Mapping[str, str], catalogue: Catalogue
) -> KnowledgeGraph:
    """Return the graph with links to the catalogue, for links with another data set's item ids.

    The `.link` file that comes with MovieLens-100K needs this: it uses the item ids of MovieLens-1M
    and later sets (260 is Star Wars), not those of MovieLens-100K (50 is). Without correction the
    links lead to other films. Items are matched by title.

    Two titles match if their years and words are equal, ignoring case, accents, articles and text
    in brackets; a subtitle after a colon may be missing in one of them. Titles that are not unique
    in either set are ignored.

    Args:
        graph: a knowledge graph with links to the other data set.
        titles: the other data set's titles, "Toy Story (1995)", by item id.
        catalogue: the items to link.

    Raises:
        InputError: no title of the catalogue matches that of a linked item.

    Example:
    >>> import numpy as np
    >>> graph = KnowledgeGraph(("m.1",), (), np.zeros((0, 3), np.int32), {"260": 0})
    >>> films = Catalogue(("50",), ("Star Wars (1977)",), ("Star Wars",))
    >>> names = {"260": "Star Wars: Episode IV - A New Hope (1977)"}
    >>> relink_by_title(graph, names, films).links
    {'50': 0}
    """
    pairs = list(titles.items())
    names = plain_texts("titles", [title for _, title in pairs])
    titles = dict(zip(plain_texts("titles", [item_id for item_id, _ in pairs]), names))
    linked = {item_id: title for item_id, title in titles.items() if item_id in graph.links}
    unlinked = dict(zip(catalogue.item_ids, catalogue.titles))
    links: dict[str, int] = {}
    for short, linked_short in ((False, False), (False, True), (True, False)):
        other_id = _by_title(linked, linked_short)
        for title, item_id in _by_title(unlinked, short).items():
            if title in other_id:
                del unlinked[item_id], linked[other_id[title]]
                links[item_id] = graph.links[other_id[title]]
    if not links:
        raise InputError(
            f"None of the catalogue's {catalogue.num_items} titles matches a title of "
            f"the {len(linked)} linked items with one. Expected titles such as "
            f"{catalogue.titles[0]!r}. Received titles such as {list(titles.values())[:3]}."
        )
    return replace(graph, links=links)


def _by_title(titles: Mapping[str, str], short: bool) -> dict[tuple[str, int | None], str]:
    """Return item ids by comparable title, without ambiguous titles."""
    found: dict[tuple[str, int | None], list[str]] = {}
    for item_id, title in titles.items():
        words, year = _comparable(title, short)
        if words:
            found.setdefault((words, year), []).append(item_id)
    return {key: items[0] for key, items in found.items() if len(items) == 1}


def _comparable(title: str, short: bool) -> tuple[str, int | None]:
    """Return a title's words, up to the first colon if `short`, and its year."""
    words = re.sub(r"\([^)]*\)", " ", title)
    words = words.split(":")[0] if short else words
    words = unicodedata.normalize("NFKD", words.lower()).replace("&", " and ")
    words = "".join(letter for letter in words if not unicodedata.combining(letter))
    kept = [word for word in re.findall(r"[^\W_]+", words) if word not in ARTICLES]
    return " ".join(kept), year_of(title)
