import numpy as np
import pytest

from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.errors import InputError


def test_sizes_and_types():
    data = synthetic(num_users=9, num_items=32, num_blocks=3, interactions_per_user=10)
    assert (data.num_users, data.catalogue.num_items, len(data)) == (9, 32, 90)
    assert data.name == "synthetic"
    assert [data.users.dtype, data.items.dtype] == [np.int32, np.int32]
    assert [data.ratings.dtype, data.timestamps.dtype] == [np.float32, np.int64]
    assert np.bincount(data.item_blocks[1:]).tolist() == [11, 11, 10]
    assert np.bincount(data.user_blocks).tolist() == [3, 3, 3]
    assert data.item_blocks[0] == -1
    assert data.item_successors[0] == 0


def test_successors_form_one_ring_per_block():
    data = synthetic(num_items=21, num_blocks=2, interactions_per_user=10)
    for block in (0, 1):
        members = set(np.flatnonzero(data.item_blocks == block).tolist())
        item = start = min(members)
        ring = set()
        while item not in ring:
            ring.add(item)
            item = int(data.item_successors[item])
        assert ring == members
        assert item == start


def test_without_noise_and_in_order_every_user_follows_the_ring():
    data = synthetic(order=1.0, noise=0.0)
    for user, sequence in enumerate(data.sequences()):
        assert len(sequence) == 12
        assert set(data.item_blocks[sequence]) == {data.user_blocks[user]}
        np.testing.assert_array_equal(data.item_successors[sequence[:-1]], sequence[1:])
    assert set(data.ratings.tolist()) == {4.0, 5.0}


def test_starts_differ():
    starts = [int(sequence[0]) for sequence in synthetic().sequences()]
    assert len(set(starts)) > 40  # of 60 items, 200 users


def test_no_user_has_an_item_twice():
    data = synthetic(interactions_per_user=15, order=0.5, noise=0.3)
    assert all(len(set(s.tolist())) == 15 for s in data.sequences())


def test_shares_of_noise_and_order_are_the_given_ones():
    data = synthetic(num_users=600, interactions_per_user=10, order=0.7, noise=0.2)
    sequences = data.sequences()
    inside = [data.item_blocks[s] == data.user_blocks[u] for u, s in enumerate(sequences)]
    # 600 * 9 draws: three standard deviations are 3 * sqrt(.2 * .8 / 5400) = .016
    assert np.mean([~i[1:] for i in inside]) == pytest.approx(0.2, abs=0.016)
    pairs = [(s[0], s[1]) for s, i in zip(sequences, inside) if i[1]]
    follows = np.mean([data.item_successors[a] == b for a, b in pairs])
    # The second item: in order, or one of the 14 unseen ones at random; about 480 pairs.
    assert follows == pytest.approx(0.7 + 0.3 / 14, abs=3 * (0.72 * 0.28 / 450) ** 0.5)


def test_order_continues_from_the_latest_item_of_the_block():
    data = synthetic(num_users=400, interactions_per_user=10, order=0.6, noise=0.0)
    follows, expected = [], []
    for sequence in data.sequences():
        for step in range(1, len(sequence)):
            seen = set(sequence[:step].tolist())
            item = int(data.item_successors[sequence[step - 1]])
            while item in seen:
                item = int(data.item_successors[item])
            follows.append(sequence[step] == item)
            expected.append(0.6 + 0.4 / (15 - step))  # in order, or random
    # 3600 draws: three standard deviations are 3 * sqrt(.65 * .35 / 3600) = .024
    assert np.mean(follows) == pytest.approx(np.mean(expected), abs=0.024)


def test_ratings_are_higher_in_the_liked_block():
    data = synthetic(noise=0.3)
    liked = data.item_blocks[data.items] == data.user_blocks[data.users]
    assert set(data.ratings[liked].tolist()) == {4.0, 5.0}
    assert set(data.ratings[~liked].tolist()) == {1.0, 2.0}


def test_texts_name_the_block_and_titles_are_unique():
    data = synthetic(num_items=64, num_blocks=8, interactions_per_user=8)
    words_of_block = [set() for _ in range(8)]
    for text, block in zip(data.catalogue.texts, data.item_blocks[1:]):
        words_of_block[block] |= {word for word in text.split() if not word[0].isdigit()}
    everything = [word for words in words_of_block for word in {w.strip(".,") for w in words}]
    assert len(everything) == len(set(everything))
    assert len(set(data.catalogue.titles)) == 64
    for title, text in zip(data.catalogue.titles, data.catalogue.texts):
        assert text.startswith(f"{title}. ")


def test_neither_item_indices_nor_rows_are_sorted_by_block():
    data = synthetic()
    assert np.mean(np.diff(data.item_blocks[1:]) == 0) < 0.5
    indices = np.arange(1, 61)
    assert np.mean(data.item_successors[1:] == indices + 1) < 0.2
    assert np.mean(np.diff(data.timestamps) > 0) == pytest.approx(0.5, abs=0.05)


def test_the_seed_determines_everything():
    first, again, other = synthetic(seed=1), synthetic(seed=1), synthetic(seed=2)
    assert first.catalogue == again.catalogue
    for name in ("users", "items", "ratings", "timestamps", "item_blocks", "item_successors"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_blocks": 1}, r"`num_blocks` must be 2 to 8\. Received: 1"),
        ({"num_blocks": 9}, r"`num_blocks` must be 2 to 8\. Received: 9"),
        ({"num_users": 3}, r"`num_users` must be at least `num_blocks` = 4\. Received: 3"),
        ({"interactions_per_user": 0}, r"1 to the size of a block, which is 15\. Received: 0"),
        ({"interactions_per_user": 16}, r"1 to the size of a block, which is 15\. Received: 16"),
        ({"order": 1.1}, r"`order` must be within 0 to 1\. Received: 1\.1"),
        ({"noise": float("nan")}, r"`noise` must be within 0 to 1\. Received: nan"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        synthetic(**arguments)
