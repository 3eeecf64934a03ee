"""Tables with any columns: what is read, what is dropped and why, and the locations of errors."""

import gzip
import json
import sys
from datetime import date

import numpy as np
import pytest

from tfrs_distill.data import from_dataframe, read_table
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.tables.items_table import read_item_attributes
from tfrs_distill.data.tables.read import interactions_of_tables
from tfrs_distill.data.tables.roles import find_column
from tfrs_distill.errors import InputError, MissingExtraError

ROWS = [("ann", "SKU-007", 30), ("bob", "SKU-1", 10), ("ann", "SKU-1", 20), ("cy", "SKU-2", 40)]
CSV = "customer,product,ts\n" + "".join(f"{u},{i},{t}\n" for u, i, t in ROWS)
ITEMS = 'sku,name,category,weight\nSKU-2,"Big, red",Toys,3\nSKU-007,Ball,,1\nSKU-1,Bat,Sport,2\n'


@pytest.fixture
def write(tmp_path):
    def of(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return of


def rows_of(data):
    """User-item interactions with timestamps, by id, in the order of the rows."""
    ids, users = data.catalogue.item_ids, data.user_ids
    rows = zip(data.users.tolist(), data.items.tolist(), data.timestamps.tolist())
    return [(users[user], ids[item - 1], time) for user, item, time in rows]


def facts_of(interactions, items=None, **given):
    given = {"columns": None, "min_rating": None, "name": "data", **given}
    return interactions_of_tables(interactions, items, **given)


def test_a_shop_without_ratings(write):
    data = read_table(write("orders.csv", CSV), write("products.csv", ITEMS))
    assert rows_of(data) == ROWS and data.name == "orders"
    assert data.ratings.tolist() == [1.0] * 4
    assert data.catalogue.item_ids == ("SKU-2", "SKU-007", "SKU-1")
    assert data.catalogue.titles == ("Big, red", "Ball", "Bat")
    assert data.catalogue.texts == ("Big, red. Toys", "Ball", "Bat. Sport")
    assert data.sequences()[0].tolist() == [3, 2]  # ann's, by time


def parquet(path):
    import pyarrow
    from pyarrow import parquet

    names = ("customer", "product", "ts")
    table = pyarrow.table(dict(zip(names, map(list, zip(*ROWS)))))
    parquet.write_table(table, path, row_group_size=3)
    return path.read_bytes()


@pytest.mark.parametrize(
    "name, content",
    [
        ("orders.tsv", CSV.replace(",", "\t")),
        ("orders.csv", CSV.replace(",", ";")),
        ("orders.txt", CSV.replace(",", "|")),
        ("orders.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("orders.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        (
            "orders.jsonl",
            "".join(json.dumps(dict(zip(("user", "item", "time"), r))) + "\n" for r in ROWS),
        ),
        ("orders.parquet", parquet),
    ],
)
def test_every_kind_of_file_returns_the_same(write, tmp_path, name, content):
    content = content(tmp_path / "made.parquet") if callable(content) else content
    data = read_table(write(name, content))
    assert rows_of(data) == ROWS and data.name == "orders"
    assert data.catalogue.titles == data.catalogue.item_ids == ("SKU-007", "SKU-1", "SKU-2")


def test_a_folder_of_shards_and_a_list_of_files(write, tmp_path):
    lines = CSV.splitlines(keepends=True)
    second = write("shards/part-1.csv", lines[0] + "".join(lines[3:]))
    first = write("shards/part-0.csv", "".join(lines[:3]))
    write("shards/_SUCCESS", "")
    assert rows_of(read_table(tmp_path / "shards")) == rows_of(read_table([first, second])) == ROWS
    write("shards/part-2.csv", "customer,product,when\n")
    with pytest.raises(
        InputError, match=r"same columns\. .*part-0.csv and .*2.csv differ in: ts, wh"
    ):
        read_table(tmp_path / "shards")


def test_ids_are_kept_as_written(write):
    data = read_table(write("a.csv", "user,item\n007,1e3\n7,0001\nNA,0x1\n"))
    assert data.user_ids == ("007", "7", "NA") and data.catalogue.item_ids == ("1e3", "0001", "0x1")
    frame = {"user": np.array([3.0, 4.0]), "item": [2**60, 5]}
    data = from_dataframe(frame)
    assert data.user_ids == ("3", "4") and data.catalogue.item_ids == (str(2**60), "5")


def test_a_pandas_frame_with_missing_ids_and_dates():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "visitor": pandas.Categorical(["x", "y", None, "x"]),
            "track_id": [1, 2, 3, None],
            "date": pandas.to_datetime(["2024-01-15", "2024-01-16", "2024-01-17", "2024-01-18"]),
        },
        index=[7, 7, 1, 0],
    )
    data, facts = facts_of(frame)
    assert data.user_ids == ("x", "y") and data.catalogue.item_ids == ("1", "2")
    assert data.time_unit == "date" and str(data.timestamps[1])[:10] == "2024-01-16"
    assert facts.dropped == {"without a user": 1, "without an item": 1}
    assert "2 of 4 rows are interactions; left out: 1 without a user, 1 without" in " ".join(
        facts.sentences()
    )


@pytest.mark.parametrize(
    "times, expected, unit",
    [
        (["1700000000", "1700000001"], [1700000000, 1700000001], "s"),
        (["1700000000000", "1.700000001e12"], [1.7e12, 1.700000001e12], "ms"),
        (["0.5", "1"], [0.5, 1.0], None),
        ([" 1700000000", "1700000001\t"], [1700000000, 1700000001], "s"),
        ([" 0.5", " 1 "], [0.5, 1.0], None),
        ([" 2024-01-15", "2024-01-16 "], [1705276800 * 10**9, 1705363200 * 10**9], "date"),
        (["2024-01-15", "2024-01-15T01:00:00Z"], [1705276800 * 10**9, 1705280400 * 10**9], "date"),
        (["2024-01-15T10:00:00+01:00"] * 2, [1705309200 * 10**9] * 2, "date"),
    ],
)
def test_times_in_any_unit(write, times, expected, unit):
    rows = "".join(f"{user},i,{time}\n" for user, time in enumerate(times))
    data = read_table(write("a.csv", "user,item,time\n" + rows))
    assert data.time_unit == unit
    found = data.timestamps.astype(np.int64) if unit == "date" else data.timestamps
    assert found.tolist() == expected


def test_blanks_around_a_rating_are_ignored(write):
    path = write("a.csv", "user, item, rating\na, x, 4\nb, x, 2.5 \n")
    assert read_table(path).ratings.tolist() == [4.0, 2.5]


def test_a_threshold_of_ratings():
    frame = {"user": ["a", "b", "b", "c"], "item": ["x", "y", "z", "x"], "rating": [4, 3, None, 5]}
    data, facts = facts_of(frame, min_rating=4)
    assert rows_of(data) == [("a", "x", 0), ("c", "x", 1)] and data.ratings.tolist() == [4.0, 5.0]
    assert facts.dropped == {"without a rating": 1, "rated below 4": 1}
    every = from_dataframe({"user": [1, 2], "item": [3, 3], "rating": np.array([2.5, 4.0])})
    assert every.ratings.tolist() == [2.5, 4.0]
    data, facts = facts_of(frame)  # then nothing depends on ratings
    assert data.ratings.tolist() == [4.0, 3.0, 1.0, 5.0] and not facts.dropped
    assert "Interactions without a rating: 1, kept as rated 1." in facts.sentences()
    with pytest.raises(InputError, match=r"of 4 rows .* 3 are rated below 6\. The highest .* is 5"):
        facts_of(frame, min_rating=6)


def test_a_table_without_times_is_in_order_or_not():
    frame = {"user": [1, 1, 2], "item": [1, 2, 2]}
    data, facts = facts_of(frame)
    assert data.timestamps.tolist() == [0, 1, 2] and data.has_times
    output = " ".join(facts.sentences())
    assert "the row order is the time order. If it is not, set `split = " in output
    data, facts = facts_of(frame, in_order=False)
    assert not data.has_times
    assert "There is no column of timestamps." in facts.sentences()
    data, _ = facts_of(frame | {"time": [7, 8, 9]}, in_order=False)
    assert data.timestamps.tolist() == [7, 8, 9]


def test_warnings_of_the_reader(write):
    rows = "A,x,1\na ,x,1\na ,X,1\n"
    data, facts = facts_of(write("a.csv", "user,item,time\n" + rows), columns={"user": "user"})
    assert len(data.user_ids) == 2 and data.catalogue.num_items == 2  # kept apart
    output = " ".join(facts.sentences())
    assert (
        "Ids of users that differ only in case or blanks are kept separate: 'A' and 'a '." in output
    )
    assert (
        "Ids of items that differ only in case or blanks are kept separate: 'x' and 'X'." in output
    )
    assert "All timestamps are equal: the row order is the time order." in output
    assert "There is no items table" in output
    _, facts = facts_of({"user": [1, 2], "item": [1, 2], "time": [4_000_000_000, 1]})
    assert "Times later than now: 1." in facts.sentences()
    data, facts = facts_of({"user": [2, 1], "item": [1, 2]})
    assert data.timestamps.tolist() == [0, 1] and "no column of times" in " ".join(facts.notes)


def test_items_twice_without_an_id_and_without_interactions(write):
    items = "id,title,tags\n1,One,\n1,Again,x\n,Lost,\n2,,y\n"
    interactions = "user,item\na,1\nb,2\na,3\n"
    data, facts = facts_of(write("i.csv", interactions), write("items.csv", items))
    assert data.catalogue.titles == ("One", "2") and data.catalogue.texts == ("One", "2. y")
    assert facts.dropped == {"of items that are not in the items table": 1}
    output = " ".join(facts.sentences())
    assert "Rows of the items table with an id that occurred before: 1" in output
    assert "Rows of the items table without an id: 1" in output


def test_lists_of_texts_and_columns_by_name():
    items = {"product": ["p", "q"], "about": [["red", "round"], []], "called": ["P", "Q"]}
    columns = {"user": "u", "item": "product", "title": "called", "text": "about"}
    data = from_dataframe({"u": [1, 2], "product": ["p", "q"]}, items, columns=columns, name="shop")
    assert data.catalogue.texts == ("P. red, round", "Q") and data.name == "shop"


FRAME = {"user": ["a", "b"], "item": ["x", "y"]}


@pytest.mark.parametrize(
    "name, content, given, words",
    [
        (
            "a.csv",
            "a,b\n1,2\n",
            {},
            r"Which column of .*a\.csv is the user\? Its columns are: a, b\.",
        ),
        ("a.csv", CSV, {"columns": {"user": "Customr"}}, r"no column 'Customr'.*mean 'customer'\?"),
        (
            "a.csv",
            CSV,
            {"columns": {"usr": "customer"}},
            r"Received: 'usr'\. Did you mean 'user'\?",
        ),
        ("a.csv", CSV, {"columns": {"user": "ts"}}, "Each column can have one role"),
        ("a.csv", CSV, {"columns": {"user": ["ts"]}}, "Only one column can be the user"),
        ("a.csv", CSV, {"min_rating": 3}, r"min_rating needs a column of ratings"),
        (
            "a.csv",
            CSV,
            {"weigh_by_rating": True},
            r"weigh_by_rating needs a column of ratings.*do not use weigh_by_rating",
        ),
        (
            "a.csv",
            CSV + "dan,x,soon\n",
            {},
            r"a\.csv, line 6: column 'ts' holds 'soon', not a number",
        ),
        ("a.csv", CSV + '"d\nan",x,1\n\ne,x,?\n', {}, r"a\.csv, line 9: column 'ts' holds '\?'"),
        (
            "a.csv",
            CSV + "dan,x\n",
            {},
            r"a\.csv, line 6, cannot be read: .*Expected 3 columns, got 2",
        ),
        (
            "a.csv",
            "user,item,time\na,x,2024-01-15\nb,x,3\n",
            {},
            r"line 3: .* holds '3', not a date",
        ),
        (
            "a.csv",
            "user,item,rating\na,x,5\nb,x,good\n",
            {},
            r"line 3: .* holds 'good', not a number",
        ),
        ("a.csv", "user,item,rating\na,x, 5\nb,x,1_0\n", {}, r"line 3: .* holds '1_0', not a num"),
        (
            "a.csv",
            "user,item,rating\na,x,5\nb,x,inf\n",
            {},
            r"line 3: .*'rating' holds inf: it must be finite",
        ),
        (
            "a.csv",
            "user,item,time\na,x,1.5\nb,x,-inf\n",
            {},
            r"line 3: .*'time' holds -inf: it must be finite",
        ),
        ("a.csv", "user,item,user\na,x,b\n", {}, "two columns called 'user'"),
        ("a.csv", "user,item\na,x\na,y\n", {}, "are of one user, 'a' in the column 'user'"),
        ("a.csv", "user,item\n", {}, "holds no interactions: it has no rows"),
        ("a.csv", "", {}, "a.csv is empty"),
        ("u.data", CSV, {}, r"u\.data does not end as a table.s file\. Files read: \.csv"),
        ("a.csv.gz", gzip.compress(CSV.encode() * 9, mtime=0)[:50], {}, "a.csv.gz cannot be read"),
        ("a.parquet", b"PAR1 no", {}, "a.parquet cannot be read"),
        ("a.jsonl", '{"user": 1}\n{"user": "b"}\n', {}, "a.jsonl cannot be read: .*changed from"),
        (
            "a.jsonl",
            '{"user": [1], "item": 2}\n',
            {},
            "line 1: column .user. holds list<",
        ),
    ],
)
def test_invalid_tables_are_named(write, name, content, given, words):
    with pytest.raises(InputError, match=words):
        read_table(write(name, content), **given)


@pytest.mark.parametrize(
    "frame, words",
    [
        (3, "A frame of pandas or Polars.*Received: int"),
        ({"user": ["a", 1], "item": [1, 2]}, "Column 'user' of the table mixes types: .*int"),
        (FRAME | {"rating": [4, "good"]}, "Column 'rating' of the table mixes types"),
        (FRAME | {"time": [date(2024, 1, 15), 5]}, "Column 'time' of the table mixes dates and n"),
        (FRAME | {"item": ["x"]}, r"differ in length: {'user': 2, 'item': 1}"),
        (FRAME | {"rating": [4, 0], 7: [1, 1], "7": [1, 1]}, "has two columns called '7'"),
        (FRAME | {"user": ["a", "a"]}, "All interactions of the table are of one user, 'a'"),
        (
            FRAME | {"user": [1.0, 2.5]},
            r"row 1 of the table: column 'user' holds 2\.5, which is not an id",
        ),
        (FRAME | {"time": [None, None]}, "of 2 rows 2 are without a time"),
        (FRAME | {"time": [True, False]}, "holds bool, not a number or a date"),
    ],
)
def test_frames_that_cannot_be_used_are_refused(frame, words):
    with pytest.raises(InputError, match=words):
        facts_of(frame)


def test_a_pandas_frame_that_mixes_types_or_has_a_name_twice():
    pandas = pytest.importorskip("pandas")
    for column, words in (
        ([4, "good"], "Column 'time' of the table mixes types"),
        ([pandas.Timestamp("2024-01-15"), 5], "Column 'time' of the table mixes dates and numbers"),
    ):
        with pytest.raises(InputError, match=words):
            facts_of(pandas.DataFrame(FRAME | {"time": column}))
    twice = pandas.DataFrame([["a", "x", 1], ["b", "y", 2]], columns=["user", "item", "item"])
    with pytest.raises(InputError, match="the table has two columns called 'item'"):
        facts_of(twice)


def test_no_item_is_in_the_items_table():
    words = (
        r"of 2 rows 2 are of items that are not in the items table\. Ids in the column 'item' are "
    )
    with pytest.raises(
        InputError, match=words + "such as 'x', those of the items table .* 'SKU-x'"
    ):
        facts_of(FRAME, {"id": ["SKU-x", "SKU-y"]})


def test_ratings_as_weights_are_divided_by_their_mean(write):
    rows = "a,x,4,1\nb,x,1,2\na,y,,3\nb,y,5,4\nb,z,2,5\n"
    path = write("a.csv", "user,item,rating,time\n" + rows)
    data, facts = facts_of(path, weigh_by_rating=True)
    assert data.ratings.tolist() == [4.0, 1.0, 5.0, 2.0]  # of mean 3
    np.testing.assert_allclose(data.weights, [4 / 3, 1 / 3, 5 / 3, 2 / 3], rtol=1e-7)
    assert facts.dropped == {"without a rating": 1}
    output = " ".join(facts.sentences())
    assert (
        "the weight of a label is its rating divided by the mean, 3, so from 0.333 to 1.67."
        in output
    )
    assert "EASE, popularity and all metrics use equal weights." in output
    data = read_table(path, weigh_by_rating=True, min_rating=2)
    np.testing.assert_allclose(data.weights, [12 / 11, 15 / 11, 6 / 11], rtol=1e-7)
    data, facts = facts_of(path)
    assert data.weights is None and "weight" not in " ".join(facts.sentences())
    low = "user,item,rating\na,x,3\nb,x,0\nb,y,-1\n"
    words = r"column 'rating' holds 0, but a weight must be greater than 0\. Drop .*`min_rating`"
    with pytest.raises(InputError, match=words):
        read_table(write("b.csv", low), weigh_by_rating=True)
    data = from_dataframe(
        {"user": [1, 2, 3], "item": [1, 1, 1], "rating": [0, 3, 1]},
        weigh_by_rating=True,
        min_rating=1,
    )
    np.testing.assert_allclose(data.weights, [1.5, 0.5])


def test_ratings_below_a_number_are_dislikes(write):
    rows = "a,x,4,1\na,y,-1,2\nb,x,,3\nb,y,2,4\nb,z,1,5\n"
    path = write("a.csv", "user,item,rating,time\n" + rows)
    data, facts = facts_of(path, disliked_below=2)
    assert data.weights.tolist() == [1, -1, 1, 1, -1]  # a row without a rating is not a dislike
    assert "2 of 5 interactions are rated below 2: as labels" in " ".join(facts.sentences())
    data, facts = facts_of(path, disliked_below=2, weigh_by_rating=True)
    # a rating of -1 is not a weight
    np.testing.assert_allclose(data.weights, [4 / 3, -1, 2 / 3, -1])
    assert "divided by the mean, 3, so from 0.667 to 1.33." in " ".join(facts.sentences())
    assert read_table(path, disliked_below=2, min_rating=0).weights.tolist() == [1, 1, -1]
    assert read_table(path, disliked_below=-2).weights.tolist() == [1] * 5
    assert read_table(path).weights is None
    low = write("b.csv", "user,item,rating\na,x,-1\nb,x,4\n")
    with pytest.raises(InputError, match="All 2 interactions .* are disliked.* from -1 to 4"):
        read_table(low, disliked_below=5)
    for above in (2, 3):
        words = rf"`min_rating` {above} drops lower .* `disliked_below` 2 remains"
        with pytest.raises(InputError, match=words):
            read_table(path, disliked_below=2, min_rating=above)
    with pytest.raises(InputError, match="disliked_below needs a column of ratings"):
        read_table(write("c.csv", "user,item\na,x\nb,x\n"), disliked_below=2)


def test_a_file_that_is_not_there_and_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="no.csv does not exist"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(InputError, match="At least one file was expected"):
        read_table([])
    with pytest.raises(InputError, match=r"no table\. Files read: \.csv, .*\.gz"):
        read_table(tmp_path)


def test_without_pyarrow_the_extra_is_named(monkeypatch, write):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"tfrs-distill\[tables\]"):
        read_table(write("a.csv", CSV))


def test_the_usual_column_names_are_tried_in_order():
    names = ["id", "Item ID", "movie_id", "user_id:token", "Date"]
    found = {role: find_column("t", names, role, None, required=False) for role in ("user", "item")}
    assert found == {"user": "user_id:token", "item": "Item ID"}
    assert find_column("t", names, "id", None, required=True) == "Item ID"
    assert find_column("t", names, "time", None, required=True) == "Date"
    assert find_column("t", names, "rating", None, required=False) is None


@pytest.mark.parametrize("waiting_bytes", [1 << 26, 1 << 13, 1])
def test_many_rows_in_several_blocks(write, monkeypatch, waiting_bytes):
    """More than a block of text: ids are numbered across blocks."""
    monkeypatch.setattr("tfrs_distill.data.tables.batches.BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr("tfrs_distill.data.tables.numbered_ids.WAITING_BYTES", waiting_bytes)
    random = np.random.default_rng(0)
    users, items = random.integers(0, 300, 4000), random.integers(0, 500, 4000)
    text = "user,item,time\n" + "".join(
        f"u{u},i{i},{t}\n" for t, (u, i) in enumerate(zip(users, items))
    )
    data = read_table(write("a.csv", text))
    assert rows_of(data) == [(f"u{u}", f"i{i}", t) for t, (u, i) in enumerate(zip(users, items))]
    # in order of appearance
    assert data.user_ids == tuple(dict.fromkeys(f"u{user}" for user in users))
    assert data.catalogue.item_ids == tuple(dict.fromkeys(f"i{item}" for item in items))
    broken = text.replace(",3999\n", ",x\n")
    with pytest.raises(InputError, match="line 4001: column 'time' holds 'x'"):
        read_table(write("b.csv", broken))


def test_attributes_of_items_by_hand(write):
    things = Catalogue(("a", "b", "c"), ("A", "B", "C"), ("A", "B", "C"))
    table = write("items.csv", "sku,brand,price,size\nc,Acme,2.5,L\na,,7,\nb,Zed,,1\na,Acme,9,L\n")
    found = read_item_attributes(table, things, ["size", "price", "brand"])
    assert found.labels == ((), ("size=1", "brand=Zed"), ("size=L", "brand=Acme"))
    np.testing.assert_array_equal(found.numbers, [[7], [np.nan], [2.5]])
    assert found.number_names == ("price",)
    what = {"what": ["a", "b", "c"], "price": [1, 2, 3]}  # named as in the interactions
    prices = read_item_attributes(what, things, ["price"], item_column="what").numbers
    assert prices.tolist() == [[1], [2], [3]]
    with pytest.raises(InputError, match="Which column of .* is the id"):
        read_item_attributes(what, things, ["price"], item_column="sku")
    lists = {"item": ["a", "b", "c"], "tags": [["x", "y", "x"], [], ["y"]]}
    assert read_item_attributes(lists, things, ["tags"]).labels == (
        ("tags=x", "tags=y"),
        (),
        ("tags=y",),
    )
    more = Catalogue(("a", "z"), ("A", "Z"), ("A", "Z"))
    with pytest.raises(InputError, match=r"items.csv has no line for 1 of .* item 'z'"):
        read_item_attributes(table, more, ["price"])
    with pytest.raises(InputError, match=r"has no column 'prise'.*Did you mean 'price'"):
        read_item_attributes(table, things, ["prise"])
    many = [str(number) + "x" for number in range(1001)]
    with pytest.raises(InputError, match="'isbn' has 1,001 different values for 1,001 items; at m"):
        read_item_attributes({"id": many, "isbn": many}, Catalogue(many, many, many), ["isbn"])


def test_a_file_given_twice_is_refused(write):
    file = write("orders.csv", CSV)
    with pytest.raises(InputError, match="is given twice: its rows would count twice"):
        read_table([file, file])
