"""Matrices of low rank in a student's encoder: against NumPy's decomposition, and the bytes."""

import numpy as np
import pytest
import tensorflow as tf
from planted_student import catalogue_of
from test_units import DIM, networks_of, other_student, scores_of, student_of

from tfrs_distill.compress import compress, quantization_of
from tfrs_distill.errors import InputError
from tfrs_distill.export import to_tflite
from tfrs_distill.models import DecayedAverage, RecencyAttention, RetrievalStudent


def kernels_of(student):
    """All matrices of the feed-forward networks, each as one product."""
    return [
        narrow.kernel.numpy() @ layer.kernel.numpy() if network.rank else layer.kernel.numpy()
        for network in networks_of(student)
        for narrow, layer in (
            (getattr(network, "into_hidden", None), network.hidden),
            (getattr(network, "into_out", None), network.out),
        )
    ]


@pytest.mark.parametrize("encoder", [DecayedAverage, RecencyAttention])
def test_products_have_the_error_of_the_dropped_singular_values(encoder, tmp_path):
    student = student_of(encoder)
    smaller = compress(student, ["dense-rank:3"])
    for kernel, product in zip(kernels_of(student), kernels_of(smaller)):
        left, values, right = np.linalg.svd(np.float64(kernel))
        expected = (left[:, :3] * values[:3]) @ right[:3]
        np.testing.assert_allclose(product, expected, atol=1e-5)
    smaller.save(tmp_path / "student.keras")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(scores_of(again), scores_of(smaller))


def test_matrices_of_that_rank_are_kept_without_the_removed_units_and_heads():
    student = student_of()
    rng = np.random.default_rng(0)
    for network in networks_of(student):
        for layer in (network.hidden, network.out):
            rows, columns = layer.kernel.shape
            product = rng.normal(size=[rows, 2]) @ rng.normal(size=[2, columns])
            layer.kernel.assign(product * 0.2)
    cut = ["units:9", "heads:2"]
    expected = scores_of(compress(student, cut))
    for rank in ("2", "99.99%"):
        smaller = compress(student, [*cut, f"dense-rank:{rank}"])
        assert smaller.query_tower.encoder.get_config()["rank"] == 2
        np.testing.assert_allclose(scores_of(smaller), expected, rtol=1e-4, atol=1e-4)


def test_a_rank_keeps_the_share_of_every_matrix():
    student = student_of(DecayedAverage)
    ranks = []
    for kernel in kernels_of(student):
        squares = np.square(np.linalg.svd(kernel, compute_uv=False))
        ranks.append(next(r for r in range(DIM) if squares[:r].sum() >= 0.6 * squares.sum()))
    found = compress(student, ["dense-rank:60%"]).query_tower.encoder.get_config()["rank"]
    assert found == max(ranks)


@pytest.mark.parametrize(
    ("width", "methods", "gone"),
    [
        (16, ["dense-rank:8"], 4 * (2 * 16 * 32 - 2 * 8 * (16 + 32))),
        # 64 x 128 and 128 x 64 with a byte per number; 16 x 64 has 1,024 numbers, so a byte as
        # well.
        (64, ["dense-rank:16", "int8"], 2 * 64 * 128 - 2 * 16 * (64 + 128)),
    ],
)
def test_a_file_of_low_rank_has_fewer_bytes(tmp_path, width, methods, gone):
    student = RetrievalStudent.from_history(
        num_items=50, max_history=4, embedding_dim=width, seed=0
    )
    sizes = []
    for name in (methods, methods[1:]):
        path = tmp_path / str(len(name)) / "student.tflite"
        quantization = quantization_of(methods)
        to_tflite(compress(student, name), path, catalogue_of(50), quantization=quantization)
        sizes.append(path.stat().st_size)
    # Two more products of matrices need their own operators, names and shapes.
    assert 0 < gone - (sizes[1] - sizes[0]) < 1200


@pytest.mark.parametrize(
    ("make", "methods", "words"),
    [
        # 12 x 24 has 288 numbers, two of rank 8 have as many.
        (student_of, ["dense-rank:8"], "not smaller than one of 12 x 24. The largest.* is 7"),
        (student_of, ["units:1", "dense-rank:1"], "12 x 1. Leave 'dense-rank' out"),
        (student_of, ["dense-rank:99.9%"], "of rank 12 are not smaller"),
        (lambda: student_of(rank=3), ["dense-rank:2"], "RecencyAttention with a rank"),
        (other_student, ["dense-rank:2"], "LastItem. Leave 'dense-rank' out"),
    ],
)
def test_methods_that_save_nothing_are_refused(make, methods, words):
    with pytest.raises(InputError, match=words):
        compress(make(), methods)


def test_small_matrices_that_stay_in_32_bits_are_counted_so():
    student = RetrievalStudent.from_history(num_items=9, max_history=4, embedding_dim=32, seed=0)
    # 32 x 64 takes 2,048 bytes in int8; of rank 6 it is 4 * 6 * (32 + 64), of rank 5 1,920.
    for bits in ("int8", "int4"):
        with pytest.raises(InputError, match="fewer than 1,024 numbers stay in 32 bits.* is 5"):
            compress(student, ["dense-rank:6", bits])
    for methods in (["dense-rank:5", "int8"], ["dense-rank:21"], ["dense-rank:21", "float16"]):
        assert compress(student, methods).query_tower.encoder.feed_forward.rank
