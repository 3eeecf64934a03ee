"""Equal training in every mode: precision, XLA, eager, clipping, several steps per execution."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly, one_in
from tiny_data import tiny_catalogue

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.models import (
    Candidates,
    DecayedAverage,
    HistoryTower,
    ItemTower,
    RecencyAttention,
    RetrievalStudent,
)

NUM_ITEMS, MAX_HISTORY, DIM = 12, 5, 4
SGD = tf.keras.optimizers.SGD
LossScaleOptimizer = tf.keras.mixed_precision.LossScaleOptimizer

# All three remove accidental hits; there are many, with some 30 rows and 12 items.
CANDIDATES = {
    "catalogue": Candidates(),
    "batch": Candidates("batch", exclude_seen=True),
    "sampled": Candidates("sampled", num_hard_negatives=6),
}
NUM_NEGATIVES = {"catalogue": None, "batch": 0, "sampled": 2}  # not None: with logQ correction

# A number rounds to float16 or bfloat16 with a relative error of at most this (11 or 8 bits).
ROUNDING = {"mixed_float16": 2.0**-11, "mixed_bfloat16": 2.0**-8}
PRECISIONS = list(ROUNDING)
CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")


@pytest.fixture(autouse=True)
def float32_afterwards():
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


def example_windows():
    """The number of rows differs between batches: 4 of the 16 windows are short."""
    generator = np.random.default_rng(0)
    history = generator.integers(1, NUM_ITEMS + 1, size=(16, MAX_HISTORY)).astype(np.int32)
    labels = generator.integers(1, NUM_ITEMS + 1, size=(16, MAX_HISTORY)).astype(np.int32)
    history[:4, :2] = 0
    labels[:4, :3] = 0
    return Windows(tiny_catalogue(NUM_ITEMS), np.arange(16, dtype=np.int32), history, labels)


def batches(kind, batch_size=8, seed=None):
    return example_windows().batches(batch_size, seed=seed, num_negatives=NUM_NEGATIVES[kind])


class TableTeacher:
    """Logits and a hidden representation from fixed tables: row = the latest item."""

    def __init__(self):
        generator = np.random.default_rng(3)
        self.table = tf.constant(generator.normal(size=(NUM_ITEMS + 1, NUM_ITEMS)), tf.float32)
        self.hidden = tf.constant(generator.normal(size=(NUM_ITEMS + 1, 3)), tf.float32)

    def logits(self, batch, candidate_ids):
        labelled = batch[columns.LABELS] > 0
        rows = tf.gather(self.table, tf.boolean_mask(batch[columns.HISTORY], labelled))
        return tf.gather(rows, candidate_ids - 1, axis=1)

    def hidden_representations(self, batch):
        return {"met": tf.gather(self.hidden, batch[columns.HISTORY])}


def new_student(kind, dtype=None):
    """Embeddings and biases of size 1, so that rounding matters and logits are far from equal.

    With this seed. If two hard negatives differ only by rounding, another one may be chosen and
    the losses differ; if a variable's gradient nearly cancels, the rest
    is mostly rounding. Both are correct, and cannot be compared.
    """
    items = ItemTower(NUM_ITEMS, DIM, seed=1, dtype=dtype, name="item_tower")
    encoder = DecayedAverage(MAX_HISTORY, DIM, seed=1, dtype=dtype, name="decayed_average")
    tower = HistoryTower(items, encoder, dtype=dtype, name="history_tower")
    student = RetrievalStudent(tower, items, CANDIDATES[kind])
    student.build_towers()
    generator = np.random.default_rng(11)
    items.id_embeddings.assign(generator.normal(size=items.id_embeddings.shape))
    items.biases.assign(generator.normal(size=items.biases.shape))
    return student


def new_distiller(kind, dtype=None, teacher=None, **arguments):
    """A student that learns from labels, logits and a hidden representation."""
    initializer = tf.keras.initializers.GlorotUniform(seed=5)
    projector = tf.keras.layers.Dense(3, kernel_initializer=initializer, dtype=dtype)
    layer = HiddenRepresentationDistillation(
        "decayed_average/feed_forward", "met", projector=projector, dtype=dtype, name="hidden"
    )
    losses = [SoftTargetKLDivergence(temperature=2.0), layer]
    return Distiller(new_student(kind, dtype), teacher or TableTeacher(), losses, **arguments)


def precision_of(student):
    return student.query_tower(tf.ones([1, MAX_HISTORY], tf.int32)).dtype.name


def weights_of(model):
    return [weight.numpy() for weight in model.trainable_variables]


def run(model, kind, optimizer, *, epochs=2, **compile_options):
    """Every batch's losses, and the change of weights: by the first batch, and by all."""
    model.compile(optimizer=optimizer, **compile_options)
    logs, changes, initial = [], [], None
    for batch in batches(kind).repeat(epochs):
        if initial is None:
            model.loss_terms(batch, training=False)  # creates the projector
            initial = weights_of(model)
        logs.append(model.train_on_batch(batch, return_dict=True))
        changes.append([new - old for new, old in zip(weights_of(model), initial)])
    return logs, changes[0], changes[-1]


@functools.cache
def eager_run(kind):
    """The reference for every other mode: float32, eager, one step per call."""
    return run(new_distiller(kind), kind, SGD(0.2), run_eagerly=True)


def assert_same_losses(logs, expected, rtol):
    assert len(logs) == len(expected) == 4
    for one, other in zip(logs, expected):
        assert set(one) == set(other) and "total_loss" in one
        for name in other:
            np.testing.assert_allclose(one[name], other[name], rtol=rtol, err_msg=name)


def assert_same_changes(changes, expected, tolerance):
    """Each weight moved as expected, up to a share of the variable's largest change."""
    assert len(changes) == len(expected) > 5
    for one, other in zip(changes, expected):
        size = np.abs(other).max()
        assert size > 1e-4  # the variable is trained
        np.testing.assert_allclose(one, other, atol=tolerance * size, rtol=0)


def assert_same_training(outcome, expected, rounding):
    """The same losses and weight changes, within the error of reduced precision.

    A weight's gradient is computed from some ten numbers that are rounded in sequence, forward
    and backward, each by at most `rounding`; their errors add up. A loss is the mean of many
    rows, whose errors have both signs: a few roundings remain.
    """
    assert_same_losses(outcome[0], expected[0], rtol=5 * rounding)
    assert_same_changes(outcome[1], expected[1], 10 * rounding)
    assert_same_changes(outcome[2], expected[2], 10 * rounding)


EVERY_POLICY = pytest.mark.parametrize(
    ("policy", "kind"), one_in(4, [(policy, kind) for policy in PRECISIONS for kind in CANDIDATES])
)


@EVERY_POLICY
def test_a_global_policy_of_mixed_precision_trains_like_float32(kind, policy):
    expected = eager_run(kind)
    tf.keras.mixed_precision.set_global_policy(policy)
    distiller = new_distiller(kind)
    outcome = run(distiller, kind, SGD(0.2), run_eagerly=True)
    assert isinstance(distiller.optimizer, LossScaleOptimizer) == (policy == "mixed_float16")
    assert precision_of(distiller.student) == policy[6:]
    assert_same_training(outcome, expected, ROUNDING[policy])


@EVERY_POLICY
def test_mixed_precision_of_the_layers_trains_like_float32(kind, policy):
    distiller = new_distiller(kind, dtype=policy)
    assert precision_of(distiller.student) == policy[6:]
    optimizer = LossScaleOptimizer(SGD(0.2)) if policy == "mixed_float16" else SGD(0.2)
    outcome = run(distiller, kind, optimizer, run_eagerly=True)
    assert_same_training(outcome, eager_run(kind), ROUNDING[policy])


@pytest.mark.parametrize("policy", PRECISIONS)
def test_losses_logits_and_weights_stay_float32(policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    distiller = new_distiller("sampled")
    batch = next(iter(batches("sampled")))
    terms = distiller.loss_terms(batch, training=True)
    assert set(terms) > {"student_loss", "hidden", "soft_target_kl_divergence", "total_loss"}
    assert {term.dtype for term in terms.values()} == {tf.float32}
    assert distiller.student(batch).logits.dtype == tf.float32
    assert {weight.dtype for weight in distiller.student.weights} == {tf.float32}
    distiller.compile(optimizer=SGD(0.1), run_eagerly=True)
    distiller.train_on_batch(batch)
    assert {mean.result().dtype for mean in distiller.means.values()} == {tf.float32}


@pytest.mark.parametrize("encoder_class", [DecayedAverage, RecencyAttention])
@pytest.mark.parametrize("policy", PRECISIONS)
def test_a_towers_precision_applies_to_every_layer_inside(encoder_class, policy):
    queries = []
    for dtype in (None, policy):
        items = ItemTower(NUM_ITEMS, DIM, text_dim=3, text_dropout=0.5, seed=1, dtype=dtype)
        encoder = encoder_class(MAX_HISTORY, DIM, dropout=0.5, seed=1, dtype=dtype)
        tower = HistoryTower(items, encoder, dtype=dtype)
        history = tf.constant([[0, 0, 3, 4, 5], [7, 8, 9, 10, 11]])
        assert np.isfinite(tower(history, training=True)).all()
        items.set_text_vectors(np.random.default_rng(8).normal(size=(NUM_ITEMS, 3)))
        queries.append(tower(history))
        last, rounding = tower.last(history), ROUNDING[policy] if dtype else 2.0**-24
        np.testing.assert_allclose(
            tf.cast(last, tf.float32),
            tf.cast(queries[-1][:, -1], tf.float32),
            atol=10 * rounding,
            rtol=0,
        )
    layers = [m for m in tower.submodules if isinstance(m, tf.keras.layers.Layer)]
    assert len(layers) > 6
    assert {layer.compute_dtype for layer in layers} == {policy[6:]}
    assert queries[1].dtype.name == policy[6:]
    # Numbers of size 1 to 2 through some ten layers that each round.
    np.testing.assert_allclose(
        tf.cast(queries[1], tf.float32), queries[0], atol=10 * ROUNDING[policy], rtol=0
    )


def test_a_student_of_mixed_precision_keeps_it_when_loaded(tmp_path):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    student = new_student("catalogue")
    batch = next(iter(batches("catalogue")))
    expected = student(batch).logits
    student.save(tmp_path / "student.keras")
    tf.keras.mixed_precision.set_global_policy("float32")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(again(batch).logits, expected)
    assert again.query_tower(batch[columns.HISTORY]).dtype == tf.float16


@pytest.mark.parametrize("call", [lambda distiller: distiller, lambda distiller: distiller.student])
def test_columns_of_a_batch_keep_their_precision(call):
    """In float16 the probability would be 18/17.5 times too large and the weight infinite."""
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    distiller = new_distiller("batch")
    batch = dict(next(iter(batches("batch"))))
    tiny = 17.5 * 2.0**-24  # between two neighbouring float16 numbers; above the lower limit, 1e-6
    columns_of = {}
    for probability in (0.5, tiny):
        given = tf.where(batch[columns.LABELS] == 0, 0.0, probability)
        batch[columns.CANDIDATE_SAMPLING_PROBABILITY] = given
        logits = call(distiller)(batch).logits.numpy()
        columns_of[probability] = logits[logits > -1e30]  # those that are not masked
    # Only the logits' own float32 rounding is left: they are below 32.
    np.testing.assert_allclose(
        columns_of[tiny] - columns_of[0.5], np.log(0.5) - np.log(tiny), atol=1e-5
    )
    unweighted = distiller.loss_terms(batch, training=False)["total_loss"]
    batch[columns.SAMPLE_WEIGHT] = tf.fill([8], 1e5)
    weighted = distiller.loss_terms(batch, training=False)["total_loss"]
    np.testing.assert_allclose(weighted, unweighted, rtol=1e-6)  # equal weights change nothing


def test_a_teachers_hidden_representation_keeps_its_precision():
    """`1e5` is infinite in float16."""
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    layer = HiddenRepresentationDistillation("a", "b", projector="identity")
    values = layer((tf.constant([[1.0, 2.0]], tf.float16), tf.constant([[1.0, 1e5 + 2.0]])))
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, [1e10 / 2], rtol=1e-6)


@pytest.mark.parametrize("policy", PRECISIONS)
def test_a_teacher_with_the_students_weights_and_precision_gives_the_same_logits(policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    student, teacher = new_student("catalogue"), new_student("catalogue")
    batch = next(iter(batches("catalogue")))
    outputs = student(batch)
    logits = teacher.logits(batch, outputs.candidates.ids)
    np.testing.assert_array_equal(logits, outputs.logits)


@pytest.mark.parametrize("limit", [{}, nightly({"clipvalue": 1e3})], ids=["unlimited", "clipped"])
def test_loss_scaling_keeps_gradients_that_float16_cannot_hold(limit):
    """Gradients of 1e-8 and less, at a learning rate of 2e7; float16's smallest number is 6e-8."""
    weights = {"student_loss_weight": 0.0, "distillation_loss_weights": [1e-8, 1e-8]}
    outcomes = []
    for dtype, optimizer in (
        (None, SGD(2e7, **limit)),
        ("mixed_float16", LossScaleOptimizer(SGD(2e7, **limit), initial_scale=2.0**30)),
        ("mixed_float16", SGD(2e7, **limit)),
    ):
        distiller = new_distiller("catalogue", dtype, **weights)
        outcomes.append(run(distiller, "catalogue", optimizer, run_eagerly=True, epochs=1))
    expected, scaled, unscaled = (changes for _, changes, _ in outcomes)
    assert_same_changes(scaled, expected, 10 * ROUNDING["mixed_float16"])
    lost = [np.abs(one).max() == 0.0 for one in unscaled]
    assert np.mean(lost) > 0.5  # without scaling most variables do not move at all


def test_a_step_with_overflowing_gradients_is_skipped():
    distiller = new_distiller("batch", "mixed_float16")
    optimizer = LossScaleOptimizer(SGD(0.1), initial_scale=2.0**60)
    logs, first, last = run(distiller, "batch", optimizer, run_eagerly=True)
    for change in (*first, *last):
        np.testing.assert_array_equal(change, 0.0)
    assert float(optimizer.loss_scale) == 2.0**56  # halved by each of the 4 steps
    # Twice the same batches and weights: the losses, which are not scaled, are the same again.
    assert_same_losses(logs[2:] + logs[2:], logs[:2] + logs[:2], rtol=1e-6)


FLOAT32 = 2.0**-20  # sums of up to 16 terms in another order, whose roundings are 2**-24 each


@pytest.mark.parametrize(
    ("kind", "policy"),
    [("catalogue", "float32"), nightly("batch", "mixed_float16"), nightly("sampled", "float32")],
)
def test_xla_trains_like_running_eagerly(kind, policy):
    """Steps have different numbers of rows: Keras' optimizers then get sparse gradients wrong."""
    expected = eager_run(kind)
    tf.keras.mixed_precision.set_global_policy(policy)
    outcome = run(new_distiller(kind), kind, SGD(0.2), jit_compile=True)
    assert_same_training(outcome, expected, ROUNDING.get(policy, FLOAT32))


@pytest.mark.nightly
def test_xla_trains_a_student_without_teacher_like_running_eagerly():
    outcomes = []
    for options in ({"run_eagerly": True}, {"jit_compile": True}):
        student = new_student("batch")
        initial = weights_of(student)
        student.compile(optimizer=SGD(0.2), **options)
        student.fit(batches("batch"), epochs=2, verbose=0)
        outcomes.append([new - old for new, old in zip(weights_of(student), initial)])
    assert_same_changes(outcomes[1], outcomes[0], 10 * FLOAT32)


@pytest.mark.nightly
def test_a_graph_trains_like_running_eagerly():
    outcome = run(new_distiller("sampled"), "sampled", SGD(0.2))
    assert_same_training(outcome, eager_run("sampled"), FLOAT32)


@pytest.mark.nightly
def test_several_steps_per_execution_train_like_one():
    distiller = new_distiller("batch")
    distiller.compile(optimizer=SGD(0.2), steps_per_execution=2)
    distiller.loss_terms(next(iter(batches("batch"))), training=False)  # creates the projector
    initial = weights_of(distiller)
    history = distiller.fit(batches("batch"), epochs=2, verbose=0).history
    logs, _, changes = eager_run("batch")
    numbers = [np.count_nonzero(batch[columns.LABELS]) for batch in batches("batch")]
    assert numbers[0] != numbers[1]
    for name in logs[0]:  # of an epoch, the mean over the rows of its two batches
        per_batch = np.reshape([log[name] for log in logs], [2, 2])
        expected = np.average(per_batch, axis=1, weights=numbers)
        np.testing.assert_allclose(history[name], expected, rtol=4 * FLOAT32, err_msg=name)
    change = [new - old for new, old in zip(weights_of(distiller), initial)]
    assert_same_changes(change, changes, 10 * FLOAT32)


def total_loss(model, batch):
    if isinstance(model, Distiller):
        return model.loss_terms(batch, training=True)["total_loss"]
    return tf.reduce_mean(model.hard_loss(batch, model(batch, training=True)))


def clipped(gradients, setting):
    """A value of the setting that has an effect, and the gradients clipped to it; float64."""
    norms = [np.sqrt(np.sum(gradient**2)) for gradient in gradients]
    if setting == "clipnorm":
        limit = float(np.median(norms))
        assert min(norms) < limit < max(norms)
        return limit, [g * min(1.0, limit / norm) for g, norm in zip(gradients, norms)]
    if setting == "global_clipnorm":
        whole = np.sqrt(np.sum(np.square(norms)))
        return whole / 3, [g / 3 for g in gradients]
    limit = float(np.median(np.abs(np.concatenate([g.ravel() for g in gradients]))))
    return limit, [np.clip(g, -limit, limit) for g in gradients]


@pytest.mark.parametrize("new_model", [new_distiller, new_student], ids=["distiller", "student"])
@pytest.mark.parametrize(
    ("setting", "wrap"),
    one_in(4, [(s, w) for w in (lambda o: o, LossScaleOptimizer) for s in CLIPPING]),
)
def test_clipping_is_that_of_the_complete_gradient(new_model, setting, wrap):
    """Also of an embedding table, whose rows are read many times per step."""
    model = new_model("sampled")
    batch = next(iter(batches("sampled")))
    with tf.GradientTape() as tape:
        loss = total_loss(model, batch)
    before = weights_of(model)
    gradients = tape.gradient(loss, model.trainable_variables)
    gradients = [tf.convert_to_tensor(g).numpy().astype(np.float64) for g in gradients]
    limit, expected = clipped(gradients, setting)
    model.compile(optimizer=wrap(SGD(0.5, **{setting: limit})), run_eagerly=True)
    model.train_on_batch(batch)
    for weight, old, gradient, whole in zip(weights_of(model), before, expected, gradients):
        # float32 rounding of the gradient and of the weight itself, which is below 4
        atol = FLOAT32 * np.abs(whole).max() + 2.5e-7
        np.testing.assert_allclose(weight, old - 0.5 * gradient, atol=atol, rtol=0)


@pytest.mark.parametrize("setting", ["clipnorm", *map(nightly, CLIPPING[1:])])
def test_a_limit_above_all_gradients_changes_nothing(setting):
    optimizer = SGD(0.2, **{setting: 1e3})
    outcome = run(new_distiller("batch"), "batch", optimizer, run_eagerly=True)
    assert_same_training(outcome, eager_run("batch"), FLOAT32)


@pytest.mark.parametrize("kind", [nightly("batch"), nightly("sampled")])
def test_student_loss_weight_1_trains_bit_for_bit_like_the_student_alone(kind):
    """With dropout, shuffled windows and, for sampled candidates, drawn negatives."""
    students = [
        RetrievalStudent.from_history(
            num_items=NUM_ITEMS,
            max_history=MAX_HISTORY,
            embedding_dim=DIM,
            dropout=0.3,
            candidates=CANDIDATES[kind],
            seed=1,
        )
        for _ in range(3)
    ]
    alone, distilled, untrained = students
    loss = SoftTargetKLDivergence()
    distiller = Distiller(distilled, TableTeacher(), loss, student_loss_weight=1.0)
    for model in (alone, distiller):
        model.compile(optimizer=tf.keras.optimizers.Adam(0.01))
        model.fit(batches(kind, batch_size=4, seed=5), epochs=2, verbose=0)
    for one, other, initial in zip(*map(weights_of, students)):
        np.testing.assert_array_equal(one, other)
        assert np.abs(one - initial).max() > 1e-3  # it did train
