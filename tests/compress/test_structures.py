"""Structures of a table: their parts, against NumPy and planted tables."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.compress.compressed_table import CompressedTable
from tfrs_distill.compress.k_means import k_means
from tfrs_distill.compress.methods import Methods
from tfrs_distill.compress.structures import STRUCTURES
from tfrs_distill.compress.structures.structure import Exact, Indices, Tensor
from tfrs_distill.errors import InputError

ROWS, DIM = 40, 6
RNG = np.random.default_rng(0)
TABLE = np.float32(RNG.normal(size=[ROWS, DIM]))
WEIGHTS = RNG.uniform(0.5, 2.0, size=ROWS)
SIZES = {
    "plain": (),
    "low-rank": (3,),
    "product": (3, 8),
    "shared-rows": (12,),
    "hashed": (10, 2),
    "quotient-remainder": (7,),
}


def made(name, table=TABLE, weights=WEIGHTS, sizes=None):
    """A structure's table, computed from its parts, and the parts."""
    structure = STRUCTURES[name](*table.shape, *(SIZES[name] if sizes is None else sizes))
    fitted = structure.fit(table, weights)
    parts = fitted | {name: codes.numpy() for name, codes in assigned(structure, fitted).items()}
    for part, shape in (structure.floats() | structure.integers()).items():
        assert parts[part].shape == shape
    assert set(parts) == set(structure.floats()) | set(structure.integers())
    tensors = {name: Tensor(tf.constant(values)) for name, values in parts.items()}
    return structure.rows(tensors, tf.range(len(table))).numpy(), parts


def assigned(structure, fitted):
    """The integers that follow from the trained parts."""
    return structure.assigned({name: Tensor(tf.constant(part)) for name, part in fitted.items()})


def error(made_of, table=TABLE, weights=WEIGHTS):
    return (weights[:, None] * np.square(np.float64(made_of) - table)).sum()


def test_every_structure_is_tried_here():
    assert set(SIZES) == set(STRUCTURES)


@pytest.mark.parametrize("dim", [6, 5])
@pytest.mark.parametrize("name", SIZES)
def test_a_file_has_the_rows_of_training_and_their_products(name, dim):
    structure = STRUCTURES[name](ROWS, dim, *SIZES[name])
    fitted = structure.fit(TABLE[:, :dim], WEIGHTS)
    trained = {part: Tensor(tf.constant(values)) for part, values in fitted.items()}
    integers = fitted | {name: codes.numpy() for name, codes in assigned(structure, fitted).items()}
    stored = {part: Indices(integers[part]) for part in structure.integers()}
    for part in set(structure.floats()) - set(structure.latent):
        stored[part] = Exact(tf.constant(fitted[part]))
    table = structure.trained_rows(trained, tf.range(ROWS)).numpy()
    np.testing.assert_allclose(structure.rows(stored, None), table, rtol=1e-4, atol=1e-6)
    rows = np.array([3, 0, 39, 3, 17])
    of_both = structure.trained_rows(trained, rows), structure.rows(stored, tf.constant(rows))
    for found in of_both:
        np.testing.assert_allclose(found, table[rows], rtol=1e-4, atol=1e-6)
    queries = RNG.normal(size=[2, dim])
    found = structure.scores(stored, tf.constant(queries, tf.float32))
    np.testing.assert_allclose(found, queries @ np.float64(table).T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [1, 15, 16, 255, 256, 32_767, 32_768])
def test_indices_are_read_as_they_were(most):
    indices = np.array([[0, most, most // 2], [most, 0, 1]])
    stored = Indices(indices)
    for found, expected in ((stored.gather(None), indices), (stored.gather([1]), indices[[1]])):
        assert found.dtype == tf.int32
        np.testing.assert_array_equal(found, expected)


def test_a_rotation_reduces_the_error_of_few_bits_for_a_low_rank():
    """Compared with NumPy's decomposition, for a table with one large direction and many small."""
    rng = np.random.default_rng(1)
    table = np.float32(rng.normal(size=[500, 12]) * 0.7 ** np.arange(12))

    def left_over(left, right):
        scales = np.abs(left).max(axis=1, keepdims=True) / 1.5  # levels of 2 bits: -1.5 to 1.5
        levels = np.clip(np.floor(left / scales) + 0.5, -1.5, 1.5)
        return np.square(levels * scales @ right - table).sum()

    left, values, right = np.linalg.svd(table, full_matrices=False)
    size = np.sqrt(values[:8] / np.sqrt(500))
    plain = left_over(left[:, :8] * values[:8] / size, size[:, None] * right[:8])
    _, parts = made("low-rank", table, np.ones(500), (8,))
    assert left_over(parts["left"], parts["right"]) < 0.95 * plain


def test_plain_is_the_table():
    np.testing.assert_array_equal(made("plain")[0], TABLE)


def test_low_rank_has_the_error_of_the_dropped_singular_values():
    values = np.linalg.svd(np.sqrt(WEIGHTS)[:, None] * np.float64(TABLE), compute_uv=False)
    np.testing.assert_allclose(error(made("low-rank")[0]), np.square(values[3:]).sum(), rtol=1e-4)


def test_product_finds_planted_pieces():
    books = RNG.normal(size=[3, 5, 2]) * 10  # three codes per row, five entries of two numbers
    codes = RNG.integers(5, size=[ROWS, 3])
    table = np.float32(np.concatenate([books[part, codes[:, part]] for part in range(3)], axis=1))
    found, parts = made("product", table, sizes=(3, 5))
    assert parts["codes"].max() < 5
    # k-means may miss an entry: it must be much better than one entry per part.
    spread = error(np.broadcast_to(table.mean(axis=0), table.shape), table)
    assert error(found, table) < 0.05 * spread


def test_product_of_a_width_that_does_not_divide():
    found, parts = made("product", TABLE[:, :5])
    assert found.shape == (ROWS, 5) and parts["codebooks"].shape == (3 * 8, 2)


def test_product_has_the_nearest_entries():
    found, parts = made("product")
    books = np.float64(parts["codebooks"]).reshape(3, 8, 2)
    for row, codes, values in zip(TABLE, parts["codes"], found):
        for place in range(3):
            piece = slice(2 * place, 2 * place + 2)
            nearest = np.square(books[place] - row[piece]).sum(axis=1).argmin()
            assert codes[place] == nearest
            np.testing.assert_allclose(values[piece], books[place, nearest], rtol=1e-6)


def test_padding_of_a_product_does_not_choose_the_codes():
    structure = STRUCTURES["product"](2, 3, 2, 2)  # two pieces of two columns, the last is padding
    books = tf.constant([[0.0, 0.0], [9.0, 9.0], [1.0, 7.0], [2.0, 0.5]])
    parts = {"codebooks": Tensor(books), "latent": Tensor(tf.constant([[0.0, 0.0, 1.1, 0.0]] * 2))}
    assert structure.assigned(parts)["codes"].numpy().tolist() == [[0, 0]] * 2


def test_a_table_that_was_saved_with_other_parts_is_refused():
    config = CompressedTable(ROWS, DIM, Methods.of(["product:3:8"])).get_config()
    assert CompressedTable.from_config(config).get_config() == config
    with pytest.raises(InputError, match="parts codebooks, latent. Received: codebooks, codes"):
        CompressedTable.from_config(config | {"parts": ["codebooks", "codes"]})
    del config["parts"]  # as long as codes were not trained
    with pytest.raises(InputError, match="Received: none, saved by another version.*Compress"):
        CompressedTable.from_config(config)


def test_training_moves_the_codes_and_the_codebooks_of_a_product():
    structure = STRUCTURES["product"](2, 2, 2, 2)  # two rows of two pieces, two entries each
    books = tf.Variable([[0.0], [1.0], [5.0], [7.0]])
    latent = tf.Variable([[0.2, 5.5], [0.9, 6.9]])
    parts = {"codebooks": Tensor(books), "latent": Tensor(latent)}
    with tf.GradientTape() as tape:
        rows = structure.trained_rows(parts, tf.constant([0, 1]))
        loss = tf.reduce_sum(rows * [[1.0, 10.0], [100.0, 1000.0]])
    np.testing.assert_allclose(rows, [[0.0, 5.0], [1.0, 7.0]])
    of_books, of_latent = map(tf.convert_to_tensor, tape.gradient(loss, [books, latent]))
    np.testing.assert_allclose(of_latent, [[1.0, 10.0], [100.0, 1000.0]])
    np.testing.assert_allclose(of_books, [[1.0], [100.0], [10.0], [1000.0]])
    assert structure.assigned(parts)["codes"].numpy().tolist() == [[0, 0], [1, 1]]
    latent.assign_sub(0.0015 * of_latent)  # 6.9 becomes 5.4, nearer to 5 than to 7
    assert structure.assigned(parts)["codes"].numpy().tolist() == [[0, 0], [1, 0]]


def test_shared_rows_keeps_frequent_rows_and_joins_similar_ones():
    table = TABLE.copy()
    weights = np.full(ROWS, 0.01)
    weights[5:14] = 1.0  # nine of twelve rows have one item each
    others = np.flatnonzero(weights < 1)
    table[others] = np.float32(np.array([[-50.0], [0.0], [50.0]])[np.arange(len(others)) % 3])
    found, parts = made("shared-rows", table, weights)
    np.testing.assert_array_equal(found[5:14], table[5:14])
    assert len(np.unique(parts["row_of"][5:14])) == 9
    assert len(np.unique(parts["row_of"][others])) <= 3


@pytest.mark.parametrize(
    ("name", "buckets"),
    [
        ("hashed", lambda i: [i * 1009 % 1_000_003 % 10, 10 + i * 1511 % 1_000_003 % 10]),
        ("quotient-remainder", lambda i: [i // 7, 6 + i % 7]),
    ],
)
def test_sums_of_rows_are_the_least_squares_solution(name, buckets):
    found, parts = made(name)
    design = np.zeros([ROWS, len(parts["rows"])])
    for item in range(ROWS):
        design[item, buckets(item)] += 1.0
    roots = np.sqrt(WEIGHTS)[:, None]
    solution = np.linalg.lstsq(roots * design, roots * TABLE, rcond=None)[0]
    np.testing.assert_allclose(error(found), error(design @ solution), rtol=1e-3)
    assert error(found) < error(np.zeros_like(TABLE))


def test_a_table_that_is_a_sum_is_reproduced():
    items = np.arange(ROWS)
    first, second = RNG.normal(size=[6, DIM]), RNG.normal(size=[7, DIM])
    table = np.float32(first[items // 7] + second[items % 7])
    np.testing.assert_allclose(made("quotient-remainder", table)[0], table, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        ("low-rank", (6,), "rank must be from 1 to 5.*low-rank:6"),
        ("product", (7, 8), "from 1 to 6 codes"),
        ("product", (5, 8), "3 codes of 2 columns are enough"),
        ("product", (2, 41), "from 2 to 40 entries"),
        ("shared-rows", (40,), "from 4 to 39 rows"),
        ("hashed", (20, 2), "fewer than the rows"),
        ("hashed", (4, 5), "from 1 to 4 hash functions"),
        ("quotient-remainder", (39,), "fewer than the rows"),
    ],
)
def test_unsuitable_sizes_are_refused(name, sizes, words):
    with pytest.raises(InputError, match=words):
        STRUCTURES[name](ROWS, DIM, *sizes)


def test_a_table_has_no_larger_rank_than_rows():
    with pytest.raises(InputError, match="rank must be from 1 to 4"):
        STRUCTURES["low-rank"](4, DIM, 5)
    table = TABLE[:4]
    np.testing.assert_allclose(made("low-rank", table, WEIGHTS[:4], (4,))[0], table, atol=1e-5)


def test_a_million_rows_hash_within_32_bits():
    structure = STRUCTURES["hashed"](1_000_003, 4, 1000, 4)
    exact = [(1_000_002 * factor) % 1_000_003 % 1000 for factor in (1009, 1511, 769, 1997)]
    found = structure.buckets(tf.constant([1_000_002]))
    assert [int(bucket[0]) for bucket in found] == exact
    with pytest.raises(InputError, match="At most|at most 1,000,003"):
        STRUCTURES["hashed"](1_000_004, 4, 1000, 4)


def test_k_means_finds_planted_centres_and_uses_weights():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = np.repeat(centres, 20, axis=0) + RNG.normal(size=[60, 2]) * 0.01
    found, nearest = k_means(rows, np.ones(60), 3)
    assert len(np.unique(nearest)) == 3
    for centre in centres:
        assert np.abs(found - centre).sum(axis=1).min() < 0.1
    rows, weights = np.array([[0.0], [1.0], [100.0]]), np.array([3.0, 1.0, 1.0])
    found, nearest = k_means(rows, weights, 2)
    np.testing.assert_allclose(np.sort(found[:, 0]), [0.25, 100.0])
    assert nearest[0] == nearest[1] != nearest[2]
