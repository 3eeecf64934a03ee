import pytest

from tfrs_distill.data.readers import read_folder
from tfrs_distill.errors import InputError

ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's Comedy\n"
    "543\tMisérables, Les\t1995\tDrama Musical\n"
    "267\tunkonwn\tunkonwn\tunknown\n"
)
INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "196\t543\t3\t881250949\n"
    "22\t1\t1.5\t8.8e8\n"
    "196\t1\t5\t881250950.75\n"
)


@pytest.fixture
def write(tmp_path):
    def write(inter=INTER, item=ITEM):
        (tmp_path / "tiny.inter").write_text(inter, encoding="utf-8")
        (tmp_path / "tiny.item").write_text(item, encoding="utf-8")
        return tmp_path

    return write


def test_atomic_files(write):
    data = read_folder(write())
    assert data.name == "tiny"
    assert data.catalogue.item_ids == ("1", "543", "267")
    assert data.catalogue.titles == ("Toy Story (1995)", "Misérables, Les (1995)", "unkonwn")
    assert data.catalogue.texts == (
        "Toy Story (1995). Animation, Children's, Comedy",
        "Misérables, Les (1995). Drama, Musical",
        "unkonwn",
    )
    assert data.user_ids == ("196", "22")
    assert data.users.tolist() == [0, 1, 0]
    assert data.items.tolist() == [2, 1, 1]
    assert data.ratings.tolist() == [3.0, 1.5, 5.0]
    assert data.timestamps.tolist() == [881250949, 880000000, 881250950.75]


def test_columns_are_found_by_name_and_ratings_are_optional(write):
    inter = "timestamp:float\tuser_id:token\tbasket:token\titem_id:token\n5\tu\tx\ti\n"
    data = read_folder(write(inter, "title:token_seq\titem_id:token\nA thing\ti\n"))
    assert data.catalogue.titles == data.catalogue.texts == ("A thing",)
    assert (data.user_ids, data.items.tolist()) == (("u",), [1])
    assert (data.ratings.tolist(), data.timestamps.tolist()) == ([1.0], [5])


def test_a_quote_inside_a_field_is_an_ordinary_character(write):
    data = read_folder(write(item=ITEM.replace("Toy Story", 'Toy "Story"')))
    assert data.catalogue.titles[0] == 'Toy "Story" (1995)'


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"inter": INTER + "1\t1\t3\n"}, r"tiny\.inter, line 5: 4 fields expected, 3 found"),
        ({"inter": INTER + "1\t1\tx\t5\n"}, r"tiny\.inter, line 5: rating 'x' is not a number"),
        ({"inter": INTER + "1\t1\t3\tnan\n"}, r"tiny\.inter, line 5: time '' is not a number"),
        ({"inter": INTER + "1\t9\t3\t5\n"}, r"tiny\.inter, line 5: item '9' is not in the item"),
        ({"inter": ""}, r"tiny\.inter is empty: a header"),
        ({"inter": INTER.splitlines()[0]}, r"tiny\.inter holds no interactions"),
        ({"inter": "196\t1\t3\t5\n"}, r"tiny\.inter, line 1: a typed header .* Received: '196'"),
        (
            {"inter": "user_id:token\titem_id:token\n"},
            r"tiny\.inter, line 1: a column 'timestamp' .* the columns: user_id, item_id\.",
        ),
        (
            {"item": ITEM + "1\tHeat\t1995\tCrime\n"},
            r"tiny\.item, line 5: item id '1' is already on ",
        ),
        ({"item": ITEM + "2\t\t1995\tCrime\n"}, r"tiny\.item, line 5: item '2' has no title"),
        (
            {"item": "item_id:token\tclass:token_seq\n1\tDrama\n"},
            r"tiny\.item, line 1: items without text.* movie_title, .* columns: item_id, class\.",
        ),
        ({"item": "title:token\nA\n"}, r"tiny\.item, line 1: a column 'item_id' was expected"),
        ({"item": ITEM.splitlines()[0]}, r"tiny\.item holds no items"),
    ],
)
def test_bad_file_is_named_by_file_and_line(write, files, words):
    with pytest.raises(InputError, match=words):
        read_folder(write(**files))


def test_latin_1_is_read_as_such(write):
    folder = write()
    (folder / "tiny.item").write_bytes(ITEM.encode("latin-1"))
    assert read_folder(folder).catalogue.titles[1] == "Misérables, Les (1995)"
