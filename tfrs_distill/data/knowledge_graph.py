"""A knowledge graph about the items, and item vectors from shared facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfrs_distill.columns import plain_texts
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.checked_arrays import whole_numbers
from tfrs_distill.errors import InputError

FEATURES_AT_A_TIME = 4096  # columns of the item-by-feature matrix that are dense at once


@dataclass(frozen=True)
class KnowledgeGraph:
    """Facts as triples (head, relation, tail).

    Args:
        entity_names: unique names of the entities.
        relation_names: unique names of the relations.
        triples: int32 [num_triples, 3]: head, relation, tail, as positions in the names.
        links: item id, as in the data set -> position of the item's entity; for a pandas Series the
            ids are its index.

    Raises:
        InputError: names are not unique, `triples` has another shape, or a position is out of
            range.

    Example:
    >>> graph = KnowledgeGraph(("heat", "mann"), ("director",), np.array([[1, 0, 0]]), {"7": 0})
    >>> len(graph), graph.num_entities
    (1, 2)
    """

    entity_names: tuple[str, ...]
    relation_names: tuple[str, ...]
    triples: np.ndarray
    links: Mapping[str, int]

    def __post_init__(self) -> None:
        for what in ("entity_names", "relation_names"):
            names = plain_texts(what, getattr(self, what))
            object.__setattr__(self, what, names)
            if len(set(names)) != len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise InputError(f"`{what}` must be unique. Received: {twice!r} twice.")
        links = list(self.links.items())
        items = plain_texts("links", [item_id for item_id, _ in links])
        entities = whole_numbers("links", [entity for _, entity in links])
        object.__setattr__(self, "links", dict(zip(items, entities.tolist())))
        object.__setattr__(self, "triples", whole_numbers("triples", self.triples))
        if self.triples.ndim != 2 or self.triples.shape[1] != 3:
            raise InputError(
                "`triples` must be [num_triples, 3]: head, relation, tail. Received: shape "
                f"{self.triples.shape}."
            )
        limits = (self.num_entities, len(self.relation_names), self.num_entities)
        for column, (what, limit) in enumerate(zip(("heads", "relations", "tails"), limits)):
            values = self.triples[:, column]
            if len(values) and not 0 <= values.min() <= values.max() < limit:
                raise InputError(
                    f"The {what} of `triples` must be within 0 to {limit - 1}. Received: "
                    f"{values.min()} to {values.max()}."
                )
        for item_id, entity in self.links.items():
            if not 0 <= entity < self.num_entities:
                raise InputError(
                    f"`links` must refer to entities 0 to {self.num_entities - 1}. Received: "
                    f"{entity} for item {item_id!r}."
                )

    def __len__(self) -> int:
        return len(self.triples)

    @property
    def num_entities(self) -> int:
        """Number of entities."""
        return len(self.entity_names)


def neighbour_vectors(graph: KnowledgeGraph, catalogue: Catalogue, dim: int = 64) -> np.ndarray:
    """Compute item vectors from the knowledge graph: items that share facts get similar vectors.

    The features of an item are the facts of its entity: (relation, direction, other entity). Facts
    of a single item are dropped. With `n` items that have facts, `df_f` of which have fact f, the
    matrix is `X_if = log(n / df_f)` if item i has fact f, else 0, with rows scaled to length 1. Its
    best approximation of rank `dim` is `U_dim S_dim V_dim'`, and the vectors are `U_dim S_dim`
    (latent semantic analysis, Deerwester et al., 1990). U and S are computed from the eigenvectors
    of `X X'`, which takes 8 bytes per pair of items. The sign of each column is chosen so that its
    entry of largest size is positive.

    Args:
        graph: the triples, and the entity of each item.
        catalogue: the items.
        dim: width of a vector.

    Returns:
        float32 [num_items, dim], in catalogue order; a zero vector for an item without an entity,
        or without a fact that another item shares.

    Raises:
        InputError: no item of the catalogue is linked.
        ValueError: `dim` is not within 1 to the number of items.

    Example:
    >>> graph = KnowledgeGraph(
    ...     ("a", "b", "c", "d", "mann", "lee"), ("director",),
    ...     np.array([[4, 0, 0], [4, 0, 1], [5, 0, 2], [5, 0, 3]]),
    ...     {"1": 0, "2": 1, "3": 2, "4": 3})
    >>> films = Catalogue(("1", "2", "3", "4"), tuple("ABCD"), tuple("ABCD"))
    >>> vectors = neighbour_vectors(graph, films, dim=2)
    >>> (vectors @ vectors.T).round(3).tolist()[0]  # equal to the other film of its director
    [1.0, 1.0, 0.0, 0.0]
    """
    if not 1 <= dim <= catalogue.num_items:
        raise ValueError(
            f"`dim` must be within 1 and the number of items, {catalogue.num_items}. Received: "
            f"dim={dim!r}."
        )
    rows, features = _facts(graph, catalogue)
    gram = _gram(rows, features, catalogue.num_items)
    eigenvalues, eigenvectors = np.linalg.eigh(gram)
    best = np.argsort(-eigenvalues, kind="stable")[:dim]
    scale = np.sqrt(np.maximum(eigenvalues[best], 0.0))
    vectors: np.ndarray = eigenvectors[:, best] * scale
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    vectors *= np.where(largest < 0, -1.0, 1.0)
    vectors[np.diag(gram) == 0] = 0.0  # rounding left them next to 0; they have no vector
    return vectors.astype(np.float32, copy=False)


def _facts(graph: KnowledgeGraph, catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    """Return (item from 0, fact) pairs, each once, as two int64 [num_pairs] arrays."""
    linked = [
        (row, graph.links[item_id])
        for row, item_id in enumerate(catalogue.item_ids)
        if item_id in graph.links
    ]
    if not linked:
        raise InputError(
            f"No item of the catalogue is linked to the knowledge graph. Its {len(graph.links)} "
            f"links are of items such as {sorted(graph.links)[:3]}; the catalogue has items such "
            f"as {list(catalogue.item_ids[:3])}. Give links with the item ids of this data set."
        )
    heads, relations, tails = graph.triples.astype(np.int64).T
    entities = np.concatenate([heads, tails])
    facts = np.concatenate(
        [
            (2 * relations) * graph.num_entities + tails,
            (2 * relations + 1) * graph.num_entities + heads,
        ]
    )
    order = np.argsort(entities, kind="stable")
    entities, facts = entities[order], facts[order]
    items, items_entity = np.array(linked, np.int64).T
    start, end = (np.searchsorted(entities, items_entity, side) for side in ("left", "right"))
    lengths = end - start
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    pairs = np.stack([np.repeat(items, lengths), facts[np.repeat(start, lengths) + within]])
    rows, facts = np.unique(pairs, axis=1)
    return rows, facts


def _gram(rows: np.ndarray, facts: np.ndarray, num_items: int) -> np.ndarray:
    """`X X'` of the weighted and scaled item-by-fact matrix, float64 [num_items, num_items]."""
    num_with_facts = len(np.unique(rows))
    _, columns, frequency = np.unique(facts, return_inverse=True, return_counts=True)
    weights = np.log(num_with_facts / frequency) * (frequency > 1)
    lengths = np.sqrt(np.bincount(rows, weights[columns] ** 2, minlength=num_items))
    values = weights[columns] / np.where(lengths > 0, lengths, 1.0)[rows]
    order = np.argsort(columns, kind="stable")
    rows, columns, values = rows[order], columns[order], values[order]
    gram = np.zeros((num_items, num_items))
    for first in range(0, len(frequency), FEATURES_AT_A_TIME):
        part = slice(*np.searchsorted(columns, [first, first + FEATURES_AT_A_TIME]))
        matrix = np.zeros((num_items, FEATURES_AT_A_TIME))
        matrix[rows[part], columns[part] - first] = values[part]
        gram += matrix @ matrix.T
    return gram
