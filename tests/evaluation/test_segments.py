"""Which queries and positives belong to which segment."""

import numpy as np
from tiny_data import tiny_catalogue, windows_from

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation.segments import popularity_counts, segments


def queries_of(histories, positives, num_items):
    return Queries(
        tiny_catalogue(num_items),
        np.arange(len(histories), dtype=np.int32),
        tuple(np.array(h, np.int32) for h in histories),
        tuple(np.array(p, np.int32) for p in positives),
    )


def test_popularity_counts_users_not_positions():
    # Windows of 4 overlap by 2, so most of user 0's items stand in two of them.
    sequences = [[1, 2, 3, 4, 5, 6, 1], [2, 2, 3], [6, 2]]
    windows = windows_from(sequences, num_items=7, max_history=4)
    assert len(windows) > 3
    assert popularity_counts(windows).tolist() == [0, 1, 3, 2, 1, 1, 2, 0]


def train_windows():
    """10 items: item i is met by 12 - i users, some of which meet item 1 twice."""
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


def test_the_middle_is_popular_and_not_head():
    # 11 users meet items 1 to 3, only some meet the rest; the head is item 1 and 2 of 10.
    sequences = [[1, 2, 3, 4, 5] for _ in range(9)] + [[1, 2, 3], [3, 2, 1, 4]]
    train = windows_from(sequences, num_items=10, max_history=8)
    assert popularity_counts(train)[1:6].tolist() == [11, 11, 11, 10, 9]
    queries = queries_of([[1], [2]], [[3, 4, 5], [1]], num_items=10)
    found = {part.name: part for part in segments(train, queries)}
    assert [p.tolist() for p in found["middle"].positives] == [[3, 4]]  # 10 users are enough
    assert [p.tolist() for p in found["tail"].positives] == [[5]]
    assert [p.tolist() for p in found["head"].positives] == [[1]]


def test_short_and_long_histories_part_at_the_median():
    queries = queries_of([[1], [1, 2], [1, 2], [1, 2, 3]], [[4], [5], [6], [7]], num_items=10)
    found = {part.name: part for part in segments(train_windows(), queries)}
    assert found["short"].rows.tolist() == [0, 1, 2]
    assert found["long"].rows.tolist() == [3]
    assert [p.tolist() for p in found["long"].positives] == [[7]]
    assert found["short"].what == "histories of at most 2 items"
    assert found["long"].what == "histories of more than 2 items"
