"""The towers of a TFRS model as a student, compared with the model's own task."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_distill import columns
from tfrs_distill.data import split_by_time, synthetic
from tfrs_distill.distiller import Distiller
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.export import to_saved_model, to_tflite
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import Candidates, RetrievalStudent
from tfrs_distill.models.tfrs_student import TFRSStudent

USERS, MOVIES = ["ann", "bob", "cy"], ["Heat", "Alien", "Up", "Jaws"]
BATCH = {
    "user_id": tf.constant(["ann", "bob", "cy", "ann"]),
    "movie_title": tf.constant(["Up", "Heat", "Up", "Alien"]),
}


def tower(vocabulary, seed):
    initializer = tf.keras.initializers.RandomNormal(stddev=1.0, seed=seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None),
            tf.keras.layers.Embedding(len(vocabulary) + 1, 3, embeddings_initializer=initializer),
        ]
    )


class Model(tfrs.Model):
    def __init__(self, *tasks):
        super().__init__()
        self.user_model, self.movie_model = tower(USERS, 1), tower(MOVIES, 2)
        self.tasks = list(tasks)

    def compute_loss(self, features, training=False):
        return self.tasks[0](
            self.user_model(features["user_id"]),
            self.movie_model(features["movie_title"]),
            compute_metrics=not training,
        )


def mean_task(**options):
    loss = tf.keras.losses.CategoricalCrossentropy(from_logits=True)
    return tfrs.tasks.Retrieval(loss=loss, **options)


def adopted(model, **changes):
    arguments = {
        "query_tower": model.user_model,
        "candidate_tower": model.movie_model,
        "query_column": "user_id",
        "candidate_column": "movie_title",
        **changes,
    }
    return RetrievalStudent.from_tfrs(model, **arguments)


def test_rows_are_the_batchs_queries_and_candidates_its_strings():
    model = Model(mean_task(temperature=0.5))
    outputs = adopted(model)(BATCH)
    np.testing.assert_array_equal(outputs.candidates.ids, BATCH["movie_title"])
    np.testing.assert_array_equal(outputs.candidates.labels, [0, 1, 2, 3])
    queries = np.float64(model.user_model.get_weights()[0])[[1, 2, 3, 1]]
    candidates = np.float64(model.movie_model.get_weights()[0])[[3, 1, 3, 2]]
    np.testing.assert_allclose(
        outputs.hidden_representations["query_embeddings"], queries, rtol=1e-6
    )
    np.testing.assert_allclose(
        outputs.hidden_representations["candidate_embeddings"], candidates, rtol=1e-6
    )
    # float32 against float64
    np.testing.assert_allclose(outputs.logits, queries @ candidates.T / 0.5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.25},
        {"num_hard_negatives": 1},
        {"remove_accidental_hits": True},
        {"temperature": 2.0, "num_hard_negatives": 2, "remove_accidental_hits": True},
    ],
    ids=str,
)
def test_the_loss_is_the_tasks_with_its_options(options):
    """ "Up" occurs twice in the batch, for accidental hits and repeated candidates."""
    task = mean_task(**options)
    model = Model(task)
    student = adopted(model)
    weights = tf.constant([1.0, 3.0, 0.5, 0.0])
    expected = task(
        model.user_model(BATCH["user_id"]),
        model.movie_model(BATCH["movie_title"]),
        candidate_ids=BATCH["movie_title"],
        compute_metrics=False,
    )
    outputs = student(BATCH)
    losses = student.hard_loss(BATCH, outputs)
    np.testing.assert_allclose(tf.reduce_mean(losses), expected, rtol=1e-6)  # both float32
    by_row = [
        task(
            model.user_model(BATCH["user_id"]),
            model.movie_model(BATCH["movie_title"]),
            candidate_ids=BATCH["movie_title"],
            compute_metrics=False,
            sample_weight=4.0 * tf.one_hot(row, 4),  # Keras divides by the number of rows
        )
        for row in range(4)
    ]
    np.testing.assert_allclose(losses, by_row, rtol=1e-5, atol=1e-6)
    weighted = BATCH | {columns.SAMPLE_WEIGHT: weights}
    expected = np.average(np.float64(by_row), weights=weights)
    np.testing.assert_allclose(student.compute_loss(weighted), expected, rtol=1e-5)


def test_a_task_that_sums_becomes_a_mean_over_rows():
    task = tfrs.tasks.Retrieval()
    model = Model(task)
    student = adopted(model)
    summed = task(model.user_model(BATCH["user_id"]), model.movie_model(BATCH["movie_title"]))
    np.testing.assert_allclose(student.compute_loss(BATCH), summed / 4, rtol=1e-6)


def test_extra_negatives_and_a_score_mask_are_those_of_the_task():
    """Mixed negatives: also strings, with the correction for their sampling probabilities."""
    task = mean_task()
    model = Model(task)
    student = adopted(model, candidates=Candidates("sampled", remove_accidental_hits=False))
    negatives = tf.constant([["Jaws"], ["Heat"], ["Jaws"], ["Up"]])
    drawn = tf.constant([0.3, 0.2, 0.3, 0.1])
    negatives_drawn = tf.constant([[0.4], [0.2], [0.4], [0.3]])
    mask = tf.constant(np.random.default_rng(0).random((4, 8)) < 0.7) | tf.eye(4, 8, dtype=tf.bool)
    batch = BATCH | {
        columns.NEGATIVES: negatives,
        columns.CANDIDATE_SAMPLING_PROBABILITY: drawn,
        columns.NEGATIVES_SAMPLING_PROBABILITY: negatives_drawn,
        columns.SCORE_MASK: mask,
    }
    expected = task(
        model.user_model(BATCH["user_id"]),
        model.movie_model(tf.concat([BATCH["movie_title"], negatives[:, 0]], axis=0)),
        candidate_sampling_probability=tf.concat([drawn, negatives_drawn[:, 0]], axis=0),
        score_mask=mask,
    )
    np.testing.assert_allclose(student.compute_loss(batch), expected, rtol=1e-6)


def test_without_teacher_it_trains_like_the_adopted_model():
    """The twin: plain `fit` of the student, plain `fit` of the model."""
    alone, made_of = Model(mean_task()), Model(mean_task())
    student = adopted(made_of)
    batches = tf.data.Dataset.from_tensor_slices(BATCH).batch(3)
    for model in (alone, student):
        model.compile(optimizer=tf.keras.optimizers.Adagrad(0.5))
        model.fit(batches, epochs=2, verbose=0)
    for one, other in (
        (alone.user_model, made_of.user_model),
        (alone.movie_model, made_of.movie_model),
    ):
        # float32, labels as columns instead of one-hot
        np.testing.assert_allclose(one.get_weights()[0], other.get_weights()[0], rtol=1e-5)


def test_the_tasks_options_are_kept_unless_candidates_are_given():
    model = Model(mean_task(num_hard_negatives=2, remove_accidental_hits=True))
    student = adopted(model)
    assert isinstance(student, TFRSStudent)
    assert student.candidates == Candidates(
        "batch", num_hard_negatives=2, remove_accidental_hits=True
    )
    assert student.name == model.name
    given = Candidates("sampled", num_hard_negatives=1)
    assert adopted(model, candidates=given).candidates is given


def test_a_task_in_a_layer_of_the_model_is_found():
    class Wrapper(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.task = mean_task(temperature=0.5)

    assert adopted(Model(Wrapper())).temperature == 0.5


def test_one_task_under_two_names_is_one_task():
    task = mean_task()
    model = Model(task)
    model.retrieval_task = task
    assert adopted(model).temperature == 1.0


@pytest.mark.parametrize("tasks", [0, 2])
def test_a_model_without_one_task_is_refused(tasks):
    model = Model(*(mean_task() for _ in range(tasks)))
    with pytest.raises(ValueError, match=f"one `tfrs.tasks.Retrieval`.*Received: {tasks} of them"):
        adopted(model)


def test_a_ranking_model_is_refused():
    model = Model(tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError()))
    with pytest.raises(ValueError, match="one `tfrs.tasks.Retrieval`.*Received: 0 of them"):
        adopted(model)


@pytest.mark.parametrize("model", [tf.keras.Sequential(), object(), None])
def test_an_object_that_is_not_a_tfrs_model_is_refused(model):
    with pytest.raises(
        TypeError, match="must be a `tfrs.Model`. Received: .*" + type(model).__name__
    ):
        RetrievalStudent.from_tfrs(
            model, query_tower=None, candidate_tower=None, query_column="", candidate_column=""
        )


@pytest.mark.parametrize("missing", ["user_id", "movie_title"])
def test_a_missing_column_is_named_with_those_there_are(missing):
    batch = {name: column for name, column in BATCH.items() if name != missing}
    words = rf"no column '{missing}'. It has: \['{next(iter(batch))}'\]"
    with pytest.raises(ValueError, match=words):
        adopted(Model(mean_task()))(batch)


@pytest.mark.parametrize(
    "candidates", [Candidates(), Candidates("catalogue"), Candidates("batch", exclude_seen=True)]
)
def test_candidates_that_need_a_catalogue_are_refused(candidates):
    with pytest.raises(ValueError, match="have neither the catalogue nor the items of.*batch"):
        adopted(Model(mean_task()), candidates=candidates)


def test_it_is_saved_by_its_weights(tmp_path):
    model, other = Model(mean_task()), Model(mean_task())
    student = adopted(model)
    student(BATCH)
    with pytest.raises(NotImplementedError, match="Save the weights"):
        student.get_config()
    student.query_tower.layers[1].embeddings.assign_add(tf.ones([4, 3]))
    student.save_weights(tmp_path / "student")
    again = adopted(other)
    again(BATCH)
    again.load_weights(tmp_path / "student")
    np.testing.assert_array_equal(again(BATCH).logits, student(BATCH).logits)
    np.testing.assert_array_equal(
        other.user_model.get_weights()[0], model.user_model.get_weights()[0]
    )


def test_as_a_teacher_it_divides_by_the_tasks_temperature_like_as_a_student():
    student = adopted(Model(mean_task(temperature=0.5)))
    outputs = student(BATCH)
    expected = (
        outputs.hidden_representations["query_embeddings"].numpy()
        @ outputs.hidden_representations["candidate_embeddings"].numpy().T
        / 0.5
    )
    output = student.logits(BATCH, outputs.candidates.ids)
    np.testing.assert_allclose(output, expected, rtol=1e-6)


# The task's loss and metrics

LOSSES = {
    "smoothed": tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3),
    "hinge": tf.keras.losses.CategoricalHinge(),
    "summed": tf.keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_tasks_loss_is_kept(name):
    task = tfrs.tasks.Retrieval(loss=LOSSES[name], num_hard_negatives=2)
    model = Model(task)
    expected = task(model.user_model(BATCH["user_id"]), model.movie_model(BATCH["movie_title"]))
    rows = 4 if name == "summed" else 1
    np.testing.assert_allclose(adopted(model).compute_loss(BATCH), expected / rows, rtol=1e-6)


def test_a_warning_says_that_a_sum_becomes_a_mean(caplog):
    adopted(Model(mean_task()))
    assert caplog.text == ""
    adopted(Model(tfrs.tasks.Retrieval()))
    assert "is a sum over the batch; the student minimises the mean over the rows" in caplog.text


def test_a_loss_of_probabilities_is_refused():
    loss = tf.keras.losses.CategoricalCrossentropy()
    with pytest.raises(ValueError, match="reads probabilities.*Make it with `from_logits=True`"):
        adopted(Model(tfrs.tasks.Retrieval(loss=loss)))


def test_a_loss_of_one_number_per_batch_is_refused():
    class Whole(tf.keras.losses.Loss):
        def call(self, y_true, y_pred):
            return tf.reduce_sum(y_pred)

    with pytest.raises(ValueError, match=r"one value per row.*Received: Whole, .*shape \(\) for 2"):
        adopted(Model(tfrs.tasks.Retrieval(loss=Whole())))


def test_a_loss_that_is_not_a_keras_loss_is_refused():
    task = tfrs.tasks.Retrieval(loss=lambda y_true, y_pred, sample_weight=None: 0.0)
    with pytest.raises(ValueError, match="must be a `tf.keras.losses.Loss`.*Received: <function"):
        adopted(Model(task))


def own_answer(task, model, **options):
    """The task's loss for the batch, and its metrics afterwards."""
    loss = task(model.user_model(BATCH["user_id"]), model.movie_model(BATCH["movie_title"]),
                candidate_ids=BATCH["movie_title"], **options)  # fmt: skip
    parts = [part for metric in task.factorized_metrics for part in metric.metrics]
    parts += [*task._batch_metrics, *task._loss_metrics]
    output = {part.name: float(part.result()) for part in parts}
    for part in parts:
        part.reset_state()
    return float(loss), output


@pytest.mark.parametrize("loss", ["smoothed", "hinge"])
def test_more_hard_negatives_than_exist_change_no_loss_or_metric(loss):
    """Both are means over the columns, so one more column gives another value."""
    metrics = [tf.keras.metrics.MeanSquaredError("mse"), tf.keras.metrics.AUC(from_logits=True)]
    task = tfrs.tasks.Retrieval(loss=LOSSES[loss], num_hard_negatives=50, batch_metrics=metrics)
    model = Model(task)
    expected, expected_metrics = own_answer(task, model)
    np.testing.assert_allclose(adopted(model).compute_loss(BATCH), expected, rtol=1e-5)
    for metric in metrics:
        assert float(metric.result()) == pytest.approx(expected_metrics[metric.name], rel=1e-5)


def test_any_loss_that_ignores_masked_candidates_is_allowed():
    task = tfrs.tasks.Retrieval(loss=LOSSES["hinge"], remove_accidental_hits=True)
    model = Model(task)
    expected, _ = own_answer(task, model)
    assert expected > 0
    np.testing.assert_allclose(adopted(model).compute_loss(BATCH), expected, rtol=1e-6)


@pytest.mark.parametrize("masks", ["accidental hits", "score mask"])
def test_smoothed_labels_of_masked_candidates_are_refused(masks):
    """TFRS multiplies the mask's logit with the smoothed label: the loss is not usable."""
    hits = masks == "accidental hits"
    task = tfrs.tasks.Retrieval(loss=LOSSES["smoothed"], remove_accidental_hits=hits)
    model = Model(task)
    mask = tf.constant(np.triu(np.ones([4, 4], bool)))
    assert own_answer(task, model, score_mask=None if hits else mask)[0] > 1e30
    with pytest.raises(ValueError, match="does not ignore candidates.*without label smoothing"):
        adopted(model).compute_loss(BATCH if hits else BATCH | {columns.SCORE_MASK: mask})


def test_a_task_with_a_custom_call_is_refused():
    class Own(tfrs.tasks.Retrieval):
        def call(self, *arguments, **options):
            return 5.0 * super().call(*arguments, **options)

    class Renamed(tfrs.tasks.Retrieval):
        pass

    with pytest.raises(
        ValueError, match="`tfrs.tasks.Retrieval` must have no custom `call`.*: Own"
    ):
        adopted(Model(Own()))
    assert adopted(Model(Renamed(temperature=0.5))).temperature == 0.5


@pytest.mark.parametrize("by_id", [False, True])
def test_corpus_metrics_weight_rows_and_find_by_id_like_the_task(by_id):
    model = Model()
    titles = tf.data.Dataset.from_tensor_slices(MOVIES).batch(4)
    corpus = titles.map(lambda names: (names, model.movie_model(names)))
    if by_id:  # rows with other names: these are found only by score
        corpus = titles.map(lambda names: ("other " + names, model.movie_model(names)))
    metric = tfrs.metrics.FactorizedTopK(corpus, ks=(1, 3))
    task = mean_task(metrics=metric, remove_accidental_hits=by_id)
    model.tasks.append(task)
    weights = tf.constant([1.0, 2.0, 3.0, 0.0])
    _, expected = own_answer(task, model, sample_weight=weights)
    _, unweighted = own_answer(task, model)
    adopted(model).compute_loss(BATCH | {columns.SAMPLE_WEIGHT: weights})
    output = {part.name: float(part.result()) for part in metric.metrics}
    assert output == pytest.approx(expected)
    assert (
        set(output.values()) == {0.0}
        if by_id
        else 0 < max(output.values()) != max(unweighted.values())
    )


def test_a_query_of_several_heads_scores_by_the_best_like_the_task():
    class Heads(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = tower(USERS, 5)

        def call(self, ids):
            return tf.stack([self.inner(ids), -self.inner(ids)], axis=1)

    corpus = tf.data.Dataset.from_tensors(tf.eye(3))
    model = Model(mean_task(temperature=0.5, metrics=tfrs.metrics.FactorizedTopK(corpus, ks=(1,))))
    model.user_model = Heads()
    expected, _ = own_answer(model.tasks[0], model)
    np.testing.assert_allclose(adopted(model).compute_loss(BATCH), expected, rtol=1e-6)


@pytest.mark.parametrize("number", [0, -1, None])
def test_without_a_positive_number_all_negatives_are_used(number):
    assert (
        adopted(Model(mean_task(num_hard_negatives=number))).candidates.num_hard_negatives is None
    )


def metrics_of_a_task():
    return {
        "batch_metrics": [tf.keras.metrics.TopKCategoricalAccuracy(1, name="best")],
        "loss_metrics": [tf.keras.metrics.Mean(name="batch_loss")],
    }


@pytest.mark.parametrize("distilled", [False, True])
def test_the_tasks_metrics_are_logged_like_in_tfrs(distilled):
    """One batch, so the metrics of both epochs are those of the same weights."""
    alone, made_of = (Model(mean_task(**metrics_of_a_task())) for _ in range(2))
    student = adopted(made_of)
    if distilled:
        student = Distiller(
            student, lambda batch, _: tf.zeros([4, 4]), SoftTargetKLDivergence(),
            student_loss_weight=1.0,
        )  # fmt: skip
    logs = []
    for model in (alone, student):
        model.compile(optimizer=tf.keras.optimizers.Adagrad(0.5), run_eagerly=True)
        batches = tf.data.Dataset.from_tensor_slices(BATCH).batch(4)
        fitted = model.fit(batches, epochs=2, verbose=0).history
        logs.append(fitted | model.evaluate(batches, verbose=0, return_dict=True))
    for name in ("best", "batch_loss"):
        np.testing.assert_allclose(logs[1][name], logs[0][name], rtol=1e-5, err_msg=name)
    assert 0 < logs[0]["batch_loss"]


# Towers that read dicts

YEARS = tf.constant([0.9, 0.1, 0.5, 0.4])  # "Up" exists in two editions
HOURS = tf.constant([0.2, 0.7, 0.1, 0.3])


class DictTower(tf.keras.Model):
    def __init__(self, vocabulary, id_column, number, seed):
        super().__init__()
        self.ids, self.id_column, self.number = tower(vocabulary, seed), id_column, number

    def call(self, features):
        assert set(features) == {self.id_column, self.number}
        return self.ids(features[self.id_column]) * features[self.number][:, None]


class DictModel(Model):
    def __init__(self, task):
        super().__init__(task)
        self.user_model = DictTower(USERS, "user_id", "hour", 1)
        self.movie_model = DictTower(MOVIES, "movie_title", "year", 2)


DICTS = BATCH | {"hour": HOURS, "year": YEARS, "movie_id": tf.constant([7, 1, 8, 2])}
COLUMNS = {"query_column": ["user_id", "hour"], "candidate_column": ["movie_title", "year"]}


@pytest.mark.parametrize("id_column", ["movie_title", "movie_id", None])
def test_dicts_on_both_sides_give_the_loss_of_the_task(id_column):
    """By title the two "Up" are accidental hits, by id they are not."""
    task = mean_task(remove_accidental_hits=id_column is not None)
    model = DictModel(task)
    student = adopted(model, **COLUMNS, candidate_id_column=id_column)
    expected = task(
        model.user_model({name: DICTS[name] for name in COLUMNS["query_column"]}),
        model.movie_model({name: DICTS[name] for name in COLUMNS["candidate_column"]}),
        candidate_ids=None if id_column is None else DICTS[id_column],
    )
    np.testing.assert_allclose(student.compute_loss(DICTS), expected, rtol=1e-6)
    ids = student(DICTS).candidates.ids
    assert set(ids) == {"movie_title", "year"} | ({id_column} - {None})


def test_negatives_of_several_columns_are_those_of_the_task():
    task = mean_task(remove_accidental_hits=True)
    model = DictModel(task)
    sampled = Candidates("sampled")
    student = adopted(model, **COLUMNS, candidate_id_column="movie_title", candidates=sampled)
    negatives = {
        "movie_title": tf.constant([["Jaws"], ["Heat"], ["Jaws"], ["Up"]]),
        "year": tf.constant([[0.6], [0.1], [0.6], [0.9]]),
    }
    drawn, negatives_drawn = tf.constant([0.3, 0.2, 0.3, 0.1]), tf.constant([0.4, 0.2, 0.4, 0.3])
    batch = DICTS | {
        columns.NEGATIVES: negatives,
        columns.CANDIDATE_SAMPLING_PROBABILITY: drawn,
        columns.NEGATIVES_SAMPLING_PROBABILITY: negatives_drawn[:, None],
    }
    both = {name: tf.concat([DICTS[name], negatives[name][:, 0]], axis=0) for name in negatives}
    expected = task(
        model.user_model({name: DICTS[name] for name in COLUMNS["query_column"]}),
        model.movie_model(both),
        candidate_ids=both["movie_title"],
        candidate_sampling_probability=tf.concat([drawn, negatives_drawn], axis=0),
    )
    np.testing.assert_allclose(student.compute_loss(batch), expected, rtol=1e-6)
    batch[columns.NEGATIVES] = {"movie_title": negatives["movie_title"]}
    with pytest.raises(ValueError, match=r"'negatives' must be a dict of these.*lacks: \['year'\]"):
        student.compute_loss(batch)


def test_a_teacher_gets_the_candidates_columns():
    model = DictModel(mean_task())
    student = adopted(model, **COLUMNS)

    def teacher(batch, candidates):
        assert set(candidates) == {"movie_title", "year"}
        return batch["hour"][:, None] * candidates["year"][None, :]

    distiller = Distiller(student, teacher, SoftTargetKLDivergence(2.0), student_loss_weight=0.0)
    terms = distiller.loss_terms(DICTS, training=True)
    teacher_logits = np.outer(HOURS, YEARS) / 2.0
    student_logits = np.float64(student(DICTS).logits) / 2.0
    p, q = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (teacher_logits, student_logits))
    expected = 4.0 * (np.exp(p) * (p - q)).sum(axis=1).mean()
    np.testing.assert_allclose(terms["soft_target_kl_divergence"], expected, rtol=1e-5)


def test_a_dict_student_can_be_the_teacher_of_another():
    wide, model = DictModel(mean_task()), DictModel(mean_task())
    teacher = adopted(wide, **COLUMNS)
    student = adopted(model, **COLUMNS, candidate_id_column="movie_id")
    ids = student(DICTS).candidates.ids
    np.testing.assert_allclose(teacher.logits(DICTS, ids), teacher(DICTS).logits, rtol=1e-6)
    words = r"reads several columns, so candidates are a dict of \['movie_title', 'year'\]"
    with pytest.raises(ValueError, match=words):
        teacher.logits(DICTS, DICTS["movie_id"])


@pytest.mark.parametrize("names", [None, [], [7], {"year": "year"}])
def test_columns_that_are_neither_a_name_nor_a_list_of_names_are_refused(names):
    for argument in ("query_column", "candidate_column"):
        with pytest.raises(TypeError, match=f"`{argument}` must be the column.*or .* the list"):
            adopted(Model(mean_task()), **{argument: names})


def test_scoring_and_export_over_a_catalogue_are_refused(tmp_path):
    student = adopted(DictModel(mean_task()), **COLUMNS)
    splits = split_by_time(synthetic(num_users=8, seed=0), max_history=4)
    catalogue = splits.catalogue
    for predict in (
        lambda: ModelScorer(student),
        lambda: evaluate(student, splits.test),
        lambda: to_saved_model(student, tmp_path / "saved", catalogue),
        lambda: to_tflite(student, tmp_path / "student.tflite", catalogue),
    ):
        with pytest.raises(InputError, match="cannot be scored or exported here: .*`student.evalu"):
            predict()
    assert not (tmp_path / "saved").exists()


def test_accidental_hits_of_several_columns_need_the_id():
    model = DictModel(mean_task(remove_accidental_hits=True))
    with pytest.raises(ValueError, match="`candidate_id_column` must name the column.*'year'"):
        adopted(model, **COLUMNS)


@pytest.mark.parametrize("cast", [False, True])
def test_a_corpus_metric_of_reduced_precision_error_names_the_solution(cast):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = Model()
        corpus = tf.data.Dataset.from_tensor_slices(MOVIES).batch(4)
        corpus = corpus.map(
            lambda item: tf.cast(model.movie_model(item), tf.float32 if cast else tf.float16)
        )
        if cast:  # the advice of the message
            tf.keras.mixed_precision.set_global_policy("float32")
        model.tasks.append(mean_task(metrics=tfrs.metrics.FactorizedTopK(corpus, ks=(4,))))
        tf.keras.mixed_precision.set_global_policy("mixed_float16")
        student = adopted(model)
        student.compile(run_eagerly=True)
        if cast:
            output = student.test_on_batch(BATCH, return_dict=True)
            assert output["factorized_top_k/top_4_categorical_accuracy"] == 1.0
        else:
            with pytest.raises(
                ValueError, match="'factorized_top_k' cannot compare float32 .*tf.c"
            ):
                student.test_on_batch(BATCH)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


def test_a_dislike_becomes_less_likely_only_with_a_softmax_loss():
    batch = BATCH | {columns.SAMPLE_WEIGHT: tf.constant([1.0, -2.0, 1.0, 1.0])}
    student = adopted(Model(mean_task()))
    outputs = student(batch)
    shares = tf.nn.softmax(np.float64(outputs.logits)).numpy().diagonal()
    expected = np.where([0, 1, 0, 0], -np.log1p(-shares), -np.log(shares))
    np.testing.assert_allclose(student.hard_loss(batch, outputs), expected, rtol=1e-5)
    student.check_batch_labels(batch, outputs)
    smoothed = tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    other = adopted(Model(tfrs.tasks.Retrieval(loss=smoothed)))
    with pytest.raises(ValueError, match=r"softmax cross-entropy .* -2 in row 1, .*other loss\."):
        other.check_batch_labels(batch, other(batch))
    other.check_batch_labels(BATCH, other(BATCH))
