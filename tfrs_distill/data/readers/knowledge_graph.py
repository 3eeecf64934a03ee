"""RecBole's knowledge graphs: `NAME.kg` and `NAME.link`, tab-separated, with a typed header."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

import numpy as np

from tfrs_distill.data.knowledge_graph import KnowledgeGraph
from tfrs_distill.data.readers.delimited import position_of
from tfrs_distill.data.readers.recbole import typed_rows
from tfrs_distill.errors import InputError


def read_knowledge_graph(path: str | os.PathLike[str]) -> KnowledgeGraph:
    """Read a knowledge graph about the items from a folder of RecBole atomic files.

    `NAME.kg` has one fact per line, in the columns `head_id`, `relation_id` and `tail_id`.
    `NAME.link` has the entity of each item, in the columns `item_id` and `entity_id`.
    MovieLens-100K comes with both: `MOVIELENS_100K.folder()` of `data.assets`. Its links use the
    item ids of another data set, see `relink_by_title`.

    Args:
        path: the folder.

    Raises:
        InputError: the folder has no such pair of files or several, a field is empty, or an item
            has two links; the message has file and line.
    """
    folder = Path(path)
    found = sorted(folder.glob("*.kg"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InputError(f"One file NAME.kg was expected in the folder {folder}. Found: {names}.")
    kg_path, link_path = found[0], found[0].with_suffix(".link")
    if not link_path.is_file():
        raise InputError(
            f"{kg_path} needs {link_path.name} in the same folder, with the entity of each item."
        )
    entities: dict[str, int] = {}
    relations: dict[str, int] = {}
    triples = _read_triples(kg_path, entities, relations)
    links = _read_links(link_path, entities)
    return KnowledgeGraph(tuple(entities), tuple(relations), triples, links)


def _read_triples(path: Path, entities: dict[str, int], relations: dict[str, int]) -> np.ndarray:
    """Return int32 [num_triples, 3]; new names are added to `entities` and `relations`."""
    names, rows = typed_rows(path)
    wanted = ("head_id", "relation_id", "tail_id")
    places = [position_of(path, names, name) for name in wanted]
    positions = array("i")
    for line, fields in rows:
        for name, place in zip(wanted, places):
            if not fields[place]:
                raise InputError(f"{path}, line {line}: {name} is empty.")
            known = relations if name == "relation_id" else entities
            positions.append(known.setdefault(fields[place], len(known)))
    if not positions:
        raise InputError(f"{path} holds no facts.")
    return np.frombuffer(positions, np.int32).reshape(-1, 3)


def _read_links(path: Path, entities: dict[str, int]) -> dict[str, int]:
    """Return the entity of each item; entities without facts are added to `entities`."""
    names, rows = typed_rows(path)
    item, entity = (position_of(path, names, name) for name in ("item_id", "entity_id"))
    links: dict[str, int] = {}
    for line, fields in rows:
        if not fields[item] or not fields[entity]:
            raise InputError(f"{path}, line {line}: an item id and an entity id were expected.")
        if fields[item] in links:
            raise InputError(f"{path}, line {line}: item {fields[item]!r} is linked already.")
        links[fields[item]] = entities.setdefault(fields[entity], len(entities))
    if not links:
        raise InputError(f"{path} holds no links.")
    return links
