"""The two-tower model: exact untrained loss, its step in closed form, and its round trips."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, random_windows

from tfrs_distill import columns
from tfrs_distill.models import (
    Candidates,
    DecayedAverage,
    HistoryTower,
    ItemTower,
    RecencyAttention,
    TwoTower,
)

NUM_ITEMS, MAX_HISTORY = 9, 4
EAGER = {"run_eagerly": True}  # a few steps on few rows: tracing would take longer


def model_of(encoder="average", seed=0, dropout=0.0):
    items = ItemTower(NUM_ITEMS, 4, seed=seed)
    encoders = {"average": DecayedAverage, "attention": RecencyAttention}
    towers = HistoryTower(items, encoders[encoder](MAX_HISTORY, 4, dropout=dropout, seed=seed))
    model = TwoTower(towers, items, name="two_tower")
    model.build_towers()
    return model


def randomised(model):
    random = np.random.default_rng(3)
    model.query_tower.set_weights(
        [random.normal(size=w.shape, scale=0.5) for w in model.query_tower.get_weights()]
    )
    return model


def zeroed(model):
    """All item embeddings 0, as before any training."""
    model.candidate_tower.id_embeddings.assign(tf.zeros([NUM_ITEMS + 1, 4]))
    return model


def batch_of(windows):
    return next(iter(windows.batches(len(windows))))


def test_two_different_item_towers_are_refused():
    items, others = ItemTower(NUM_ITEMS, 4), ItemTower(NUM_ITEMS, 4)
    towers = HistoryTower(items, DecayedAverage(MAX_HISTORY, 4))
    with pytest.raises(ValueError, match="`candidate_tower` must be the item tower that"):
        TwoTower(towers, others)


def test_windows_of_another_length_are_refused():
    wide = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY + 2)
    with pytest.raises(ValueError, match="read histories of 4 items, but .* hold 6"):
        model_of()(batch_of(wide))


@pytest.fixture
def windows():
    return random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)


@pytest.mark.parametrize("encoder", ["average", "attention"])
def test_logits_are_the_scores_of_every_item_at_every_labelled_position(windows, encoder):
    model = randomised(model_of(encoder))
    outputs = model(batch_of(windows))
    table = model.candidate_tower.id_embeddings.numpy()[1:]
    biases = model.candidate_tower.biases.numpy()[1:]
    rows = next_item_rows(windows)
    assert outputs.logits.shape == (len(rows), NUM_ITEMS)
    assert outputs.logits.dtype == tf.float32
    for row, (history, _) in enumerate(rows):
        query = model.encode_histories(tf.constant([history]))[0].numpy()
        assert query[-1] == 1.0
        expected = table @ query[:-1] + biases
        np.testing.assert_allclose(outputs.logits[row], expected, atol=1e-5)
    np.testing.assert_array_equal(
        outputs.hidden_representations["candidate_embeddings"], np.column_stack([table, biases])
    )
    np.testing.assert_allclose(
        outputs.hidden_representations["query_embeddings"]
        @ tf.transpose(outputs.hidden_representations["candidate_embeddings"]),
        outputs.logits,
    )


@pytest.mark.parametrize("encoder", ["average", "attention"])
def test_the_last_position_equals_encode_histories(encoder):
    model = randomised(model_of(encoder))
    history = tf.constant([[0, 0, 3, 1], [2, 5, 7, 9], [0, 0, 0, 6]])
    np.testing.assert_allclose(
        model.encode_histories(history),
        model.encode_queries({columns.HISTORY: history}, training=False)[:, -1],
        atol=1e-5,  # the same sums in another order
    )
    # Padding anywhere, items that are too old and invalid indices are not read.
    odd = tf.constant([[3, 0, 1, 0, 0, 0], [8, 2, 5, 7, 0, 9], [99, 0, -1, 6, 10, 0]])
    np.testing.assert_array_equal(model.encode_histories(odd), model.encode_histories(history))


def test_catalogue_embeddings_have_a_row_for_padding(windows):
    model = randomised(model_of())
    embeddings = model.catalogue_embeddings().numpy()
    assert embeddings.shape == (NUM_ITEMS + 1, 5)
    outputs = model(batch_of(windows))
    np.testing.assert_array_equal(
        embeddings[1:], outputs.hidden_representations["candidate_embeddings"]
    )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_an_untrained_model_has_loss_ln_num_items_for_every_batch_size(windows, batch_size):
    model = zeroed(model_of())
    model.compile(**EAGER)
    loss = model.evaluate(windows.batches(batch_size), verbose=0)
    np.testing.assert_allclose(loss, math.log(NUM_ITEMS), rtol=1e-6)
    model.compile(optimizer=tf.keras.optimizers.SGD(0.0), **EAGER)
    history = model.fit(windows.batches(batch_size), verbose=0).history
    np.testing.assert_allclose(history["loss"], [math.log(NUM_ITEMS)], rtol=1e-6)


def test_the_logged_loss_is_the_mean_over_all_rows(windows):
    model = randomised(model_of())
    batch = batch_of(windows)
    losses = model.hard_loss(batch, model(batch)).numpy()
    assert losses.shape == (windows.num_labels,)
    model.compile(**EAGER)
    for batch_size in (2, 5):
        loss = model.evaluate(windows.batches(batch_size), verbose=0)
        np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)


def test_one_step_of_gradient_descent_in_closed_form(windows):
    # Softmax of an untrained model is 1/num_items, so the mean cross-entropy's gradient for item
    # j's bias is 1/num_items - (how often j is the label) / num_rows.
    model = zeroed(model_of())
    model.compile(optimizer=tf.keras.optimizers.SGD(1.0), **EAGER)
    model.fit(windows.batches(len(windows)), verbose=0)
    labels = [label for _, label in next_item_rows(windows)]
    expected = np.bincount(labels, minlength=NUM_ITEMS + 1)[1:] / len(labels) - 1 / NUM_ITEMS
    np.testing.assert_allclose(model.candidate_tower.biases[1:], expected, atol=1e-6)
    assert model.candidate_tower.biases[0] == 0.0


class OneOfTwo(ItemTower):
    """Of a training step's calls the first hides the even items, the second the odd ones."""

    calls = 0

    def call(self, item_ids, training=None):
        embeddings = super().call(item_ids, training=training)
        self.calls += 1
        hidden = item_ids % 2 == (self.calls - 1) % 2
        return tf.where(hidden[..., None], 0.0, embeddings)

    def embed(self, item_ids, training=None):
        raise AssertionError("the history is not read with another draw")


def test_an_item_has_one_embedding_in_a_step_of_the_catalogue(windows):
    """Dropout of an item is the same in the history and among the candidates."""
    items = OneOfTwo(NUM_ITEMS, 4, seed=0)
    queries = HistoryTower(items, DecayedAverage(MAX_HISTORY, 4, seed=0))
    model = TwoTower(queries, items)
    hidden = ItemTower(NUM_ITEMS, 4, seed=0)
    shown = np.arange(NUM_ITEMS + 1)[:, None] % 2
    hidden.id_embeddings.assign(hidden.id_embeddings * shown)
    hidden.biases.assign(hidden.biases * shown[:, 0])
    expected = TwoTower(HistoryTower(hidden, DecayedAverage(MAX_HISTORY, 4, seed=0)), hidden)
    batch = batch_of(windows)
    np.testing.assert_allclose(
        model(batch, training=True).logits, expected(batch, training=False).logits, atol=1e-6
    )
    assert items.calls == 1


def test_a_subclass_can_change_the_scored_rows(windows):
    class Doubled(TwoTower):
        def encode_rows(self, batch, training=None, table=None):
            return 2 * super().encode_rows(batch, training, table)

    trained, batch = randomised(model_of()), batch_of(windows)
    doubled = Doubled(trained.query_tower, trained.candidate_tower)
    np.testing.assert_allclose(doubled(batch).logits, 2 * trained(batch).logits, rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_item_at_several_positions_gets_the_sum_of_their_gradients(windows, optimizer):
    """Two steps against float64; with in-batch candidates, so items are looked up separately."""
    trained = randomised(model_of())
    model = TwoTower(trained.query_tower, trained.candidate_tower, Candidates("batch"))
    rate, (beta_1, beta_2) = 0.01, (0.9, 0.999)
    optimizers = {"adam": tf.keras.optimizers.Adam, "sgd": tf.keras.optimizers.SGD}
    model.compile(optimizer=optimizers[optimizer](rate), **EAGER)
    batch, table = batch_of(windows), model.candidate_tower.id_embeddings
    moments = np.zeros([2, NUM_ITEMS + 1, 4])
    for step in (1, 2):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True)
        gradient = np.float64(tf.convert_to_tensor(tape.gradient(loss, table)))
        assert np.count_nonzero(np.abs(gradient).sum(axis=1)) > 5
        moments[0] = beta_1 * moments[0] + (1 - beta_1) * gradient
        moments[1] = beta_2 * moments[1] + (1 - beta_2) * gradient**2
        scale = np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        moved = scale * moments[0] / (np.sqrt(moments[1]) + 1e-7)
        change = {"adam": moved, "sgd": gradient}[optimizer]
        expected = table.numpy() - rate * change
        model.train_on_batch(batch)
        np.testing.assert_allclose(table.numpy(), expected, atol=1e-6)


def test_a_step_is_traced_once(windows):
    """Although the last batch is smaller, and the optimizer has to create its variables."""
    model, traced = model_of(), []
    step = model.train_step
    model.train_step = lambda data: traced.append(1) or step(data)
    model.compile(optimizer=tf.keras.optimizers.Adam())
    assert len(windows) % 4
    model.fit(windows.batches(4), epochs=2, verbose=0)
    assert len(traced) == 1


def test_regularisation_losses_are_part_of_the_step(windows):
    with_decay = zeroed(model_of())
    with_decay.candidate_tower.biases.assign(tf.range(10.0))
    with_decay.add_loss(lambda: tf.reduce_sum(with_decay.candidate_tower.biases) * 0.25)
    without = zeroed(model_of())
    without.candidate_tower.biases.assign(tf.range(10.0))
    for model in (with_decay, without):
        model.compile(optimizer=tf.keras.optimizers.SGD(1.0), **EAGER)
        model.fit(windows.batches(len(windows)), verbose=0)
    difference = with_decay.candidate_tower.biases - without.candidate_tower.biases
    np.testing.assert_allclose(difference, -0.25 * np.ones(10), atol=1e-5)


def test_padding_does_not_change_the_loss(windows):
    model = randomised(model_of())
    model.compile(**EAGER)
    before = model.evaluate(windows.batches(3), verbose=0)
    model.candidate_tower.id_embeddings[0].assign(50.0 * tf.ones([4]))
    model.candidate_tower.biases[0].assign(50.0)
    assert model.evaluate(windows.batches(3), verbose=0) == before


def test_evaluate_is_deterministic_with_dropout(windows):
    model = randomised(model_of(dropout=0.5))
    model.compile(**EAGER)
    first, second = (model.evaluate(windows.batches(3), verbose=0) for _ in range(2))
    assert first == second
    batch = batch_of(windows)
    assert abs(model(batch, training=True).logits - model(batch).logits).numpy().max() > 1e-3


def test_parameters_are_counted_once():
    # Item embeddings 10 * 4, biases 10, decay 4, normalisation 4 + 4, two dense layers, no item 4.
    assert model_of().num_parameters == 40 + 10 + 4 + 8 + (4 * 8 + 8) + (8 * 4 + 4) + 4
    assert (model_of().num_items, model_of().max_history) == (NUM_ITEMS, MAX_HISTORY)


@pytest.mark.parametrize("encoder", ["average", "attention"])
def test_save_and_load(tmp_path, windows, encoder):
    model = randomised(model_of(encoder, dropout=0.25))
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is TwoTower
    assert type(again.query_tower.encoder) is type(model.query_tower.encoder)
    assert again.name == "two_tower"
    assert again.query_tower.encoder.dropout_rate == 0.25
    assert again.query_tower.item_tower is again.candidate_tower
    np.testing.assert_array_equal(again(batch_of(windows)).logits, model(batch_of(windows)).logits)


def test_training_continues_after_loading_as_without_a_break(tmp_path, windows):
    model = randomised(model_of())
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    for each in (model, again):
        each.compile(optimizer=tf.keras.optimizers.Adam(0.1), **EAGER)
    curves = [
        m.fit(windows.batches(3), epochs=2, verbose=0).history["loss"] for m in (model, again)
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-6)
    np.testing.assert_allclose(
        again.catalogue_embeddings(), model.catalogue_embeddings(), atol=1e-6
    )


def test_training_after_loading_changes_both_towers(tmp_path, windows):
    model = randomised(model_of())
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    history = tf.constant([[0, 0, 3, 1]])
    query = again.query_tower.item_tower.embed(history).numpy()
    again.compile(optimizer=tf.keras.optimizers.SGD(1.0), **EAGER)
    again.fit(windows.batches(3), verbose=0)
    np.testing.assert_array_equal(
        again.query_tower.item_tower.embed(history), again.candidate_tower.embed(history)
    )
    assert abs(again.candidate_tower.embed(history).numpy() - query).max() > 1e-3


def test_two_models_from_one_config_are_independent():
    model = randomised(model_of())
    again = TwoTower.from_config(model.get_config())
    assert again.candidate_tower is not model.candidate_tower
    assert again.query_tower.item_tower is again.candidate_tower
    assert [w.shape for w in again.query_tower.weights] == [
        w.shape for w in model.query_tower.weights
    ]


def test_encoding_can_be_traced():
    model = randomised(model_of("attention"))
    traced = tf.function(
        model.encode_histories, input_signature=[tf.TensorSpec([None, None], tf.int32)]
    )
    history = tf.constant([[0, 0, 3, 1, 7], [2, 5, 7, 9, 1]])
    np.testing.assert_allclose(traced(history), model.encode_histories(history), atol=1e-6)


def test_the_empty_query_is_the_mean_of_labelled_queries():
    model = randomised(model_of())
    windows = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)
    queries = [
        model.encode_histories(tf.constant([history])).numpy()[0]
        for history, _ in next_item_rows(windows)
    ]
    model.fit_empty_history(windows.batches(3))
    expected = np.float64(queries).mean(axis=0)
    np.testing.assert_allclose(
        model.encode_histories(tf.zeros([1, 2], tf.int32))[0], expected, rtol=1e-5, atol=1e-6
    )  # float32
    again = TwoTower.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.query_tower.empty_query, model.query_tower.empty_query)


def test_the_empty_query_cannot_be_the_mean_of_no_query():
    """It was NaN, and so was every score of a new user."""
    model = randomised(model_of())
    windows = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)
    unlabelled = replace(windows, labels=np.zeros_like(windows.labels))
    for batches in ([], unlabelled.batches(3)):
        with pytest.raises(ValueError, match="must hold a window with a label. Received: none"):
            model.fit_empty_history(batches)
    assert np.isfinite(model.query_tower.empty_query.numpy()).all()
