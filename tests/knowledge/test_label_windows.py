"""Labelling windows: the teacher's inputs, and errors."""

import numpy as np
import pytest
import tensorflow as tf
from planted_teachers import PlantedTeacher
from tiny_data import random_windows

from tfrs_distill import columns
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge import label_windows as label
from tfrs_distill.knowledge.label_windows import Labeller, LabelSettings
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS = 9


def label_windows(teacher, windows, top_k=3, temperatures=(1.0,), dtype="float32", ids=None):
    """The stored arrays, item embeddings included."""
    settings = LabelSettings(top_k, temperatures, dtype, 64)
    labeller = Labeller(teacher, NUM_ITEMS, settings)
    ids = np.arange(len(windows)) if ids is None else ids
    return labeller.item_arrays | labeller.label(windows, ids)


@pytest.fixture
def windows():
    return random_windows(num_items=NUM_ITEMS)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_every_position_of_every_window(windows, batch_size, monkeypatch):
    monkeypatch.setattr(label, "BATCH_SIZE", batch_size)
    teacher = PlantedTeacher(NUM_ITEMS)
    arrays = label_windows(teacher, windows, 3, (1.0, 2.0))
    shape = windows.history.shape
    queries = arrays[columns.TEACHER_QUERY_EMBEDDINGS]
    assert queries.shape == (*shape, 5)
    assert arrays[columns.TEACHER_TAIL].shape == (*shape, 2)
    np.testing.assert_array_equal(arrays["item_embeddings"], teacher.candidates)
    for row, position in np.argwhere(windows.labels > 0):
        latest = windows.history[row, position]
        np.testing.assert_array_equal(queries[row, position], teacher.queries[latest])
        scores = {item: teacher.score(latest, item) for item in range(1, NUM_ITEMS + 1)}
        best = sorted(scores, key=lambda item: -scores[item])
        ids = arrays[columns.TEACHER_TOP_K_IDS][row, position]
        assert ids.dtype == np.uint16 and ids.tolist() == best[:3]
        np.testing.assert_allclose(
            arrays[columns.TEACHER_TOP_K_LOGITS][row, position],
            [scores[item] for item in best[:3]],
            atol=1e-5,
        )
        for column, temperature in enumerate((1.0, 2.0)):
            tail = np.log(sum(np.exp(scores[item] / temperature) for item in best[3:]))
            found = arrays[columns.TEACHER_TAIL][row, position, column]
            np.testing.assert_allclose(found, tail, atol=1e-5)


def poisoned(teacher, windows, *, row, position, value):
    """The teacher's query becomes `value` where the window has this item."""
    item = windows.history[row, position]
    queries = teacher.queries.numpy()
    queries[item] = value
    teacher.queries = tf.constant(queries)
    return item


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_teacher_that_gives_nan_is_refused_and_the_user_named(windows, value):
    teacher = PlantedTeacher(NUM_ITEMS)
    windows = windows.subset(windows.users >= 3)  # no user has the number of their row
    row, position = np.argwhere(windows.labels > 0)[5]
    item = poisoned(teacher, windows, row=row, position=position, value=value)
    affected = (windows.history == item) & (windows.labels > 0)
    first_row, first_position = np.argwhere(affected)[0]
    user = windows.users[first_row]
    with pytest.raises(
        InputError,
        match=rf"NaN or infinite.*user {user} at position {first_position} .*Nothing was",
    ):
        label_windows(teacher, windows, 3, (1.0,))


def test_nan_at_padding_is_ignored(windows):
    teacher = PlantedTeacher(NUM_ITEMS)
    queries = teacher.queries.numpy()
    queries[0] = np.nan
    teacher.queries = tf.constant(queries)
    assert (windows.history == 0).any()
    label_windows(teacher, windows, 3, (1.0,))


def test_a_teacher_whose_items_are_nan_is_refused(windows):
    teacher = PlantedTeacher(NUM_ITEMS)
    candidates = teacher.candidates.numpy()
    candidates[4] = np.nan
    teacher.candidates = tf.constant(candidates)
    with pytest.raises(InputError, match="NaN or infinite.*Nothing was written"):
        label_windows(teacher, windows, 3, (1.0,))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_enough(windows, value):
    """For an item far from the top: it would be lost in the sum of the rest."""
    row, position = np.argwhere(windows.labels > 0)[7]

    class Poisoned:
        fingerprint = PlantedTeacher(NUM_ITEMS).fingerprint

        def logits(self, batch, candidate_ids):
            logits = PlantedTeacher(NUM_ITEMS).logits(batch, candidate_ids).numpy()
            rows = np.argwhere(batch[columns.LABELS].numpy() > 0).tolist()
            at = rows.index([row, position])
            logits[at, logits[at].argmin()] = value
            return logits

    words = rf"first for user {windows.users[row]} at position {position} of"
    with pytest.raises(InputError, match=words):
        label_windows(Poisoned(), windows)


def test_positions_without_a_label_have_no_output(windows):
    arrays = label_windows(PlantedTeacher(NUM_ITEMS), windows, dtype="int8")
    nowhere = windows.labels == 0
    assert nowhere.any()
    for name, array in arrays.items():
        if not name.startswith("item"):
            assert array.shape[:2] == windows.labels.shape
            assert not array[nowhere].any()
            assert array[~nowhere].any()


def test_a_teacher_gets_the_examples_own_numbers(windows):
    example_ids = []

    class Listener:
        fingerprint = PlantedTeacher(NUM_ITEMS).fingerprint

        def logits(self, batch, candidate_ids):
            example_ids.extend(batch[columns.EXAMPLE_ID].numpy().tolist())
            return PlantedTeacher(NUM_ITEMS).logits(batch, candidate_ids)

    ids = np.array([40, 3, 17])
    label_windows(Listener(), windows.subset(np.array([2, 0, 1])), ids=ids)
    assert example_ids == [40, 3, 17]


def test_a_model_of_this_package_is_cached_at_its_own_temperature(windows):
    """Its logits are the embeddings' product divided by its task's temperature."""

    class Named(RetrievalStudent):
        def fingerprint(self):
            return "student"

    model = Named.from_history(
        num_items=NUM_ITEMS, max_history=windows.max_history, embedding_dim=4, seed=0
    )
    model.temperature = 0.25
    arrays = label_windows(model, windows)
    live = model.logits(next(iter(windows.batches(64))), tf.range(1, NUM_ITEMS + 1)).numpy()
    labelled = windows.labels > 0
    found = arrays[columns.TEACHER_QUERY_EMBEDDINGS][labelled] @ arrays["item_embeddings"][1:].T
    np.testing.assert_allclose(found, live, rtol=1e-5, atol=1e-6)
    best = -np.sort(-live, axis=1)[:, :3]
    np.testing.assert_allclose(
        arrays[columns.TEACHER_TOP_K_LOGITS][labelled], best, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("method", "gives", "words"),
    [
        ("logits", tf.zeros([3, NUM_ITEMS]), r"one row per label.*here \(\d+, 9\). .*\(3, 9\)"),
        ("logits", tf.zeros([1]), r"one row per label.*returns \(1,\)"),
        ("encode_queries", tf.zeros([2, 5]), r"\[batch_size, max_history.*returns \(2, 5\)"),
    ],
)
def test_outputs_of_another_shape_are_refused(windows, method, gives, words):
    class Wrong(PlantedTeacher):
        pass

    setattr(Wrong, method, lambda self, *_: gives)
    if method == "logits":
        Wrong.encode_queries = None
    with pytest.raises(InputError, match=words):
        label_windows(Wrong(NUM_ITEMS), windows)


def test_a_teacher_without_logits_or_embeddings_is_refused(windows):
    class Mute:
        def fingerprint(self):
            return "mute"

    with pytest.raises(InputError, match="A Mute cannot be cached: it has neither `logits"):
        label_windows(Mute(), windows)


def test_item_embeddings_that_are_not_finite_are_named(windows):
    teacher = PlantedTeacher(NUM_ITEMS)
    candidates = teacher.candidates.numpy()
    candidates[4] = np.inf
    teacher.candidates = tf.constant(candidates)
    with pytest.raises(InputError, match="first for item index 4. Nothing was written"):
        label_windows(teacher, windows)


def test_a_large_catalogue_is_labelled_with_fewer_windows_per_batch(windows, monkeypatch):
    monkeypatch.setattr(label, "LOGITS_AT_ONCE", 2 * NUM_ITEMS * windows.max_history + 1)
    monkeypatch.setattr(label, "ITEMS_AT_ONCE", 4)
    sizes, items = [], []

    class Listener(PlantedTeacher):
        def encode_queries(self, batch):
            tf.py_function(lambda h: sizes.append(len(h)), [batch[columns.HISTORY]], [])
            return super().encode_queries(batch)

        def encode_candidates(self, candidate_ids):
            items.append(candidate_ids.numpy().tolist())
            return super().encode_candidates(candidate_ids)

    few = label_windows(Listener(NUM_ITEMS), windows)
    assert max(sizes) == 2 and sum(sizes) == len(windows)
    assert items == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    monkeypatch.undo()
    for name, array in label_windows(PlantedTeacher(NUM_ITEMS), windows).items():
        np.testing.assert_allclose(few[name], array, atol=1e-6)


@pytest.mark.parametrize(("num_items", "expected"), [(9, 8), (51, 50), (200, 50)])
def test_by_default_the_top_50_are_kept_or_all_but_one_of_fewer(num_items, expected):
    assert LabelSettings().of_catalogue(num_items).top_k == expected
    with pytest.raises(InputError, match="`top_k` must be within 1 and 0"):
        LabelSettings().of_catalogue(1)
