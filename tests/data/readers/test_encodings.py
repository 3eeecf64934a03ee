"""Every reader, with every encoding that its file can have."""

import numpy as np
import pytest

from tfrs_distill.data import (
    clothing_reviews,
    read_folder,
)
from tfrs_distill.data.item_features import item_attributes
from tfrs_distill.data.readers import delimited
from tfrs_distill.data.readers.delimited import encoding_of
from tfrs_distill.data.readers.knowledge_graph import read_knowledge_graph
from tfrs_distill.data.readers.user_attributes import read_user_attributes
from tfrs_distill.errors import InputError

ENCODINGS = ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"]
U = {
    "u.genre": "Comédie|0\n",
    "u.item": "1|Misérables, Les (1995)|||x|1\n",
    "u.data": "é1\t1\t3\t881250949\n",
    "u.user": "é1|31|M|écrivain|x\n",
}
DAT = {
    "movies.dat": "1::Misérables, Les (1995)::Comédie\n",
    "ratings.dat": "é1::1::3::881250949\n",
    "users.dat": "é1::M::31::écrivain::x\n",
}
CSV = {
    "movies.csv": 'movieId,title,genres\n1,"Misérables, Les (1995)",Comédie\n',
    "ratings.csv": "userId,movieId,rating,timestamp\né1,1,3,881250949\n",
}
ATOMIC = {
    "a.item": "item_id:token\ttitle:token_seq\tclass:token_seq\n"
    "1\tMisérables, Les (1995)\tComédie\n",
    "a.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\né1\t1\t3\t881250949\n",
    "a.user": "user_id:token\tage:token\tgender:token\toccupation:token\né1\t31\tM\técrivain\n",
    "a.kg": "head_id:token\trelation_id:token\ttail_id:token\né\tfilmé\tà\n",
    "a.link": "item_id:token\tentity_id:token\n1\té\n",
}


def write(folder, files, encoding):
    for name, text in files.items():
        (folder / name).write_bytes(text.encode(encoding))
    return folder


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("files", [U, DAT, CSV, ATOMIC], ids=["u.data", "dat", "csv", "recbole"])
def test_a_folder_reads_the_same_in_every_encoding(tmp_path, files, encoding):
    data = read_folder(write(tmp_path, files, encoding))
    assert data.catalogue.item_ids == ("1",)
    assert data.catalogue.titles == ("Misérables, Les (1995)",)
    assert data.catalogue.texts == ("Misérables, Les (1995). Comédie",)
    assert data.user_ids == ("é1",)
    assert item_attributes(tmp_path, data.catalogue).label_names == ("Comédie",)
    users = read_user_attributes(tmp_path)
    if files is not CSV:
        assert (users.user_ids, users.occupations) == (("é1",), ("écrivain",))
        np.testing.assert_array_equal(users.ages, [31])
    if files is ATOMIC:
        graph = read_knowledge_graph(tmp_path)
        assert (graph.entity_names, graph.relation_names) == (("é", "à"), ("filmé",))
        assert dict(graph.links) == {"1": 0}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_clothing_reviews_read_the_same_in_every_encoding(tmp_path, encoding):
    text = (
        "Clothing ID,Age,Title,Review Text,Rating,Recommended IND,Division Name,Department Name,"
        "Class Name\n1,31,Très joli,Très doux,5,1,Général,Hauts,Été\n"
    )
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    reviews = clothing_reviews(tmp_path / "a.csv")
    assert reviews.examples.texts == {"text": ("Très joli. Très doux",)}
    assert reviews.vocabularies["class_name"] == ("Été",)
    assert reviews.vocabularies["item_id"] == ("1",)


def test_windows_quotes_are_quotes(tmp_path):
    (tmp_path / "movies.csv").write_bytes(
        "movieId,title,genres\n1,“Don’t” – €5 (1995),Comedy\n".encode("cp1252")
    )
    (tmp_path / "ratings.csv").write_text(CSV["ratings.csv"], encoding="utf-8")
    assert read_folder(tmp_path).catalogue.titles == ("“Don’t” – €5 (1995)",)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_characters_may_span_two_blocks(tmp_path, monkeypatch, size):
    monkeypatch.setattr(delimited, "BYTES_AT_A_TIME", size)
    path = tmp_path / "a.csv"
    for text, encoding in [
        ("aé€😀é", "utf-8"),
        ("aéàüß", "cp1252"),
        ("abc", "utf-8"),
        ("", "utf-8"),
    ]:
        path.write_bytes(text.encode(encoding))
        assert encoding_of(path) == encoding
    path.write_bytes("aé".encode()[:-1])  # cut inside its only character beyond ASCII
    assert encoding_of(path) == "cp1252"


@pytest.mark.parametrize("cut", [b"\xc3", b"\xff", b"\xe2\x82"])
def test_damaged_utf_8_is_refused_and_not_read_as_another_encoding(tmp_path, cut):
    write(tmp_path, CSV, "utf-8")
    path = tmp_path / "movies.csv"
    path.write_bytes(path.read_bytes() + "2,Café à Nîmes,Comédie\n3,x".encode() + cut)
    with pytest.raises(InputError, match=r"movies\.csv is damaged: 6 characters are UTF-8, but \d"):
        read_folder(tmp_path)


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\xff\xfe"])
def test_a_wrong_byte_order_mark_is_refused(tmp_path, start):
    write(tmp_path, CSV, "utf-8")
    (tmp_path / "movies.csv").write_bytes(start + b"movieId,title,genres\n1,\xe9,x\n\xd8")
    with pytest.raises(InputError, match=r"movies\.csv is not text in the encoding utf"):
        read_folder(tmp_path)
