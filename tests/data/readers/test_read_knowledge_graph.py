"""RecBole's graph files: what is read, and which line is wrong."""

import numpy as np
import pytest

from tfrs_distill.data.readers.knowledge_graph import read_knowledge_graph
from tfrs_distill.errors import InputError

KG = (
    "head_id:token\trelation_id:token\ttail_id:token\n"
    "m.1\tfilm.actor\tm.9\n"
    "m.2\tfilm.actor\tm.9\n"
    "m.9\tperson.wrote\tm.2\n"
)
LINK = "item_id:token\tentity_id:token\n50\tm.2\n7\tm.404\n"


@pytest.fixture
def write(tmp_path):
    def write(kg=KG, link=LINK):
        (tmp_path / "films.kg").write_text(kg)
        (tmp_path / "films.link").write_text(link)
        return tmp_path

    return write


def test_names_are_numbered_in_order_of_appearance(write):
    graph = read_knowledge_graph(write())
    assert graph.entity_names == ("m.1", "m.9", "m.2", "m.404")
    assert graph.relation_names == ("film.actor", "person.wrote")
    np.testing.assert_array_equal(graph.triples, [[0, 0, 1], [2, 0, 1], [1, 1, 2]])
    assert dict(graph.links) == {"50": 2, "7": 3}  # an item may have an entity without facts


def test_columns_are_found_by_name(write):
    kg = "tail_id:token\tsource:token\trelation_id:token\thead_id:token\nt\tx\tr\th\n"
    graph = read_knowledge_graph(write(kg, "entity_id:token\titem_id:token\nh\t1\n"))
    (triple,) = graph.triples
    assert graph.entity_names[triple[0]] == "h" and graph.entity_names[triple[2]] == "t"
    assert dict(graph.links) == {"1": triple[0]}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"kg": KG + "m.1\tfilm.actor\n"}, r"films\.kg, line 5: 3 fields expected, 2 found"),
        ({"kg": KG + "m.1\t\tm.3\n"}, r"films\.kg, line 5: relation_id is empty"),
        ({"kg": KG + "m.1\tr\t\n"}, r"films\.kg, line 5: tail_id is empty"),
        ({"kg": KG.replace("head_id", "start")}, r"films\.kg, line 1: a column 'head_id' was exp"),
        ({"kg": KG.replace("tail_id:token", "tail_id")}, r"films\.kg, line 1: a typed header"),
        ({"kg": KG.splitlines()[0] + "\n"}, r"films\.kg holds no facts"),
        ({"kg": ""}, r"films\.kg is empty"),
        ({"link": LINK + "8\n"}, r"films\.link, line 4: 2 fields expected, 1 found"),
        ({"link": LINK + "8\t\n"}, r"films\.link, line 4: an item id and an entity id were"),
        ({"link": LINK + "\tm.1\n"}, r"films\.link, line 4: an item id and an entity id were"),
        ({"link": LINK + "50\tm.1\n"}, r"films\.link, line 4: item '50' is linked already"),
        ({"link": LINK.splitlines()[0] + "\n"}, r"films\.link holds no links"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(write, files, words):
    with pytest.raises(InputError, match=words):
        read_knowledge_graph(write(**files))


def test_a_folder_without_one_graph_is_refused(tmp_path, write):
    with pytest.raises(InputError, match=r"One file NAME\.kg was expected .* Found: none"):
        read_knowledge_graph(tmp_path)
    write()
    (tmp_path / "other.kg").write_text(KG)
    with pytest.raises(InputError, match=r"Found: films\.kg, other\.kg"):
        read_knowledge_graph(tmp_path)
    (tmp_path / "films.kg").unlink()
    with pytest.raises(InputError, match=r"other\.kg needs other\.link in the same"):
        read_knowledge_graph(tmp_path)


@pytest.mark.realdata
def test_movielens_100k_comes_with_91631_facts_about_1598_items(movielens_folder):
    graph = read_knowledge_graph(movielens_folder)
    assert len(graph) == 91_631  # lines of the file below its header
    assert len(graph.links) == 1_598
    heads = {graph.entity_names[head] for head in graph.triples[:2, 0]}
    assert heads == {"m.04ctbw8", "m.0c3wmn"}  # the file's first two lines
