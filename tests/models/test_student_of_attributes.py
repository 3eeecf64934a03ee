"""A student that reads user attributes: its equation, its fit, and users with a known attribute."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_data import next_item_rows, random_windows, tiny_catalogue

from tfrs_distill.data import AttributeVocabulary, Interactions, Queries, split_by_time
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate
from tfrs_distill.evaluation.whole_catalogue import whole_ranking
from tfrs_distill.models import RetrievalStudent, warm_start
from tfrs_distill.models.attribute_effects import attribute_effects

KNOWN = AttributeVocabulary({"age": (1.0, 30.0), "plan": ("a", "b", "c")})
MAX_HISTORY, DIM, NUM_ITEMS = 4, 3, 9


def student_of(known=KNOWN, *, num_items=NUM_ITEMS, seed=0):
    return RetrievalStudent.from_history(
        num_items=num_items,
        max_history=MAX_HISTORY,
        embedding_dim=DIM,
        user_attributes=known,
        seed=seed,
    )


def with_prior(student, prior_items=2.0):
    """Give a student a random prior; return the table of each value's part."""
    random = np.random.default_rng(5)
    tower = student.query_tower
    table = random.normal(size=[1 + 5, DIM]) * (np.arange(6) > 0)[:, None]
    tower.empty_query.assign(random.normal(size=[DIM]))
    tower.attribute_embeddings.assign(table)
    tower.prior_items.assign(prior_items)
    return table


HISTORIES = np.array([[0, 0, 0, 0], [0, 0, 0, 3], [0, 0, 5, 3], [9, 2, 5, 3]])
INDICES = np.array([[2, 1], [0, 0], [1, 3], [2, 9]])  # 9 is not a plan: missing
ROWS = [[2, 3], [], [1, 5], [2]]  # of the table: two ages, then three plans


def expected_queries(alone, student, table):
    """By definition, float64: `(1 - w) encoder + w prior`, `w = 2 / (2 + n)`."""
    encoded = alone.encode_histories(tf.constant(HISTORIES, tf.int32)).numpy().astype(np.float64)
    found = []
    for query, rows, history in zip(encoded[:, :-1], ROWS, HISTORIES):
        prior = student.query_tower.empty_query.numpy() + table[rows].sum(axis=0)
        weight = 2 / (2 + np.count_nonzero(history))
        found.append([*((1 - weight) * query + weight * prior), 1.0])
    return np.array(found)


def test_a_query_blends_the_encoder_and_the_prior():
    student, alone = student_of(), student_of(None)  # of one seed: the same encoder
    table = with_prior(student)
    attributes, history = tf.constant(INDICES, tf.int32), tf.constant(HISTORIES, tf.int32)
    expected = expected_queries(alone, student, table)
    found = student.encode_histories(history, None, attributes)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    every = student.query_tower(history, user_attributes=attributes)
    np.testing.assert_allclose(every[:, -1], expected, atol=1e-6)
    # At a position only the items so far are counted.
    np.testing.assert_allclose(
        every[3, 1],
        student.encode_histories(tf.constant([[9, 2]]), None, tf.constant([[2, 0]]))[0],
        atol=1e-6,
    )
    of_int64 = student.encode_histories(history, None, tf.constant(INDICES, tf.int64))
    np.testing.assert_array_equal(of_int64, found)
    none = student.encode_histories(history)
    np.testing.assert_allclose(
        none, student.encode_histories(history, None, tf.zeros_like(attributes)), atol=1e-6
    )


def test_in_training_queries_are_the_encoders_alone():
    """Otherwise a fine-tuned student would learn to compensate for the prior."""
    student, alone = student_of(), student_of(None)
    table = with_prior(student)
    attributes, history = tf.constant(INDICES, tf.int32), tf.constant(HISTORIES, tf.int32)
    found = student.query_tower(history, training=True, user_attributes=attributes)
    encoded = alone.query_tower(history, training=True)
    np.testing.assert_array_equal(found[1:, -1], encoded[1:, -1])
    prior = student.query_tower.empty_query.numpy() + table[ROWS[0]].sum(axis=0)
    np.testing.assert_allclose(found[0, -1], [*prior, 1.0], rtol=1e-6)


def test_before_the_fit_attributes_have_no_effect():
    student, alone = student_of(), student_of(None)
    history = tf.constant(HISTORIES, tf.int32)
    found = student.encode_histories(history, None, tf.constant(INDICES, tf.int32))
    np.testing.assert_array_equal(found, alone.encode_histories(history))
    assert len(student.trainable_variables) == len(alone.trainable_variables)


def test_a_student_without_attributes_is_unchanged():
    names = [weight.name.rpartition("/")[2] for weight in student_of(None).query_tower.weights]
    assert names[-1] == "empty_query:0" and not {"prior_items:0"} & set(names)
    assert "user_attributes" not in student_of(None).query_tower.get_config()


def windows_with(indices_of_users, **how):
    windows = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY, **how)
    return replace(windows, user_attributes=np.array(indices_of_users)[windows.users])


def test_the_fit_is_of_each_users_mean_query():
    indices = np.random.default_rng(3).integers(0, [3, 4], [7, 2])
    windows, student, alone = windows_with(indices), student_of(), student_of(None)
    rows = next_item_rows(windows)
    queries = np.stack([alone.encode_histories(tf.constant([h]))[0, :DIM] for h, _ in rows])
    users = np.repeat(windows.users, (windows.labels > 0).sum(axis=1))
    values = np.where(indices > 0, indices + [0, 2], 0)  # two ages, then three plans
    means = np.stack([queries[users == user].mean(axis=0) for user in range(7)])
    for _ in range(2):  # a second fit starts from the encoder again
        student.fit_empty_history(windows.batches(2, seed=0))
        tower = student.query_tower
        np.testing.assert_allclose(tower.empty_query, queries.mean(axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(tower.attribute_embeddings[0], np.zeros(DIM))
        np.testing.assert_allclose(
            tower.attribute_embeddings, attribute_effects(values, 6, means), atol=1e-5
        )
        assert float(tower.prior_items) == 3.0


def test_user_attributes_are_part_of_the_windows_fingerprint():
    """A cache of a teacher that reads attributes was used for other attributes."""
    one, same, other = (windows_with(np.full([7, 2], value)) for value in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert one.fingerprint() != replace(one, user_attributes=None).fingerprint()


def test_windows_without_attributes_cannot_fit_them():
    with pytest.raises(ValueError, match=r"\(age, plan\), but the batches have no column 'user_a"):
        student_of().fit_empty_history(random_windows(num_items=9, max_history=4).batches(2))


@pytest.mark.parametrize("width", [1, 3])
def test_another_number_of_attributes_is_refused_everywhere(width):
    student = student_of()
    windows = windows_with(np.ones([7, width], int))
    words = rf"\(age, plan\)\. Received: {width} columns"
    with pytest.raises(InputError, match=words):
        student(next(iter(windows.batches(2))))
    queries = Queries(
        windows.catalogue, [0], [np.array([1])], [np.array([3])], user_attributes=[[1] * width]
    )
    with pytest.raises(InputError, match=words):
        evaluate(student, queries, k=3)


def two_groups(num_users=80):
    """Half of the users have items 1 to 10 alone, half 11 to 20; the attribute gives the half."""
    random = np.random.default_rng(0)
    items = np.stack([random.permutation(10)[:8] + 1 + 10 * (u % 2) for u in range(num_users)])
    users, times = np.indices(items.shape)
    names = tuple(f"u{user}" for user in range(num_users))
    flat = [array.ravel() for array in (users, items, np.ones(items.shape), times)]
    splits = split_by_time(
        Interactions("groups", tiny_catalogue(20), names, *flat), max_history=MAX_HISTORY
    )
    columns = {"kind": ["low" if user % 2 == 0 else "high" for user in range(num_users)]}
    known = AttributeVocabulary.from_columns(columns)
    return known, splits.with_user_attributes(known.encode(columns))


@pytest.fixture(scope="module")
def planted():
    known, splits = two_groups()
    tf.keras.utils.set_random_seed(0)
    student = RetrievalStudent.from_history(
        num_items=20, max_history=MAX_HISTORY, embedding_dim=8, user_attributes=known, seed=0
    )
    student.compile(optimizer=tf.keras.optimizers.Adam(1e-2))
    student.fit(splits.train.batches(16, seed=0), epochs=8, verbose=0)
    student.fit_empty_history(splits.train.batches(16))
    return known, splits, student


def ranked(student, attributes):
    query = student.encode_histories(tf.zeros([1, 1], tf.int32), None, attributes)
    scores = tf.matmul(query, student.catalogue_embeddings(), transpose_b=True)[0, 1:]
    return set((np.argsort(-scores.numpy())[:10] + 1).tolist())


def test_for_a_new_user_the_attribute_is_enough(planted):
    known, _, student = planted
    low, high = (tf.constant(known.encode({"kind": [kind]})) for kind in ("low", "high"))
    assert ranked(student, low) == set(range(1, 11))
    assert ranked(student, high) == set(range(11, 21))


def test_evaluation_gives_a_student_the_attributes_of_the_queries(planted):
    known, splits, student = planted
    nothing = replace(splits.test, histories=(np.zeros(0, np.int32),) * len(splits.test))
    unknown = replace(nothing, user_attributes=np.zeros_like(nothing.user_attributes))
    found, without = (evaluate(student, queries, k=10) for queries in (nothing, unknown))
    # All ten of a group are in the top ten, so every positive is found.
    np.testing.assert_array_equal(found.values["recall"], np.ones(len(nothing)))
    assert without.values["recall"].mean() < 0.9
    few = replace(nothing, candidates=np.array([1, 2, 11, 12]))
    lists = evaluate(student, few, k=2).item_ids
    groups = few.answerable().user_attributes[:, 0]
    expected = [{1, 2} if known.attributes["kind"][g - 1] == "low" else {11, 12} for g in groups]
    assert [set(row) for row in lists.tolist()] == expected


def test_a_scorer_of_lists_gets_the_attributes_of_the_queries():
    class Lists:
        """Ranks item `a` first for users with attribute `a`; the others in their order."""

        reads_attributes = True

        def __call__(self, histories, k, user_attributes):
            lists = [[a, *np.setdiff1d(np.arange(1, k + 1), a)] for (a,) in user_attributes]
            return np.tile(-np.arange(k, dtype=np.float32), (len(lists), 1)), np.array(lists)

    catalogue = replace(tiny_catalogue(3), exclude_seen=False)
    none = np.zeros(0, np.int32)
    queries = Queries(catalogue, [0, 1], [none, none], [[1], [1]], user_attributes=[[2], [3]])
    _, ranks = whole_ranking(Lists(), queries, max_history=4)
    assert ranks[:, 1:].tolist() == [[0, -1, 1], [0, 1, -1]]  # of 2, 1, 3 and of 3, 1, 2


def test_it_is_equal_after_saving_loading_and_from_its_config(planted, tmp_path):
    _, splits, student = planted
    student.save(tmp_path / "student.keras")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    assert again.user_attributes == student.user_attributes
    batch = next(iter(splits.train.batches(5)))
    np.testing.assert_array_equal(again(batch).logits, student(batch).logits)
    assert again.fingerprint() == student.fingerprint()


def test_a_warm_start_copies_attribute_effects_if_both_read_the_same(planted):
    known, _, student = planted

    def started(vocabulary):
        new = RetrievalStudent.from_history(
            num_items=20, max_history=4, embedding_dim=8, user_attributes=vocabulary, seed=3
        )
        return new, warm_start(new, student, range(1, 21))

    same, _ = started(known)
    history, attributes = tf.constant([[3, 5]]), tf.constant([[1]])
    np.testing.assert_array_equal(
        same.encode_histories(history, None, attributes),
        student.encode_histories(history, None, attributes),
    )
    for vocabulary in (None, AttributeVocabulary({"kind": ("low", "high")})):  # in another order
        other, copied = started(vocabulary)
        assert not [name for name in copied.copied if "prior" in name or "attribute" in name]
        np.testing.assert_array_equal(
            other.query_tower.encoder.feed_forward.out.kernel,
            student.query_tower.encoder.feed_forward.out.kernel,
        )
