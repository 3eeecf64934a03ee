import pytest

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError


def test_index_of_an_item_is_its_place_counted_from_1():
    catalogue = Catalogue(("50", "7", "x"), ("A", "B", "C"), ("a", "b", "c"))
    assert catalogue.num_items == 3
    assert catalogue.indices(["x", "50", "x"]) == [3, 1, 3]


def test_unknown_id_is_named():
    with pytest.raises(InputError, match=r"Item id '9' is not among the 1 items"):
        Catalogue(("7",), ("A",), ("a",)).indices(["7", "9"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((("1", "2"), ("A",), ("a", "b")), r"Received: 2 ids, 1 titles, 2 texts"),
        (((), (), ()), r"at least one item\. Received: no items"),
        ((("1", "2", "1"), "ABC", "abc"), r"unique\. Received: id '1' twice"),
        ((("1", "2", "3"), "ABC", ("a", " ", "")), r"2 of 3 items have none, first: item '2'"),
    ],
)
def test_an_invalid_catalogue_is_refused(fields, words):
    with pytest.raises(InputError, match=words):
        Catalogue(*map(tuple, fields))


def test_fingerprint_depends_on_every_field_and_on_the_order():
    same = [Catalogue(("1", "2"), ("A", "B"), ("a", "b")) for _ in range(2)]
    others = [
        Catalogue(("1", "3"), ("A", "B"), ("a", "b")),
        Catalogue(("1", "2"), ("A", "C"), ("a", "b")),
        Catalogue(("1", "2"), ("A", "B"), ("a", "c")),
        Catalogue(("2", "1"), ("B", "A"), ("b", "a")),
        Catalogue(("1", "2"), ("AB", "B"), ("a", "b")),
        Catalogue(("1", "2"), ("A", "BB"), ("a", "b")),
    ]
    assert same[0].fingerprint() == same[1].fingerprint()
    assert len({catalogue.fingerprint() for catalogue in [same[0], *others]}) == 7
