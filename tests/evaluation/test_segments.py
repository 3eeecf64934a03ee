"""The segments of queries and positives."""

import numpy as np
import pytest
from tiny_data import tiny_catalogue, windows_from

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation import metrics
from tfrs_distill.evaluation.segments import (
    by_segment,
    popularity_counts,
    segment_report,
    segments,
)


def queries_of(histories, positives, num_items):
    return Queries(
        tiny_catalogue(num_items),
        np.arange(len(histories), dtype=np.int32),
        tuple(np.array(h, np.int32) for h in histories),
        tuple(np.array(p, np.int32) for p in positives),
    )


def test_popularity_counts_users_not_positions():
    # Windows of 4 overlap by 2, so most of user 0's items are in two of them.
    sequences = [[1, 2, 3, 4, 5, 6, 1], [2, 2, 3], [6, 2]]
    windows = windows_from(sequences, num_items=7, max_history=4)
    assert len(windows) > 3
    assert popularity_counts(windows).tolist() == [0, 1, 3, 2, 1, 1, 2, 0]


def train_windows():
    """10 items: item i has 12 - i users, some of which have item 1 twice."""
    sequences = [[item for item in range(1, 11) if user < 12 - item] for user in range(11)]
    return windows_from([sequence + [1] for sequence in sequences], num_items=10, max_history=16)


def test_head_middle_and_tail_by_hand():
    train = train_windows()
    assert popularity_counts(train).tolist() == [0, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]
    queries = queries_of([[3], [4, 5], [6, 7, 8]], [[1, 2, 9], [3, 4], [2]], num_items=10)
    found = {part.name: part for part in segments(train, queries)}
    assert list(found) == ["all", "head", "middle", "tail", "short", "long"]
    # A fifth of 10 items is 2: items 1 and 2. Of the others, all have fewer than 10 users.
    assert found["head"].rows.tolist() == [0, 2]
    assert [p.tolist() for p in found["head"].positives] == [[1, 2], [2]]
    assert found["middle"].rows.tolist() == [] and found["middle"].positives == ()
    assert found["tail"].rows.tolist() == [0, 1]
    assert [p.tolist() for p in found["tail"].positives] == [[9], [3, 4]]
    assert found["all"].rows.tolist() == [0, 1, 2]
    assert found["all"].positives == queries.positives


def test_groups_of_items_are_segments_of_their_positives():
    queries = queries_of([[3], [4, 5], [6, 7, 8]], [[1, 2, 9], [3, 4], [2]], num_items=10)
    groups = {"new": ("items of this year", np.array([2, 9])), "old": ("others", np.array([4]))}
    found = {part.name: part for part in segments(train_windows(), queries, None, groups)}
    assert list(found) == ["all", "head", "middle", "tail", "new", "old", "short", "long"]
    assert found["new"].what == "items of this year"
    assert found["new"].rows.tolist() == [0, 2]
    assert [p.tolist() for p in found["new"].positives] == [[2, 9], [2]]
    assert [p.tolist() for p in found["old"].positives] == [[4]]


def test_the_middle_is_popular_and_not_head():
    # 11 users have items 1 to 3, only some have the rest; the head is item 1 and 2 of 10.
    sequences = [[1, 2, 3, 4, 5] for _ in range(9)] + [[1, 2, 3], [3, 2, 1, 4]]
    train = windows_from(sequences, num_items=10, max_history=8)
    assert popularity_counts(train)[1:6].tolist() == [11, 11, 11, 10, 9]
    queries = queries_of([[1], [2]], [[3, 4, 5], [1]], num_items=10)
    found = {part.name: part for part in segments(train, queries)}
    assert [p.tolist() for p in found["middle"].positives] == [[3, 4]]  # 10 users are enough
    assert [p.tolist() for p in found["tail"].positives] == [[5]]
    assert [p.tolist() for p in found["head"].positives] == [[1]]


def test_short_and_long_histories_are_divided_at_the_median():
    queries = queries_of([[1], [1, 2], [1, 2], [1, 2, 3]], [[4], [5], [6], [7]], num_items=10)
    found = {part.name: part for part in segments(train_windows(), queries)}
    assert found["short"].rows.tolist() == [0, 1, 2]
    assert found["long"].rows.tolist() == [3]
    assert [p.tolist() for p in found["long"].positives] == [[7]]
    assert found["short"].what == "histories of at most 2 items"
    assert found["long"].what == "histories of more than 2 items"


def users_of(genders):
    """A query per user, whose next item is 1 or 2, and their genders by user index."""
    queries = queries_of([[3]] * len(genders), [[1 + row % 2] for row in range(len(genders))], 10)
    return queries, {"gender": genders}


def test_groups_of_users_are_segments_and_small_ones_are_merged():
    genders = ["F"] * 40 + ["M"] * 50 + ["X"] * 3 + ["Y"] * 4 + [""] * 5
    queries, groups = users_of(genders)
    found = [part for part in segments(train_windows(), queries, groups) if part.attribute]
    assert [part.name for part in found] == ["gender: F", "gender: M", "gender: small groups"]
    assert [part.rows.tolist() for part in found] == [
        list(range(40)),
        list(range(40, 90)),
        list(range(90, 97)),  # users without a value are in no group
    ]
    assert {part.attribute for part in found} == {"gender"}
    assert found[0].what == "users whose gender is F"
    assert found[2].what == "users whose gender is one of X, Y"
    assert [p.tolist() for p in found[2].positives] == [[1 + row % 2] for row in range(90, 97)]


def test_one_small_group_keeps_its_name():
    queries, groups = users_of(["F"] * 40 + ["X"] * 3)
    names = [part.name for part in segments(train_windows(), queries, groups)][6:]
    assert names == ["gender: F", "gender: X"]


def test_groups_are_found_by_user_and_not_by_row():
    queries, _ = users_of([""] * 120)
    later = queries.subset(np.arange(60, 120))
    groups = {"gender": ["F"] * 90 + ["M"] * 30}
    found = {part.name: part.rows.tolist() for part in segments(train_windows(), later, groups)}
    assert found["gender: F"] == list(range(30)) and found["gender: M"] == list(range(30, 60))


def test_the_report_of_segments_by_hand():
    """Item 1 is head and every second next item: one model finds it; 100 women, 50 men."""
    genders = ["F", "F", "M"] * 50
    queries, groups = users_of(genders)
    parts = segments(train_windows(), queries, groups)
    lists = {name: np.full((150, 1), item) for name, item in (("one", 1), ("other", 9))}
    ndcgs = {name: by_segment(metrics.ndcg, items, parts) for name, items in lists.items()}
    found = segment_report(parts, ndcgs, [("one", "other")], k=1, num_samples=400)
    assert found["metric"] == "ndcg@1"
    assert found["segments"]["middle"] == {
        "what": "items between head and tail",
        "queries": 0,
        "attribute": "",
    }
    one = found["models"]["one"]
    assert "middle" not in one and one["head"]["value"] == 0.5  # every second next item is 1
    assert "against_others" not in one["head"]
    women = one["gender: F"]
    # Rows 0, 1 of 3 are women; of rows 0, 1, 3, 4 those of even number find their item.
    assert women["value"] == pytest.approx(0.5)
    assert women["against_others"]["difference"] == pytest.approx(0.0)
    low, high = women["against_others"]["interval"]
    error = np.sqrt(0.25 / 100 + 0.25 / 50)  # of two independent groups
    assert [low, high] == pytest.approx([-1.96 * error, 1.96 * error], abs=0.02)
    (pair,) = found["comparisons"]
    assert pair["models"] == ["one", "other"]
    expected = metrics.paired_difference(
        ndcgs["one"]["all"], ndcgs["other"]["all"], num_samples=400
    )
    assert pair["segments"]["all"] == expected
    assert (expected["gained"], expected["lost"], expected["difference"]) == (0.5, 0.0, 0.5)
