"""Links with another data set's item ids, corrected by title."""

import numpy as np
import pytest

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.knowledge_graph import KnowledgeGraph
from tfrs_distill.data.movielens import movielens_100k
from tfrs_distill.data.readers.knowledge_graph import read_knowledge_graph
from tfrs_distill.data.relink_by_title import relink_by_title
from tfrs_distill.errors import InputError


def links(theirs, ours):
    """`theirs` and `ours`: titles; item n of theirs is entity n. Returns entity by our title."""
    entities = tuple(f"e{number}" for number in range(len(theirs)))
    numbered = {f"n{number}": title for number, title in enumerate(theirs)}
    graph = KnowledgeGraph(
        entities, (), np.zeros((0, 3), np.int32), {f"n{n}": n for n in range(len(theirs))}
    )
    ids = tuple(f"i{number}" for number in range(len(ours)))
    again = relink_by_title(graph, numbered, Catalogue(ids, tuple(ours), tuple(ours)))
    assert again.entity_names == entities and again.triples is graph.triples
    return {ours[int(item[1:])]: entity for item, entity in again.links.items()}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Toy Story (1995)", "Toy Story (1995)"),
        ("Misérables, Les (1995)", "Miserables, Les  (1995)"),
        ("Usual Suspects, The (1995)", "Usual Suspects, The (1995) "),
        ("Seven (a.k.a. Se7en) (1995)", "Seven (Se7en) (1995)"),
        ("Dumb & Dumber (1994)", "Dumb and Dumber (1994)"),
        ("A Little Princess (1995)", "Little Princess, A (1995)"),
        ("Star Wars: Episode IV - A New Hope (1977)", "Star Wars (1977)"),
        ("Untitled", "Untitled"),
    ],
)
def test_the_same_title_in_another_spelling(theirs, ours):
    assert links([theirs, "Heat (1986)"], ["Heat (1995)", ours]) == {ours: 0}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Sabrina (1954)", "Sabrina (1995)"),
        ("Toy Story 2 (1999)", "Toy Story (1999)"),
        ("Toy Story", "Toy Story (1995)"),
        ("Alien: Redux (1979)", "Alien: Director's Cut (1979)"),  # each has its own subtitle
    ],
)
def test_another_film(theirs, ours):
    assert links([theirs, "Babe (1995)"], [ours, "Babe (1995)"]) == {"Babe (1995)": 1}


def test_a_full_title_has_precedence_over_a_part():
    found = links(
        ["Alien: Redux (1979)", "Alien (1979)", "Cube: Part One (1990)", "Cube: Part Two (1990)"],
        ["Alien (1979)", "Cube (1990)"],
    )
    assert found == {"Alien (1979)": 1}  # ambiguous
    assert links(["Alien: Redux (1979)"], ["Alien (1979)", "Alien: Redux (1979)"]) == {
        "Alien: Redux (1979)": 0
    }
    assert links(["Alien (1979)"], ["Alien: Redux (1979)"]) == {"Alien: Redux (1979)": 0}


def test_titles_that_are_not_unique_are_skipped():
    assert links(["Heat (1995)", "The Heat (1995)", "M (1931)"], ["Heat (1995)", "M (1931)"]) == {
        "M (1931)": 2
    }
    assert links(["Heat (1995)", "M (1931)"], ["Heat (1995)", "Heat (1995)", "M (1931)"]) == {
        "M (1931)": 1
    }


def test_only_linked_items_count():
    graph = KnowledgeGraph(("e",), (), np.zeros((0, 3), np.int32), {"2": 0})
    titles = {"1": "Heat (1995)", "2": "M (1931)"}
    films = Catalogue(("a", "b"), ("Heat (1995)", "M (1931)"), ("Heat", "M"))
    assert relink_by_title(graph, titles, films).links == {"b": 0}


def test_titles_in_other_scripts_are_compared_by_their_own_words():
    seven, godzilla = "\u4e03\u4eba\u306e\u4f8d (1954)", "\u30b4\u30b8\u30e9 (1954)"
    assert links([seven, godzilla], [godzilla, seven]) == {godzilla: 1, seven: 0}
    with pytest.raises(InputError, match="None of"):
        links([seven], [godzilla])
    with pytest.raises(InputError, match="None of"):
        links(["!!! (1954)"], ["??? (1954)"])


def test_without_a_common_title_the_error_shows_both():
    with pytest.raises(InputError, match=r"None of .* 1 titles .*'M .*\['Heat \(1995\)'\]"):
        links(["Heat (1995)"], ["M (1931)"])


@pytest.mark.realdata
def test_movielens_100ks_links_use_movielens_1ms_ids(movielens_folder):
    """The graph fits only with MovieLens-1M's numbers, which are known for some films."""
    titles = {
        "1": "Toy Story (1995)",
        "364": "Lion King, The (1994)",
        "588": "Aladdin (1992)",
        "595": "Beauty and the Beast (1991)",
        "858": "Godfather, The (1972)",
        "1221": "Godfather: Part II, The (1974)",
    }
    catalogue = movielens_100k(movielens_folder).catalogue
    graph = read_knowledge_graph(movielens_folder)

    def facts(graph, title):
        entity = graph.links[catalogue.item_ids[catalogue.titles.index(title)]]
        heads, _, tails = graph.triples.T
        return set(tails[heads == entity]) | set(heads[tails == entity])

    both = ("Godfather, The (1972)", "Godfather: Part II, The (1974)")
    relinked = relink_by_title(graph, titles, catalogue)
    assert len(relinked.links) == len(titles)
    # A sequel shares director, writers and actors; two random films share country and language.
    assert len(set.intersection(*(facts(relinked, title) for title in both))) >= 8
    assert len(set.intersection(*(facts(graph, title) for title in both))) <= 2
