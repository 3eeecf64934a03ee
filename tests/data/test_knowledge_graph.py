"""The graph's checks, and the item vectors computed from it."""

import numpy as np
import pytest
from tiny_data import tiny_catalogue

from tfrs_distill.data import knowledge_graph
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.knowledge_graph import KnowledgeGraph, neighbour_vectors
from tfrs_distill.errors import InputError


def graph_of(triples, *, num_entities=12, num_relations=2, links=None):
    entities = tuple(f"e{number}" for number in range(num_entities))
    relations = tuple(f"r{number}" for number in range(num_relations))
    return KnowledgeGraph(
        entities, relations, np.array(triples, np.int32).reshape(-1, 3), links or {}
    )


def rows_of_x(graph, catalogue):
    """The weighted, scaled item-by-fact matrix, straight from its definition, in float64."""
    facts = []
    for item_id in catalogue.item_ids:
        entity = graph.links.get(item_id)
        own = set()
        for head, relation, tail in graph.triples.tolist():
            if head == entity:
                own.add((relation, "to", tail))
            if tail == entity:
                own.add((relation, "from", head))
        facts.append(own)
    names = sorted(set().union(*facts))
    with_facts = sum(bool(own) for own in facts)
    matrix = np.zeros((len(facts), len(names)))
    for column, name in enumerate(names):
        having = [row for row, own in enumerate(facts) if name in own]
        if len(having) > 1:
            matrix[having, column] = np.log(with_facts / len(having))
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(lengths > 0, lengths, 1)


def random_graph(seed=0, num_items=9):
    """Items 1 to 8 are entities 0 to 7, item 9 has none; 12 entities, 60 facts, some duplicated."""
    random = np.random.default_rng(seed)
    triples = np.stack(
        [random.integers(0, 12, 60), random.integers(0, 2, 60), random.integers(0, 12, 60)], axis=1
    )
    links = {str(item): item - 1 for item in range(1, num_items)}
    return graph_of(np.concatenate([triples, triples[:5]]), links=links)


def test_all_dimensions_give_the_dot_products_of_the_weighted_facts():
    graph, catalogue = random_graph(), tiny_catalogue(9)
    vectors = neighbour_vectors(graph, catalogue, dim=9)
    matrix = rows_of_x(graph, catalogue)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors @ vectors.T, matrix @ matrix.T, atol=1e-6)
    np.testing.assert_array_equal(vectors[8], np.zeros(9))  # no entity


def test_few_dimensions_are_those_of_the_truncated_svd():
    graph, catalogue = random_graph(seed=1), tiny_catalogue(9)
    left, singular, _ = np.linalg.svd(rows_of_x(graph, catalogue))
    expected = left[:, :3] * singular[:3]
    vectors = neighbour_vectors(graph, catalogue, dim=3)
    np.testing.assert_allclose(np.abs(vectors), np.abs(expected), atol=1e-6)
    for column in vectors.T:
        assert column[np.abs(column).argmax()] > 0


def test_items_without_a_fact_are_exactly_0_also_past_the_rank():
    # 60 items on few entities, 20 items on none: most eigenvalues are 0, except for rounding.
    random = np.random.default_rng(0)
    columns = [
        random.integers(0, 40, 150),
        random.integers(0, 2, 150),
        random.integers(40, 50, 150),
    ]
    linked = random.permutation(60)[:40] + 1
    links = {str(item): int(random.integers(0, 40)) for item in linked}
    graph = graph_of(np.stack(columns, axis=1), num_entities=50, links=links)
    vectors = neighbour_vectors(graph, tiny_catalogue(60), dim=60)
    absent = ~np.isin(np.arange(1, 61), linked)
    assert absent.sum() == 20
    np.testing.assert_array_equal(vectors[absent], 0.0)


def test_a_large_matrix_is_summed_in_blocks(monkeypatch):
    graph, catalogue = random_graph(), tiny_catalogue(9)
    whole = neighbour_vectors(graph, catalogue, dim=4)
    monkeypatch.setattr(knowledge_graph, "FEATURES_AT_A_TIME", 3)
    np.testing.assert_allclose(neighbour_vectors(graph, catalogue, dim=4), whole, atol=1e-6)


def test_facts_differ_by_direction_and_relation():
    # Item 2 is directed by what item 1 directs; item 3 has another relation to the same entity.
    links = {"1": 0, "2": 1, "3": 2, "4": 3}
    graph = graph_of([[0, 0, 9], [9, 0, 1], [2, 1, 9], [3, 0, 9]], links=links)
    vectors = neighbour_vectors(graph, tiny_catalogue(4), dim=2)
    similarity = vectors @ vectors.T
    np.testing.assert_allclose(similarity[0], [1, 0, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(vectors[1:3], np.zeros((2, 2)))  # no item shares their facts


def test_two_items_of_one_entity_are_equal_and_order_is_the_catalogues():
    links = {"b": 0, "a": 0, "c": 5}
    graph = graph_of([[0, 0, 9], [0, 1, 8], [5, 0, 7]], links=links)
    catalogue = Catalogue(("c", "b", "a"), ("C", "B", "A"), ("C", "B", "A"))
    vectors = neighbour_vectors(graph, catalogue, dim=1)
    np.testing.assert_allclose(vectors, [[0], [1], [1]], atol=1e-6)


def test_a_fact_of_every_item_has_no_weight():
    links = {"1": 0, "2": 1, "3": 2}
    everyone = [[0, 0, 9], [1, 0, 9], [2, 0, 9]]
    graph = graph_of(everyone, links=links)
    np.testing.assert_array_equal(neighbour_vectors(graph, tiny_catalogue(3), dim=2), 0)
    graph = graph_of([*everyone, [0, 1, 8], [1, 1, 8]], links=links)
    vectors = neighbour_vectors(graph, tiny_catalogue(3), dim=1)
    np.testing.assert_allclose(vectors, [[1], [1], [0]], atol=1e-6)


def test_neighbour_vectors_refuse_invalid_arguments():
    graph = random_graph()
    for dim in (0, 10):
        with pytest.raises(ValueError, match=rf"within 1 and .* 9\. Received: dim={dim}\."):
            neighbour_vectors(graph, tiny_catalogue(9), dim=dim)
    strangers = Catalogue(("x", "y"), ("X", "Y"), ("X", "Y"))
    with pytest.raises(InputError, match=r"No item .* 8 links .*'1', '2', '3'.*\['x', 'y'\]"):
        neighbour_vectors(graph, strangers, dim=1)


def test_a_graph_counts_its_facts_and_entities():
    graph = random_graph()
    assert (len(graph), graph.num_entities) == (65, 12)


def test_a_graph_without_facts_is_valid():
    assert len(graph_of([])) == 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"entity_names": ("a", "b", "a")}, r"`entity_names` must be unique.*'a' twice"),
        ({"relation_names": ("r", "r")}, r"`relation_names` must be unique.*'r' twice"),
        ({"triples": np.zeros((2, 2), np.int32)}, r"\[num_triples, 3\].*shape \(2, 2\)"),
        ({"triples": np.array([[3, 0, 0]])}, r"heads of `triples`.* 0 to 2\. Received: 3 to 3"),
        ({"triples": np.array([[0, 1, 0]])}, r"relations of `triples`.* 0 to 0\. .*: 1 to 1"),
        ({"triples": np.array([[0, 0, -1]])}, r"tails of `triples`.* 0 to 2\. .*: -1 to -1"),
        ({"links": {"7": 3}}, r"entities 0 to 2\. Received: 3 for item '7'"),
        ({"links": {"7": -1}}, r"entities 0 to 2\. Received: -1 for item '7'"),
    ],
)
def test_an_inconsistent_graph_is_refused(changed, words):
    fields = {
        "entity_names": ("a", "b", "c"),
        "relation_names": ("r",),
        "triples": np.array([[0, 0, 2]]),
        "links": {"7": 1},
    }
    KnowledgeGraph(**fields)
    with pytest.raises(InputError, match=words):
        KnowledgeGraph(**(fields | changed))
