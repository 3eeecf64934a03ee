"""Any kind of teacher can be used, and is not changed."""

import io
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly
from tiny_data import random_windows

import tfrs_distill as td
from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge.cached_teacher import CachedTeacher
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS, MAX_HISTORY = 9, 4
NUM_EXAMPLES, WIDTH, NUM_CLASSES = 20, 3, 5


@pytest.fixture(scope="module")
def examples():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(NUM_EXAMPLES, WIDTH)).astype(np.float32)
    return inputs, random.integers(0, NUM_CLASSES, NUM_EXAMPLES)


@pytest.fixture(scope="module")
def windows():
    return random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)


def classifier():
    tf.keras.utils.set_random_seed(2)
    inputs = tf.keras.Input([WIDTH])
    inner = tf.keras.layers.Dense(6, activation="relu", name="inner")(inputs)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(NUM_CLASSES, name="classes")(inner))


def retrieval_student():
    return RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=MAX_HISTORY, embedding_dim=4, seed=0
    )


def trained_teacher(examples):
    """A compiled and fitted classifier: momentum, moving statistics, dropout, a frozen layer."""
    tf.keras.utils.set_random_seed(3)
    inputs = tf.keras.Input([WIDTH])
    inner = tf.keras.layers.Dense(8, name="teachers_wide")(inputs)
    inner = tf.keras.layers.BatchNormalization(momentum=0.5, name="teachers_norm")(inner)
    inner = tf.keras.layers.Dropout(0.8, name="teachers_dropout")(inner)
    model = tf.keras.Model(
        inputs, tf.keras.layers.Dense(NUM_CLASSES, name="teachers_logits")(inner)
    )
    model.get_layer("teachers_wide").trainable = False
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=tf.keras.optimizers.Adam(0.1), loss=loss, run_eagerly=True)
    model.fit(*examples, batch_size=8, verbose=0)
    return model


def state_of(model):
    """All state of a model that distillation could change, as values to compare."""
    layers = [m for m in model.submodules if isinstance(m, tf.keras.layers.Layer)]
    optimizer = model.optimizer
    return {
        "weights": [weight.numpy().copy() for weight in model.weights],
        "trainable": [model.trainable, *(layer.trainable for layer in layers)],
        "attributes": [sorted(vars(layer)) for layer in (model, *layers)],
        "names": [layer.name for layer in (model, *layers)],
        "optimizer": [v.numpy().copy() for v in optimizer.variables] if optimizer else None,
        "slots": len(model.trainable_weights),
    }


def assert_same(state, before):
    assert state.keys() == before.keys()
    for name, value in before.items():
        if name in ("weights", "optimizer") and value is not None:
            assert len(state[name]) == len(value)
            for one, other in zip(state[name], value):
                np.testing.assert_array_equal(one, other)
        else:
            assert state[name] == value, name


def distilled(distiller, batches, eagerly=False):
    """Fitted and evaluated, twice."""
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05), run_eagerly=eagerly)
    return distiller.fit(batches, epochs=2, validation_data=batches, verbose=0).history


def shapes_in(written):
    """The shapes of all arrays in an HDF5 file."""
    shapes = []
    with h5py.File(io.BytesIO(written)) as file:
        file.visititems(lambda _, item: shapes.append(getattr(item, "shape", None)))
    return shapes


def log_softmax(logits):
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def divergence(teacher_logits, student_logits):
    p, q = log_softmax(teacher_logits), log_softmax(student_logits)
    return np.sum(np.exp(p) * (p - q), axis=-1)


def as_itself(model):
    return model


def as_a_function(model):
    """Without a `training` argument."""
    return lambda batch, candidate_ids: model(batch[columns.INPUTS])


WAYS = [as_itself, as_a_function]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("eagerly", [nightly(False), True])
def test_a_compiled_keras_teacher_is_not_changed(examples, way, eagerly):
    model = trained_teacher(examples)
    before = state_of(model)
    assert before["optimizer"] and not all(before["trainable"])
    distiller = Distiller(classifier(), way(model), SoftTargetKLDivergence())
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05), run_eagerly=eagerly)
    distiller.fit(*examples, batch_size=8, epochs=2, validation_data=examples, verbose=0)
    assert_same(state_of(model), before)
    model.fit(*examples, batch_size=8, verbose=0)  # and it can still be trained


@pytest.mark.parametrize("way", WAYS)
def test_a_keras_teacher_runs_in_inference_mode(examples, way):
    """Its outputs use its moving statistics, without dropout, in `fit` as well."""
    inputs, labels = examples
    model, student = trained_teacher(examples), classifier()
    kernel, bias, gamma, beta, mean, variance, out, out_bias = (
        np.float64(model.get_layer(name).get_weights()[place])
        for name, place in [
            *(("teachers_wide", place) for place in range(2)),
            *(("teachers_norm", place) for place in range(4)),
            *(("teachers_logits", place) for place in range(2)),
        ]
    )
    hidden = (inputs @ kernel + bias - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    expected = divergence(hidden @ out + out_bias, student(inputs)).mean()
    distiller = Distiller(student, way(model), SoftTargetKLDivergence())
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0))
    curve = distiller.fit(inputs, labels, batch_size=NUM_EXAMPLES, verbose=0).history
    # float32 through a batch normalisation against float64
    np.testing.assert_allclose(curve["distillation_loss"], [expected], rtol=1e-4)


def test_a_keras_model_is_neither_tracked_nor_trained_nor_saved(examples, tmp_path):
    model, student = trained_teacher(examples), classifier()
    distiller = Distiller(student, model, SoftTargetKLDivergence())
    distilled(distiller, tf.data.Dataset.from_tensor_slices(examples).batch(8))
    assert distiller.teacher is model
    own = {id(weight) for weight in model.weights} | {id(part) for part in model.submodules}
    assert not own & {id(weight) for weight in distiller.weights}
    assert not own & {id(part) for part in distiller.submodules}
    assert [id(v) for v in distiller.trainable_variables] == [
        id(v) for v in student.trainable_variables
    ]
    distiller.save(tmp_path / "distiller.keras")
    distiller.student.save(tmp_path / "student.keras")
    for name in ("distiller", "student"):
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as file:
            assert b"teachers_" not in file.read("config.json")
            shapes = shapes_in(file.read("model.weights.h5"))
        assert (6, NUM_CLASSES) in shapes and (8, NUM_CLASSES) not in shapes
    again = tf.keras.models.load_model(tmp_path / "distiller.keras")
    assert again.teacher is None
    distiller.save_weights(tmp_path / "checkpoint")
    names = [name for name, _ in tf.train.list_variables(str(tmp_path / "checkpoint"))]
    assert any("student" in name for name in names)
    shapes = [tuple(shape) for _, shape in tf.train.list_variables(str(tmp_path / "checkpoint"))]
    assert (8, NUM_CLASSES) not in shapes and (6, NUM_CLASSES) in shapes


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", [SoftTargetKLDivergence, tf.keras.losses.MeanSquaredError])
def test_no_gradient_reaches_a_keras_teacher(examples, way, loss):
    inputs, labels = (tf.constant(part) for part in examples)
    model = trained_teacher(examples)
    model.get_layer("teachers_wide").trainable = True
    student = classifier()
    distiller = Distiller(student, way(model), loss(), student_loss_weight=0.0)
    with tf.GradientTape() as tape:
        total = distiller.loss_terms((inputs, labels), training=True)["total_loss"]
    gradients = tape.gradient(total, [*model.weights, *student.trainable_variables])
    ours = len(model.weights)
    assert gradients[:ours] == [None] * ours
    assert all(np.abs(gradient).max() > 1e-4 for gradient in gradients[ours:])


def test_a_keras_teacher_may_have_a_layer_called_logits(examples):
    """An attribute of that name is a layer, not the teacher's method."""
    inputs, labels = (tf.constant(part) for part in examples)

    class Large(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.logits = tf.keras.layers.Dense(NUM_CLASSES)

        def call(self, inputs):
            return self.logits(inputs)

    model, student = Large(), classifier()
    distiller = Distiller(student, model, SoftTargetKLDivergence())
    terms = distiller.loss_terms((inputs, labels), training=False)
    kernel, bias = (np.float64(weight) for weight in model.get_weights())
    expected = divergence(inputs @ kernel + bias, student(inputs)).mean()
    np.testing.assert_allclose(terms["distillation_loss"], expected, rtol=1e-5)


def bert_two_tower(seed=0):
    text = np.random.default_rng(0).normal(size=(NUM_ITEMS, 6)).astype(np.float32)
    return td.teachers.BertTwoTower(
        text, max_history=MAX_HISTORY, embedding_dim=4, dropout=0.5, seed=seed
    )


@pytest.fixture
def fitted_two_tower(windows):
    teacher = bert_two_tower()
    teacher.compile(optimizer=tf.keras.optimizers.Adam(0.1), run_eagerly=True)
    teacher.fit(windows.batches(4), verbose=0)
    teacher.query_tower.encoder.block_layers[0].trainable = False
    return teacher


@pytest.mark.nightly
def test_a_live_two_tower_teacher_is_not_changed(windows, fitted_two_tower):
    teacher = fitted_two_tower
    before, fingerprint = state_of(teacher), teacher.fingerprint()
    distilled(Distiller(retrieval_student(), teacher, SoftTargetKLDivergence()), windows.batches(4))
    assert_same(state_of(teacher), before)
    assert teacher.fingerprint() == fingerprint
    teacher.fit(windows.batches(4), verbose=0)  # and it can still be trained


def test_a_cached_two_tower_teaches_like_the_live_one_and_is_not_changed(
    windows, fitted_two_tower, tmp_path
):
    teacher = fitted_two_tower
    before = state_of(teacher)
    cached = td.cache_teacher(teacher, windows, tmp_path, top_k=3)
    arrays = [
        {n: np.array(a) for n, a in shard.arrays.items()}
        for fold in cached.folds
        for shard in fold.shards
    ]
    embeddings, fingerprint = cached.item_embeddings.copy(), cached.fingerprint()
    live = Distiller(retrieval_student(), teacher, SoftTargetKLDivergence())
    fromdisk = Distiller(retrieval_student(), cached, SoftTargetKLDivergence())
    curves = [distilled(live, windows.batches(4), eagerly=True)]
    curves.append(distilled(fromdisk, cached.join(windows).batches(4), eagerly=True))
    for name, values in curves[0].items():
        # The cache keeps query embeddings in half precision: 3 digits, less after 2 epochs.
        np.testing.assert_allclose(curves[1][name], values, rtol=1e-2)
    assert_same(state_of(teacher), before)
    np.testing.assert_array_equal(cached.item_embeddings, embeddings)
    shards = [shard for fold in cached.folds for shard in fold.shards]
    for shard, old in zip(shards, arrays, strict=True):
        for name, array in old.items():
            np.testing.assert_array_equal(shard.arrays[name], array)
    assert cached.fingerprint() == fingerprint


def test_cross_fitted_teachers_are_not_changed(windows, tmp_path):
    fold_teachers = {}

    def train_teacher(others, fold):
        teacher = bert_two_tower(seed=fold)
        teacher.compile(optimizer=tf.keras.optimizers.Adam(0.1), run_eagerly=True)
        teacher.fit(others.batches(99), verbose=0)
        fold_teachers[fold] = teacher, state_of(teacher)
        return teacher

    cached = td.cross_fit(
        train_teacher, windows, tmp_path, fingerprint="once", num_folds=2, top_k=3
    )
    distiller = Distiller(retrieval_student(), cached, SoftTargetKLDivergence())
    for form in ("embeddings", "top_k"):
        distilled(distiller, cached.join(windows, form=form).batches(99), eagerly=True)
    assert sorted(fold_teachers) == [0, 1]
    for teacher, before in fold_teachers.values():
        assert_same(state_of(teacher), before)


def test_a_plain_function_can_read_any_column_of_the_batch(windows):
    """The student reads histories; the teacher a column that the student does not read."""
    moods = np.random.default_rng(4).normal(size=(len(windows), 2)).astype(np.float32)
    taste = np.random.default_rng(5).normal(size=(2, NUM_ITEMS)).astype(np.float32)

    def teacher(batch, candidate_ids):
        labelled = tf.where(batch[columns.LABELS] > 0)[:, 0]
        of_items = tf.gather(tf.constant(taste), candidate_ids - 1, axis=1)
        return tf.gather(batch["mood"], labelled) @ of_items

    batches = tf.data.Dataset.zip(
        windows.batches(len(windows)), tf.data.Dataset.from_tensor_slices(moods).batch(99)
    ).map(lambda batch, mood: batch | {"mood": mood})
    student = retrieval_student()
    distiller = Distiller(student, teacher, SoftTargetKLDivergence())
    terms = distiller.loss_terms(next(iter(batches)), training=False)
    expected = []
    catalogue = np.float64(student.catalogue_embeddings())[1:]
    for history, labels, mood in zip(windows.history, windows.labels, moods):
        for position in np.flatnonzero(labels):
            query = student.encode_histories(tf.constant(history[None, : position + 1]))[0]
            expected.append(divergence(mood @ np.float64(taste), catalogue @ np.float64(query)))
    np.testing.assert_allclose(terms["distillation_loss"], np.mean(expected), rtol=1e-5)
    before = taste.copy(), moods.copy()
    distilled(distiller, batches)
    np.testing.assert_array_equal(taste, before[0])
    np.testing.assert_array_equal(moods, before[1])


def test_a_keras_teacher_of_other_columns_teaches_a_history_student(windows):
    """A Keras teacher is called with the complete batch, and reads its own columns."""

    class Popularity(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.scores = tf.keras.layers.Embedding(
                100, NUM_ITEMS, embeddings_initializer=tf.keras.initializers.RandomNormal(0, 1, 6)
            )

        def call(self, batch):
            labelled = tf.where(batch[columns.LABELS] > 0)[:, 0]
            return self.scores(tf.gather(batch[columns.USER_ID], labelled))

    model, student = Popularity(), retrieval_student()
    distiller = Distiller(student, model, SoftTargetKLDivergence(), student_loss_weight=0.0)
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05))
    before = distiller.evaluate(windows.batches(99), verbose=0, return_dict=True)
    weights = model.get_weights()[0].copy()
    student_logits = np.float64(student(next(iter(windows.batches(99)))).logits)
    users = np.repeat(windows.users, (windows.labels > 0).sum(axis=1))
    expected = divergence(np.float64(weights)[users], student_logits).mean()
    np.testing.assert_allclose(before["distillation_loss"], expected, rtol=1e-5)
    distiller.fit(windows.batches(4), verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], weights)


def test_an_example_missing_in_the_cache_is_named(windows, tmp_path):
    """One fold's knowledge is missing: the error names the first of its examples, and its user."""
    cached = td.cross_fit(
        lambda _, fold: bert_two_tower(seed=fold),
        windows,
        tmp_path,
        fingerprint="once",
        num_folds=2,
        top_k=3,
    )
    whole = cached.join(windows)
    for missing in (0, 1):
        half = CachedTeacher([cached.folds[1 - missing]], cached.temperatures)
        example = int(np.flatnonzero(whole.knowledge[columns.TEACHER_FOLD] == missing)[0])
        words = f"does not have training example {example}, of user {windows.users[example]}"
        with pytest.raises(InputError, match=words):
            half.join(windows)
    other = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY, seed=1)
    with pytest.raises(InputError, match="does not have training example 0, of user 0"):
        cached.join(other)


@pytest.mark.parametrize("form", ["embeddings", "top_k"])
def test_a_batch_without_its_knowledge_is_refused_before_training(windows, tmp_path, form):
    cached = td.cache_teacher(bert_two_tower(), windows, tmp_path, top_k=3)
    student = retrieval_student()
    before = student.get_weights()
    distiller = Distiller(student, cached, SoftTargetKLDivergence())
    distiller.compile(optimizer="adam")
    with pytest.raises(ValueError, match="has no teacher outputs.*Train on"):
        distiller.fit(windows.batches(4), verbose=0)
    for weight, old in zip(student.get_weights(), before):
        np.testing.assert_array_equal(weight, old)
    distiller.compile(optimizer="adam")
    # the advice of the message
    distiller.fit(cached.join(windows, form=form).batches(4), verbose=0)
