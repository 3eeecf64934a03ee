import errno
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
from ai_edge_litert.interpreter import Interpreter
from planted_ranking_student import (
    ITEM_IDS,
    MAX_HISTORY,
    NUM_ITEMS,
    NUM_USERS,
    TASKS,
    USER_IDS,
    VECTOR_DIM,
    VOCABULARIES,
    WORDS,
    by_hand,
    full_student,
    hand_student,
    predictions,
    rows_for,
)
from planted_student import catalogue_of
from tensorflow.lite.python import schema_py_generated as schema

from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact
from tfrs_distill.export.forms import tflite
from tfrs_distill.files import file_sha256
from tfrs_distill.models.features import IdFeature, ItemFeature, NumberFeature
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.models.tasks import Binary
from tfrs_distill.serving.artefact import Artefact
from tfrs_distill.serving.word_vocabulary import WordVocabulary

STUDENT, ROWS = full_student(), rows_for(7)
OUTPUTS = predictions(STUDENT, ROWS)
QUERY = ("user_id", "age", "history", "history_ratings")


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "planted" / "1"
    return export_artefact(STUDENT, folder, vocabularies=VOCABULARIES, provenance={"seed": 7})


@pytest.fixture(scope="module")
def by_hand_artefact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "hand" / "1"
    return export_artefact(hand_student(), folder, vocabularies={})


def run(path, signature, rows):
    interpreter = Interpreter(model_path=str(path))
    return interpreter.get_signature_runner(signature)(**rows)


def pairs_of(query_row):
    """One query with the items of all rows: as `rank` takes them and as rows."""
    query = {name: ROWS[name][query_row : query_row + 1] for name in QUERY}
    items = {name: values for name, values in ROWS.items() if name not in QUERY}
    repeated = {name: np.repeat(values, len(ROWS["age"]), axis=0) for name, values in query.items()}
    return query | items, repeated | items


def test_holds_every_format_and_nothing_else(artefact):
    assert artefact.has_saved_model
    assert artefact.tflite_files == ("student.tflite", "student_int8.tflite")
    assert artefact.provenance["seed"] == 7 and artefact.provenance["student"] == "RankingStudent"
    assert artefact.provenance["versions"]["tensorflow"] == tf.__version__
    found = {path.name for path in artefact.folder.iterdir()}
    models = {"saved_model.pb", "variables", "student.tflite", "student_int8.tflite"}
    sidecars = {"vocabularies", "words", "signature.json", "provenance.json"}
    assert models | sidecars <= found <= models | sidecars | {"assets", "fingerprint.pb"}
    assert os.listdir(artefact.folder.parent) == ["1"]
    assert artefact == Artefact.read(artefact.folder)


@pytest.mark.parametrize("num_rows", [1, 7])
def test_float32_file_returns_the_models_predictions(artefact, num_rows):
    rows = {name: values[:num_rows] for name, values in ROWS.items()}
    output = run(artefact.folder / "student.tflite", "score", rows)
    assert set(output) == set(TASKS)
    for task, values in output.items():
        assert values.shape == (num_rows,) and values.dtype == np.float32
        # Sums of some ten products of about 1 in another order: float32 has 1e-7 of relative error.
        np.testing.assert_allclose(values, OUTPUTS[task][:num_rows], atol=1e-5)


@pytest.mark.parametrize("query_row", [0, 3])
def test_float32_file_ranks_the_items_of_a_query(artefact, query_row):
    requested, rows = pairs_of(query_row)
    output, expected = (
        run(artefact.folder / "student.tflite", "rank", requested),
        predictions(STUDENT, rows),
    )
    for task in TASKS:
        np.testing.assert_allclose(output[task], expected[task], atol=1e-5)


READER = """
import sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
assert set(model.signatures) == {"score", "rank", "serving_default"}
answers = {}
for signature, file in (("score", 2), ("serving_default", 2), ("rank", 3)):
    rows = {name: tf.constant(values) for name, values in np.load(sys.argv[file]).items()}
    for task, values in model.signatures[signature](**rows).items():
        answers[f"{signature}/{task}"] = values.numpy()
np.savez(sys.argv[4], **answers)
assert "tfrs_distill" not in sys.modules
"""


@pytest.mark.nightly
def test_a_fresh_reader_of_the_saved_model_gets_the_models_predictions(artefact, tmp_path):
    requested, pairs = pairs_of(3)
    np.savez(tmp_path / "rows.npz", **ROWS)
    np.savez(tmp_path / "rank.npz", **requested)
    files = [artefact.folder, *(tmp_path / f"{name}.npz" for name in ("rows", "rank", "answers"))]
    program = [sys.executable, "-c", READER, *map(str, files)]
    subprocess.run(program, check=True, cwd=tmp_path, timeout=120)
    answers = dict(np.load(tmp_path / "answers.npz"))
    expected = {"score": OUTPUTS, "serving_default": OUTPUTS, "rank": predictions(STUDENT, pairs)}
    assert set(answers) == {f"{signature}/{task}" for signature in expected for task in TASKS}
    for signature, output in expected.items():
        for task, values in output.items():
            np.testing.assert_allclose(answers[f"{signature}/{task}"], values, atol=1e-6)


def test_both_signatures_return_the_models_predictions(by_hand_artefact):
    path = by_hand_artefact.folder / "student.tflite"
    users, items = np.array([0, 1, 3, 2, 9], np.int32), np.array([1, 0, 4, 2, -5], np.int32)
    output = run(path, "score", {"user_id": users, "item_id": items})["like"]
    expected = [by_hand(u, i) for u, i in [(0, 1), (1, 0), (3, 4), (2, 2), (0, 0)]]
    np.testing.assert_allclose(output, expected, atol=1e-6)
    output = run(path, "rank", {"user_id": users[2:3], "item_id": np.arange(6, dtype=np.int32)})
    expected = [by_hand(3, item) for item in (0, 1, 2, 3, 4, 0)]
    np.testing.assert_allclose(output["like"], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["student.tflite", "student_int8.tflite"])
def test_invalid_values_count_as_unknown(artefact, name):
    odd = {name: values.copy() for name, values in ROWS.items()}
    clean = {name: values.copy() for name, values in ROWS.items()}
    odd["user_id"][:] = [-1, NUM_USERS + 1, 2**31 - 1, -(2**31), 0, -7, NUM_USERS + 99]
    odd["item_id"][:] = [-1, NUM_ITEMS + 1, 2**31 - 1, -(2**31), 0, -7, NUM_ITEMS + 99]
    odd["history"][:, 2] = odd["item_id"]
    odd["age"][:] = [np.nan, np.inf, -np.inf, np.nan, np.inf, np.nan, -np.inf]
    odd["words"][:, 3], clean["words"][:, 3] = WORDS.num_words + 1, 1
    for column in ("user_id", "item_id"):
        clean[column][:] = 0
    clean["history"][:, 2] = 0
    clean["age"][:] = np.nan
    path = artefact.folder / name
    output, expected = run(path, "score", odd), run(path, "score", clean)
    for task in TASKS:
        assert np.isfinite(output[task]).all()
        np.testing.assert_array_equal(output[task], expected[task])
        if name == "student.tflite":
            np.testing.assert_allclose(output[task], predictions(STUDENT, odd)[task], atol=1e-5)


def test_int8_file_is_near_the_model(artefact):
    rows = rows_for(300)
    output, expected = (
        run(artefact.folder / "student_int8.tflite", "score", rows),
        predictions(STUDENT, rows),
    )
    # 8 bits round an entry by up to 0.4 % of its tensor's largest, some four standard deviations:
    # 1 % of a standard deviation on average, in some five tensors in sequence.
    for task in TASKS:
        error = np.sqrt(np.mean((output[task] - expected[task]) ** 2))
        assert 0 < error < 0.05 * expected[task].std(), task


def tensors_of(path):
    """(name, shape, type, bytes) of every constant of a .tflite file, each buffer once."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    found = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None:
                found[tensor.buffer] = (tuple(tensor.shape), tensor.type, len(data))
    return list(found.values())


def test_int8_file_holds_every_large_table_once_in_8_bits(artefact):
    # The converter does not quantize tensors of fewer than 1,024 numbers.
    found = tensors_of(artefact.folder / "student_int8.tflite")
    large = {shape: kind for shape, kind, _ in found if np.prod(shape) >= 1024}
    assert set(large.values()) == {schema.TensorType.INT8}
    shapes = [shape for shape, _, _ in found]
    assert shapes.count((NUM_USERS + 1, 8)) == 1 and shapes.count((NUM_ITEMS + 1, 8)) == 1


@pytest.mark.parametrize("name", ["student.tflite", "student_int8.tflite", "saved_model.pb"])
def test_files_hold_no_item_vectors(artefact, name):
    vectors = NUM_ITEMS * VECTOR_DIM * 4
    assert artefact.bytes_of("variables/variables.data-00000-of-00001") < vectors
    if name.endswith(".tflite"):
        assert max(size for _, _, size in tensors_of(artefact.folder / name)) < vectors / 4


def test_the_student_is_not_changed(artefact):
    item = STUDENT.features[3]
    assert item.vectors is not None
    for task, values in predictions(STUDENT, ROWS).items():
        np.testing.assert_array_equal(values, OUTPUTS[task])


def test_only_built_in_operators(artefact):
    for name in artefact.tflite_files:
        model = schema.Model.GetRootAs((artefact.folder / name).read_bytes(), 0)
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        assert codes
        assert not [code for code in codes if code.CustomCode() is not None]


def test_the_number_of_rows_is_dynamic_and_a_query_is_one(artefact):
    interpreter = Interpreter(model_path=str(artefact.folder / "student.tflite"))
    for signature, rows in (("score", -1), ("rank", 1)):
        details = interpreter.get_signature_runner(signature).get_input_details()
        shapes = {name: result["shape_signature"].tolist() for name, result in details.items()}
        assert shapes == {
            "user_id": [rows],
            "age": [rows],
            "history": [rows, -1],
            "history_ratings": [rows, -1],
            "item_id": [-1],
            "words": [-1, -1],
        }
        kinds = {name: result["dtype"] for name, result in details.items()}
        floats = {name for name, kind in kinds.items() if kind == np.float32}
        assert floats == {"age", "history_ratings"}
        assert {kinds[name] for name in kinds if name not in floats} == {np.int32}


def test_the_signature_describes_the_columns(artefact):
    columns = artefact.columns
    assert {
        name: (c["dtype"], c["shape"], c["side"], c["kind"]) for name, c in columns.items()
    } == {
        "user_id": ("int32", [-1], "query", "id"),
        "age": ("float32", [-1], "query", "number"),
        "history": ("int32", [-1, -1], "query", "history"),
        "history_ratings": ("float32", [-1, -1], "query", "history_ratings"),
        "item_id": ("int32", [-1], "item", "id"),
        "words": ("int32", [-1, -1], "item", "words"),
    }
    assert columns["user_id"]["vocabulary_size"] == NUM_USERS
    assert columns["user_id"]["out_of_vocabulary"] == 0
    assert columns["item_id"]["vocabulary"] == columns["history"]["vocabulary"] == "item_id"
    assert (columns["words"]["num_words"], columns["words"]["max_words"]) == (61, 9)
    assert "NaN" in columns["age"]["missing"]
    assert {name: result["kind"] for name, result in artefact.tasks.items()} == {
        "rating": "Regression",
        "like": "Binary",
        "stars": "Ordinal",
        "next_item": "NextItem",
    }
    assert artefact.tasks["rating"]["labels"] == "within -3 and 3"
    assert artefact.signature["signature_names"] == ["score", "rank"]
    assert artefact.vocabularies == {"user_id": USER_IDS, "item_id": ITEM_IDS}
    assert artefact.words == {"words": WORDS.words} and artefact.titles == ()


def test_a_catalogue_gives_the_item_ids_and_titles(tmp_path):
    catalogue = catalogue_of(4, ["Heat\n(1995)", "Babe", "Amélie", "Toy Story"])
    artefact = export_artefact(hand_student(), tmp_path / "1", vocabularies={}, catalogue=catalogue)
    assert artefact.vocabularies == {"item_id": catalogue.item_ids}
    assert artefact.titles == catalogue.titles
    assert artefact.provenance["catalogue_fingerprint"] == catalogue.fingerprint()
    assert "vocabulary" not in artefact.columns["user_id"]


def test_a_student_of_one_side_cannot_rank(tmp_path):
    student = RankingStudent([NumberFeature("age", 40.0, 10.0, "query")], [Binary("like")], seed=0)
    artefact = export_artefact(student, tmp_path / "1", vocabularies={})
    assert artefact.signature["signature_names"] == ["score"]
    rows = {"age": np.array([30.0, np.nan], np.float32)}
    output = run(tmp_path / "1" / "student.tflite", "score", rows)
    np.testing.assert_allclose(output["like"], predictions(student, rows)["like"], atol=1e-5)


@pytest.mark.parametrize(
    "vocabularies, words",
    [
        ({"user": ("a", "b", "c")}, "no column 'user' of kind 'id'.* It has: user_id, item_id"),
        ({"user_id": ("a", "b")}, "'user_id' does not belong.*has 3 indices. Received: .* of 2"),
        ({"user_id": ("a", "b", "a")}, "vocabulary of 'user_id' has an id twice"),
        ({"user_id": (7, 8, 9)}, "vocabulary of 'user_id' must be text. Received: 7"),
        ({"user_id": ("a", b"b", "c")}, "vocabulary of 'user_id' must be text. Received: b'b'"),
        ({"item_id": WordVocabulary(("a",))}, "no column 'item_id' of kind 'words'.* has: none"),
    ],
)
def test_refuses_vocabularies_of_other_columns(tmp_path, vocabularies, words):
    with pytest.raises(InputError, match=words):
        export_artefact(hand_student(), tmp_path / "1", vocabularies=vocabularies)
    assert os.listdir(tmp_path) == []


def test_refuses_vocabularies_of_another_size(tmp_path):
    with pytest.raises(InputError, match="'words' does not belong.*has 61 indices.* of 3"):
        export_artefact(STUDENT, tmp_path / "1", vocabularies={"words": WordVocabulary(("a", "b"))})


def test_refuses_a_catalogue_of_other_items(tmp_path):
    with pytest.raises(InputError, match="'item_id' does not belong.*has 4 indices.* of 5"):
        export_artefact(hand_student(), tmp_path / "1", vocabularies={}, catalogue=catalogue_of(5))


def test_refuses_a_student_that_diverged(tmp_path):
    student = hand_student()
    student.features[0].table.embeddings.assign([[0.5], [1.0], [-2.0], [np.inf]])  # user 3 alone
    with pytest.raises(InputError, match="weights are not all finite, among them .*embeddings"):
        export_artefact(student, tmp_path / "1", vocabularies={})
    assert os.listdir(tmp_path) == []


def test_refuses_an_adopted_model(tmp_path):
    class Adopted(tfrs.Model):
        def __init__(self):
            super().__init__()
            self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())

        def call(self, features):
            return tf.cast(features["user_id"], tf.float32)

    student = RankingStudent.from_tfrs(Adopted(), inputs={"user_id": "user_id"})
    with pytest.raises(InputError, match="made of features.* Received: TFRSRankingStudent"):
        export_artefact(student, tmp_path / "1", vocabularies={})


@pytest.mark.parametrize(
    "features, words",
    [
        ([IdFeature("class name", 3, 2, "item", name="a")], "name of letters.*: 'class name'"),
        (
            [IdFeature("age", 3, 2, "item", name="a"), NumberFeature("age", 0.0, 1.0, "item")],
            "read column 'age' as int32 and as float32",
        ),
        (
            [IdFeature("item_id", 4, 2, "query", name="a"), ItemFeature(4, 2)],
            "'item_id' is read by a feature of the query and by one of the item",
        ),
    ],
)
def test_refuses_columns_that_cannot_be_inputs(tmp_path, features, words):
    class Odd(RankingStudent):
        def build_layers(self):
            """Nothing: such features cannot be called together."""

    with pytest.raises(InputError, match=words):
        export_artefact(Odd(features, [Binary("like")]), tmp_path / "1", vocabularies={})


def test_refuses_a_file_with_other_outputs(tmp_path, monkeypatch):
    real = tflite._run

    def slightly_off(*args):
        outputs = real(*args)
        outputs["rank"]["like"][1] += 0.01
        return outputs

    monkeypatch.setattr(tflite, "_run", slightly_off)
    with pytest.raises(InputError, match=r"'like' by 'rank' differ by up to 0\.01"):
        export_artefact(hand_student(), tmp_path / "1", vocabularies={})
    assert os.listdir(tmp_path) == []


def test_names_an_operator_that_litert_does_not_have(tmp_path, capfd):
    class Exotic(RankingStudent):
        def predictions(self, batch):
            return {task: tf.math.digamma(v) for task, v in super().predictions(batch).items()}

    features = [IdFeature("user_id", 3, 2, "query")]
    student = Exotic(features, [Binary("like")], num_cross_layers=0, hidden_units=())
    with pytest.raises(
        InputError, match="(?s)no built-in operator for a part of its features.*Dig"
    ):
        export_artefact(student, tmp_path / "1", vocabularies={})
    assert capfd.readouterr().err == ""


def test_refuses_a_folder_with_other_files(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an artefact, and it would be replaced"):
        export_artefact(hand_student(), tmp_path, vocabularies={})
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("fitting", [0, 1, 3])
def test_full_disk_keeps_the_old_artefact(by_hand_artefact, monkeypatch, fitting):
    real, calls = os.fsync, []

    def full_after(file):
        calls.append(file)
        if len(calls) > fitting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    monkeypatch.setattr("tfrs_distill.files.os.fsync", full_after)
    with pytest.raises(OSError, match="No space left on device"):
        export_artefact(
            hand_student(), by_hand_artefact.folder, vocabularies={"user_id": ("a", "b", "c")}
        )
    assert Artefact.read(by_hand_artefact.folder) == by_hand_artefact
    assert os.listdir(by_hand_artefact.folder.parent) == ["1"]


def test_writes_nothing_on_standard_error(tmp_path, capfd):
    export_artefact(hand_student(), tmp_path / "1", vocabularies={})
    assert re.sub(r"\s", "", capfd.readouterr().err) == ""


def run_saved_model(folder, signature, rows):
    function = tf.saved_model.load(str(folder)).signatures[signature]
    output = function(**{name: tf.constant(values) for name, values in rows.items()})
    return {task: values.numpy() for task, values in output.items()}


def of_history(items):
    """Every item of the catalogue for one query with this history."""
    query = {name: ROWS[name][:1] for name in ("user_id", "age")}
    query["history"] = np.array([items], np.int32)
    query["history_ratings"] = np.full([1, len(items)], 4.0, np.float32)
    words = np.zeros([NUM_ITEMS, 1], np.int32)
    return query | {"item_id": np.arange(1, NUM_ITEMS + 1, dtype=np.int32), "words": words}


@pytest.mark.parametrize("format", ["tflite", "saved_model"])
@pytest.mark.parametrize("signature", ["rank", "score"])
def test_every_item_of_a_history_is_masked_at_any_age(artefact, format, signature):
    history = [7, 0, 399, 7, NUM_ITEMS + 1, *range(100, 100 + MAX_HISTORY), 0]
    requested = of_history(history)
    rows = {
        name: np.repeat(v, NUM_ITEMS, axis=0) if name in QUERY else v
        for name, v in requested.items()
    }
    given = requested if signature == "rank" else rows
    if format == "tflite":
        output = run(artefact.folder / "student.tflite", signature, given)
    else:
        output = run_saved_model(artefact.folder, signature, given)
    interacted = np.isin(requested["item_id"], history)
    assert interacted.sum() == MAX_HISTORY + 2  # two of them too old to be read
    assert (output["next_item"][interacted] == 0.0).all() and (
        output["next_item"][~interacted] > 0.0
    ).all()
    np.testing.assert_allclose(output["next_item"].sum(), 1.0, atol=1e-5)
    for task, values in predictions(STUDENT, rows).items():
        np.testing.assert_allclose(output[task], values, atol=1e-5)


@pytest.mark.parametrize("length", [1, MAX_HISTORY - 1, 3 * MAX_HISTORY])
def test_only_the_last_items_of_a_history_are_read(artefact, length):
    history = list(range(11, 11 + length))
    long, short = of_history(history), of_history([0] * MAX_HISTORY + history[-MAX_HISTORY:])
    output = run(artefact.folder / "student.tflite", "rank", long)
    expected = run(artefact.folder / "student.tflite", "rank", short)
    for task in ("rating", "like", "stars"):
        np.testing.assert_allclose(output[task], expected[task], atol=1e-6)


def test_another_format_is_refused(by_hand_artefact, tmp_path):
    shutil.copytree(by_hand_artefact.folder, tmp_path / "1")
    signature, provenance = tmp_path / "1" / "signature.json", tmp_path / "1" / "provenance.json"
    signature.write_text(signature.read_text().replace('"format": 2', '"format": 1'))
    facts = json.loads(provenance.read_text())
    facts["files"]["signature.json"]["sha256"] = file_sha256(signature)
    provenance.write_text(json.dumps(facts))
    with pytest.raises(InputError, match="has format 1, of another version.*Export the student"):
        Artefact.read(tmp_path / "1")
