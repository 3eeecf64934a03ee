"""Item means and biases: by hand, against a dense least squares, unknown ids, choice of l2."""

import numpy as np
import pytest

from tfrs_distill.data.ranking_examples import RankingExamples, RankingSplits
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.baselines import best_bias_only, best_item_mean, bias_only, item_mean


def rows_of(items, users, labels, task="rating", weights=None):
    return RankingExamples(
        {"item_id": np.array(items)},
        {task: np.array(labels, float)},
        users=np.array(users),
        queries=np.zeros(len(users), int),
        weights=weights,
    )


@pytest.fixture
def train():
    """120 ratings of 20 users and 15 items with gaps in the ids, some without a label."""
    random = np.random.default_rng(0)
    labels = random.integers(1, 6, 120).astype(float)
    labels[::11] = np.nan
    return rows_of(random.integers(1, 16, 120) * 3, random.integers(0, 20, 120) * 2, labels)


def dense_ridge(examples, task, l2, with_users):
    """Predictions of the same rows by the normal equations of 0/1 columns, float64."""
    labels, items = examples.labels[task].astype(float), examples.features["item_id"]
    there = ~np.isnan(labels)
    weights = np.ones(len(labels)) if examples.weights is None else examples.weights.astype(float)
    columns = [items == item for item in np.unique(items) if item]
    if with_users:
        columns += [examples.users == user for user in np.unique(examples.users)]
    table = np.stack(columns, axis=1).astype(float)
    mean = np.average(labels[there], weights=weights[there])
    left = table[there].T @ (weights[there, None] * table[there]) + l2 * np.eye(len(columns))
    right = table[there].T @ (weights[there] * (labels[there] - mean))
    return mean + table @ np.linalg.solve(left, right)


def test_item_means_by_hand():
    train = rows_of([1, 1, 1, 2], [1, 2, 3, 1], [5, 4, 3, 2])
    # The mean of all is 3.5; the items' sums plus two rows of it: 19 / 5 and 9 / 3.
    result = item_mean(train, "rating", l2=2.0)(rows_of([1, 2, 3, 0], [9, 9, 9, 1], [1] * 4))
    assert list(result) == ["rating"]
    np.testing.assert_allclose(result["rating"], [19 / 5, 3.0, 3.5, 3.5])


@pytest.mark.parametrize("label", [0, 1])
def test_probabilities_of_equal_binary_labels_are_within_0_and_1(label):
    train = rows_of([1, 1, 2], [1, 2, 3], [label] * 3)
    found = item_mean(train, "rating", l2=1.0)(train)["rating"]
    np.testing.assert_allclose(found, [abs(label - 0.5 / 3)] * 3)


def test_a_row_without_a_label_does_not_count():
    train = rows_of([1, 1, 2], [1, 2, 3], [4, np.nan, 2])
    np.testing.assert_allclose(item_mean(train, "rating", l2=1.0)(train)["rating"], [3.5, 3.5, 2.5])


@pytest.mark.parametrize("l2", [0.1, 5.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_biases_solve_the_ridge_regression(train, l2, weighted):
    if weighted:
        weights = np.random.default_rng(1).random(120)
        train = rows_of(
            train.features["item_id"], train.users, train.labels["rating"], weights=weights
        )
    for fit, with_users in ((item_mean, False), (bias_only, True)):
        expected = np.clip(dense_ridge(train, "rating", l2, with_users), 1, 5)
        # Conjugate gradients stop at 1e-9 of the right side.
        np.testing.assert_allclose(
            fit(train, "rating", l2=l2)(train)["rating"], expected, atol=1e-7
        )


def test_a_long_chain_of_users_and_items_is_solved_too():
    # Each user shares one item with the next: each rating affects the other end, and plain
    # gradient descent would take tens of thousands of passes.
    users, items = np.repeat(np.arange(150), 2), np.repeat(np.arange(151), 2)[1:-1] + 1
    labels = 3 + np.sin(np.arange(300) / 20)
    train = rows_of(items, users, labels)
    result = bias_only(train, "rating", l2=1e-3)(train)["rating"]
    expected = np.clip(dense_ridge(train, "rating", 1e-3, True), labels.min(), labels.max())
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_planted_biases_are_found():
    random = np.random.default_rng(2)
    users, items = random.integers(0, 50, 20000), random.integers(1, 41, 20000)
    of_user, of_item = random.normal(size=50), random.normal(size=41)
    truth = of_user[users] + of_item[items]
    model = bias_only(rows_of(items, users, truth + random.normal(size=20000)), "rating", l2=1e-3)
    # 400 rows per user, 500 per item: each bias is off by 1 / sqrt(400) = .05, at most four times
    # it.
    assert abs(model(rows_of(items, users, truth))["rating"] - truth).max() < 0.3
    assert np.corrcoef(model.user_biases[:-1], of_user)[0, 1] > 0.99


def test_unknown_users_and_items_have_no_bias(train):
    model = bias_only(train, "rating", l2=1.0)
    mean = np.nanmean(train.labels["rating"])
    item, user = model.item_biases[0], model.user_biases[2]
    new = rows_of([3, 4, 3, 99, 0, 1], [4, 4, 5, 99, 4, 3], [1] * 6)
    np.testing.assert_allclose(
        model(new)["rating"], mean + np.array([item + user, user, item, 0.0, user, 0.0]), rtol=1e-6
    )


def test_rows_of_an_unknown_item_change_no_items_mean():
    train = rows_of([0, 0, 1], [1, 2, 1], [5, 5, 2])
    result = item_mean(train, "rating", l2=1.0)(train)["rating"]
    np.testing.assert_allclose(result, [4, 4, 3])


def test_predictions_are_clipped_to_the_range_of_labels():
    train = rows_of([1, 2, 1, 2, 3], [1, 1, 2, 2, 3], [5, 4, 2, 1, 3])
    model = bias_only(train, "rating", l2=1e-6)
    result = model(rows_of([1, 2], [1, 2], [1, 1]))["rating"]
    assert result.max() <= 5.0 and result.min() >= 1.0
    biases = np.append(model.user_biases, model.item_biases)
    assert abs(biases).max() > 1.4  # users at +1.5 and -1.5 of 3, so some rows would be outside


def test_a_binary_task_gets_probabilities_that_are_never_certain():
    train = rows_of([1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 0, 0], task="like")
    result = item_mean(train, "like", l2=1.0)(train)["like"]
    np.testing.assert_allclose(result, [2.5 / 3, 2.5 / 3, 0.5 / 3, 0.5 / 3])
    result = bias_only(train, "like", l2=1e-6)(train)["like"]
    np.testing.assert_allclose(result, [7 / 8, 7 / 8, 1 / 8, 1 / 8])  # half a row of 4 from 0 and 1


def test_equal_labels_are_predicted():
    train = rows_of([1, 2], [1, 2], [3, 3])
    np.testing.assert_array_equal(bias_only(train, "rating")(train)["rating"], [3, 3])


def squared_error(model, examples):
    return np.nanmean((model(examples)["rating"] - examples.labels["rating"]) ** 2)


@pytest.mark.parametrize(
    ("best", "fit"), [(best_item_mean, item_mean), (best_bias_only, bias_only)]
)
@pytest.mark.parametrize("noise", [0.3, 6.0])
def test_the_best_l2_is_chosen_on_validation(best, fit, noise):
    random = np.random.default_rng(4)
    of_item = random.normal(size=31)

    def rows(num_rows):
        items, users = random.integers(1, 31, num_rows), random.integers(0, 20, num_rows)
        labels = of_item[items] + noise * random.normal(size=num_rows)
        labels[::9] = np.nan
        return rows_of(items, users, labels)

    splits = RankingSplits("planted", rows(200), rows(3000), rows(10))
    tried = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
    errors = [squared_error(fit(splits.train, "rating", l2=l2), splits.validation) for l2 in tried]
    chosen = squared_error(best(splits, "rating"), splits.validation)
    assert chosen == min(errors) < max(errors)
    # Noise needs shrinkage, a clear signal does not.
    assert (np.argmin(errors) > 3) if noise > 1 else (np.argmin(errors) < 3)


@pytest.mark.parametrize("l2", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("fit", [item_mean, bias_only])
def test_l2_must_be_positive(train, fit, l2):
    with pytest.raises(ValueError, match=r"`l2` must be a finite number greater than 0. Received"):
        fit(train, "rating", l2=l2)


def test_missing_columns_are_named(train):
    with pytest.raises(InputError, match="no labels for the task 'like'"):
        item_mean(train, "like")
    without = RankingExamples(
        {"age": np.arange(2)}, {"rating": np.ones(2)}, users=np.arange(2), queries=np.arange(2)
    )
    with pytest.raises(InputError, match="need the feature 'item_id'. The examples have: age"):
        item_mean(without, "rating")
    with pytest.raises(InputError, match="need the feature 'item_id'"):
        bias_only(train, "rating")(without)
