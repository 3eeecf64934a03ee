"""The ranking student: all features and tasks in one, from training to a `.tflite` file."""

import numpy as np
import tensorflow as tf

from tfrs_distill.models import RankingStudent
from tfrs_distill.models.features import (
    HistoryFeature,
    IdFeature,
    ItemFeature,
    NumberFeature,
    TextFeature,
)
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RatingDistribution,
    Regression,
)
from tfrs_distill.serving.interpreter import TFLiteModel

NAN, NUM_ITEMS = float("nan"), 9


def new_student(**arguments):
    item = ItemFeature(NUM_ITEMS, 3, np.eye(NUM_ITEMS)[:, :4], id_dropout=0.1, seed=1)
    features = [
        IdFeature("user_id", 5, 2, "query", seed=2),
        item,
        NumberFeature("age", 40.0, 10.0, "query"),
        TextFeature("words", 20, 2, "item", 7, seed=3),
        HistoryFeature(item, 4, dropout=0.1, seed=4),
    ]
    tasks = [
        Regression("rating", 1, 5),
        Binary("like"),
        Ordinal("stars"),
        RatingDistribution("dist"),
        NextItem("next_item", NUM_ITEMS),
    ]
    return RankingStudent(features, tasks, hidden_units=(6,), seed=0, **arguments)


ODD_ROWS = {  # known and unknown ids, a number and none, a text and an empty one, ...
    "user_id": np.array([1, 5, 0, 6, -1], np.int32),
    "item_id": np.array([1, 9, 0, 10, -7], np.int32),
    "age": np.array([33.0, NAN, np.inf, -np.inf, 3e38], np.float32),
    "words": np.array([[2, 3, 4], [0, 5, 5], [0, 0, 0], [21, 9, -4], [20, 20, 20]], np.int32),
    "history": np.array(
        [[0, 1, 2, 3], [9, 0, 10, 4], [0] * 4, [5, 6, 7, 8], [-1, 0, 9, 0]], np.int32
    ),
    "history_ratings": np.array(
        [[0, 5, 4, 1], [2, 0, 5, 0], [0] * 4, [1, 1, NAN, 5], [1, 0, 3, 0]], np.float32
    ),
}


def test_a_student_is_a_ranking_model_that_is_saved_under_its_own_name(tmp_path):
    student = new_student()
    assert isinstance(student, RankingModel)
    student.save(tmp_path / "student.keras")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    assert type(again) is RankingStudent
    for name, values in student.predictions(ODD_ROWS).items():
        np.testing.assert_array_equal(again.predictions(ODD_ROWS)[name], values)


def test_a_tflite_file_of_builtin_operators_returns_the_same_for_rows_and_a_querys_items(tmp_path):
    """Also of unknown ids, missing numbers, empty texts and histories; more rows than traced."""
    student = new_student()
    random = np.random.default_rng(0)
    for weight in student.prediction_weights:
        if "presence" not in weight.name:
            weight.assign(random.normal(scale=0.5, size=weight.shape))
    specs = {
        name: tf.TensorSpec([None, *rows.shape[1:]], rows.dtype, name=name)
        for name, rows in ODD_ROWS.items()
    }
    of_query = {
        name: tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name=name)
        for name, spec in specs.items()
        if any(f.column_sides.get(name) == "query" for f in student.features)
    }
    one_query = {name: ODD_ROWS[name][:1] for name in of_query}
    expected = {
        "score": student.predictions(ODD_ROWS),
        "rank": student.rank(ODD_ROWS | one_query),
    }
    functions = {
        "score": tf.function(student.predictions).get_concrete_function(specs),
        "rank": tf.function(student.rank).get_concrete_function(specs | of_query),
    }
    given = {"score": ODD_ROWS, "rank": ODD_ROWS | one_query}
    for name, function in functions.items():
        held = tf.Module()
        held.variables_of_function = function.variables  # and not the student, which Keras saves
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], held)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(converter.convert())
        output = TFLiteModel(path).run("serving_default", given[name])
        assert set(output) == set(expected[name])
        for task, values in expected[name].items():
            assert np.isfinite(values).all()
            np.testing.assert_allclose(output[task], values, rtol=1e-4, atol=1e-5)  # float32
