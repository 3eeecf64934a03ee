"""Hidden representations inside a step: layers, rows and gradients.

Teachers are planted: their hidden representations are tables. A student's are computed by its
layers, called one by one, and compared in float64 NumPy.
"""

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import random_windows

import tfrs_distill as td
from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS, MAX_HISTORY, DIM = 9, 4, 4
NUM_EXAMPLES, WIDTH, NUM_CLASSES = 12, 3, 5
KNOWN = np.random.default_rng(1).normal(size=(NUM_ITEMS + 1, 3)).astype(np.float32)


class PlantedTeacher:
    """Has a hidden vector per item: at every position, at labelled ones, or all in one list."""

    def logits(self, batch, candidate_ids):
        raise AssertionError("nobody asked for logits")

    def hidden_representations(self, batch):
        by_position = tf.gather(tf.constant(KNOWN), batch[columns.HISTORY])
        labelled = batch[columns.LABELS] > 0
        return {
            "tower/by_position": by_position,
            "tower/by_row": tf.boolean_mask(by_position, labelled),
            "tower/flat": tf.reshape(by_position, [-1, KNOWN.shape[1]]),
        }


@pytest.fixture(scope="module")
def windows():
    return random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)


def student_of(dropout=0.0):
    return RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=MAX_HISTORY, embedding_dim=DIM, dropout=dropout, seed=0
    )


def hidden_by_hand(student, history):
    """Every layer's output for histories, layer by layer: float64 [batch_size, n, width]."""
    tower = student.query_tower
    embeddings = tower.item_tower.embed(tf.constant(history))
    encoded = tower.encoder(embeddings, tf.constant(history > 0))
    # The average before the feed-forward, by its definition, with untrained weights.
    distance = np.arange(MAX_HISTORY)[:, None] - np.arange(MAX_HISTORY)[None, :]
    weights = np.where(distance >= 0, 1.0 / (1.0 + np.maximum(distance, 0)), 0.0)
    weights = weights[None] * (history > 0)[:, None, :]
    sums = weights.sum(axis=2, keepdims=True)
    average = weights @ np.float64(embeddings) / np.where(sums > 0, sums, 1.0)
    feed_forward = tower.encoder.feed_forward
    inner = feed_forward.hidden(feed_forward.norm(average.reshape(-1, DIM).astype(np.float32)))
    return {
        "query_embeddings": np.float64(tower(tf.constant(history))),
        "history_tower": np.float64(tower(tf.constant(history))),
        "decayed_average": np.float64(encoded),
        "hidden": np.float64(inner).reshape(*history.shape, -1),
    }


def mean_squared_error(projected, teacher):
    return ((projected - teacher) ** 2).mean(axis=-1)


def cosine(projected, teacher):
    lengths = np.linalg.norm(projected, axis=-1) * np.linalg.norm(teacher, axis=-1)
    return 1 - (projected * teacher).sum(axis=-1) / lengths


DISTANCES = {"mean_squared_error": mean_squared_error, "cosine": cosine}


@pytest.mark.parametrize(
    ("student_layer", "teacher_layer", "loss"),
    [
        ("query_embeddings", "by_row", "mean_squared_error"),
        ("history_tower", "by_position", "cosine"),
        ("decayed_average", "flat", "mean_squared_error"),
        ("feed_forward/hidden", "tower/by_position", "mean_squared_error"),
        ("history_tower/decayed_average/feed_forward/hidden", "tower/by_row", "cosine"),
    ],
)
def test_rows_of_a_history_student_are_those_of_numpy(windows, student_layer, teacher_layer, loss):
    """Only labelled positions are included, weighted by their example; layers return
    `[batch, n, dim]`, `[batch * n, dim]` or rows."""
    student = student_of()
    layer = HiddenRepresentationDistillation(student_layer, teacher_layer, loss=loss, name="hint")
    distiller = Distiller(student, PlantedTeacher(), layer)
    weights = np.linspace(0.5, 2.0, len(windows)).astype(np.float32)
    batch = next(iter(windows.batches(len(windows)))) | {columns.SAMPLE_WEIGHT: weights}
    terms = distiller.loss_terms(batch, training=True)
    kernel, bias = (np.float64(weight) for weight in layer.get_weights())
    output = hidden_by_hand(student, windows.history)[student_layer.split("/")[-1]]
    labelled = windows.labels > 0
    assert 0 < labelled.sum() < labelled.size
    hints = np.float64(KNOWN)[windows.history]
    distances = DISTANCES[loss](output[labelled] @ kernel + bias, hints[labelled])
    expected = np.average(distances, weights=np.repeat(weights, labelled.sum(axis=1)))
    np.testing.assert_allclose(terms["hint"], expected, rtol=1e-5)  # float32
    np.testing.assert_allclose(terms["distillation_loss"], expected, rtol=1e-5)


class Inner(tf.keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = tf.keras.layers.Dense(4, activation="relu", name="hidden")

    def call(self, inputs):
        return self.hidden(inputs)


class Subclassed(tf.keras.Model):
    """Two nested layers, each with a layer of the same name."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Inner(name="first"), Inner(name="second")
        self.classes = tf.keras.layers.Dense(NUM_CLASSES, name="classes")

    def call(self, inputs):
        return self.classes(self.second(self.first(inputs)))


def functional():
    """The same as nested functional models."""

    def block(width, name):
        inputs = tf.keras.Input([width])
        hidden = tf.keras.layers.Dense(4, activation="relu", name="hidden")(inputs)
        return tf.keras.Model(inputs, hidden, name=name)

    inputs = tf.keras.Input([WIDTH])
    hidden = block(4, "second")(block(WIDTH, "first")(inputs))
    return tf.keras.Model(inputs, tf.keras.layers.Dense(NUM_CLASSES, name="classes")(hidden))


@pytest.fixture(scope="module")
def examples():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(NUM_EXAMPLES, WIDTH)).astype(np.float32)
    return inputs, random.integers(0, NUM_CLASSES, NUM_EXAMPLES)


def classifier(make):
    model = make()
    model(tf.zeros([1, WIDTH]))
    random = np.random.default_rng(3)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def teacher_of_classes():
    """A Keras model whose layer `deep/wide` has another width than any of the student's."""
    inputs = tf.keras.Input([WIDTH])
    wide = tf.keras.layers.Dense(6, name="wide")(inputs)
    deep = tf.keras.Model(inputs, wide, name="deep")
    outer = tf.keras.Input([WIDTH])
    outputs = tf.keras.layers.Dense(NUM_CLASSES, name="classes")(deep(outer))
    tf.keras.utils.set_random_seed(5)
    return tf.keras.Model(outer, outputs)


def by_hand(model, inputs):
    """Both hidden layers of either model and its logits, in float64."""
    kernels = [np.float64(weight) for weight in model.get_weights()]
    first = np.maximum(inputs @ kernels[0] + kernels[1], 0)
    second = np.maximum(first @ kernels[2] + kernels[3], 0)
    return {"first": first, "second": second, "logits": second @ kernels[4] + kernels[5]}


MODELS = [functional, Subclassed]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("name", ["first/hidden", "second/hidden", "second"])
@pytest.mark.parametrize("loss", DISTANCES)
def test_layers_inside_nested_models_are_found_by_name_and_path(examples, make, name, loss):
    inputs, labels = examples
    model, teacher = classifier(make), teacher_of_classes()
    layer = HiddenRepresentationDistillation(name, "wide", loss=loss, name="hint")
    distiller = Distiller(model, teacher, layer)
    terms = distiller.loss_terms((tf.constant(inputs), tf.constant(labels)), training=True)
    kernel, bias = (np.float64(weight) for weight in layer.get_weights())
    wide, wide_bias = (np.float64(weight) for weight in teacher.get_weights()[:2])
    projected = by_hand(model, inputs)[name.split("/")[0]] @ kernel + bias
    expected = DISTANCES[loss](projected, inputs @ wide + wide_bias).mean()
    np.testing.assert_allclose(terms["hint"], expected, rtol=1e-5)  # float32


@pytest.mark.parametrize(("make", "eagerly"), [(functional, False), (Subclassed, True)])
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("hidden", "wide"), r"student has several .* 'hidden'. .*'first/hidden', 'second/hidden'"),
        (
            ("third", "wide"),
            r"student has no .* 'third'. It has: \['classes', 'first', 'first/hi",
        ),
        (
            ("second", "narrow"),
            r"teacher has no .* 'narrow'. It has: \['classes', 'deep', .*wide",
        ),
    ],
)
def test_a_missing_representation_is_refused_before_training(examples, make, eagerly, names, words):
    model = classifier(make)
    before = model.get_weights()
    distiller = Distiller(
        model,
        teacher_of_classes(),
        [SoftTargetKLDivergence(), HiddenRepresentationDistillation(*names)],
    )
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.1), run_eagerly=eagerly)
    with pytest.raises(ValueError, match=words):
        distiller.fit(*examples, verbose=0)
    assert int(distiller.optimizer.iterations) == 0
    for weight, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


def test_a_distiller_can_be_fitted_if_called_before_its_projector_exists(windows):
    student = student_of()
    layer = HiddenRepresentationDistillation("query_embeddings", "by_row")
    distiller = Distiller(student, PlantedTeacher(), layer)
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.1))
    distiller(next(iter(windows.batches(4))))
    distiller.fit(windows.batches(4), verbose=0)
    made = {id(weight) for weight in distiller.trainable_variables}
    assert made > {id(weight) for weight in student.trainable_variables}  # a projector's
    assert int(distiller.optimizer.iterations) > 0


def test_a_teacher_without_hidden_representations_is_refused_before_training(windows):
    layer = HiddenRepresentationDistillation("query_embeddings", "wide")
    student = student_of()
    before = student.get_weights()
    distiller = Distiller(student, lambda batch, ids: None, layer)
    distiller.compile(optimizer="adam")
    words = "needs the teacher's hidden representation 'wide', but FunctionTeacher has none"
    with pytest.raises(ValueError, match=words):
        distiller.fit(windows.batches(4), verbose=0)
    assert int(distiller.optimizer.iterations) == 0
    for weight, old in zip(student.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_layer_with_other_inputs_than_histories_is_refused_before_training(windows, eagerly):
    """The item tower runs over padding and the catalogue, which are not rows of the loss."""
    student = student_of()
    before = student.get_weights()
    layer = HiddenRepresentationDistillation("item_tower", "by_row")
    distiller = Distiller(student, PlantedTeacher(), layer)
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.1), run_eagerly=eagerly)
    labelled = int((windows.labels[:3] > 0).sum())
    assert labelled != NUM_ITEMS + 1
    words = f"has other rows, such as items.*{NUM_ITEMS + 1} rows where {labelled} of"
    with pytest.raises(ValueError, match=words):
        distiller.fit(windows.batches(3), verbose=0)
    assert int(distiller.optimizer.iterations) == 0
    for weight, old in zip(student.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


class Counting(tf.keras.layers.Layer):
    """Counts its calls."""

    runs = 0

    def call(self, inputs):
        self.runs += 1
        return inputs


def test_a_classifier_runs_once_per_step_also_with_hidden_losses(examples):
    counting = Counting(name="counting")
    inputs = tf.keras.Input([WIDTH])
    classes = tf.keras.layers.Dense(NUM_CLASSES, name="classes")(counting(inputs))
    model = tf.keras.Model(inputs, classes)
    losses = [
        SoftTargetKLDivergence(),
        HiddenRepresentationDistillation("counting", "wide", name="one"),
        HiddenRepresentationDistillation("classes", "wide", name="two"),
    ]
    counting.runs = 0
    distiller = Distiller(model, teacher_of_classes(), losses)
    distiller.compile(optimizer="adam", run_eagerly=True)
    distiller.fit(*examples, batch_size=4, epochs=2, verbose=0)
    assert counting.runs == 1 + 6  # the check of the first batch, and steps
    distiller.evaluate(*examples, batch_size=4, verbose=0)
    assert counting.runs == 7 + 1 + 3


def test_a_retrieval_student_runs_once_per_step_also_with_hidden_losses(windows):
    student = student_of()
    runs = {"query_tower": 0, "candidate_tower": 0}
    for name in runs:
        forward = getattr(student, name).call

        def counted(*args, forward=forward, name=name, **kwargs):
            runs[name] += 1
            return forward(*args, **kwargs)

        getattr(student, name).call = counted
    losses = [
        HiddenRepresentationDistillation("query_embeddings", "by_row", name="one"),
        HiddenRepresentationDistillation("decayed_average", "flat", name="two"),
    ]
    distiller = Distiller(student, PlantedTeacher(), losses)
    distiller.compile(optimizer="adam", run_eagerly=True)
    distiller.train_on_batch(next(iter(windows.batches(4))))  # checks the batch first
    runs |= {"query_tower": 0, "candidate_tower": 0}
    distiller.train_on_batch(next(iter(windows.batches(4))))
    assert runs == {"query_tower": 1, "candidate_tower": 1}


def attributes(model):
    return [sorted(vars(part)) for part in (model, *model.submodules)]


@pytest.mark.parametrize("make", MODELS)
def test_student_and_teacher_are_unchanged_after_recording(examples, make):
    model, teacher = classifier(make), teacher_of_classes()
    before = attributes(model), attributes(teacher)
    weights = teacher.get_weights()
    layer = HiddenRepresentationDistillation("second", "wide")
    distiller = Distiller(model, teacher, layer)
    distiller.compile(optimizer="adam")
    distiller.fit(*examples, validation_data=examples, verbose=0)
    assert (attributes(model), attributes(teacher)) == before
    for weight, old in zip(teacher.get_weights(), weights):
        np.testing.assert_array_equal(weight, old)


def test_one_step_moves_student_and_projector_by_the_analytic_gradient(examples):
    """Plain gradient descent on `0.25 CE + 0.75 * 2 * mean((h K + b - t)**2)`, in float64."""
    inputs, labels = examples
    model, teacher = classifier(functional), teacher_of_classes()
    layer = HiddenRepresentationDistillation("second", "wide")
    distiller = Distiller(model, teacher, [layer], [2.0], student_loss_weight=0.25)
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.1))
    batch = tuple(tf.constant(part) for part in examples)
    distiller.loss_terms(batch, training=False)  # creates the projector
    weights = [np.float64(weight) for weight in model.get_weights()]
    kernel, bias = (np.float64(weight) for weight in layer.get_weights())
    hidden = by_hand(model, inputs)
    probabilities = np.exp(hidden["logits"] - hidden["logits"].max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    to_logits = 0.25 * (probabilities - np.eye(NUM_CLASSES)[labels]) / NUM_EXAMPLES
    wide, wide_bias = (np.float64(weight) for weight in teacher.get_weights()[:2])
    residual = hidden["second"] @ kernel + bias - (inputs @ wide + wide_bias)
    to_projected = 0.75 * 2.0 * 2.0 * residual / residual.size
    to_second = to_logits @ weights[4].T + to_projected @ kernel.T
    to_second *= hidden["second"] > 0
    expected = {
        "classes": weights[4] - 0.1 * hidden["second"].T @ to_logits,
        "second": weights[2] - 0.1 * hidden["first"].T @ to_second,
        "projector": kernel - 0.1 * hidden["second"].T @ to_projected,
    }
    distiller.train_on_batch(*batch)
    moved = model.get_weights()
    got = {"classes": moved[4], "second": moved[2], "projector": layer.get_weights()[0]}
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-6)  # float32
        assert np.abs(to_second).max() > 1e-3


def test_the_projector_belongs_to_the_distiller_and_not_to_the_student(examples, tmp_path):
    model = classifier(functional)
    count = model.count_params()
    own = tf.keras.Sequential([tf.keras.layers.Dense(6, name="mine")])
    losses = [
        HiddenRepresentationDistillation("second", "wide", name="one"),
        HiddenRepresentationDistillation("second", "wide", projector=own, name="two"),
    ]
    distiller = Distiller(model, teacher_of_classes(), losses, student_loss_weight=0.0)
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05))
    curve = distiller.fit(*examples, epochs=40, verbose=0).history
    assert curve["one"][-1] < 0.3 * curve["one"][0]
    assert curve["two"][-1] < 0.3 * curve["two"][0]
    projectors = {id(weight) for loss in losses for weight in loss.trainable_weights}
    assert len(projectors) == 4
    assert projectors < {id(weight) for weight in distiller.trainable_weights}
    assert not projectors & {id(weight) for weight in distiller.student.weights}
    assert distiller.student.count_params() == count
    distiller.save(tmp_path / "distiller.keras")
    again = tf.keras.models.load_model(tmp_path / "distiller.keras")
    for loss in losses:
        restored = again.distillation_losses[loss.name].get_weights()
        assert len(restored) == 2
        for weight, old in zip(restored, loss.get_weights()):
            np.testing.assert_array_equal(weight, old)
    distiller.student.save(tmp_path / "student.keras")
    alone = tf.keras.models.load_model(tmp_path / "student.keras")
    assert alone.count_params() == count
    np.testing.assert_array_equal(alone(examples[0]), model(examples[0]))


def test_no_gradient_reaches_the_teachers_hidden_representations(examples):
    model, teacher = classifier(functional), teacher_of_classes()
    layer = HiddenRepresentationDistillation("second", "wide")
    distiller = Distiller(model, teacher, layer, student_loss_weight=0.0)
    batch = tuple(tf.constant(part) for part in examples)
    with tf.GradientTape() as tape:
        total = distiller.loss_terms(batch, training=True)["total_loss"]
    ours = len(teacher.weights)
    gradients = tape.gradient(total, [*teacher.weights, *layer.trainable_weights])
    assert gradients[:ours] == [None] * ours
    assert np.abs(gradients[ours]).max() > 1e-3


@pytest.mark.nightly
def test_a_live_two_tower_returns_its_layers_outputs(windows):
    """Its query embeddings and its encoder's output, by position, in inference mode."""
    text = np.random.default_rng(0).normal(size=(NUM_ITEMS, 6)).astype(np.float32)
    teacher = td.teachers.BertTwoTower(
        text, max_history=MAX_HISTORY, embedding_dim=DIM, dropout=0.5, seed=0
    )
    before = attributes(teacher)
    losses = [
        HiddenRepresentationDistillation(
            "query_embeddings", "query_embeddings", projector="identity", name="embeddings"
        ),
        HiddenRepresentationDistillation(
            "decayed_average", "recency_attention", projector="identity", name="encoders"
        ),
    ]
    student = student_of(dropout=0.0)
    distiller = Distiller(student, teacher, losses)
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0))
    curve = distiller.fit(windows.batches(len(windows)), verbose=0).history
    labelled = windows.labels > 0
    hints, learnt = (
        np.float64(model.query_tower(tf.constant(windows.history)))[labelled]
        for model in (teacher, student)
    )
    # The embeddings' last entry is a constant 1 on both sides.
    expected = mean_squared_error(learnt, hints).mean()
    np.testing.assert_allclose(curve["embeddings"], [expected], rtol=1e-5)
    expected = mean_squared_error(learnt[:, :-1], hints[:, :-1]).mean()
    np.testing.assert_allclose(curve["encoders"], [expected], rtol=1e-5)
    assert attributes(teacher) == before


def test_a_cached_teacher_has_no_hidden_representations(windows, tmp_path):
    text = np.eye(NUM_ITEMS)
    teacher = td.teachers.BertTwoTower(text, max_history=MAX_HISTORY, embedding_dim=DIM, seed=0)
    cached = td.cache_teacher(teacher, windows, tmp_path, top_k=3)
    layer = HiddenRepresentationDistillation("query_embeddings", "query_embeddings")
    distiller = Distiller(student_of(), cached, layer)
    with pytest.raises(ValueError, match="CachedTeacher has none"):
        distiller.loss_terms(next(iter(cached.join(windows).batches(4))), training=True)
