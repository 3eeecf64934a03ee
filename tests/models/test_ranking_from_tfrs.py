"""The TFRS ranking tutorial's model as a student, compared with the tutorial's own training."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.models import RankingStudent
from tfrs_distill.models.multi_task_model import MultiTaskModel
from tfrs_distill.models.tfrs_ranking_student import TFRSRankingStudent

NAN = float("nan")
USERS, MOVIES = ["1", "2", "3"], ["Heat", "Alien", "Up", "Jaws"]
INPUTS = {"user_id": "user_id", "movie_title": "movie_title"}
RATINGS = [4.0, 1.0, 5.0, 3.0, 2.0]
ROWS = {
    "movie_title": tf.constant(["Up", "Heat", "Up", "Alien", "Unheard of"]),
    "user_id": tf.constant(["1", "2", "3", "1", "9"]),
}
LABELLED = ROWS | {columns.label("rating"): tf.constant(RATINGS)}
WITH_RATING = ROWS | {"user_rating": tf.constant(RATINGS)}


class TutorialRankingModel(tf.keras.Model):
    """As in the tutorial "Recommending movies: ranking", except for the seeds."""

    def __init__(self):
        super().__init__()
        self.user_embeddings = self.embeddings(USERS, seed=1)
        self.movie_embeddings = self.embeddings(MOVIES, seed=2)
        self.ratings = tf.keras.Sequential(
            [
                self.dense(256, "relu", 3),
                self.dense(64, "relu", 4),
                self.dense(1, None, 5),
            ]
        )

    @staticmethod
    def embeddings(vocabulary, seed):
        initializer = tf.keras.initializers.RandomNormal(stddev=0.5, seed=seed)
        return tf.keras.Sequential(
            [
                tf.keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None),
                tf.keras.layers.Embedding(len(vocabulary) + 1, 32, initializer),
            ]
        )

    @staticmethod
    def dense(units, activation, seed):
        initializer = tf.keras.initializers.GlorotUniform(seed=seed)
        return tf.keras.layers.Dense(units, activation=activation, kernel_initializer=initializer)

    def call(self, inputs):
        user_id, movie_title = inputs
        user_embedding = self.user_embeddings(user_id)
        movie_embedding = self.movie_embeddings(movie_title)
        return self.ratings(tf.concat([user_embedding, movie_embedding], axis=1))


class TutorialModel(tfrs.models.Model):
    def __init__(self, task=None):
        super().__init__()
        self.ranking_model = TutorialRankingModel()
        self.task = task or tfrs.tasks.Ranking(
            loss=tf.keras.losses.MeanSquaredError(),
            metrics=[tf.keras.metrics.RootMeanSquaredError()],
        )

    def call(self, features):
        return self.ranking_model((features["user_id"], features["movie_title"]))

    def compute_loss(self, features, training=False):
        features = dict(features)
        labels = features.pop("user_rating")
        return self.task(labels=labels, predictions=self(features))


class OlderTutorialModel(tfrs.models.Model):
    """Without a `call`; its inner model is called `rating_model`."""

    def __init__(self):
        super().__init__()
        self.rating_model = TutorialRankingModel()
        self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())


def adopted(model, **changes):
    return RankingStudent.from_tfrs(model, **{"inputs": INPUTS, **changes})


def weights_of(model):
    inner = getattr(model, "ranking_model", None) or model.rating_model
    return [weight.numpy() for weight in inner.trainable_variables]


def test_its_predictions_are_the_models():
    model = TutorialModel()
    student = adopted(model)
    expected = model(ROWS).numpy()
    assert expected.shape == (5, 1) and len(np.unique(expected)) == 5
    np.testing.assert_array_equal(student(ROWS).heads["rating"].logits, expected)
    np.testing.assert_array_equal(student.predictions(ROWS)["rating"], expected[:, 0])
    np.testing.assert_array_equal(student.logits(ROWS)["rating"], expected)
    assert isinstance(student, TFRSRankingStudent) and isinstance(student, MultiTaskModel)
    assert student.name == model.name and list(student.tasks) == ["rating"]


def test_its_weights_are_the_models():
    model = TutorialModel()
    student = adopted(model)
    student(ROWS)
    own = {id(variable) for variable in model.trainable_variables}
    assert {id(variable) for variable in student.trainable_variables} == own and len(own) == 8
    assert student.num_parameters == sum(np.prod(v.shape) for v in model.trainable_variables)
    assert {id(variable) for variable in student.shared_variables} == own


def test_without_teacher_it_trains_like_the_tutorials_model():
    """Its own `fit` against the student's: the same steps, losses and metrics."""
    tutorial, made_of = TutorialModel(), TutorialModel()
    student = adopted(made_of)
    logs = []
    for model, rows in ((tutorial, WITH_RATING), (student, LABELLED)):
        model.compile(optimizer=tf.keras.optimizers.Adagrad(0.1))
        batches = tf.data.Dataset.from_tensor_slices(rows).batch(3)
        logs.append(model.fit(batches, epochs=2, verbose=0).history)
    name = "root_mean_squared_error"
    np.testing.assert_allclose(logs[1][name], logs[0][name], rtol=1e-5)
    for one, other in zip(weights_of(made_of), weights_of(tutorial)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # float32
    # the tutorial logs the last batch's loss, the student the epoch's mean
    evaluated = [
        model.evaluate(rows, batch_size=5, verbose=0, return_dict=True)
        for model, rows in ((tutorial, WITH_RATING), (student, LABELLED))
    ]
    for name in ("loss", "root_mean_squared_error"):
        assert evaluated[1][name] == pytest.approx(evaluated[0][name], rel=1e-5)
    assert evaluated[1]["rating_loss"] == evaluated[1]["loss"]


def test_rows_without_a_label_are_ignored_and_weights_apply():
    student = adopted(TutorialModel())
    labels = np.array([4.0, NAN, 5.0, 3.0, NAN], np.float32)
    rows = ROWS | {
        columns.label("rating"): tf.constant(labels),
        columns.SAMPLE_WEIGHT: tf.constant([1.0, 1.0, 2.0, 0.0, 3.0]),
    }
    outputs = student(rows)
    values, weights = student.hard_losses(rows, outputs, student.task_names)["rating"]
    np.testing.assert_array_equal(weights, [1, 0, 2, 0, 0])
    squared = (outputs.heads["rating"].logits[:, 0] - labels) ** 2
    np.testing.assert_allclose(values.numpy()[[0, 2, 3]], squared.numpy()[[0, 2, 3]], rtol=1e-5)
    expected = (squared[0] + 2 * squared[2]) / 3
    np.testing.assert_allclose(student.compute_loss(rows), expected, rtol=1e-5)
    (metric,) = student.evaluation_metrics
    assert metric.name == "root_mean_squared_error"
    student.update_evaluation_metrics(rows, outputs)
    assert float(metric.result()) > 0
    metric.reset_state()
    student.update_evaluation_metrics(rows, outputs)
    np.testing.assert_allclose(metric.result(), np.sqrt(expected), rtol=1e-5)


def test_a_loss_that_sums_becomes_a_mean_over_the_rows():
    summed = tf.keras.losses.MeanSquaredError(reduction=tf.keras.losses.Reduction.SUM)
    model = TutorialModel(tfrs.tasks.Ranking(loss=summed))
    # otherwise Keras takes a mean
    in_columns = ROWS | {"user_rating": tf.constant(RATINGS)[:, None]}
    own = float(model.compute_loss(in_columns))
    np.testing.assert_allclose(adopted(model).compute_loss(LABELLED), own / 5, rtol=1e-5)
    assert summed.reduction == tf.keras.losses.Reduction.SUM  # the model's loss is unchanged
    np.testing.assert_allclose(model.compute_loss(in_columns), own, rtol=1e-6)


def test_a_binary_loss_of_logits_makes_predictions_probabilities():
    loss = tf.keras.losses.BinaryCrossentropy(from_logits=True)
    model = TutorialModel(tfrs.tasks.Ranking(loss=loss))
    student = adopted(model, task="like")
    likes = tf.constant([1.0, 0.0, 1.0, 0.0, 1.0])
    logits = model(ROWS).numpy()[:, 0]
    np.testing.assert_allclose(
        student.predictions(ROWS)["like"], 1 / (1 + np.exp(-logits)), rtol=1e-5
    )
    expected = model.compute_loss(ROWS | {"user_rating": likes[:, None]})
    output = student.compute_loss(ROWS | {columns.label("like"): likes})
    np.testing.assert_allclose(output, expected, rtol=1e-5)
    student.compile("adam", run_eagerly=True)
    with pytest.raises(ValueError, match="task 'like' must be within 0 and 1.*Received: 2"):
        student.fit(ROWS | {columns.label("like"): 2.0 * likes}, verbose=0)


def test_a_loss_of_probabilities_is_refused_also_as_tfrs_default():
    default = tfrs.tasks.Ranking()
    own = tfrs.tasks.Ranking(loss=tf.keras.losses.BinaryCrossentropy())
    for task in (default, own):
        with pytest.raises(ValueError, match=r"reads probabilities .*from_logits=True\)"):
            adopted(TutorialModel(task))


def test_a_loss_that_is_only_a_function_is_refused():
    task = tfrs.tasks.Ranking(loss=lambda y_true, y_pred, sample_weight=None: 0.0)
    with pytest.raises(ValueError, match="must be a `tf.keras.losses.Loss`, which can return"):
        adopted(TutorialModel(task))


def test_a_model_without_call_is_run_by_its_rating_model():
    model = OlderTutorialModel()
    student = adopted(model)
    expected = model.rating_model((ROWS["user_id"], ROWS["movie_title"]))
    np.testing.assert_array_equal(student(ROWS).heads["rating"].logits, expected)
    student.compile(tf.keras.optimizers.Adagrad(0.1), run_eagerly=True)
    before = weights_of(model)
    student.fit(LABELLED, batch_size=5, verbose=0)
    assert not np.allclose(weights_of(model)[-2], before[-2])


def test_the_batchs_columns_may_have_other_names():
    model = TutorialModel()
    student = adopted(model, inputs={"user_id": "who", "movie_title": "what"})
    rows = {"who": ROWS["user_id"], "what": ROWS["movie_title"]}
    np.testing.assert_array_equal(student(rows).heads["rating"].logits, model(ROWS))
    assert student.input_columns == ("who", "what")


def test_a_model_with_one_output_axis_is_read():
    class Flat(TutorialModel):
        def call(self, features):
            return super().call(features)[:, 0]

    model = Flat()
    output = adopted(model)(ROWS).heads["rating"].logits
    assert output.shape == (5, 1)
    np.testing.assert_array_equal(output[:, 0], model(ROWS))


def test_invalid_models_are_refused():
    class Nothing(tfrs.Model):
        def __init__(self):
            super().__init__()
            self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())

    class Two(TutorialModel):
        def __init__(self):
            super().__init__()
            self.other = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())

    class Several(TutorialModel):
        def call(self, features):
            return features["user_id"], super().call(features)

    class Wide(TutorialModel):
        def call(self, features):
            return tf.tile(super().call(features), [1, 2])

    for model in (tf.keras.Sequential(), object()):
        with pytest.raises(TypeError, match="must be a `tfrs.Model`. Received: .*"):
            adopted(model)
    with pytest.raises(ValueError, match="one `tfrs.tasks.Ranking`.*Received: 2 of them"):
        adopted(Two())
    with pytest.raises(ValueError, match="one `tfrs.tasks.Ranking`.*Received: 0 of them"):
        adopted(TutorialModel(tfrs.tasks.Retrieval()))
    with pytest.raises(ValueError, match="custom `call` .*'ranking_model' or 'rating_model'"):
        adopted(Nothing())
    with pytest.raises(ValueError, match="`inputs` must name what the model reads.*Received: none"):
        adopted(TutorialModel(), inputs={})
    with pytest.raises(ValueError, match="one number per row.*Received: tuple"):
        adopted(Several())(ROWS)
    with pytest.raises(ValueError, match=r"one number per row.*Received: \(5, 2\)"):
        adopted(Wide())(ROWS)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"no columns \['movie_title'\]. It has: \['user_id'\]"):
        adopted(TutorialModel())({"user_id": ROWS["user_id"]})
    with pytest.raises(
        ValueError, match="Task 'rating' has no labels: .* no column 'label/rating'"
    ):
        adopted(TutorialModel()).compute_loss(ROWS)


def test_it_is_saved_by_its_weights(tmp_path):
    model, other = TutorialModel(), TutorialModel()
    student = adopted(model)
    student(ROWS)
    with pytest.raises(NotImplementedError, match="save that model, or the weights"):
        student.get_config()
    student.trainable_variables[-1].assign_add([1.0])
    student.save_weights(tmp_path / "student")
    again = adopted(other)
    again(ROWS)
    again.load_weights(tmp_path / "student")
    np.testing.assert_array_equal(other(ROWS), model(ROWS))


# The task's loss and metrics


def summaries():
    return {
        f"{kind}_metrics": [tf.keras.metrics.Mean(name=kind)]
        for kind in ("prediction", "label", "loss")
    }


@pytest.mark.parametrize("labelled", [5, 3])
def test_the_tasks_summaries_use_the_batch_and_only_rows_with_a_label(labelled):
    """Three rows of five have a label: the model itself is given these three."""
    alone, made_of = (
        TutorialModel(tfrs.tasks.Ranking(loss=tf.keras.losses.Huber(), **summaries()))
        for _ in range(2)
    )
    labels = tf.constant(RATINGS)
    few = {name: column[:labelled] for name, column in ROWS.items()}
    alone.task(labels[:labelled, None], alone(few))
    unlabelled = tf.range(5) >= labelled
    rows = ROWS | {columns.label("rating"): tf.where(unlabelled, NAN, labels)}
    student = adopted(made_of)
    student.update_evaluation_metrics(rows, student(rows))
    figures = {metric.name: metric.result() for metric in student.evaluation_metrics}
    assert len(figures) == 3
    for metric in alone.task.metrics:
        np.testing.assert_allclose(figures[metric.name], metric.result(), rtol=1e-5)


def test_a_loss_of_one_number_per_batch_is_refused():
    class Whole(tf.keras.losses.Loss):
        def call(self, y_true, y_pred):
            return tf.reduce_mean((y_true - y_pred) ** 2)

    with pytest.raises(ValueError, match=r"one value per row.*Received: Whole, .*shape \(\) for 2"):
        adopted(TutorialModel(tfrs.tasks.Ranking(loss=Whole())))


def test_a_task_with_a_custom_call_is_refused():
    class Own(tfrs.tasks.Ranking):
        def call(self, *arguments, **options):
            return 5.0 * super().call(*arguments, **options)

    task = Own(loss=tf.keras.losses.MeanSquaredError())
    with pytest.raises(ValueError, match="`tfrs.tasks.Ranking` must have no custom `call`.*: Own"):
        adopted(TutorialModel(task))


def test_a_warning_says_that_a_sum_becomes_a_mean(caplog):
    adopted(TutorialModel())
    assert caplog.text == ""
    summed = tf.keras.losses.MeanSquaredError(reduction=tf.keras.losses.Reduction.SUM)
    adopted(TutorialModel(tfrs.tasks.Ranking(loss=summed)))
    assert "is a sum over the batch; the student minimises the mean over the rows" in caplog.text
