"""Removed hidden units and heads: scores equal masked ones, fewer bytes, and the choice."""

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly
from planted_student import catalogue_of
from tiny_data import random_windows

from tfrs_distill import Distiller
from tfrs_distill.compress import compress, quantization_of
from tfrs_distill.compress.units import (
    ATTENTION_HEADS,
    HIDDEN_UNITS,
    head_importance,
    importances,
    unit_importance,
)
from tfrs_distill.errors import InputError
from tfrs_distill.export import to_tflite
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import (
    DecayedAverage,
    HistoryTower,
    ItemTower,
    RecencyAttention,
    RetrievalStudent,
)
from tfrs_distill.serving import Recommender

NUM_ITEMS, DIM, UNITS, HEADS = 300, 12, 24, 3
HISTORIES = [np.array([5, 7, 300]), np.array([1]), np.array([20, 3, 20, 9, 8, 7, 6, 5, 4])]
RNG = np.random.default_rng(3)


def student_of(encoder=RecencyAttention, seed=1, **changed):
    """A student whose weights are far from the initial ones."""
    arguments = {"num_blocks": 2, "num_heads": HEADS} if encoder is RecencyAttention else {}
    items = ItemTower(NUM_ITEMS, DIM, seed=0)
    tower = HistoryTower(items, encoder(6, DIM, seed=0, **(arguments | changed)))
    student = RetrievalStudent(tower, items)
    student.build_towers()
    rng = np.random.default_rng(seed)
    for weight in student.trainable_variables:
        weight.assign_add(rng.normal(size=weight.shape) * 0.3)
    return student


def networks_of(student):
    encoder = student.query_tower.encoder
    if isinstance(encoder, DecayedAverage):
        return [encoder.feed_forward]
    return [block[4] for block in encoder.blocks]


def scores_of(student):
    table = student.catalogue_embeddings()
    queries = [student.encode_histories(tf.constant(h[None], tf.int32)) for h in HISTORIES]
    return np.concatenate([tf.matmul(query, table, transpose_b=True) for query in queries])


def without(student, units=None, heads=None):
    """The complete student with removed parts at 0: bool [num_blocks, number], True for kept."""
    masked = compress(student, [])
    for block, network in enumerate(networks_of(masked)):
        if units is not None:
            network.out.kernel.assign(network.out.kernel * units[block][:, None])
        if heads is not None:
            value = masked.query_tower.encoder.blocks[block][2]
            columns = np.repeat(heads[block], DIM // HEADS)  # heads one after the other
            value.set_weights([weight * columns for weight in value.get_weights()])
    return masked


def distiller_of(student, **changed):
    teacher = student_of(seed=5, **changed)
    return Distiller(student, teacher, SoftTargetKLDivergence(temperature=2.0))


@pytest.fixture(scope="module")
def batches():
    windows = random_windows(num_items=NUM_ITEMS, max_history=6, num_users=16, seed=2)
    return list(windows.batches(8, seed=0))


@pytest.fixture(scope="module")
def student():
    return student_of()


@pytest.mark.parametrize("reads_order", [True, False])
def test_scores_equal_those_of_masked_units_and_heads(reads_order):
    student = student_of(reads_order=reads_order)
    units, heads = RNG.permuted([range(UNITS)] * 2, axis=1), RNG.permuted([range(3)] * 2, axis=1)
    importance = {"unit_importance": units, "head_importance": heads}
    smaller = compress(student, ["units:7", "heads:2"], **importance)
    expected = scores_of(without(student, units >= UNITS - 7, heads >= 1))
    assert np.abs(expected - scores_of(student)).max() > 0.1
    np.testing.assert_allclose(scores_of(smaller), expected, rtol=1e-5, atol=1e-5)
    assert smaller.query_tower.encoder.get_config()["hidden_units"] == 7
    kept = [sorted(np.flatnonzero(block >= 1)) for block in heads]
    assert smaller.query_tower.encoder.get_config()["kept_heads"] == kept


@pytest.mark.parametrize("encoder", [DecayedAverage, RecencyAttention])
def test_each_block_keeps_its_own_units(encoder):
    student = student_of(encoder)
    blocks = len(networks_of(student))
    importance = RNG.permuted([np.arange(float(UNITS))] * blocks, axis=1)
    smaller = compress(student, ["units:6"], unit_importance=importance)
    expected = scores_of(without(student, importance >= UNITS - 6))
    np.testing.assert_allclose(scores_of(smaller), expected, rtol=1e-4, atol=1e-5)


def test_an_encoder_without_some_heads_and_with_a_rank_can_be_compressed_further():
    student = student_of(kept_heads=[[0, 2], [1, 2]], rank=4)
    units, heads = np.array([range(UNITS)] * 2), np.array([[1, 2], [2, 1]])
    importance = {"unit_importance": units, "head_importance": heads}
    smaller = compress(student, ["heads:1", "units:6"], **importance)
    assert smaller.query_tower.encoder.kept_heads == ((2,), (1,))
    masked = compress(student, [])
    for block, place in enumerate((1, 0)):
        layers = masked.query_tower.encoder.blocks[block]
        columns = np.repeat(np.arange(2) == place, DIM // HEADS)
        layers[2].set_weights([weight * columns for weight in layers[2].get_weights()])
        layers[4].into_out.kernel.assign(layers[4].into_out.kernel * (units[0] >= 18)[:, None])
    np.testing.assert_allclose(scores_of(smaller), scores_of(masked), rtol=1e-5, atol=1e-5)


def test_by_default_units_and_heads_of_small_weights_are_removed(student):
    encoder, width = student.query_tower.encoder, DIM // HEADS
    units, heads = (np.stack(p.sizes(encoder)) for p in (HIDDEN_UNITS, ATTENTION_HEADS))
    for block, (_, _, value, project, network) in enumerate(encoder.blocks):
        hidden, out = network.hidden.kernel.numpy(), network.out.kernel.numpy()
        readers = project.kernel.numpy() + np.eye(DIM)  # the projection is added to what it reads
        of_units = [np.linalg.norm(hidden[:, u]) * np.linalg.norm(out[u]) for u in range(UNITS)]
        np.testing.assert_allclose(units[block], of_units, rtol=1e-5)
        of_heads = [
            np.linalg.norm(value.kernel.numpy()[:, part]) * np.linalg.norm(readers[part])
            for part in (slice(h * width, (h + 1) * width) for h in range(HEADS))
        ]
        np.testing.assert_allclose(heads[block], of_heads, rtol=1e-5)
    smaller = compress(student, ["units:5", "heads:1"])
    most = np.sort(np.argsort(-units, axis=1)[:, :5], axis=1)
    for block, network in enumerate(networks_of(smaller)):
        whole = networks_of(student)[block].hidden.kernel.numpy()
        np.testing.assert_array_equal(network.hidden.kernel, whole[:, most[block]])
    assert smaller.query_tower.encoder.kept_heads == tuple((h,) for h in heads.argmax(axis=1))


@pytest.mark.parametrize("encoder", [DecayedAverage, RecencyAttention])
def test_importance_is_the_square_of_the_change_of_the_loss(encoder, batches):
    student = student_of(encoder)
    distiller = distiller_of(student, encoder=encoder)
    found = importances(student, distiller, batches)
    blocks, number = len(networks_of(student)), HEADS if encoder is RecencyAttention else 0
    assert {name: one.shape for name, one in found.items()} == {
        "unit_importance": (blocks, UNITS),
        **({"head_importance": (blocks, HEADS)} if number else {}),
    }

    def of_changed(weights, rows):
        """The mean square of the loss' slope when some of the weights are scaled together."""
        whole, step, squares = [weight.numpy() for weight in weights], 1e-2, []
        for batch in batches:
            losses = []
            for sign in (1, -1):  # a hundredth larger and smaller
                for weight, values in zip(weights, whole):
                    weight.assign(values * np.where(rows, 1 + sign * step, 1.0))
                losses.append(float(distiller.loss_terms(batch, False)["total_loss"]))
            squares.append(((losses[0] - losses[1]) / (2 * step)) ** 2)
        for weight, values in zip(weights, whole):
            weight.assign(values)
        return np.mean(squares)

    for block, unit in ((0, 0), (blocks - 1, 13)):
        rows = np.arange(UNITS)[:, None] == unit
        expected = of_changed([networks_of(student)[block].out.kernel], rows)
        np.testing.assert_allclose(found["unit_importance"][block, unit], expected, rtol=0.05)
    for block in range(blocks if number else 0):
        value = student.query_tower.encoder.blocks[block][2]
        for head in (block, 2):  # a head is scaled by its values
            columns = np.arange(DIM) // (DIM // HEADS) == head
            expected = of_changed([value.kernel, value.bias], columns)
            np.testing.assert_allclose(found["head_importance"][block, head], expected, rtol=0.05)


@pytest.mark.parametrize("methods", [["heads:1", "units:6"], nightly(["heads:2", "int4"])])
def test_the_file_and_a_saved_student_return_the_same_as_the_student(student, tmp_path, methods):
    smaller, quantization = compress(student, methods), quantization_of(methods)
    scores = scores_of(smaller)
    smaller.save(tmp_path / "student.keras")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_allclose(scores_of(again), scores, rtol=1e-6)
    sizes = {}
    for name, one in (
        ("whole", compress(student, ["int4"] if "int4" in methods else [])),
        ("smaller", smaller),
    ):
        path = tmp_path / name / "student.tflite"
        to_tflite(one, path, catalogue_of(NUM_ITEMS), quantization=quantization, k=20)
        sizes[name] = path.stat().st_size
    found, items = Recommender.load(path.parent)(HISTORIES, 20)
    allowed = {"float32": 1e-5, "int8": 2e-2}[quantization]  # 8-bit products: one in 127
    expected = np.take_along_axis(scores, items, axis=1)
    assert np.abs(found - expected).max() < allowed * np.abs(scores).max()
    if quantization == "float32":
        # Of each of 2 blocks 8 of 12 entries of query, key and value are removed, each with 12
        # weights and a bias, of the first projection 8 of 12 rows, and biases of 6 distances of 2
        # heads, which a file has for 6 positions; 18 of 24 units, each 12 in and out and a bias.
        gone = 2 * 8 * 3 * (12 + 1) + 8 * 12 + 2 * 2 * 6 * 6 + 2 * 18 * (2 * 12 + 1)
        # The selection of heads needs a few operators.
        assert 0.8 * 4 * gone < sizes["whole"] - sizes["smaller"] < 1.05 * 4 * gone


@pytest.mark.nightly
def test_a_student_with_fewer_heads_can_be_distilled(student, batches):
    smaller = compress(student, ["heads:1", "units:6", "int8"])
    distiller = Distiller(
        smaller, student, SoftTargetKLDivergence(temperature=2.0), student_loss_weight=0.0
    )
    distiller.compile(tf.keras.optimizers.Adam(0.01))
    data = tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature=tf.nest.map_structure(_spec, batches[0])
    )
    history = distiller.fit(data, epochs=15, verbose=0).history["total_loss"]
    assert history[-1] < 0.7 * history[0]


def _spec(tensor):
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


@pytest.mark.parametrize("encoder", [DecayedAverage, RecencyAttention])
def test_parts_of_a_student_in_mixed_precision(encoder):
    student = student_of(encoder, dtype="mixed_float16")
    has_heads, blocks = encoder is RecencyAttention, len(networks_of(student))
    smaller = compress(
        student,
        ["units:6", *["heads:1"] * has_heads],
        unit_importance=np.tile(np.arange(UNITS), [blocks, 1]),
        head_importance=np.tile([0, 2, 1], [blocks, 1]),
    )
    for network, whole in zip(networks_of(smaller), networks_of(student)):
        np.testing.assert_array_equal(network.hidden.kernel, whole.hidden.kernel.numpy()[:, 18:])
        np.testing.assert_array_equal(network.out.kernel, whole.out.kernel.numpy()[18:])
    if has_heads:
        (found, whole) = (one.query_tower.encoder for one in (smaller, student))
        np.testing.assert_array_equal(found.distance_bias, whole.distance_bias.numpy()[:, 1:2])


@tf.keras.utils.register_keras_serializable("tests")
class LastItem(tf.keras.layers.Layer):
    """An unsupported encoder: the last item's embedding."""

    def __init__(self, max_history, embedding_dim, **kwargs):
        super().__init__(**kwargs)
        self.max_history, self.embedding_dim = max_history, embedding_dim

    def call(self, item_embeddings, mask, training=None):
        return item_embeddings

    def last(self, item_embeddings, mask):
        return item_embeddings[:, -1]

    def get_config(self):
        sizes = {"max_history": self.max_history, "embedding_dim": self.embedding_dim}
        return super().get_config() | sizes


def other_student():
    items = ItemTower(NUM_ITEMS, DIM)
    student = RetrievalStudent(HistoryTower(items, LastItem(6, DIM)), items)
    student.build_towers()
    return student


def average_student():
    return student_of(DecayedAverage)


@pytest.mark.parametrize(
    ("make", "methods", "arguments", "words"),
    [
        (other_student, ["units:3"], {}, "encoder with hidden units.*LastItem. Leave 'units' out"),
        (other_student, ["heads:1"], {}, "encoder with attention heads.*LastItem"),
        (average_student, ["heads:1"], {}, "heads.*DecayedAverage. Leave 'heads' out"),
        (average_student, ["units:24"], {}, "fewer than each block has, 24. Received: units:24"),
        (student_of, ["heads:3"], {}, "fewer than each block has, 3. Received: heads:3"),
        (student_of, ["units:24"], {}, "fewer than each block has, 24"),
        (
            student_of,
            ["heads:1"],
            {"head_importance": np.ones(3)},
            r"`head_importance` must be 3 numbers in each of 2 blocks.*shape \(3,\)",
        ),
        (student_of, ["heads:1"], {"head_importance": np.full([2, 3], np.nan)}, "with NaN"),
        (
            student_of,
            ["units:3"],
            {"unit_importance": np.ones([2, 3])},
            r"`unit_importance` must be 24 numbers in each of 2 blocks.*shape \(2, 3\)",
        ),
    ],
)
def test_invalid_arguments_are_refused(make, methods, arguments, words):
    with pytest.raises(InputError, match=words):
        compress(make(), methods, **arguments)


def test_an_unsupported_encoder_is_not_changed():
    student = other_student()
    np.testing.assert_allclose(scores_of(compress(student, [])), scores_of(student), rtol=1e-5)


def test_importance_needs_units_and_batches(student):
    with pytest.raises(InputError, match="at least one batch"):
        head_importance(student, distiller_of(student), [])
    with pytest.raises(InputError, match="attention heads.*DecayedAverage"):
        head_importance(average_student(), None, [])
    with pytest.raises(InputError, match="hidden units.*LastItem"):
        unit_importance(other_student(), None, [])


@pytest.mark.parametrize("methods", [["float16"], ["units:9", "heads:2", "dense-rank:3"]])
def test_a_frozen_block_changes_nothing(methods):
    """Keras lists the weights of frozen layers after all others."""
    student = student_of()
    expected = scores_of(compress(student, methods))
    for layer in student.query_tower.encoder.blocks[0]:
        layer.trainable = False
    np.testing.assert_array_equal(scores_of(compress(student, methods)), expected)
