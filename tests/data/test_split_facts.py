"""Which training data is later than test data in a split by user, by hand."""

import numpy as np
import pytest

from tfrs_distill.data import Catalogue, Interactions
from tfrs_distill.data.cuts import global_time_cuts, leave_one_out_cuts, user_time_cuts
from tfrs_distill.data.split_facts import SplitFacts, split_facts
from tfrs_distill.errors import InputError


def interactions(times_of_users):
    """Each user's times, in file order; rows of the users alternate."""
    rows = [
        (place, user, time)
        for user, times in enumerate(times_of_users)
        for place, time in enumerate(times)
    ]
    rows.sort(key=lambda row: row[0])
    _, users, times = zip(*rows)
    names = tuple(map(str, range(len(rows))))
    return Interactions(
        "tiny",
        Catalogue(names, names, names),
        tuple(f"u{user}" for user in range(len(times_of_users))),
        np.array(users, np.int32),
        np.arange(1, len(rows) + 1, dtype=np.int32),
        np.ones(len(rows), np.float32),
        np.array(times),
    )


# Of 10 interactions 8 train, 1 validates, 1 tests. The first user trains at 0 to 7 and is tested at
# 9; the second trains at 5 to 12, 3 of them later than 9, and is tested at 14; the third trains at
# 20 to 27 and is tested at 29.
EARLY, LATE, LAST = range(0, 10), range(5, 15), range(20, 30)


@pytest.mark.parametrize(
    "times, share",
    [
        ([EARLY], 0.0),  # no other user
        ([EARLY, LATE], (3 / 16 + 0) / 2),
        ([EARLY, LATE, LAST], 8 / 24),  # 11/24, 8/24 and 0
        ([EARLY, EARLY], 0.0),
        ([EARLY, [9] * 10], 0.0),  # at the same time is not later
        ([EARLY, [10] * 10], 8 / 16 / 2),
    ],
)
def test_share_of_training_later_than_the_median_test(times, share):
    assert split_facts(interactions(times)).train_after_test == pytest.approx(share)


@pytest.mark.parametrize(
    "times, share",
    [
        ([range(10)], 0.0),
        ([[0, 1, 2, 3, 4, 5, 6, 7, 8, 8]], 1.0),  # the cut to the test is inside one second
        ([[0, 1, 2, 3, 4, 5, 6, 7, 7, 8]], 0.0),  # the cut to validation is
        ([[8, 8, 7, 6, 5, 4, 3, 2, 1, 0]], 1.0),  # by time, not by file order
        ([[1] * 10, range(10), range(10), range(10)], 0.25),
        ([[1] * 10, [3]], 1.0),  # one interaction is in no test
    ],
)
def test_number_of_tests_that_begin_inside_a_tie(times, share):
    assert split_facts(interactions(times)).tests_cut_in_one_time == share


def test_the_fractions_move_the_cuts():
    # Half trains and a tenth validates: the test begins at the 7th, which is as late as the 6th.
    data = interactions([[0, 1, 2, 3, 4, 5, 5, 6, 7, 8], [6] * 10])
    found = split_facts(data, user_time_cuts(data, train_fraction=0.5, validation_fraction=0.1))
    assert found == SplitFacts(0.25, 1.0, 0.0)  # 5 of 10 training times are later, and none
    assert split_facts(data) == SplitFacts(0.0, 0.5, 0.0)


@pytest.mark.parametrize(
    "as_times",
    [
        lambda whole: whole / 10 + 0.05,
        lambda whole: whole.astype(np.float32),
        lambda whole: np.datetime64("1998-01-01T00:00") + whole.astype("timedelta64[ms]"),
        lambda whole: (881_000_000 + whole) * 10**9,
    ],
    ids=["fractions", "float32", "datetime64", "nanoseconds"],
)
def test_any_kind_of_time_is_read(as_times):
    whole = [np.array([*EARLY]), np.array([*LATE]), np.array([20] * 10)]
    expected = SplitFacts(8 / 24, 1 / 3, 0.0)
    assert split_facts(interactions(whole)) == expected
    assert split_facts(interactions([as_times(times) for times in whole])) == expected


def test_times_that_differ_by_a_fraction_are_not_a_tie():
    times = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8.25, 8.5])
    assert split_facts(interactions([times])).tests_cut_in_one_time == 0.0


def test_a_user_whose_only_interaction_is_in_the_test_is_counted():
    # Of [3] the test begins at 0: nothing is before it.
    assert split_facts(interactions([range(10), range(10), [3]])).tests_without_history == (
        pytest.approx(1 / 3)
    )


def test_leave_one_out_is_later_and_still_by_user():
    """10 train at 0 to 9 and test at 11; of 12 at one time, 10 train, and the test is in a tie."""
    data = interactions([range(12), [10] * 12])
    # Of the first's test at 11, none of 20 training times is later; of the second's at 10, none.
    assert split_facts(data, leave_one_out_cuts(data)) == SplitFacts(0.0, 0.5, 0.0)
    data = interactions([range(12), range(100, 112)])  # 10 of 20 are later than 11, none than 111
    assert split_facts(data, leave_one_out_cuts(data)) == SplitFacts(0.25, 0.0, 0.0)


def test_no_training_is_later_than_the_test_of_a_global_split():
    # Of 20 the 18th, at 13, begins the test: EARLY has none, LATE has 13 and 14.
    data = interactions([EARLY, LATE])
    assert split_facts(data, global_time_cuts(data)) == SplitFacts(0.0, 0.0, 0.0)
    # Of 30 the 27th, at 27, begins the test: only the last user, who begins at 20, has one. In the
    # order of time the 24th is at 24: 4 of that user's train.
    data = interactions([EARLY, LATE, LAST])
    assert split_facts(data, global_time_cuts(data)) == SplitFacts(0.0, 0.0, 0.0)
    # Of 24 the 22nd, at 21, begins the test: of three users in it two came then, without a history.
    data = interactions([EARLY, LATE, [21], [22], [20, 23]])
    assert split_facts(data, global_time_cuts(data)) == SplitFacts(0.0, 0.0, pytest.approx(2 / 3))


def test_a_tie_at_a_global_cut_stays_together():
    data = interactions([[0, 1, 2, 3, 4, 5, 6, 7, 9, 9]])
    assert split_facts(data).tests_cut_in_one_time == 1.0
    assert split_facts(data, global_time_cuts(data)) == SplitFacts(0.0, 0.0, 0.0)


def test_a_cut_with_complete_ties_leaves_none():
    data = interactions([[0, 1, 2, 3, 4, 5, 6, 7, 8, 8], range(10)])
    cuts = user_time_cuts(data, whole_ties=True)
    assert cuts.tolist() == [[8, 8], [8, 9]]
    assert split_facts(data, cuts).tests_cut_in_one_time == 0.0


def test_nothing_to_test_is_an_error():
    words = (
        "no user has a test interaction after a training interaction. The longest sequence has 1"
    )
    with pytest.raises(InputError, match=words):
        split_facts(interactions([[3], [4]]))
