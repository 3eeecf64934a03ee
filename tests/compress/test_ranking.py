"""Compressed ranking students: in Keras, in files, fine-tuned, and with a size limit."""

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly
from tensorflow.lite.python import schema_py_generated as schema

from tfrs_distill import Distiller, columns
from tfrs_distill.compress import compress, quantization_of, to_budget
from tfrs_distill.compress.compressed_table import CompressedTable
from tfrs_distill.compress.units import importances, unit_importance
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact, to_tflite
from tfrs_distill.models import (
    Binary,
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NextItem,
    Ordinal,
    RankingStudent,
    Regression,
    TextFeature,
)
from tfrs_distill.serving import Ranker

USERS, ITEMS, DIM, WORDS = 3000, 1200, 16, 30
UNITS = (24, 9)
TASKS = ("rating", "like", "stars", "next_item")
RNG = np.random.default_rng(0)


def student_of(*names, seed=1, **changed):
    """Tables of 3,001, 1,201 and 31 rows; weights far from the initial ones."""
    item = ItemFeature(ITEMS, DIM, np.random.default_rng(9).normal(size=[ITEMS, 5]))
    features = [
        IdFeature("user", USERS, DIM, side="query"),
        HistoryFeature(item, 3, reads_ratings=False),
        item,
        TextFeature("words", WORDS, 4, side="item"),
    ]
    tasks = {
        "rating": Regression("rating", low=-3, high=3),
        "like": Binary("like"),
        "stars": Ordinal("stars"),
        "next_item": NextItem("next_item", ITEMS),
    }
    arguments = {"hidden_units": UNITS, "num_cross_layers": 1, "seed": 0} | changed
    student = RankingStudent(features, [tasks[name] for name in names or TASKS], **arguments)
    rng = np.random.default_rng(seed)
    for weight in student.trainable_variables:
        weight.assign(rng.normal(size=weight.shape) * 0.3)
    return student


def rows_of(num_rows, seed=0):
    """Known and unknown ids, empty histories."""
    rng = np.random.default_rng(seed)
    rows = {
        "user": rng.integers(0, USERS + 2, num_rows),
        "history": rng.integers(0, ITEMS + 2, [num_rows, 4]),
        "item_id": rng.integers(0, ITEMS + 1, num_rows),
        "words": rng.integers(0, WORDS + 2, [num_rows, 5]),
    }
    rows["history"][0] = 0
    return {name: values.astype(np.int32) for name, values in rows.items()}


def predictions(student, rows):
    found = student.predictions({name: tf.constant(values) for name, values in rows.items()})
    return {task: values.numpy() for task, values in found.items()}


def feature(student, name):
    return next(f for f in student.table_features if f.name == name)


def table_of(student, name):
    """A feature's embeddings, float64 [num_rows, dim]."""
    one = feature(student, name)
    rows = tf.range(one.table.num_rows)
    return np.float64(one.embed(rows) if name == "item" else one.table.gather(rows))


def constants_of(path):
    """(shape, type) of every constant of a `.tflite` file."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    return {(tuple(t.shape), t.type) for t in tensors if model.buffers[t.buffer].data is not None}


@pytest.fixture(scope="module")
def student():
    return student_of()


@pytest.mark.parametrize(
    "methods",
    [
        [],
        nightly(["float16"]),
        ["int8"],
        nightly(["int4"]),
        nightly(["int2:column"]),
        nightly(["low-rank:5"]),
        nightly(["low-rank:5", "int8"]),
        ["units:7", "dense-rank:6", "product:4:32", "int4"],
        nightly(["shared-rows:300", "int4"]),
        nightly(["hashed:200:2", "int8"]),
        nightly(["quotient-remainder:20", "int8"]),
    ],
    ids="+".join,
)
def test_files_and_a_saved_student_return_the_same_as_the_student(student, tmp_path, methods):
    before = [weight.numpy() for weight in student.weights]
    smaller, rows = compress(student, methods), rows_of(20)
    for weight, value in zip(student.weights, before):
        np.testing.assert_array_equal(weight, value)
    expected = predictions(smaller, rows)
    smaller.save(tmp_path / "student.keras")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    for task, values in predictions(again, rows).items():
        np.testing.assert_array_equal(values, expected[task])
    artefact = export_artefact(smaller, tmp_path / "1")
    for format in ("tflite", "saved_model"):
        ranker = Ranker.load(artefact.folder, format=format)
        for task, values in ranker.score(rows).items():
            # Sums of some dozens of products in another order.
            np.testing.assert_allclose(values, expected[task], atol=2e-5)
    query = {name: rows[name][3] for name in ("user", "history")}
    items = {name: rows[name] for name in ("item_id", "words")}
    pairs = {name: np.repeat(rows[name][3:4], 20, axis=0) for name in query} | items
    ranked = Ranker.load(artefact.folder).rank(query=query, items=items)
    for task, values in predictions(smaller, pairs).items():
        np.testing.assert_allclose(ranked[task], values, atol=2e-5)
    path = tmp_path / "small" / "student.tflite"
    to_tflite(smaller, path, quantization=quantization_of(methods))
    allowed = {"float32": 1e-4, "float16": 5e-3, "int8": 0.05}[quantization_of(methods)]
    for task, values in Ranker.load(path).score(rows).items():
        spread = np.abs(expected[task]).max()
        assert np.abs(values - expected[task]).max() < allowed * max(1.0, spread)


def test_without_methods_it_is_the_student(student):
    rows = rows_of(20)
    found, expected = predictions(compress(student, []), rows), predictions(student, rows)
    for task in TASKS:
        np.testing.assert_array_equal(found[task], expected[task])


@pytest.mark.parametrize("methods", [["int8"], nightly(["units:7", "dense-rank:6", "int4"])])
def test_a_frozen_layer_changes_nothing(tmp_path, methods):
    """Keras lists the weights of frozen layers after all others."""
    student, rows = student_of(num_cross_layers=3), rows_of(20)
    expected = predictions(compress(student, methods), rows)
    student.crosses[1].trainable = False
    smaller = compress(student, methods)
    for task, values in predictions(smaller, rows).items():
        np.testing.assert_array_equal(values, expected[task])
    smaller.crosses[1].trainable = False
    score = Ranker.load(export_artefact(smaller, tmp_path / "1").folder).score(rows)
    for task, values in score.items():
        np.testing.assert_allclose(values, expected[task], atol=2e-5)


def test_an_item_is_compressed_together_with_its_projected_vector(student):
    """Compared with NumPy's decomposition of the sum of projected vectors and embeddings."""
    item = feature(student, "item")
    projection = item.vectors.projection
    vectors = np.random.default_rng(9).normal(size=[ITEMS, 5])
    whole = np.float64(item.table.embeddings)
    whole[1:] += vectors @ np.float64(projection.kernel) + np.float64(projection.bias)
    smaller = compress(student, ["low-rank:6"])
    left, values, right = np.linalg.svd(whole)
    expected = (left[:, :6] * values[:6]) @ right[:6]
    np.testing.assert_allclose(table_of(smaller, "item"), expected, atol=1e-4)
    compressed = feature(smaller, "item")
    assert compressed.vectors is None and isinstance(compressed.table, CompressedTable)
    history = next(f for f in smaller.features if f.name == "history")
    assert history.item_feature is compressed


def test_numbers_of_4_bits_are_the_nearest_of_16_levels_per_row(student):
    whole = np.float64(feature(student, "user").table.embeddings)
    found = table_of(compress(student, ["int4"]), "user")
    for row, levels in zip(whole[:200], found[:200]):
        step = np.diff(np.unique(np.abs(levels.round(6)))).min()
        codes = levels / step + 7.5
        np.testing.assert_allclose(codes, np.round(codes), atol=2e-2)
        assert codes.min() > -0.1 and codes.max() < 15.1
        inside = np.abs(row) < 7.5 * step
        assert np.abs(row - levels)[inside].max() < 0.51 * step


def test_the_file_holds_packed_codes_and_is_smaller(student, tmp_path):
    sizes, kinds = {}, {}
    for methods in ([], ["int8"], ["int4"], ["int4", "units"], ["product:4:32", "int4"]):
        requested = ["units:4", "int4"] if "units" in methods else methods
        path = tmp_path / "+".join(methods).replace(":", "-") / "student.tflite"
        to_tflite(compress(student, requested), path, quantization=quantization_of(requested))
        name = "+".join(methods)
        sizes[name], kinds[name] = path.stat().st_size, constants_of(path)
    tables = [(USERS + 1, DIM), (ITEMS + 1, DIM)]
    uint8, int8, float32 = (
        getattr(schema.TensorType, name) for name in ("UINT8", "INT8", "FLOAT32")
    )
    assert {(shape, float32) for shape in tables} <= kinds[""]
    assert {(shape, int8) for shape in tables} <= kinds["int8"]
    assert {(shape, schema.TensorType.INT4) for shape in tables} <= kinds["int4"]
    assert {((rows, 4), uint8) for rows, _ in tables} <= kinds["product:4:32+int4"]
    for name in ("int4", "product:4:32+int4"):
        assert not [one for one in kinds[name] if one[0] in tables and one[1] in (int8, float32)]
        assert not [one for one in kinds[name] if one[0] == (ITEMS, DIM)]
    rows = USERS + ITEMS + 2
    # 1 in place of 4 bytes, and half of one and a scale per row in place of 1 byte: besides the
    # table there are matrices, and operators that unpack codes.
    assert abs(sizes[""] - sizes["int8"] - 3 * rows * DIM) < 25_000
    gained = sizes["int8"] - sizes["int4"] - rows * (DIM // 2 - 1)
    assert -9_000 < gained < 0
    assert sizes["int4"] - sizes["product:4:32+int4"] > rows * (DIM // 2 + 1 - 4) - 3_000
    # Of 24 and 9 units 20 and 5 are removed, with their input and output weights.
    read = DIM + DIM + 1 + DIM + 4
    gone = 4 * (20 * (read + 1) + 24 * 9 - 4 * 4 + 5 + 5 * 6) - 3 * read * 24 * (read * 24 >= 1024)
    assert abs(sizes["int4"] - sizes["int4+units"] - gone) < 700


def test_a_saved_model_holds_no_table_in_32_bits(student, tmp_path):
    artefact = export_artefact(compress(student, ["int4"]), tmp_path / "1")
    whole = export_artefact(student, tmp_path / "2")

    def size(folder):
        return sum(p.stat().st_size for p in folder.rglob("*") if "tflite" not in p.name)

    rows = USERS + ITEMS + 2
    # One byte per number, as TensorFlow has no smaller ones, and once, though `score` and `rank`
    # both read them; operators take the rest.
    assert size(whole.folder) - size(artefact.folder) > rows * (4 * DIM - DIM - 1) - 60_000


def test_every_table_has_the_form_of_the_fewest_bytes(student):
    def forms(methods, of=student):
        tables = {f.name: f.table for f in compress(of, methods).table_features}
        return {
            name: (table.methods.structure, table.methods.bits)
            for name, table in tables.items()
            if isinstance(table, CompressedTable)
        }

    # 31 rows of 4 stay in 32 bits in the converter's files; 2 bytes each would be half.
    assert forms(["float16"]) == {name: ("plain", 16) for name in ("user", "item", "words")}
    assert forms(["int8"]) == {name: ("plain", 8) for name in ("user", "item")}
    assert forms(["int4"]) == {name: ("plain", 4) for name in ("user", "item")}
    # 1,300 rows are more than the items have: they get only the bits.
    shared = forms(["shared-rows:1300", "int4"])
    assert shared == {"user": ("shared-rows", 4), "item": ("plain", 4)}
    assert forms(["shared-rows:1300"]) == {"user": ("shared-rows", 32)}
    # A table of few rows has fewer bytes in 8 bits than in 4 with the operators for unpacking.
    few = RankingStudent(
        [IdFeature("a", 9000, DIM, "query"), IdFeature("b", 80, DIM, "item")], [Binary("like")]
    )
    assert forms(["int4"], few) == {"a": ("plain", 4), "b": ("plain", 8)}


def test_chosen_forms_give_smaller_files_than_others(tmp_path):
    """A table of 20,000 bytes in 8 bits and one of 1,296, in files."""

    def size(rows, methods):
        user = IdFeature("user", rows - 1, DIM, "query")
        student = RankingStudent([user, ItemFeature(9, 2)], [Binary("like")], seed=0)
        path = tmp_path / f"{rows}{'+'.join(methods)}" / "student.tflite"
        smaller = compress(student, methods)
        to_tflite(smaller, path, quantization=quantization_of(methods))
        return path.stat().st_size

    assert size(1250, ["int4"]) < size(1250, ["int8"])
    with pytest.raises(InputError, match="None of the student's tables .* 4 bits.*user of 81 x 16"):
        size(81, ["int4"])


def of_all_masked(student, kept):
    """The complete student with the removed hidden units set to 0."""
    masked = compress(student, [])
    layers = [*masked.hidden_layers[1:]], [h for n, h in masked.heads.items() if n != "next_item"]
    for units, readers in zip(kept, layers):
        for reader in readers:
            reader.kernel.assign(reader.kernel * np.float32(units)[:, None])
    return masked


@pytest.mark.parametrize("number", [4, 12])
def test_the_most_important_units_of_every_wider_layer_are_kept(student, number):
    importance = [RNG.permuted(np.arange(float(units))) for units in UNITS]
    smaller = compress(student, [f"units:{number}"], unit_importance=importance)
    assert smaller.hidden_units == tuple(min(units, number) for units in UNITS)
    kept = [one >= len(one) - number for one in importance]
    rows = rows_of(30)
    expected = predictions(of_all_masked(student, kept), rows)
    for task, values in predictions(smaller, rows).items():
        np.testing.assert_allclose(values, expected[task], rtol=1e-4, atol=1e-5)
    assert np.abs(expected["rating"] - predictions(student, rows)["rating"]).max() > 0.01


def test_by_default_units_of_small_weights_are_removed(student):
    smaller = compress(student, ["units:9"])
    first, second = (layer.kernel.numpy() for layer in student.hidden_layers)
    sizes = [np.linalg.norm(first[:, u]) * np.linalg.norm(second[u]) for u in range(UNITS[0])]
    kept = np.sort(np.argsort(sizes)[-9:])
    np.testing.assert_array_equal(smaller.hidden_layers[0].kernel, first[:, kept])


def batch_of(num_rows=16, seed=3):
    rng = np.random.default_rng(seed)
    labels = {
        columns.label("rating"): rng.uniform(-3, 3, num_rows),
        columns.label("like"): rng.integers(0, 2, num_rows),
        columns.label("stars"): rng.integers(1, 6, num_rows),
    }
    rows = rows_of(num_rows, seed) | {n: v.astype(np.float32) for n, v in labels.items()}
    return {name: tf.constant(values) for name, values in rows.items()}


def test_importance_is_the_square_of_the_change_of_the_loss():
    student, teacher = student_of("rating", "like"), student_of("rating", "like", seed=7)
    losses = {name: task.distillation_loss(1.0) for name, task in student.tasks.items()}
    distiller = Distiller(student, teacher, losses)
    batches = [batch_of(seed=seed) for seed in (3, 4)]
    found = unit_importance(student, distiller, batches)
    assert [len(of_layer) for of_layer in found] == list(UNITS)
    layers = [[student.hidden_layers[1]], list(student.heads.values())]
    for place, unit in ((0, 5), (1, 2)):
        kernels, slopes = [layer.kernel for layer in layers[place]], []
        whole = [kernel.numpy() for kernel in kernels]
        for batch in batches:
            values = []
            for change in (1.01, 0.99):
                for kernel, value in zip(kernels, whole):
                    rows = np.arange(len(value))[:, None] == unit
                    kernel.assign(value * np.where(rows, change, 1.0))
                values.append(float(distiller.loss_terms(batch, False)["total_loss"]))
            slopes.append((values[0] - values[1]) / 0.02)
        for kernel, value in zip(kernels, whole):
            kernel.assign(value)
        np.testing.assert_allclose(found[place][unit], np.mean(np.square(slopes)), rtol=0.05)


def test_crosses_have_the_error_of_the_dropped_singular_values(student, tmp_path):
    smaller = compress(student, ["dense-rank:10"])
    (kernel, bias), (down, up, again) = (s.crosses[0].get_weights() for s in (student, smaller))
    left, values, right = np.linalg.svd(np.float64(kernel))
    np.testing.assert_allclose(down @ up, (left[:, :10] * values[:10]) @ right[:10], atol=1e-5)
    np.testing.assert_array_equal(again, bias)
    sizes = []
    for number, one in enumerate((student, smaller)):
        to_tflite(one, tmp_path / str(number) / "student.tflite")
        sizes.append((tmp_path / str(number) / "student.tflite").stat().st_size)
    width = len(kernel)
    # One more product of matrices needs its own operators, in `score` and in `rank`.
    assert 0 <= 4 * (width**2 - 20 * width) - (sizes[0] - sizes[1]) < 1_500


def test_distillation_reduces_the_loss_of_compression(student):
    smaller = compress(student, ["units:6", "int2:tensor"])
    losses = {name: task.distillation_loss(1.0) for name, task in student.tasks.items()}
    distiller = Distiller(smaller, student, losses, student_loss_weight=0.0)
    distiller.compile(tf.keras.optimizers.Adam(0.01))
    batches = tf.data.Dataset.from_tensor_slices(batch_of(64)).batch(16)
    history = distiller.fit(batches, epochs=12, verbose=0).history["total_loss"]
    assert history[-1] < 0.8 * history[0]
    for name in ("user", "item"):
        table = table_of(smaller, name)
        assert len(np.unique(np.abs(table).round(5))) <= 2  # 4 levels of one scale, of two signs


def test_gradients_pass_to_the_unrounded_numbers(student):
    smaller = compress(student, ["int4"])
    batch, table = batch_of(), feature(smaller, "user").table
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(smaller(batch, training=True).heads["like"].logits)
    gradient = tf.convert_to_tensor(tape.gradient(total, table.floats["table"])).numpy()
    read_users = np.unique([user if 0 < user <= USERS else 0 for user in batch["user"].numpy()])
    assert set(np.flatnonzero(np.abs(gradient).sum(axis=1))) == set(read_users)


def test_at_inference_no_id_is_hidden():
    features = [
        IdFeature("user", USERS, DIM, "query", id_dropout=0.5, seed=0),
        ItemFeature(ITEMS, DIM, id_dropout=0.5, seed=0),
    ]
    smaller = compress(RankingStudent(features, [Binary("like")], seed=0), ["int4"])
    for name, column in (("user", "user"), ("item", "item_id")):
        one = feature(smaller, name)
        assert one.id_dropout == 0.5
        ids = {column: tf.range(1, 201)}
        table = np.float32(table_of(smaller, name))
        np.testing.assert_array_equal(one(ids, training=False), table[1:201])
        hidden = (one(ids, training=True).numpy() == table[0]).all(axis=1)
        assert 50 < hidden.sum() < 150


def test_a_vector_merged_into_a_row_is_not_hidden_with_the_id():
    vectors = np.random.default_rng(9).normal(size=[ITEMS, 5])
    item = ItemFeature(ITEMS, DIM, vectors, id_dropout=0.5, vector_dropout=0.5, seed=0)
    smaller = compress(RankingStudent([item], [Binary("like")], seed=0), ["int4"])
    one = feature(smaller, "item")
    ids = tf.range(1, 201)
    table = np.float32(table_of(smaller, "item"))
    np.testing.assert_array_equal(one({"item_id": ids}, training=True), table[1:201])
    np.testing.assert_array_equal(one.embed(ids, training=True), table[1:201])


def test_two_histories_may_share_an_item_feature_that_is_not_in_the_model(tmp_path):
    item = ItemFeature(ITEMS, DIM, seed=1)
    histories = [HistoryFeature(item, n, reads_ratings=False, name=f"last_{n}") for n in (3, 2)]
    student = RankingStudent(histories, [Binary("like")], seed=0)
    smaller, rows = compress(student, ["int4"]), rows_of(20)
    assert len(smaller.table_features) == 1
    artefact = export_artefact(smaller, tmp_path / "1")
    expected = predictions(smaller, {"history": rows["history"]})["like"]
    found = Ranker.load(artefact.folder).score({"history": rows["history"]})["like"]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_in_mixed_precision_tables_are_still_those_of_the_file(tmp_path):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        smaller = compress(student_of("like"), ["int4"])
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    user = feature(smaller, "user")
    assert user.compute_dtype == "float16"
    stored = user.table.stored.gather(tf.range(USERS + 1))
    np.testing.assert_allclose(user.table.gather(tf.range(USERS + 1)), stored, rtol=1e-6)
    rows = rows_of(20)
    score = Ranker.load(export_artefact(smaller, tmp_path / "1").folder).score(rows)
    np.testing.assert_allclose(score["like"], predictions(smaller, rows)["like"], atol=5e-3)


def test_a_table_that_diverged_in_fine_tuning_is_not_exported(student, tmp_path):
    smaller = compress(student, ["int4"])
    rows = feature(smaller, "user").table.floats["table"]
    rows.assign(tf.tensor_scatter_nd_update(rows, [[7, 3]], [np.inf]))
    with pytest.raises(InputError, match="not all finite, among them .*table"):
        export_artefact(smaller, tmp_path / "1")
    assert not (tmp_path / "1").exists()


def nan_student():
    student = student_of("like")
    student.heads["like"].bias.assign([np.nan])
    return student


class OwnHead(Binary):
    """A task whose head is more than one matrix."""

    def head(self, seed, dtype):
        layers = [tf.keras.layers.Dense(4, "relu"), tf.keras.layers.Dense(1)]
        return tf.keras.Sequential(layers, name=self.name)


def student_of_own_head():
    """`clicks`, in addition to a task with a supported head."""
    features = [IdFeature("user", USERS, DIM, side="query"), ItemFeature(ITEMS, DIM)]
    tasks = [Binary("like"), OwnHead("clicks")]
    return RankingStudent(features, tasks, hidden_units=UNITS, seed=0)


@pytest.mark.parametrize("make", [lambda: student_of("next_item"), student_of_own_head])
def test_units_read_by_an_unsupported_head_are_not_tried(make):
    from tfrs_distill.compress.budget import candidates_of

    student = make()
    (tried,) = candidates_of(student)
    assert ("int4",) in tried
    assert not [methods for methods in tried if any(m.startswith("units") for m in methods)]
    assert importances(student, None, []) == {}  # nothing to measure, so nothing is read


@pytest.mark.parametrize(
    ("make", "methods", "arguments", "words"),
    [
        (student_of, ["heads:1"], {}, "a RankingStudent without any. Leave 'heads' out"),
        (student_of, ["ids-only"], {}, "'ids-only' removes the text tower.*a feature"),
        (student_of, ["units:24"], {}, "fewer than each block has, 24 and 9"),
        (student_of, ["low-rank:16"], {}, "with low-rank:16. .*user of 3,001 x 16.* from 1 to 15"),
        (student_of, ["dense-rank:27"], {}, "not smaller than one of 53 x 53. The largest.* is 26"),
        (
            lambda: student_of("like", projection_dim=3),
            ["dense-rank:2"],
            {},
            "a RankingStudent with a rank. Leave 'dense-rank' out",
        ),
        (
            lambda: student_of("like", hidden_units=()),
            ["units:2"],
            {},
            "a RankingStudent without any. Leave 'units' out",
        ),
        (
            lambda: student_of("next_item"),
            ["units:2"],
            {},
            "whose hidden layers no task reads: .*NextItem.* Leave 'units' out",
        ),
        (
            lambda: student_of_own_head(),
            ["units:2"],
            {},
            "task 'clicks', whose head, a Sequential, has no `kernel`.* Leave 'units' out",
        ),
        (student_of, ["int4"], {"item_weights": np.ones(3)}, "`item_weights` must be 1200 numbers"),
        (
            lambda: RankingStudent([IdFeature("a", 9, 2, "query")], [Binary("like")]),
            ["int8"],
            {"item_weights": np.ones(9)},
            "of an `ItemFeature`",
        ),
        (
            student_of,
            ["units:3"],
            {"unit_importance": [np.ones(24), np.ones(3)]},
            r"must be 24 and 9 numbers in each of 2 blocks.*\(24,\), \(3,\)",
        ),
        (nan_student, ["int4"], {}, "not all finite"),
        (
            lambda: compress(student_of(), ["units:4", "low-rank:5", "int4:row"]),
            ["int2"],
            {},
            r"compressed already.* a table of \['low-rank:5', 'int4:row'\]. Give",
        ),
        (
            student_of,
            ["int4"],
            {"head_importance": np.ones([1, 2])},
            "`head_importance` is for the attention heads .* a RankingStudent, which has none",
        ),
    ],
)
def test_invalid_arguments_are_refused(make, methods, arguments, words):
    with pytest.raises(InputError, match=words):
        compress(make(), methods, **arguments)


# ---- with a size limit


def examples_of(student, num_rows=300):
    """Labels are the student's own predictions, and a history's next item is its top item."""
    rows = rows_of(num_rows, seed=8)
    batch = {name: tf.constant(values) for name, values in rows.items()}
    best = student.logits(batch)["next_item"].numpy().argmax(axis=1) + 1
    rows["item_id"] = best.astype(np.int32)
    found = predictions(student, rows)
    labels = {
        "rating": found["rating"],
        "like": found["like"] > np.median(found["like"]),
        "stars": np.clip(np.round(found["stars"]), 1, 5),
    }
    users = np.arange(1, num_rows + 1)
    return RankingExamples(rows, labels, users=users, queries=users)


def by_hand(ranker, examples, student):
    """The mean over the tasks, in float64."""
    rows = examples.features
    found = {task: np.float64(values) for task, values in ranker.score(rows).items()}
    like = examples.labels["like"] > 0.5
    pairs = found["like"][like][:, None] - found["like"][~like]
    scores = [(pairs > 0).mean() + 0.5 * (pairs == 0).mean()]
    for task in ("rating", "stars"):
        labels = np.float64(examples.labels[task])
        error = np.sqrt(np.mean((found[task] - labels) ** 2))
        scores.append(1 - error / labels.std())
    gains = []
    for place in range(len(examples)):
        query = {name: rows[name][place] for name in ("user", "history")}
        words = np.repeat(rows["words"][place : place + 1], ITEMS, axis=0)
        items = {"item_id": np.arange(1, ITEMS + 1), "words": words}
        of_all = ranker.rank(query=query, items=items)["next_item"]
        rank = 1 + (of_all > of_all[rows["item_id"][place] - 1]).sum()
        gains.append(1 / np.log2(1 + rank) if rank <= 5 else 0.0)
    return np.mean([*scores, np.mean(gains)])


def test_the_best_that_fits_is_chosen_by_the_files_predictions(student, tmp_path):
    examples, seen = examples_of(student, 30), []

    def search(max_bytes, **arguments):
        return to_budget(
            student,
            examples,
            tmp_path,
            max_bytes=max_bytes,
            k=5,
            candidates=[["int8"], ["int4"]],
            vocabularies={"item_id": [f"i{n}" for n in range(ITEMS)]},
            **arguments,
        )

    found = search(100_000, max_drop=0.9)
    names = ["1 - RMSE / standard deviation of rating", "AUC of like", "NDCG@5 of next_item"]
    assert all(name in found.score_name for name in names)
    for point in found.points:
        ranker = Ranker.load(point.folder)
        assert point.score == pytest.approx(by_hand(ranker, examples, student), abs=1e-6)
        file = tmp_path / "points" / point.folder.rpartition("/")[2] / "student.tflite"
        assert file.stat().st_size == point.bytes
        assert ranker.artefact.vocabularies["item_id"][7] == "i7"
        assert 0 < point.latency_ms["p50"] <= point.latency_ms["p95"]
    assert found.uncompressed.score > 0.85  # for the stars only rounded labels exist
    by_methods = {point.methods: point for point in found.points}
    assert len(by_methods) == 3 and found.uncompressed.bytes > 300_000
    fitting = [point for point in found.points if point.bytes <= 100_000]
    assert 0 < len(fitting) < 3
    assert found.chosen == max(fitting, key=lambda point: point.score)
    with pytest.raises(InputError, match=r"into 9,000 bytes.* by int4, with a score \(mean"):
        search(9_000, max_drop=0.9)

    def fine_tune(smaller):
        seen.append(smaller.hidden_units)
        for weight in smaller.trainable_variables:
            weight.assign(0.0 * weight)

    tuned = search(100_000, max_drop=0.9, fine_tune=fine_tune, fingerprint="a", num_tuned=1)
    assert seen == [UNITS]
    assert [p.score for p in tuned.points if p.tuned] == [found.chosen.score]


def test_candidates_suit_the_student(student):
    from tfrs_distill.compress.budget import candidates_of

    (tried,) = candidates_of(student)
    assert len(set(tried)) == len(tried) > 8
    assert ("int4",) in tried and ("dense-rank:13", "units:12") in tried
    for methods in tried:
        compress(student, methods)
    tiny = RankingStudent([IdFeature("a", 9, 2, "query")], [Binary("like")], num_cross_layers=0)
    assert candidates_of(tiny) == [[]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"labels": {"like": np.arange(60) % 2}},
            "There are no labels for the task 'rating'. Tasks with labels: like",
        ),
        ({"features": {"item_id": np.ones(60, np.int32)}}, r"\['user', 'history', 'words'\]"),
    ],
)
def test_unsuitable_rows_are_refused_before_any_work(student, tmp_path, change, words):
    from dataclasses import replace

    examples = replace(examples_of(student, 60), **change)
    with pytest.raises(InputError, match=words):
        to_budget(student, examples, tmp_path / "new", max_bytes=40_000)
    assert not (tmp_path / "new").exists()


def test_ranking_needs_rows_and_retrieval_needs_queries(student, tmp_path):
    from planted_student import catalogue_of

    from tfrs_distill.data.splits import Queries
    from tfrs_distill.models import RetrievalStudent

    queries = Queries(catalogue_of(5), [0], (np.array([1]),), (np.array([2]),))
    with pytest.raises(InputError, match="of a RankingStudent must be RankingExamples.*: Queries"):
        to_budget(student, queries, tmp_path / "new", max_bytes=40_000)
    other = RetrievalStudent.from_history(num_items=5, max_history=4, embedding_dim=2, seed=0)
    with pytest.raises(InputError, match="of a RetrievalStudent must be Queries"):
        to_budget(other, examples_of(student, 60), tmp_path / "new", max_bytes=40_000)
    with pytest.raises(
        InputError, match="`catalogue` and `vocabularies` are for a ranking student"
    ):
        to_budget(other, queries, tmp_path / "new", max_bytes=9, k=5, catalogue=catalogue_of(5))
