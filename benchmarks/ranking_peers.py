"""Peers of ranking students from other libraries, with settings chosen on validation.

Called by `benchmarks/ranking.py`. Every peer is trained on the same rows as the student and
evaluated on the same test rows.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tfrs_distill import columns  # before TensorFlow: it selects Keras 2
from tfrs_distill.data import RankingExamples
from tfrs_distill.data.ranking_examples import RankingSplits
from tfrs_distill.evaluation import metrics
from tfrs_distill.pipeline.data import RankingData

import tensorflow as tf  # isort: skip
import tensorflow_recommenders as tfrs  # isort: skip

SHRINKAGE = 5.0


def gradient_boosted_trees(data: RankingData, seed: int) -> np.ndarray:
    """scikit-learn's histogram gradient boosting on features of user, item and history.

    One feature is the item's shrunken mean rating; for a training row it excludes the row's own
    rating.

    Returns:
        Predicted ratings of the test rows.
    """
    splits = data.splits
    labels = splits.train.labels["rating"]
    items = splits.train.features[columns.ITEM_ID]
    size = len(data.item_vectors) + 1
    counts, sums = np.bincount(items, minlength=size), np.bincount(items, labels, minlength=size)

    def features(part: RankingExamples, own: np.ndarray | None = None) -> np.ndarray:
        item = part.features[columns.ITEM_ID]
        count, total = counts[item].astype(float), sums[item]
        if own is not None:
            count, total = count - 1, total - own
        mean = (total + SHRINKAGE * labels.mean()) / (count + SHRINKAGE)
        history, rated = (
            part.features[name] for name in (columns.HISTORY, columns.HISTORY_RATINGS)
        )
        of_items = np.pad(data.item_vectors, [(1, 0), (0, 0)])
        liked = (
            np.where(history > 0, rated - labels.mean(), 0)[..., None] * of_items[history]
        ).sum(axis=1)
        known = [part.features[name] for name in ("user_mean_rating", "age")]
        known += [part.features[name] for name in ("gender", "occupation", "hour_of_day")]
        near = (liked * of_items[item]).sum(axis=1)
        numbers = [mean, np.log1p(count), near, (history > 0).sum(axis=1), *known]
        return np.concatenate([np.stack(numbers, axis=1), of_items[item], rated[:, -5:]], axis=1)

    training = features(splits.train, labels)
    best: tuple[float, np.ndarray] | None = None
    for rate, leaves in product((0.03, 0.06), (15, 31)):
        model = HistGradientBoostingRegressor(
            max_iter=300, learning_rate=rate, max_leaf_nodes=leaves, random_state=seed
        ).fit(training, labels)
        error = metrics.rmse(
            splits.validation.labels["rating"], model.predict(features(splits.validation))
        )
        if best is None or error < best[0]:
            best = float(error), model.predict(features(splits.test))
    assert best is not None
    return best[1]


class TutorialModel(tfrs.Model):
    """The ranking tutorial of TensorFlow Recommenders: two embeddings and a perceptron."""

    def __init__(self, num_users: int, num_items: int) -> None:
        super().__init__()
        self.users = tf.keras.layers.Embedding(num_users + 1, 32)
        self.items = tf.keras.layers.Embedding(num_items + 1, 32)
        self.ratings = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(256, activation="relu"),
                tf.keras.layers.Dense(64, activation="relu"),
                tf.keras.layers.Dense(1),
            ]
        )
        self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())

    def call(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Predicted ratings, float32 [batch_size, 1]."""
        embedded = [self.users(batch[columns.USER_ID]), self.items(batch[columns.ITEM_ID])]
        return self.ratings(tf.concat(embedded, axis=1))

    def compute_loss(self, batch: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The tutorial's mean squared error."""
        return self.task(labels=batch[columns.label("rating")][:, None], predictions=self(batch))


def tutorial_model(data: RankingData, seed: int, max_epochs: int = 20) -> np.ndarray:
    """TFRS' ranking tutorial; its learning rate and its epochs are chosen on validation.

    Returns:
        Predicted ratings of the test rows.
    """
    splits, users = data.splits, len(data.vocabularies[columns.USER_ID])
    best: tuple[float, np.ndarray] | None = None
    for rate in (0.03, 0.1):
        tf.keras.utils.set_random_seed(seed)
        model = TutorialModel(users, len(data.item_vectors))
        model.compile(optimizer=tf.keras.optimizers.Adagrad(rate))
        batches = splits.train.batches(1024, seed=seed)

        def predicted(part: RankingExamples, model: TutorialModel = model) -> np.ndarray:
            return np.concatenate([model(batch)[:, 0] for batch in part.batches(4096)])

        for _ in range(max_epochs):
            model.fit(batches, epochs=1, verbose=0)
            error = metrics.rmse(splits.validation.labels["rating"], predicted(splits.validation))
            if best is None or error < best[0]:
                best = float(error), predicted(splits.test)
    assert best is not None
    return best[1]


def tfidf_logistic_regression(splits: RankingSplits) -> np.ndarray:
    """TF-IDF of single words and pairs with logistic regression; C is chosen on validation.

    Returns:
        Probabilities of 'recommended' for the test rows.
    """
    parts = [part.texts["text"] for part in (splits.train, splits.validation, splits.test)]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    train, validation, test = (
        vectorizer.fit_transform(parts[0]),
        *map(vectorizer.transform, parts[1:]),
    )
    best: tuple[float, np.ndarray] | None = None
    for strength in (1.0, 3.0, 10.0, 30.0):
        model = LogisticRegression(C=strength, max_iter=500)
        model.fit(train, splits.train.labels["recommended"])
        found = metrics.auc(
            splits.validation.labels["recommended"], model.predict_proba(validation)[:, 1]
        )
        if best is None or found > best[0]:
            best = float(found), model.predict_proba(test)[:, 1]
    assert best is not None
    return best[1]
