"""Times in every unit and form, against datetime, pandas and plain sorting."""

import logging
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from tfrs_distill.data import Catalogue, Interactions, movielens_ranking, read_folder
from tfrs_distill.data.times import as_times, seconds_since_1970, time_unit, times_line
from tfrs_distill.errors import InputError

MOMENTS = [
    datetime(1997, 9, 20, 3, 5, 10, tzinfo=timezone.utc),
    datetime(2003, 2, 28, 23, 59, 59, tzinfo=timezone.utc),
    datetime(2024, 2, 29, 0, 0, 0, tzinfo=timezone.utc),
    datetime(2031, 12, 31, 12, 30, 0, tzinfo=timezone.utc),
]
SECONDS = np.array([int(moment.timestamp()) for moment in MOMENTS])
SCALES = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
ITEM = "item_id:token\tmovie_title:token_seq\n" + "".join(f"{n}\tT{n}\n" for n in range(1, 11))


def write(folder, times, item=ITEM):
    """RecBole files: one user with items 1, 2, ... (again from 1 after 10) in file order."""
    (folder / "a.item").write_text(item)
    rows = "".join(f"u\t{n % 10 + 1}\t3\t{time}\n" for n, time in enumerate(times))
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "a.inter").write_text(header + rows)
    return folder


@pytest.mark.parametrize("unit", SCALES)
@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_a_unit_is_detected_by_its_range(unit, kind):
    times = as_times((SECONDS * SCALES[unit]).astype(kind))
    assert (times.dtype, time_unit(times)) == (kind, unit)
    np.testing.assert_array_equal(seconds_since_1970(times), SECONDS)


@pytest.mark.parametrize(
    "values",
    [
        [moment.isoformat() for moment in MOMENTS],
        [moment.replace(tzinfo=None).isoformat(" ") for moment in MOMENTS],
        [moment.strftime("%Y-%m-%dT%H:%M:%SZ").encode() for moment in MOMENTS],
        [moment.astimezone(timezone(timedelta(hours=-3, minutes=-30))) for moment in MOMENTS],
        pd.Series(MOMENTS, index=[3, 2, 1, 0]),
        pd.Series(MOMENTS).dt.tz_convert("Asia/Kolkata"),
        pd.Series(MOMENTS).dt.tz_localize(None),
        pd.Series(MOMENTS).astype(str),
        pd.Series(MOMENTS).dt.tz_localize(None).astype("datetime64[ms]").to_numpy(),
    ],
    ids=range(9),
)
def test_dates_in_every_form_are_the_same_times(values):
    times = as_times(values)
    assert (times.dtype.kind, time_unit(times)) == ("M", "date")
    np.testing.assert_array_equal(seconds_since_1970(times), SECONDS)


def test_dates_before_1973_and_fractions_of_seconds_are_exact():
    texts = [
        "1969-12-31T23:59:59.5",
        "1970-01-05",
        "2024-01-15 01:00+01:00",
        "2024-01-15T00:00:00.123456789Z",
        "2024-01-15T00:00:00.123456788+0000",
    ]
    expected = [pd.Timestamp(text).tz_localize(None) if "+" not in text and "Z" not in text
                else pd.Timestamp(text).tz_convert(None) for text in texts]  # fmt: skip
    times = as_times(texts)
    np.testing.assert_array_equal(times, [moment.to_datetime64() for moment in expected])
    assert np.argsort(times).tolist() == [0, 1, 2, 4, 3]
    assert seconds_since_1970(times)[:2].tolist() == [-1, 4 * 86400]
    assert as_times([date(2024, 1, 15)]).tolist() == as_times(["2024-01-15"]).tolist()


@pytest.mark.parametrize(
    "times",
    [
        [0.1, 0.9, 0.5],
        [1, 2, 3],
        [20240115, 20240116],  # years, months and days in one number
        [20240115103000, 20240115103001],
        [-5, -4],
        [99_999_999],
        [4_200_000_000],
    ],
)
def test_other_numbers_have_an_order_and_no_unit(times):
    times = as_times(times)
    assert time_unit(times) is None and seconds_since_1970(times) is None
    assert "of an unknown unit" in times_line(times)


def test_few_outliers_do_not_hide_the_unit_and_two_units_are_refused():
    assert time_unit(np.array([0, *SECONDS])) == "s"
    with pytest.raises(
        InputError, match=r"one unit\. .*: 4 in seconds, 1 in milliseconds\. Convert"
    ):
        time_unit(np.array([*SECONDS, SECONDS[0] * 1000]))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, np.nan], r"`timestamps` must be finite\. Received: nan in row 1"),
        ([np.inf], r"`timestamps` must be finite\. Received: inf in row 0"),
        ([None, 5], r"`timestamps` must be finite"),
        (pd.Series([MOMENTS[0], None]).dt.tz_localize(None), r"finite\. Received: NaT in row 1"),
        ([MOMENTS[0], None], r"must hold numbers or dates such as .* Received: nan in row 1"),
        (["2024-13-01"], r"must hold numbers or dates such as .*'2024-13-01' in row 0"),
        (["2024-01-15 25:00"], r"must hold numbers or dates"),
        (["9999-01-15"], r"must hold numbers or dates"),
        (["01/15/2024"], r"must hold numbers or dates"),
        (["5"], r"must hold numbers or dates"),
        ([True], r"must hold numbers or dates\. Received the dtype bool"),
        (np.array([2**63], np.uint64), r"must fit into int64\. Received: 9223372036854775808"),
    ],
)
def test_invalid_times_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        as_times(values)


def test_the_line_names_unit_and_range():
    assert times_line(as_times(SECONDS * 1000)) == "times in milliseconds, 1997-09-20 to 2031-12-31"
    assert times_line(as_times(MOMENTS)) == "times as dates, 1997-09-20 to 2031-12-31"


@pytest.mark.parametrize(
    "times",
    [
        ["10.9", "10.1", "10.5"],
        ["0.875", "0.125", "0.5"],
        ["881250949.75", "881250949", "881250949.5"],
        ["1600000000000000003", "1600000000000000001", "1600000000000000002"],
        ["1600000000000000003.0", "1600000000000000001.0", "1600000000000000002.0"],
        ["1.6e9", "1.4e9", "1.5e9"],
        ["2024-01-15T10:00:00.000000003Z", "2024-01-15", "2024-01-15 10:00"],
    ],
)
def test_sequences_are_in_the_order_of_their_times(tmp_path, times):
    (sequence,) = read_folder(write(tmp_path, times)).sequences()
    assert sequence.tolist() == [2, 3, 1]  # the latest is the file's first


def test_a_fraction_after_many_whole_numbers_is_kept(tmp_path):
    times = [*map(str, range(3000)), "2.5", "1e300"]
    data = read_folder(write(tmp_path, times[:-1]))
    assert data.timestamps.tolist() == [*range(3000), 2.5]
    with pytest.raises(InputError, match=r"line 3003: time '1e300' is not a number or a date such"):
        read_folder(write(tmp_path, times))


def test_numbers_and_dates_in_one_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"line 3: time '5' is not a date, as before it"):
        read_folder(write(tmp_path, ["2024-01-15", "5"]))
    with pytest.raises(InputError, match=r"line 3: time '2024-01-15' is not a number"):
        read_folder(write(tmp_path, ["5", "2024-01-15"]))


@pytest.mark.parametrize("unit", [*SCALES, "date", "fraction"])
def test_hours_and_weekdays_are_right_in_every_unit(tmp_path, caplog, unit):
    item = ITEM.replace("movie_title:token_seq", "movie_title:token_seq\trelease_year:token")
    item = item.replace("\n", "\t1990\n").replace("year:token\t1990", "year:token")
    moments = [MOMENTS[0] + timedelta(hours=31 * n, seconds=0.25) for n in range(10)]
    if unit == "date":
        times = [moment.isoformat() for moment in moments]
    elif unit == "fraction":
        times = [str(moment.timestamp()) for moment in moments]
    else:
        times = [int(moment.timestamp()) * SCALES[unit] for moment in moments]
    with caplog.at_level(logging.INFO, logger="tfrs_distill"):
        splits, tables = movielens_ranking(write(tmp_path, times, item))
    train = splits.train.features
    assert train["hour_of_day"].tolist() == [moment.hour + 1 for moment in moments[:8]]
    assert train["weekday"].tolist() == [moment.isoweekday() for moment in moments[:8]]
    assert tables.times in caplog.text
    assert tables.times.endswith(", 1997-09-20 to 1997-10-01")


def test_without_a_unit_hour_and_weekday_are_unknown(tmp_path):
    item = ITEM.replace("T1\n", "T1 (1990)\n", 1)
    splits, tables = movielens_ranking(write(tmp_path, [n / 10 for n in range(10)], item))
    assert set(splits.train.features["hour_of_day"]) == {0}
    assert set(splits.train.features["weekday"]) == {0}
    assert tables.times.startswith("times of an unknown unit (0.0 to 0.9)")
    assert splits.train.features["item_id"].tolist() == list(range(1, 9))


def test_interactions_keep_the_given_times():
    films = Catalogue(["1", "2"], ["A", "B"], ["a", "b"])

    def given(times):
        return Interactions("x", films, ["u"], [0, 0], [1, 2], [1, 1], times)

    for times in ([10.9, 10.1], ["2024-01-16", "2024-01-15"], [2**60 + 1, 2**60]):
        assert given(times).sequences()[0].tolist() == [2, 1]
    assert given(MOMENTS[:2]).time_unit == "date"
    assert given(SECONDS[:2]).time_unit == "s"
    with pytest.raises(InputError, match="must be in one unit"):
        given([SECONDS[0], SECONDS[0] * 1000])
