"""The three layouts of GroupLens, from bytes as GroupLens writes them."""

import numpy as np
import pytest

from tfrs_distill.data.readers import read_folder
from tfrs_distill.errors import InputError

U_GENRE = "unknown|0\nAnimation|1\nComedy|2\n\n"
U_ITEM = (
    "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story|0|1|1\n"
    "7|Café au Lait (1994)|01-Jan-1994||http://us.imdb.com/|0|0|1\n"
    "267|unknown||||1|0|0\n"
)
U_DATA = "196\t7\t3\t881250949\n22\t1\t1\t878887116\n196\t1\t5\t881250950\n"

MOVIES_DAT = "1::Toy Story (1995)::Animation|Children's|Comedy\n7::Café: Noir (1994)::Comedy\n"
RATINGS_DAT = "5::7::3::978300760\n6::1::5::978302109\n"

MOVIES_CSV = (
    "movieId,title,genres\r\n"
    '11,"American President, The (1995)",Comedy|Drama|Romance\r\n'
    '2,"The ""Burbs"" (1989)",(no genres listed)\r\n'
    "30,Café (2010),Drama\r\n"
)
RATINGS_CSV = "userId,movieId,rating,timestamp\r\n1,30,4.5,964982703\r\n1,11,0.5,964981247\r\n"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "ml-tiny"
    path.mkdir()
    return path


def write_u(folder, *, genre=U_GENRE, item=U_ITEM, data=U_DATA):
    (folder / "u.genre").write_text(genre, encoding="latin-1")
    (folder / "u.item").write_text(item, encoding="latin-1")
    (folder / "u.data").write_text(data, encoding="latin-1")
    return folder


def write_dat(folder, *, movies=MOVIES_DAT, ratings=RATINGS_DAT, encoding="latin-1"):
    (folder / "movies.dat").write_text(movies, encoding=encoding)
    (folder / "ratings.dat").write_text(ratings, encoding=encoding)
    return folder


def write_csv(folder, *, movies=MOVIES_CSV, ratings=RATINGS_CSV):
    (folder / "movies.csv").write_bytes(movies.encode())
    (folder / "ratings.csv").write_bytes(ratings.encode())
    return folder


def test_u_data(folder):
    data = read_folder(write_u(folder))
    assert data.name == "ml-tiny"
    assert data.catalogue.item_ids == ("1", "7", "267")
    assert data.catalogue.titles == ("Toy Story (1995)", "Café au Lait (1994)", "unknown")
    assert data.catalogue.texts == (
        "Toy Story (1995). Animation, Comedy",
        "Café au Lait (1994). Comedy",
        "unknown",
    )
    assert data.user_ids == ("196", "22")
    assert data.users.tolist() == [0, 1, 0]
    assert data.items.tolist() == [2, 1, 1]
    assert data.ratings.tolist() == [3.0, 1.0, 5.0]
    assert data.timestamps.tolist() == [881250949, 878887116, 881250950]
    dtypes = [a.dtype for a in (data.users, data.items, data.ratings, data.timestamps)]
    assert dtypes == [np.int32, np.int32, np.float32, np.int64]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])  # 1M is latin-1, 10M is UTF-8
def test_ratings_dat(folder, encoding):
    data = read_folder(write_dat(folder, encoding=encoding))
    assert data.catalogue.item_ids == ("1", "7")
    assert data.catalogue.titles == ("Toy Story (1995)", "Café: Noir (1994)")
    assert data.catalogue.texts[0] == "Toy Story (1995). Animation, Children's, Comedy"
    assert data.user_ids == ("5", "6")
    assert data.items.tolist() == [2, 1]
    assert data.ratings.tolist() == [3.0, 5.0]
    assert data.timestamps.tolist() == [978300760, 978302109]


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_ratings_csv_with_quoted_commas_and_optional_byte_order_mark(folder, start):
    data = read_folder(write_csv(folder, movies=start + MOVIES_CSV, ratings=start + RATINGS_CSV))
    assert data.catalogue.item_ids == ("11", "2", "30")
    assert data.catalogue.titles == (
        "American President, The (1995)",
        'The "Burbs" (1989)',
        "Café (2010)",
    )
    assert data.catalogue.texts == (
        "American President, The (1995). Comedy, Drama, Romance",
        'The "Burbs" (1989)',
        "Café (2010). Drama",
    )
    assert data.user_ids == ("1",)
    assert data.items.tolist() == [3, 1]
    assert data.ratings.tolist() == [4.5, 0.5]
    assert data.timestamps.tolist() == [964982703, 964981247]


def test_csv_columns_are_found_by_name(folder):
    movies = "title,movieId,year,genres\nHeat (1995),6,1995,Action\n"
    ratings = "timestamp,rating,movieId,extra,userId\n964982703,4,6,x,9\n"
    data = read_folder(write_csv(folder, movies=movies, ratings=ratings))
    assert data.catalogue.texts == ("Heat (1995). Action",)
    assert (data.user_ids, data.ratings.tolist()) == (("9",), [4.0])


def test_many_batches_of_rows_keep_file_order(folder):
    rows = [(n % 37, (1, 7)[n % 2], n % 5 + 1, 10**9 + n) for n in range(5000)]
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    data = read_folder(write_u(folder, data=text))
    assert len(data) == 5000
    assert [data.user_ids[u] for u in data.users] == [str(row[0]) for row in rows]
    assert data.items.tolist() == [n % 2 + 1 for n in range(5000)]
    assert data.ratings.tolist() == [row[2] for row in rows]
    assert data.timestamps.tolist() == [row[3] for row in rows]


def test_error_in_a_late_batch_has_its_line(folder):
    text = "1\t1\t3\t5\n" * 3000 + "\n1\t1\tx\t5\n" + "1\t1\t3\t5\n" * 3000
    with pytest.raises(InputError, match=r"u\.data, line 3002: rating 'x' is not a number"):
        read_folder(write_u(folder, data=text))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1\t1\t3", r"u\.data, line 4: 4 fields expected, 3 found"),
        ("1\t1\t3\t5\t6", r"u\.data, line 4: 4 fields expected, 5 found"),
        ("1\t1\tgood\t5", r"u\.data, line 4: rating 'good' is not a number"),
        ("1\t1\t\t5", r"u\.data, line 4: rating '' is not a number"),
        ("1\t1\tnan\t5", r"u\.data, line 4: rating 'nan' is not a number"),
        ("1\t1\t-inf\t5", r"u\.data, line 4: rating '-inf' is not a number"),
        ("1\t1\t1e39\t5", r"u\.data, line 4: rating '1e39' is not a number"),
        ("1\t1\t1_0\t5", r"u\.data, line 4: rating '1_0' is not a number"),
        ("1\t1\t3\tnoon", r"u\.data, line 4: time 'noon' is not a number"),
        ("1\t1\t3\tNaN", r"u\.data, line 4: time 'NaN' is not a number"),
        ("1\t1\t3\tinf", r"u\.data, line 4: time 'inf' is not a number"),
        ("1\t1\t3\t1_0", r"u\.data, line 4: time '1_0' is not a number"),
        ("1\t1\t3\t9223372036854775808", r"u\.data, line 4: time '9223372036854775808' is not"),
        ("1\t2\t3\t5", r"u\.data, line 4: item '2' is not in the item file"),
        ("\t1\t3\t5", r"u\.data, line 4: user '' is not an id"),
    ],
)
def test_bad_interaction_is_named_by_file_and_line(folder, row, words):
    with pytest.raises(InputError, match=words):
        read_folder(write_u(folder, data=U_DATA + row + "\n1\t1\t1\t1\n"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("8|Heat (1995)|||http://|0|1", r"u\.item, line 4: 8 fields expected, 7 found"),
        ("7|Heat (1995)|||http://|0|0|1", r"line 4: item id '7' is already on line 2"),
        ("8||||http://|0|0|1", r"u\.item, line 4: item '8' has no title"),
        ("8|  |||http://|0|0|1", r"u\.item, line 4: item '8' has no title"),
        ("|Heat (1995)|||http://|0|0|1", r"u\.item, line 4: the item id is empty"),
    ],
)
def test_bad_item_is_named_by_file_and_line(folder, row, words):
    with pytest.raises(InputError, match=words):
        read_folder(write_u(folder, item=U_ITEM + row + "\n"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"data": ""}, r"u\.data holds no interactions"),
        ({"data": "\n\n"}, r"u\.data holds no interactions"),
        ({"item": ""}, r"u\.item holds no items"),
        ({"genre": "unknown|0\nComedy|2\n"}, r"u\.genre, line 2: genre number 1 was expected.*'2'"),
        ({"genre": "unknown|0\nComedy|x\n"}, r"u\.genre, line 2: genre number 1 was expected.*'x'"),
        ({"genre": "unknown\n"}, r"u\.genre, line 1: 2 fields expected, 1 found"),
    ],
)
def test_bad_file_is_named(folder, files, words):
    with pytest.raises(InputError, match=words):
        read_folder(write_u(folder, **files))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ratings": "5::7::3\n"}, r"ratings\.dat, line 1: 4 fields expected, 3 found"),
        ({"ratings": "5::7::3::x\n"}, r"ratings\.dat, line 1: time 'x' is not a number"),
        ({"ratings": ""}, r"ratings\.dat holds no interactions"),
        ({"movies": "1::Toy Story (1995)\n"}, r"movies\.dat, line 1: 3 fields expected, 2 found"),
        ({"movies": MOVIES_DAT + "7::A::B\n"}, r"movies\.dat, line 3: item id '7' is already on"),
    ],
)
def test_bad_dat_is_named_by_file_and_line(folder, files, words):
    with pytest.raises(InputError, match=words):
        read_folder(write_dat(folder, **files))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ratings": RATINGS_CSV + "1,30,4.5\n"}, r"ratings\.csv, line 4: 4 fields .*, 3 found"),
        ({"ratings": RATINGS_CSV + "1,30,x,5\n"}, r"ratings\.csv, line 4: rating 'x' is not"),
        ({"ratings": "1,30,4.5,964982703\n"}, r"ratings\.csv, line 1: a column 'userId' was exp"),
        ({"ratings": "userId,movieId,rating\n"}, r"line 1: a column 'timestamp' was expected"),
        ({"ratings": "userId,movieId,rating,timestamp\n"}, r"ratings\.csv holds no interactions"),
        ({"ratings": ""}, r"ratings\.csv is empty: a header"),
        ({"movies": "movieId,title\n"}, r"movies\.csv, line 1: a column 'genres' was expected"),
        ({"movies": 'movieId,title,genres\n1,"A" B,C\n'}, r"movies\.csv, line 2: not valid CSV"),
        ({"movies": 'movieId,title,genres\n1,"A,C\n'}, r"movies\.csv, line 2: not valid CSV"),
        (
            {"movies": MOVIES_CSV + "2,A,B\n"},
            r"movies\.csv, line 5: item id '2' .* already on line 3",
        ),
    ],
)
def test_bad_csv_is_named_by_file_and_line(folder, files, words):
    with pytest.raises(InputError, match=words):
        read_folder(write_csv(folder, **files))


def test_csv_in_latin_1_is_read_as_such(folder):
    write_csv(folder)
    (folder / "movies.csv").write_bytes(MOVIES_CSV.encode("latin-1"))
    assert read_folder(folder).catalogue.titles[2] == "Café (2010)"
