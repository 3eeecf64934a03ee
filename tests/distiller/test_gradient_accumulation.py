"""Several small batches as one step: compared with one large batch, and by hand."""

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly, one_in
from tiny_data import tiny_catalogue

from tfrs_distill import GradientAccumulation
from tfrs_distill.data.windows import Windows
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS, MAX_HISTORY = 12, 5
SGD, Adam = tf.keras.optimizers.SGD, tf.keras.optimizers.Adam
LossScaleOptimizer = tf.keras.mixed_precision.LossScaleOptimizer
WRAPS = (lambda optimizer: optimizer, LossScaleOptimizer)


def apply(optimizer, variable, *gradients):
    """Each gradient as the gradient of one batch."""
    for gradient in gradients:
        optimizer.apply_gradients([(tf.convert_to_tensor(gradient), variable)])
    return variable.numpy().tolist()


def example_windows():
    """16 windows with a label at every position: equal batches have equal numbers of rows."""
    generator = np.random.default_rng(0)
    history = generator.integers(1, NUM_ITEMS + 1, size=(16, MAX_HISTORY)).astype(np.int32)
    labels = generator.integers(1, NUM_ITEMS + 1, size=(16, MAX_HISTORY)).astype(np.int32)
    return Windows(tiny_catalogue(NUM_ITEMS), np.arange(16, dtype=np.int32), history, labels)


def weights_after(optimizer, batch_size, epochs=3, **compile_options):
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=MAX_HISTORY, embedding_dim=4, seed=1
    )
    # Embeddings of size 1: with the initial ones, of .05, weights would hardly change.
    student.candidate_tower.id_embeddings.assign(20.0 * student.candidate_tower.id_embeddings)
    table = tf.constant(np.random.default_rng(3).normal(size=(NUM_ITEMS, NUM_ITEMS)), tf.float32)

    def teacher(batch, candidate_ids):
        rows = tf.gather(table, tf.reshape(batch["history"], [-1]) - 1)
        return tf.gather(rows, candidate_ids - 1, axis=1)

    distiller = Distiller(student, teacher, SoftTargetKLDivergence(temperature=2.0))
    initial = [weight.numpy() for weight in distiller.trainable_variables]
    distiller.compile(optimizer=optimizer, **compile_options)
    distiller.fit(example_windows().batches(batch_size), epochs=epochs, verbose=0)
    return initial, [weight.numpy() for weight in distiller.trainable_variables]


@pytest.mark.parametrize(
    ("new_optimizer", "compile_options"),
    [
        nightly(lambda: SGD(0.5, momentum=0.9), {}),
        # Adam divides by a gradient's size: a tiny `epsilon` would blow up rounding.
        (lambda: Adam(0.05, epsilon=1e-3), {}),
        nightly(lambda: SGD(0.5, momentum=0.9), {"jit_compile": True}),
        nightly(lambda: SGD(0.5, momentum=0.9, global_clipnorm=0.05), {}),
    ],
    ids=["sgd", "adam", "sgd under XLA", "clipped"],
)
def test_4_batches_of_4_windows_train_like_one_of_16(new_optimizer, compile_options):
    initial, expected = weights_after(new_optimizer(), batch_size=16)
    accumulating = GradientAccumulation(new_optimizer(), num_steps=4)
    _, weights = weights_after(accumulating, batch_size=4, **compile_options)
    for one, other, before in zip(weights, expected, initial):
        assert np.abs(other - before).max() > 1e-3  # it trains
        # Three steps on float32 sums in another order; weights are about 1 or less.
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


def test_a_step_is_taken_every_num_steps_batches_and_counted_by_the_inner_optimizer():
    optimizer = GradientAccumulation(SGD(1.0), num_steps=3)
    weight = tf.Variable(10.0)
    seen = [apply(optimizer, weight, gradient) for gradient in (1.0, 2.0, 6.0, 3.0, 3.0, 3.0, 9.0)]
    # (1 + 2 + 6) / 3 = 3, then (3 + 3 + 3) / 3 = 3; the ninth waits for two more.
    assert seen == [10.0, 10.0, 7.0, 7.0, 7.0, 4.0, 4.0]
    assert int(optimizer.iterations) == 7
    assert int(optimizer.optimizer.iterations) == 2


def test_one_step_equals_the_inner_optimizer():
    alone, wrapped = tf.Variable([1.0, -2.0]), tf.Variable([1.0, -2.0])
    gradients = ([0.5, 0.1], [-3.0, 0.2], [0.0, 1.0])
    expected = apply(Adam(0.1), alone, *gradients)
    assert apply(GradientAccumulation(Adam(0.1), num_steps=1), wrapped, *gradients) == expected


def test_rows_of_an_embedding_that_are_read_twice_count_twice():
    table = tf.Variable(tf.zeros([3, 2]))
    optimizer = GradientAccumulation(SGD(1.0), num_steps=2)
    for rows in ([1, 1, 2], [0, 1, 2]):
        gradient = tf.IndexedSlices(tf.ones([3, 2]), tf.constant(rows), tf.constant([3, 2]))
        optimizer.apply_gradients([(gradient, table)])
    # Row 0 was read once, row 1 three times, row 2 twice; the mean of two batches is half of it.
    np.testing.assert_array_equal(table, [[-0.5, -0.5], [-1.5, -1.5], [-1.0, -1.0]])


@pytest.mark.parametrize(
    ("limit", "gradients", "expected"),
    [
        # The mean is within the limit though each batch is not: clipping each would give 0.
        ({"clipvalue": 2.0}, ([10.0, 0.0], [-6.0, 0.0]), [-2.0, 0.0]),
        # The mean is [15, 20], of length 25, clipped to length 5.
        ({"clipnorm": 5.0}, ([30.0, 0.0], [0.0, 40.0]), [-3.0, -4.0]),
        ({"global_clipnorm": 5.0}, ([30.0, 0.0], [0.0, 40.0]), [-3.0, -4.0]),
    ],
)
def test_clipping_uses_the_mean_gradient(limit, gradients, expected):
    optimizer = GradientAccumulation(SGD(1.0, **limit), num_steps=2)
    moved = apply(optimizer, tf.Variable([0.0, 0.0]), *gradients)
    np.testing.assert_allclose(moved, expected, rtol=1e-6)  # one square root in float32


def test_the_learning_rate_is_the_inner_optimizers():
    optimizer = GradientAccumulation(SGD(1.0), num_steps=2)
    assert float(optimizer.learning_rate) == float(optimizer.lr) == 1.0
    optimizer.learning_rate = 0.5
    assert float(optimizer.optimizer.learning_rate) == 0.5
    assert apply(optimizer, tf.Variable(0.0), 4.0, 8.0) == -3.0  # 0.5 * 6


def linear_model(optimizer, **compile_options):
    """Its mean absolute error on inputs of 1 has the gradient 1 for the weight."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, use_bias=False)])
    model.build([None, 1])
    model.set_weights([np.array([[100.0]], np.float32)])
    model.compile(optimizer=optimizer, loss="mae", **compile_options)
    return model


def test_keras_callbacks_set_the_learning_rate():
    model = linear_model(GradientAccumulation(SGD(1.0), num_steps=2))
    schedule = tf.keras.callbacks.LearningRateScheduler(lambda epoch: [1.0, 0.25][epoch])
    ones = np.ones([4, 1], np.float32)
    model.fit(ones, 0 * ones, batch_size=1, epochs=2, callbacks=[schedule], verbose=0)
    # Two steps per epoch, of 1 and of 0.25.
    assert model.get_weights()[0] == 100.0 - 2 * 1.0 - 2 * 0.25


def test_a_learning_rate_schedule_counts_steps_and_not_batches():
    decay = tf.keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.25])
    optimizer = GradientAccumulation(SGD(decay), num_steps=2)
    # Step 0 at the rate 1, step 1 at 0.25; counted in batches both would be at 0.25.
    assert apply(optimizer, tf.Variable(0.0), 4.0, 4.0, 4.0, 4.0) == -5.0


def test_after_fit_the_weights_are_the_inner_optimizers_average():
    model = linear_model(GradientAccumulation(SGD(1.0, use_ema=True, ema_momentum=0.5), 2))
    ones = np.ones([4, 1], np.float32)
    model.fit(ones, 0 * ones, batch_size=1, verbose=0)
    # Weights 99 and 98 after the steps; the average goes from 100 to 99.5 to 98.75.
    assert model.get_weights()[0] == 98.75


def test_config_round_trip_keeps_every_value_and_the_behaviour():
    optimizer = GradientAccumulation(SGD(0.25, momentum=0.5, clipvalue=3.0), 2, name="slowly")
    serialized = tf.keras.optimizers.serialize(optimizer)
    again = tf.keras.optimizers.deserialize(serialized)
    assert isinstance(again, GradientAccumulation)
    assert (again.num_steps, again.name) == (2, "slowly")
    inner = again.optimizer
    assert isinstance(inner, SGD) and inner is not optimizer.optimizer
    assert (float(inner.learning_rate), inner.momentum, inner.clipvalue) == (0.25, 0.5, 3.0)
    gradients = (1.0, 9.0, 2.0, 2.0)
    # Velocities -0.25 * 3 and 0.5 * -0.75 - 0.25 * 2.
    assert apply(again, tf.Variable(0.0), *gradients) == -0.75 - 0.875
    assert apply(optimizer, tf.Variable(0.0), *gradients) == -0.75 - 0.875


@tf.keras.utils.register_keras_serializable("tests")
class DenseWithAnUnusedWeight(tf.keras.layers.Dense):
    """Its first trainable weight gets no gradient."""

    def build(self, input_shape):
        self.unused = self.add_weight(name="unused", shape=[3], initializer="ones")
        super().build(input_shape)


def noisy_batches(num_batches, first=0):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(6, 4, 3)).astype(np.float32)
    y = generator.normal(size=(6, 4, 2)).astype(np.float32)
    return list(zip(x, y))[first : first + num_batches]


def accumulating_model(seed=1, wrap=lambda optimizer: optimizer):
    tf.keras.utils.set_random_seed(seed)
    model = tf.keras.Sequential([tf.keras.Input([3]), DenseWithAnUnusedWeight(2)])
    model.compile(optimizer=wrap(GradientAccumulation(Adam(0.05), num_steps=2)), loss="mse")
    return model


def train(model, batches):
    for x, y in batches:
        model.train_on_batch(x, y)
    return [weight.copy() for weight in model.get_weights()]


@pytest.mark.parametrize(
    ("way", "wrap"),
    one_in(3, [(way, wrap) for way in ("keras file", "checkpoint") for wrap in WRAPS]),
)
@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
def test_a_saved_model_continues_in_the_middle_of_an_accumulation(tmp_path, way, wrap):
    expected = train(accumulating_model(wrap=wrap), noisy_batches(6))
    model = accumulating_model(wrap=wrap)
    halfway = train(model, noisy_batches(3))  # one step taken and one batch waiting
    if way == "checkpoint":
        path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(tmp_path / "at")
        again = accumulating_model(seed=2, wrap=wrap)
        tf.train.Checkpoint(model=again, optimizer=again.optimizer).restore(path)
    else:
        model.save(tmp_path / "model.keras")
        again = tf.keras.models.load_model(tmp_path / "model.keras")
    assert again.optimizer is not model.optimizer
    weights = train(again, noisy_batches(3, first=3))
    for one, other in zip(weights, expected):
        np.testing.assert_array_equal(one, other)
    assert np.abs(weights[-1] - halfway[-1]).max() > 1e-3  # it continued
    accumulation = getattr(again.optimizer, "inner_optimizer", again.optimizer)
    assert int(accumulation.iterations) == 6
    assert int(accumulation.optimizer.iterations) == 3


def test_its_variables_are_the_complete_state():
    """All that another optimizer needs to continue, inner momentum included."""
    optimizers, weights = [], []
    for _ in range(2):
        optimizers.append(GradientAccumulation(Adam(0.1), num_steps=2))
        weights.append(tf.Variable([1.0, -2.0]))
        optimizers[-1].build(weights[-1:])
    apply(optimizers[0], weights[0], [1.0, 0.5], [2.0, 3.0], [-3.0, 0.1])
    state = [variable.numpy() for variable in optimizers[0].variables]
    for variable, value in zip(optimizers[1].variables, state):
        variable.assign(value)
    weights[1].assign(weights[0])
    expected = apply(optimizers[0], weights[0], [0.5, 0.5])
    assert apply(optimizers[1], weights[1], [0.5, 0.5]) == expected


def test_a_batch_skipped_by_loss_scaling_is_not_counted():
    accumulation = GradientAccumulation(SGD(1.0), num_steps=2)
    optimizer = LossScaleOptimizer(accumulation, initial_scale=4.0)
    weight = tf.Variable(5.0)
    # A user of `apply_gradients` scales manually; these gradients are used unchanged.
    optimizer.get_scaled_loss(tf.constant(1.0))
    optimizer.get_unscaled_gradients([tf.constant(1.0)])
    assert apply(optimizer, weight, 1.0, float("inf")) == 5.0
    assert float(optimizer.loss_scale) == 2.0  # it did overflow
    assert apply(optimizer, weight, 3.0) == 3.0  # 5 - (1 + 3) / 2
    assert apply(optimizer, weight, 1.0) == 3.0
    assert apply(optimizer, weight, 0.0) == 2.5


def test_loss_scaling_around_it_unscales_and_keeps_its_config():
    optimizer = LossScaleOptimizer(
        GradientAccumulation(SGD(0.5), num_steps=2), initial_scale=1024.0
    )
    serialized = tf.keras.optimizers.serialize(optimizer)
    again = tf.keras.optimizers.deserialize(serialized)
    assert (
        isinstance(again, LossScaleOptimizer)
        and again.inner_optimizer is not optimizer.inner_optimizer
    )
    assert again.inner_optimizer.num_steps == 2
    ones = np.ones([4, 1], np.float32)
    for scaled in (optimizer, again):
        model = linear_model(scaled, jit_compile=True)
        model.fit(2 * ones, 0 * ones, batch_size=1, verbose=0)
        # The gradient of |2 w| is 2; two steps at the rate 0.5.
        assert model.get_weights()[0] == 100.0 - 2 * 0.5 * 2


@pytest.mark.parametrize("num_steps", [0, -1, 1.5, float("nan"), float("inf")])
def test_num_steps_must_be_a_whole_number_of_at_least_1(num_steps):
    words = r"`num_steps` must be a whole number of at least 1\. Received: num_steps="
    with pytest.raises(ValueError, match=words):
        GradientAccumulation(SGD(1.0), num_steps)


@pytest.mark.parametrize(
    ("num_batches", "num_steps", "warned"), [(3, 4, True), (3, 3, False), (4, 3, False)]
)
def test_a_fit_without_a_step_is_reported(num_batches, num_steps, warned, caplog):
    model = tf.keras.Sequential([tf.keras.Input([1]), tf.keras.layers.Dense(1)])
    model.compile(GradientAccumulation(SGD(0.1), num_steps), "mse", run_eagerly=True)
    before = model.get_weights()[0].copy()
    model.fit(np.ones([num_batches, 1]), np.ones([num_batches, 1]), batch_size=1, verbose=0)
    assert (model.get_weights()[0] == before).all() == warned
    words = f"has not taken a step: a step needs num_steps={num_steps} batches, but `fit` had 3"
    assert (words in caplog.text) == warned
