"""Adopted models: those of a TFRS tutorial, and plain Keras classifiers.

Towers and classifiers are user code. Their training through a `Distiller` is compared with
plain TFRS and plain Keras training, and every term with float64 NumPy.
"""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
from nightly import nightly
from tiny_data import random_windows

from tfrs_distill import columns
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

USERS = [f"user {number}" for number in range(6)]
MOVIES = [f"movie {number}" for number in range(7)]
NUM_RATINGS, BATCH_SIZE = 22, 8  # the last batch is smaller
LOWEST = np.finfo(np.float32).min / 100  # TFRS' logit of masked candidates


class MovielensModel(tfrs.Model):
    """Two towers and a task, as in the TFRS tutorials."""

    def __init__(self, user_model, movie_model, task):
        super().__init__()
        self.user_model: tf.keras.Model = user_model
        self.movie_model: tf.keras.Model = movie_model
        self.task: tf.keras.layers.Layer = task

    def compute_loss(self, features, training=False):
        user_embeddings = self.user_model(features["user_id"])
        positive_movie_embeddings = self.movie_model(features["movie_title"])
        return self.task(user_embeddings, positive_movie_embeddings, compute_metrics=not training)


class IdentifyingModel(MovielensModel):
    """The same, and it passes movie ids to its task, which accidental hits need."""

    def compute_loss(self, features, training=False):
        return self.task(
            self.user_model(features["user_id"]),
            self.movie_model(features["movie_title"]),
            candidate_ids=features["movie_title"],
        )


def tower(vocabulary, *more, seed):
    """A `Sequential` that looks up its strings."""
    initializer = tf.keras.initializers.RandomNormal(stddev=1.0, seed=seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None),
            tf.keras.layers.Embedding(len(vocabulary) + 1, 4, embeddings_initializer=initializer),
            *more,
        ]
    )


def tutorial_model(*, cls=MovielensModel, metrics=None, built=True, **options):
    """A model with a mean loss; its weights are always the same."""
    user_model, movie_model = tower(USERS, seed=1), tower(MOVIES, seed=2)
    if built:
        user_model(tf.constant(USERS)), movie_model(tf.constant(MOVIES))
    if metrics:
        corpus = tf.data.Dataset.from_tensor_slices(MOVIES).batch(3).map(movie_model)
        metrics = tfrs.metrics.FactorizedTopK(candidates=corpus, ks=(1, 3))
    loss = tf.keras.losses.CategoricalCrossentropy(from_logits=True)
    task = tfrs.tasks.Retrieval(loss=loss, metrics=metrics, **options)
    return cls(user_model, movie_model, task)


def adopted(model):
    return RetrievalStudent.from_tfrs(
        model,
        query_tower=model.user_model,
        candidate_tower=model.movie_model,
        query_column="user_id",
        candidate_column="movie_title",
    )


@pytest.fixture(scope="module")
def rated():
    """User-movie ratings: indices of users and movies; some movies repeat within every batch."""
    random = np.random.default_rng(3)
    return random.integers(0, 6, NUM_RATINGS), random.integers(0, 7, NUM_RATINGS)


@pytest.fixture(scope="module")
def ratings(rated):
    users, movies = rated
    columns = {"user_id": np.array(USERS)[users], "movie_title": np.array(MOVIES)[movies]}
    return tf.data.Dataset.from_tensor_slices(columns)


KNOWN = np.random.default_rng(4).normal(size=(6, 7)) * 2.0


def string_teacher():
    """A function of the batch's strings: a table has the logit of a user and a movie."""
    table = tf.constant(KNOWN, tf.float32)
    find_user = tf.keras.layers.StringLookup(vocabulary=USERS, num_oov_indices=0, mask_token=None)
    find_movie = tf.keras.layers.StringLookup(vocabulary=MOVIES, num_oov_indices=0, mask_token=None)

    def teacher(batch, candidate_ids):
        of_users = tf.gather(table, find_user(batch["user_id"]))
        return tf.gather(of_users, find_movie(candidate_ids), axis=1)

    return teacher


def log_softmax(logits):
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def divergence(teacher_logits, student_logits, temperature):
    """KL divergence times the temperature squared, one per row."""
    p, q = log_softmax(teacher_logits / temperature), log_softmax(student_logits / temperature)
    return temperature**2 * np.sum(np.exp(p) * (p - q), axis=-1)


def tables(model):
    """The towers' embeddings by the index of user and movie, without unknown strings."""
    both = (model.user_model.get_weights()[0], model.movie_model.get_weights()[0])
    return [np.float64(table[1:]) for table in both]


def weights_of(model):
    return [*model.user_model.get_weights(), *model.movie_model.get_weights()]


OPTIONS = [
    {},
    {"temperature": 0.3},
    {"num_hard_negatives": 3},
    {"num_hard_negatives": 50},  # more than there are: all are used
    {"remove_accidental_hits": True},
    {"temperature": 0.5, "num_hard_negatives": 2, "remove_accidental_hits": True},
]


@pytest.mark.parametrize("options", [*map(nightly, (OPTIONS[0], OPTIONS[2])), OPTIONS[-1]], ids=str)
def test_a_tutorial_model_trains_through_the_distiller_as_by_itself(ratings, options):
    cls = IdentifyingModel if "remove_accidental_hits" in options else MovielensModel
    alone, distilled = (tutorial_model(cls=cls, **options) for _ in range(2))
    distiller = Distiller(
        adopted(distilled), string_teacher(), SoftTargetKLDivergence(), student_loss_weight=1.0
    )
    curves = []
    for model in (alone, distiller):
        model.compile(optimizer=tf.keras.optimizers.Adagrad(0.5))
        model.fit(ratings.batch(BATCH_SIZE), epochs=3, verbose=0)
        curves.append(model.evaluate(ratings.batch(NUM_RATINGS), verbose=0, return_dict=True))
    # Both compute in float32, TFRS from one-hot labels and the distiller from columns; 9 steps.
    for one, other, initial in zip(
        weights_of(alone), weights_of(distilled), weights_of(tutorial_model())
    ):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
        assert np.abs(one - initial).max() > 0.1  # it did train
    np.testing.assert_allclose(curves[1]["student_loss"], curves[0]["loss"], rtol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_terms_of_a_tutorial_model_are_those_of_numpy(ratings, rated, options):
    model = tutorial_model(**options)
    loss = SoftTargetKLDivergence(temperature=2.0)
    distiller = Distiller(adopted(model), string_teacher(), loss, student_loss_weight=0.3)
    users, movies = (indices[:BATCH_SIZE] for indices in rated)
    batch = next(iter(ratings.batch(BATCH_SIZE)))
    user_table, movie_table = tables(model)
    student_logits = user_table[users] @ movie_table[movies].T / options.get("temperature", 1.0)
    teacher_logits = KNOWN[users][:, movies]
    cross_entropies, divergences = [], []
    for row in range(BATCH_SIZE):
        others = [column for column in range(BATCH_SIZE) if column != row]
        if options.get("remove_accidental_hits"):
            others = [column for column in others if movies[column] != movies[row]]
        others.sort(key=lambda column: -student_logits[row, column])
        chosen = [row, *others[: options.get("num_hard_negatives")]]
        cross_entropies.append(-log_softmax(student_logits[row, chosen])[0])
        divergences.append(divergence(teacher_logits[row, chosen], student_logits[row, chosen], 2))
    terms = distiller.loss_terms(batch, training=False)
    # float32 sums of 8 terms against float64
    np.testing.assert_allclose(terms["student_loss"], np.mean(cross_entropies), rtol=1e-5)
    np.testing.assert_allclose(terms["distillation_loss"], np.mean(divergences), rtol=1e-5)
    total = 0.3 * np.mean(cross_entropies) + 0.7 * np.mean(divergences)
    np.testing.assert_allclose(terms["total_loss"], total, rtol=1e-5)


def test_a_tutorial_model_keeps_its_corpus_metrics(ratings):
    alone, distilled = (tutorial_model(metrics=True) for _ in range(2))
    distiller = Distiller(adopted(distilled), string_teacher(), SoftTargetKLDivergence())
    output = []
    for model in (alone, distiller):
        model.compile(optimizer=tf.keras.optimizers.Adagrad(0.5))
        output.append(model.evaluate(ratings.batch(BATCH_SIZE), verbose=0, return_dict=True))
    names = [f"factorized_top_k/top_{k}_categorical_accuracy" for k in (1, 3)]
    for name in names:
        assert output[1][name] == output[0][name]  # counts over the same ranks
    assert 0 < output[1][names[0]] < output[1][names[1]] < 1
    # Earlier counts are reset: these ratings have another score, as in TFRS.
    few = [
        model.evaluate(ratings.take(5).batch(5), verbose=0, return_dict=True)
        for model in (alone, distiller)
    ]
    assert [few[1][name] for name in names] == [few[0][name] for name in names]
    assert [few[1][name] for name in names] != [output[1][name] for name in names]


def test_a_tutorial_model_is_adopted_unchanged_and_trained_in_place(ratings):
    model = tutorial_model(metrics=True)
    attributes, towers = dict(vars(model)), (model.user_model, model.movie_model)
    task, metrics, before = model.task, model.task.factorized_metrics, weights_of(model)
    student = adopted(model)
    assert (student.query_tower, student.candidate_tower) == towers
    distiller = Distiller(student, string_teacher(), SoftTargetKLDivergence())
    distiller.compile(optimizer=tf.keras.optimizers.Adagrad(0.5))
    distiller.fit(ratings.batch(BATCH_SIZE), verbose=0)
    assert distiller.student is student
    assert (model.user_model, model.movie_model) == towers
    assert vars(model).keys() == attributes.keys()
    assert model.task is task and model.task.factorized_metrics is metrics
    for one, old in zip(weights_of(model), before):
        assert np.abs(one - old).max() > 1e-3
    # The model itself continues from there, with the trained weights.
    user_table, movie_table = tables(model)
    scores = model.user_model(tf.constant(USERS)) @ tf.transpose(
        model.movie_model(tf.constant(MOVIES))
    )
    np.testing.assert_allclose(scores, user_table @ movie_table.T, rtol=1e-4, atol=1e-6)
    model.compile(optimizer=tf.keras.optimizers.Adagrad(0.5))
    model.fit(ratings.batch(BATCH_SIZE), verbose=0)


class PlainTower(tf.keras.layers.Layer):
    """A tower whose `call` has no `training`, with a dropout layer that does."""

    def __init__(self, vocabulary, rate):
        super().__init__()
        self.inner = tower(vocabulary, tf.keras.layers.Dropout(rate), seed=1)

    def call(self, ids):
        return self.inner(ids)


def with_plain_towers(rate):
    users, movies = PlainTower(USERS, rate), PlainTower(MOVIES, 0.0)
    model = MovielensModel(users, movies, tfrs.tasks.Retrieval())
    student = adopted(model)
    return model, Distiller(student, string_teacher(), SoftTargetKLDivergence())


def test_towers_without_a_training_argument_are_trained(ratings):
    model, distiller = with_plain_towers(rate=0.0)
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.1))
    curve = distiller.fit(ratings.batch(BATCH_SIZE), epochs=20, verbose=0).history["total_loss"]
    assert curve[-1] < 0.5 * curve[0]


@pytest.mark.parametrize("eagerly", [False, True])
def test_dropout_inside_a_tower_is_active_in_fit_and_off_in_evaluate(ratings, rated, eagerly):
    """The optimizer does not move weights, so only dropout can change the loss."""
    model, distiller = with_plain_towers(rate=0.5)
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0), run_eagerly=eagerly)
    batches = ratings.batch(NUM_RATINGS)
    fitted = distiller.fit(batches, epochs=3, verbose=0).history["student_loss"]
    evaluated = [distiller.evaluate(batches, verbose=0, return_dict=True) for _ in range(2)]
    assert evaluated[0] == evaluated[1]
    users, movies = rated
    user_table, movie_table = (
        np.float64(part.get_weights()[0][1:]) for part in (model.user_model, model.movie_model)
    )
    expected = -np.diag(log_softmax(user_table[users] @ movie_table[movies].T)).mean()
    np.testing.assert_allclose(evaluated[0]["student_loss"], expected, rtol=1e-5)
    # each epoch drops other units
    assert len({round(loss, 4) for loss in [*fitted, expected]}) == 4


@pytest.mark.nightly
def test_a_tutorial_model_learns_its_teachers_table():
    """Without the student loss, the student's preferences become the table's."""
    model = tutorial_model(built=False)  # as created by the tutorial
    distiller = Distiller(
        adopted(model), string_teacher(), SoftTargetKLDivergence(), student_loss_weight=0.0
    )
    everything = tf.data.Dataset.from_tensor_slices(
        {"user_id": np.repeat(USERS, 7), "movie_title": np.tile(MOVIES, 6)}
    ).batch(7)
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.1))
    distiller.fit(everything, epochs=150, verbose=0)
    user_table, movie_table = tables(model)
    learnt = log_softmax(user_table @ movie_table.T)
    # Towers of 4 numbers cannot hold the whole table of 6 x 7, but come near it.
    best = np.argmax(KNOWN, axis=1)
    np.testing.assert_array_equal(np.argmax(learnt, axis=1), best)
    assert divergence(KNOWN, learnt, 1.0).mean() < 0.1 < divergence(KNOWN, 0 * KNOWN, 1.0).mean()


def test_one_tutorial_model_is_the_teacher_of_another(ratings, rated):
    """A wide `tfrs.Model` becomes a teacher in one line, and is not changed."""
    wide = tower(USERS, seed=7), tower(MOVIES, seed=8)
    wide[0](tf.constant(USERS)), wide[1](tf.constant(MOVIES))
    before = [part.get_weights()[0] for part in wide]

    def teacher(batch, candidate_ids):
        queries, candidates = wide[0](batch["user_id"]), wide[1](candidate_ids)
        return tf.matmul(queries, candidates, transpose_b=True)

    model = tutorial_model()
    distiller = Distiller(adopted(model), teacher, SoftTargetKLDivergence())
    batch = next(iter(ratings.batch(BATCH_SIZE)))
    users, movies = (indices[:BATCH_SIZE] for indices in rated)
    wide_logits, logits = (
        np.float64(user_table)[users] @ np.float64(movie_table)[movies].T
        for user_table, movie_table in (
            [part.get_weights()[0][1:] for part in wide],
            tables(model),
        )
    )
    terms = distiller.loss_terms(batch, training=False)
    expected = divergence(wide_logits, logits, 1.0).mean()
    np.testing.assert_allclose(terms["distillation_loss"], expected, rtol=1e-5)
    distiller.compile(optimizer=tf.keras.optimizers.Adagrad(0.5))
    distiller.fit(ratings.batch(BATCH_SIZE), verbose=0)
    for part, old in zip(wide, before):
        np.testing.assert_array_equal(part.get_weights()[0], old)


NUM_EXAMPLES, WIDTH, NUM_CLASSES = 20, 3, 5


class Subclassed(tf.keras.Model):
    """A classifier as a subclass; its `call` takes no `training`."""

    def __init__(self):
        super().__init__()
        self.inner = tf.keras.layers.Dense(6, activation="relu", kernel_regularizer="l2")
        self.classes = tf.keras.layers.Dense(NUM_CLASSES)

    def call(self, inputs):
        return self.classes(self.inner(inputs))


def functional():
    inputs = tf.keras.Input([WIDTH])
    inner = tf.keras.layers.Dense(6, activation="relu", kernel_regularizer="l2")(inputs)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(NUM_CLASSES)(inner))


def classifier(make=functional):
    """Its weights are the same for every way of building it."""
    model = make()
    model(tf.zeros([1, WIDTH]))
    random = np.random.default_rng(5)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def examples():
    """Inputs, class ids, and a teacher's logits of each."""
    random = np.random.default_rng(6)
    inputs = random.normal(size=(NUM_EXAMPLES, WIDTH)).astype(np.float32)
    known = random.normal(size=(NUM_EXAMPLES, NUM_CLASSES)).astype(np.float32) * 2
    return inputs, random.integers(0, NUM_CLASSES, NUM_EXAMPLES), known


TEACHER_WEIGHTS = np.random.default_rng(7).normal(size=(WIDTH, NUM_CLASSES)).astype(np.float32)


def linear_teacher(batch, candidate_ids):
    return tf.matmul(batch[columns.INPUTS], TEACHER_WEIGHTS)


def distiller_of(model, weight=0.5, loss=None, teacher=linear_teacher):
    loss = loss or SoftTargetKLDivergence(temperature=2.0)
    return Distiller(model, teacher, loss, student_loss_weight=weight)


def classifier_logits(model, inputs):
    """Two dense layers in float64."""
    first, first_bias, second, second_bias = (np.float64(w) for w in model.get_weights())
    return np.maximum(inputs @ first + first_bias, 0) @ second + second_bias


def penalty(model):
    """Keras' L2 of the first layer's kernel: 0.01 times the sum of squares."""
    return 0.01 * np.sum(np.float64(model.get_weights()[0]) ** 2)


@pytest.mark.parametrize(
    ("make", "form"),
    [
        (functional, "ids"),
        nightly(functional, "one-hot"),
        nightly(Subclassed, "ids"),
        (Subclassed, "one-hot"),
    ],
)
def test_a_classifier_trains_as_with_plain_keras(examples, make, form):
    """Bit for bit."""
    inputs, ids, _ = examples
    keras = tf.keras.losses
    kind = keras.SparseCategoricalCrossentropy if form == "ids" else keras.CategoricalCrossentropy
    labels = ids if form == "ids" else np.eye(NUM_CLASSES, dtype=np.float32)[ids]
    alone, distilled = classifier(make), classifier(make)
    alone.compile(optimizer=tf.keras.optimizers.Adam(0.05), loss=kind(from_logits=True))
    distiller = distiller_of(distilled, weight=1.0)
    distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05))
    for model in (alone, distiller):
        model.fit(inputs, labels, batch_size=8, epochs=3, shuffle=False, verbose=0)
    assert distiller.student is distilled
    for one, other, initial in zip(
        alone.get_weights(), distilled.get_weights(), classifier(make).get_weights()
    ):
        np.testing.assert_array_equal(other, one)
        assert np.abs(one - initial).max() > 0.05


def test_a_loss_given_to_compile_is_refused():
    distiller = distiller_of(classifier(functional))
    with pytest.raises(ValueError, match="`compile` takes no loss: .* Received: loss='mse'"):
        distiller.compile(optimizer="adam", loss="mse")


SOFT = np.random.default_rng(8).dirichlet(np.ones(NUM_CLASSES), NUM_EXAMPLES).astype(np.float32)
LABELS = {
    "ids": lambda ids: ids,
    "a column of ids": lambda ids: ids[:, None],
    "one-hot": lambda ids: np.eye(NUM_CLASSES, dtype=np.float32)[ids],
    "soft": lambda ids: SOFT,
}


@pytest.mark.parametrize("make", [functional, Subclassed])
@pytest.mark.parametrize("form", LABELS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_terms_of_a_classifier_are_those_of_numpy(examples, make, form, weighted):
    inputs, ids, _ = examples
    labels, model = LABELS[form](ids), classifier(make)
    weights = np.linspace(0, 2, NUM_EXAMPLES).astype(np.float32)
    data = (inputs, labels, weights) if weighted else (inputs, labels)
    logits = classifier_logits(model, inputs)
    distribution = SOFT if form == "soft" else np.eye(NUM_CLASSES)[ids]
    cross_entropies = -np.sum(distribution * log_softmax(logits), axis=1)
    divergences = divergence(np.float64(inputs) @ TEACHER_WEIGHTS, logits, 2.0)
    expected = {
        "student_loss": np.average(cross_entropies, weights=weights if weighted else None),
        "distillation_loss": np.average(divergences, weights=weights if weighted else None),
    }
    expected["total_loss"] = 0.5 * sum(expected.values()) + penalty(model)
    distiller = distiller_of(model)
    batch = tf.nest.map_structure(tf.constant, data)
    for terms in (
        distiller.loss_terms(batch, training=False),
        distiller.loss_terms(
            dict(zip((columns.INPUTS, columns.LABELS, columns.SAMPLE_WEIGHT), batch)), True
        ),
    ):
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name], value, rtol=1e-5)  # float32 sums of 20 terms


def test_batches_of_tuples_and_of_columns_train_equally(examples):
    inputs, labels, _ = examples
    weights = np.linspace(0, 2, NUM_EXAMPLES).astype(np.float32)
    named = {columns.INPUTS: inputs, columns.LABELS: labels, columns.SAMPLE_WEIGHT: weights}
    learnt = []
    for data in ((inputs, labels, weights), named):
        model = classifier()
        distiller = distiller_of(model)
        distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05))
        batches = tf.data.Dataset.from_tensor_slices(data).batch(8)
        distiller.fit(batches, verbose=0)
        learnt.append(model.get_weights())
    for one, other in zip(*learnt):
        np.testing.assert_array_equal(one, other)


def test_without_labels_a_classifier_learns_from_its_teacher_alone(examples):
    """With or without labels, the result is the same bit for bit."""
    inputs, labels, _ = examples
    learnt = []
    for data in ((inputs,), (inputs, labels), (inputs, labels[::-1])):
        model = classifier()
        distiller = distiller_of(model, weight=0.0)
        distiller.compile(optimizer=tf.keras.optimizers.Adam(0.05))
        curve = distiller.fit(*data, batch_size=8, epochs=20, shuffle=False, verbose=0).history
        assert curve["distillation_loss"][-1] < 0.5 * curve["distillation_loss"][0]
        assert ("student_loss" in curve) == (len(data) == 2)
        learnt.append(model.get_weights())
    for one, *others in zip(*learnt):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_without_labels_a_weight_on_the_labels_is_refused(examples):
    model = classifier()
    distiller = distiller_of(model, weight=0.5)
    distiller.compile(optimizer="adam")
    with pytest.raises(ValueError, match="no labels of task 'label', but `student_loss.* is 0.5"):
        distiller.fit(examples[0], verbose=0)
    for one, initial in zip(model.get_weights(), classifier().get_weights()):
        np.testing.assert_array_equal(one, initial)


def two_inputs():
    """A functional model called with a dict of two."""
    inputs = {name: tf.keras.Input([WIDTH], name=name) for name in ("left", "right")}
    joined = tf.keras.layers.Concatenate()([inputs["left"], inputs["right"]])
    return tf.keras.Model(inputs, tf.keras.layers.Dense(NUM_CLASSES, name="classes")(joined))


def test_a_classifier_can_read_a_dict(examples):
    inputs, labels, _ = examples
    model = two_inputs()
    both = {"left": inputs, "right": inputs[::-1].copy()}

    def teacher(batch, candidate_ids):
        return tf.matmul(batch[columns.INPUTS]["right"], TEACHER_WEIGHTS)

    distiller = distiller_of(model, teacher=teacher)
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0))
    kernel, bias = (np.float64(weight) for weight in model.get_weights())
    logits = np.concatenate([inputs, inputs[::-1]], axis=1) @ kernel + bias
    expected = {
        "student_loss": -log_softmax(logits)[np.arange(NUM_EXAMPLES), labels].mean(),
        "distillation_loss": divergence(inputs[::-1] @ TEACHER_WEIGHTS, logits, 2.0).mean(),
    }
    batches = tf.data.Dataset.from_tensor_slices((both, labels)).batch(NUM_EXAMPLES)
    named = batches.map(lambda x, y: {columns.INPUTS: x, columns.LABELS: y})
    for data in (batches, named):
        curve = distiller.fit(data, verbose=0).history
        for name, value in expected.items():
            np.testing.assert_allclose(curve[name], [value], rtol=1e-5)
        # Predicted in batches of 20: an example's logits do not depend on them.
        np.testing.assert_allclose(distiller.predict(data, verbose=0), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [functional, nightly(Subclassed)])
def test_predict_returns_the_classifiers_logits(examples, make):
    inputs, labels, _ = examples
    model = classifier(make)
    distiller = distiller_of(model)
    distiller.compile(optimizer="adam")
    distiller.fit(inputs, labels, batch_size=8, verbose=0)
    logits = classifier_logits(model, inputs)
    batch = {columns.INPUTS: inputs, columns.LABELS: labels}
    for data in (inputs, tf.data.Dataset.from_tensor_slices(batch).batch(8)):
        output = distiller.predict(data, batch_size=None if data is not inputs else 8, verbose=0)
        np.testing.assert_allclose(output, logits, rtol=1e-4, atol=1e-5)  # float32 against float64


def test_one_logit_goes_with_a_pointwise_loss_and_binary_cross_entropy(examples):
    inputs, ids, known = examples
    clicks = (ids > 2).astype(np.float32)
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model(inputs)
    distiller = distiller_of(
        model,
        loss=tf.keras.losses.MeanSquaredError(name="scores"),
        teacher=lambda batch, _: batch["known"],
    )
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.1), metrics=["mean_squared_error"])
    kernel, bias = (np.float64(weight) for weight in model.get_weights())
    logits = (inputs @ kernel + bias)[:, 0]
    probabilities = 1 / (1 + np.exp(-logits))
    expected = {
        "student_loss": -np.log(np.where(clicks, probabilities, 1 - probabilities)).mean(),
        "scores": ((known[:, 0] - logits) ** 2).mean(),
    }
    for labels in (clicks, clicks[:, None], ids > 2, (ids > 2).astype(np.int64)):
        batch = {columns.INPUTS: inputs, columns.LABELS: labels, "known": known[:, :1]}
        terms = distiller.loss_terms(tf.nest.map_structure(tf.constant, batch), training=False)
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name], value, rtol=1e-5)
    # One step of plain gradient descent on the mean of both, by hand.
    batch = {columns.INPUTS: inputs, columns.LABELS: clicks, "known": known[:, :1]}
    distiller.train_on_batch(batch)
    slope = 0.5 * (probabilities - clicks) + 0.5 * 2 * (logits - known[:, 0])
    gradient = (slope[:, None] * inputs).mean(axis=0)
    np.testing.assert_allclose(
        model.get_weights()[0], kernel - 0.1 * gradient[:, None], rtol=1e-5, atol=1e-6
    )


def two_outputs():
    inputs = tf.keras.Input([WIDTH])
    return tf.keras.Model(inputs, [tf.keras.layers.Dense(2)(inputs) for _ in range(2)])


def one_number_each():
    inputs = tf.keras.Input([WIDTH])
    return tf.keras.Model(inputs, tf.reduce_sum(tf.keras.layers.Dense(2)(inputs), axis=1))


@pytest.mark.parametrize(
    ("make", "words"), [(two_outputs, "Received: list"), (one_number_each, r"Received: \(20,\)")]
)
def test_a_model_without_logits_is_refused(examples, make, words):
    distiller = distiller_of(make())
    distiller.compile(optimizer="adam", run_eagerly=True)
    with pytest.raises(ValueError, match="one tensor of logits.*" + words):
        distiller.train_on_batch(examples[0], examples[1])
    assert int(distiller.optimizer.iterations) == 0


def test_predict_of_a_history_student_returns_logits():
    windows = random_windows(num_items=9, max_history=4)
    student = RetrievalStudent.from_history(num_items=9, max_history=4, embedding_dim=4, seed=0)
    distiller = Distiller(student, lambda batch, ids: tf.zeros([1, 1]), SoftTargetKLDivergence())
    expected = student(next(iter(windows.batches(len(windows))))).logits
    np.testing.assert_allclose(
        distiller.predict(windows.batches(3), verbose=0), expected, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_labels_of_one_logit_are_within_0_and_1(examples, dtype):
    inputs, ids, known = examples
    distiller = distiller_of(
        tf.keras.Sequential([tf.keras.layers.Dense(1)]),
        loss=tf.keras.losses.MeanSquaredError(name="scores"),
        teacher=lambda batch, _: batch["known"],
    )
    distiller.compile(optimizer="sgd")
    labels = (ids > 2).astype(dtype)
    batch = {columns.INPUTS: inputs, columns.LABELS: labels, "known": known[:, :1]}
    distiller.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    labels[1] = 2
    with pytest.raises(ValueError, match="within 0 and 1 for a single logit. Received: 2 in row 1"):
        distiller.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
