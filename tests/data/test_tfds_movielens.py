"""TFDS' MovieLens, with test rows through TFDS' mock data."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.data.movielens import from_tfds
from tfrs_distill.errors import InputError, MissingExtraError

tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `tfds` is not installed")

# user, film, title, genres, rating, seconds; TFDS' genres are Action 0, ..., Animation 2,
# Children 3, Comedy 4, ..., "(no genres listed)" 20
ROWS = [
    ("138", "357", "Four Weddings and a Funeral (1994)", [4], 4.0, 879024327),
    ("92", "9", "Café (1995)", [20], 2.5, 875640148),
    ("138", "1", "Toy Story (1995)", [2, 3, 4], 5.0, 879024327),
    ("7", "357", "Four Weddings and a Funeral (1994)", [4], 1.0, 875640149),
]


@pytest.fixture
def mock_rows():
    def mock(rows):
        signature = {
            "user_id": tf.TensorSpec([], tf.string),
            "movie_id": tf.TensorSpec([], tf.string),
            "movie_title": tf.TensorSpec([], tf.string),
            "movie_genres": tf.TensorSpec([None], tf.int64),
            "user_rating": tf.TensorSpec([], tf.float32),
            "timestamp": tf.TensorSpec([], tf.int64),
        }
        dicts = [dict(zip(signature, row)) for row in rows]
        return tfds.testing.mock_data(
            as_dataset_fn=lambda *_args, **_kwargs: tf.data.Dataset.from_generator(
                lambda: iter(dicts), output_signature=signature
            )
        )

    return mock


def test_rows_become_interactions(mock_rows):
    with mock_rows(ROWS):
        data = from_tfds("movielens/100k-ratings")
    assert data.name == "movielens-100k-ratings"
    assert data.catalogue.item_ids == ("1", "9", "357")
    assert data.catalogue.titles == (
        "Toy Story (1995)",
        "Café (1995)",
        "Four Weddings and a Funeral (1994)",
    )
    assert data.catalogue.texts == (
        "Toy Story (1995). Animation, Children, Comedy",
        "Café (1995)",
        "Four Weddings and a Funeral (1994). Comedy",
    )
    assert data.user_ids == ("138", "92", "7")
    assert data.users.tolist() == [0, 1, 0, 2]
    assert data.items.tolist() == [3, 2, 1, 3]
    assert data.ratings.tolist() == [4.0, 2.5, 5.0, 1.0]
    assert data.timestamps.tolist() == [879024327, 875640148, 879024327, 875640149]
    dtypes = [a.dtype for a in (data.users, data.items, data.ratings, data.timestamps)]
    assert dtypes == [np.int32, np.int32, np.float32, np.int64]


def test_many_batches_stay_in_order(mock_rows):
    rows = [
        (str(n % 11), str(n % 7), f"Film {n % 7}", [n % 7], 3.0, n) for n in range(5000)
    ]  # two batches
    with mock_rows(rows):
        data = from_tfds("movielens/1m-ratings:0.1.1")
    assert data.name == "movielens-1m-ratings"
    assert data.timestamps.tolist() == list(range(5000))
    assert data.users.tolist() == [n % 11 for n in range(5000)]
    assert data.items.tolist() == [n % 7 + 1 for n in range(5000)]
    assert data.catalogue.titles == tuple(f"Film {n}" for n in range(7))


def test_no_rows(mock_rows):
    with mock_rows([]), pytest.raises(InputError, match=r"'movielens/100k-ratings' has no rat"):
        from_tfds()


@pytest.mark.parametrize("name", ["mnist", "movielens/100k-movies", "my/100k-ratings"])
def test_other_sets_are_refused_before_anything_is_fetched(name):
    with pytest.raises(InputError, match=rf"MovieLens ratings was expected.* Received: '{name}'"):
        from_tfds(name)


def test_a_network_error_names_the_alternative(monkeypatch, tmp_path):
    def no_network(*_args, **_kwargs):
        raise ConnectionError("Failed to resolve 'files.grouplens.org'")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", no_network)
    with pytest.raises(
        InputError,
        match=r"ConnectionError: Failed to resolve .*network, or give .*`--data-dir DIR`",
    ):
        from_tfds(data_dir=tmp_path)
    assert not list(tmp_path.glob("**/*.tfrecord*"))


def test_unknown_set_of_movielens(tmp_path):
    with pytest.raises(InputError, match=r"TFDS could not load 'movielens/9k-ratings'"):
        from_tfds("movielens/9k-ratings", data_dir=tmp_path)


def test_without_tfds_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(MissingExtraError, match=r'pip install "tfrs-distill\[tfds\]"'):
        from_tfds()
