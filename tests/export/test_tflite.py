import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from planted_student import (
    PlantedStudent,
    assert_answers,
    catalogue_of,
    expected,
    histories_of,
    padded,
    two_blocks,
)
from tensorflow.lite.tools import flatbuffer_utils

from tfrs_distill.errors import InputError
from tfrs_distill.export import tflite, to_saved_model, to_tflite
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.serving.artefact import Artefact
from tfrs_distill.serving.word_pieces import WordPieces

STUDENT, CATALOGUE = PlantedStudent(), catalogue_of(60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artefact")
    for quantization in ("float32", "float16", "int8"):
        name = "student.tflite" if quantization == "float32" else f"student_{quantization}.tflite"
        to_tflite(STUDENT, folder / name, CATALOGUE, quantization=quantization, k=10)
    return folder


def run(path, history):
    interpreter = Interpreter(model_path=str(path))
    outputs = interpreter.get_signature_runner("serving_default")(history=history)
    assert set(outputs) == {"scores", "item_ids"}
    return outputs["scores"], outputs["item_ids"]


@pytest.mark.parametrize("where", ["front", "back", "between"])
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("length", [1, 5, 700])
def test_float32_returns_the_models_top_k(folder, batch_size, length, where):
    lengths = [min(length, 1 + 4 * row) for row in range(batch_size)]
    histories = histories_of(60, lengths)
    scores, item_ids = run(folder / "student.tflite", padded(histories, length, where))
    assert_answers(STUDENT, histories, scores, item_ids, 10)


def test_every_old_item_is_excluded_and_unknown_indices_are_padding(folder):
    history = np.concatenate([np.arange(1, 59), [-1, 61, 2**31 - 1, -(2**31)]]).astype(np.int32)
    scores, item_ids = run(folder / "student.tflite", history[None])
    assert_answers(STUDENT, [history], scores, item_ids, 10)
    assert item_ids[0, 2:].tolist() == [0] * 8


def test_equal_scores_are_in_the_order_of_their_index(tmp_path):
    student = PlantedStudent(num_items=6)
    student.table.assign(tf.zeros_like(student.table))
    student.bias.assign(tf.zeros_like(student.bias))
    to_tflite(student, tmp_path / "student.tflite", catalogue_of(6), k=4)
    _, item_ids = run(tmp_path / "student.tflite", np.array([[2]], np.int32))
    assert item_ids[0].tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize(("quantization", "width"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_a_two_tower_file_holds_every_item_once(tmp_path, quantization, width):
    student = RetrievalStudent.from_history(num_items=20_000, max_history=8, seed=0)
    path = tmp_path / "student.tflite"
    to_tflite(student, path, catalogue_of(20_000), quantization=quantization, k=10)
    assert path.stat().st_size < 1.1 * width * 20_001 * 17
    history = np.array([[3, 19_999, 5]], np.int32)
    query = student.encode_histories(tf.constant(history)).numpy()
    scores = (query @ student.catalogue_embeddings().numpy()[1:].T)[0]
    found, item_ids = run(path, history)
    np.testing.assert_allclose(found[0], scores[item_ids[0] - 1], atol={4: 1e-6}.get(width, 1e-3))


def test_a_file_holds_only_what_litert_reads(folder):
    for path in folder.glob("*.tflite"):
        model = flatbuffer_utils.read_model(str(path))
        contents = [bytes(buffer.data) for buffer in model.buffers[1:]]
        assert len(set(contents)) == len(contents) and all(contents)
        whole = path.read_bytes()
        assert all(whole.index(data) % 16 == 0 for data in contents if len(data) > 400)
        for graph in model.subgraphs:
            named = {number for number, tensor in enumerate(graph.tensors) if tensor.name}
            assert named == {*graph.inputs.tolist(), *graph.outputs.tolist()}


def test_input_is_int32_with_two_dynamic_sizes(folder):
    for path in folder.glob("*.tflite"):
        (details,) = Interpreter(model_path=str(path)).get_input_details()
        assert details["dtype"] == np.int32
        assert details["shape_signature"].tolist() == [-1, -1]


def test_only_built_in_operators(folder):
    from tensorflow.lite.python import schema_py_generated as schema

    for path in folder.glob("*.tflite"):
        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        assert codes
        assert not [code for code in codes if code.CustomCode() is not None]
        assert schema.BuiltinOperator.CUSTOM not in [code.BuiltinCode() for code in codes]


@pytest.mark.parametrize("quantization, least_overlap", [("float16", 0.99), ("int8", 0.9)])
def test_quantized_keeps_the_planted_order(tmp_path, quantization, least_overlap):
    # Blocks are 6 apart and noise is 0.3 wide, so no 8-bit step (about 0.05) crosses blocks;
    # inside a block neighbours may be swapped.
    student, histories = two_blocks(), [np.arange(1 + i % 2, 30, 2)[i // 2 :] for i in range(16)]
    to_tflite(student, tmp_path / "s.tflite", catalogue_of(200), quantization=quantization, k=10)
    _, item_ids = run(tmp_path / "s.tflite", padded(histories, 15))
    parity = np.array([history[0] % 2 for history in histories])
    assert (item_ids % 2 == parity[:, None]).all()
    exact = [expected(student, history, 10)[1].tolist() for history in histories]
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(item_ids.tolist(), exact)])
    assert overlap >= least_overlap


def test_movielens_sized_int8_file_is_far_below_100_kb(tmp_path):
    student = PlantedStudent(num_items=1682, embedding_dim=8, max_history=50)
    catalogue = catalogue_of(1682)
    for quantization in ("float32", "float16", "int8"):
        name = f"{quantization}.tflite"
        to_tflite(student, tmp_path / name, catalogue, quantization=quantization)
    size = {path.stem: path.stat().st_size for path in tmp_path.glob("*.tflite")}
    assert size["int8"] < 65_000
    assert size["int8"] < size["float16"] < size["float32"]


READER = """
import sys
import numpy as np
from tfrs_distill.serving.recommender import Recommender
histories = [history for history in np.load(sys.argv[2]).values()]
scores, item_ids = Recommender.load(sys.argv[1])(histories, 10)
np.savez(sys.argv[3], scores=scores, item_ids=item_ids)
assert "tensorflow" not in sys.modules and "tf_keras" not in sys.modules
"""


def test_a_fresh_reader_without_tensorflow_gets_the_models_top_k(folder, tmp_path):
    histories = histories_of(60, [1, 5, 40, 700, 3, 0, 2])
    np.savez(tmp_path / "questions.npz", *histories)
    files = [folder / "student.tflite", tmp_path / "questions.npz", tmp_path / "answers.npz"]
    done = subprocess.run(
        [sys.executable, "-c", READER, *map(str, files)], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    answers = np.load(tmp_path / "answers.npz")
    assert_answers(STUDENT, histories, answers["scores"], answers["item_ids"], 10)


def test_files_of_one_folder_are_one_artefact(folder):
    artefact = Artefact.read(folder)
    assert artefact.tflite_files == (
        "student.tflite",
        "student_float16.tflite",
        "student_int8.tflite",
    )
    assert artefact.item_ids == CATALOGUE.item_ids
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_joins_a_saved_model(tmp_path):
    to_saved_model(STUDENT, tmp_path / "1", CATALOGUE, k=10)
    artefact = to_tflite(STUDENT, tmp_path / "1" / "student.tflite", CATALOGUE, k=10)
    assert artefact.has_saved_model and artefact.tflite_files == ("student.tflite",)


def test_the_only_model_of_a_folder_can_be_exported_again_with_another_k(tmp_path):
    to_tflite(STUDENT, tmp_path / "student.tflite", CATALOGUE, k=10)
    assert to_tflite(STUDENT, tmp_path / "student.tflite", CATALOGUE, k=20).k == 20


@pytest.mark.parametrize("change", ["k", "titles"])
def test_refuses_to_join_a_model_with_other_settings(tmp_path, change):
    old = to_tflite(STUDENT, tmp_path / "student.tflite", CATALOGUE, k=10)
    k = 20 if change == "k" else 10
    titles = None if change == "k" else [f"Other {number}" for number in range(60)]
    with pytest.raises(InputError, match="holds student.tflite, exported with another catalogue"):
        to_tflite(STUDENT, tmp_path / "other.tflite", catalogue_of(60, titles), k=k)
    assert Artefact.read(tmp_path) == old
    assert not (tmp_path / "other.tflite").exists()


def test_a_file_that_is_of_no_artefact_is_not_replaced(tmp_path):
    (tmp_path / "titles.txt").write_text("my own")
    with pytest.raises(InputError, match=r"is not an artefact, and its titles\.txt would be"):
        to_tflite(STUDENT, tmp_path / "student.tflite", CATALOGUE, k=10)
    assert [file.name for file in tmp_path.iterdir()] == ["titles.txt"]
    assert (tmp_path / "titles.txt").read_text() == "my own"
    (tmp_path / "titles.txt").unlink()
    (tmp_path / "notes.md").write_text("beside it")
    to_tflite(STUDENT, tmp_path / "student.tflite", CATALOGUE, k=10)
    (tmp_path / "provenance.json").unlink()  # as after an interruption: it is written last
    to_tflite(STUDENT, tmp_path / "student.tflite", CATALOGUE, k=10)
    assert Artefact.read(tmp_path).titles == CATALOGUE.titles


def test_full_disk_keeps_the_old_artefact(tmp_path, monkeypatch):
    old = to_tflite(STUDENT, tmp_path / "student.tflite", CATALOGUE, k=10)
    names = sorted(os.listdir(tmp_path))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real, calls = os.fsync, []

    def full_after_three(file):  # the model and two sidecars still fit
        calls.append(file)
        return real(file) if len(calls) <= 3 else full(file)

    for fsync in (full, full_after_three):
        monkeypatch.setattr("tfrs_distill.files.os.fsync", fsync)
        with pytest.raises(OSError, match="No space left on device"):
            to_tflite(STUDENT, tmp_path / "student.tflite", CATALOGUE, k=20)
        assert Artefact.read(tmp_path) == old
        assert sorted(os.listdir(tmp_path)) == names


def test_word_pieces_are_removed_with_the_last_file_that_needs_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "write_saved_model", lambda module, folder: None)
    monkeypatch.setattr(  # the file's content does not matter here
        tflite, "write_tflite", lambda module, folder, path, quantization: path.write_bytes(b"x")
    )
    pieces = WordPieces(("red", "blue"), max_pieces=2)
    of_texts = RetrievalStudent.from_history(
        num_items=60, max_history=4, texts=["red"] * 60, word_pieces=pieces, seed=0
    )
    of_ids = RetrievalStudent.from_history(num_items=60, max_history=4, seed=0)
    to_tflite(of_ids, tmp_path / "ids" / "student.tflite", CATALOGUE)
    to_tflite(of_texts, tmp_path / "1" / "student.tflite", CATALOGUE)
    to_tflite(of_ids, tmp_path / "1" / "student.tflite", CATALOGUE)
    assert sorted(os.listdir(tmp_path / "1")) == sorted(os.listdir(tmp_path / "ids"))

    to_tflite(of_texts, tmp_path / "2" / "student.tflite", CATALOGUE)
    to_tflite(of_texts, tmp_path / "2" / "other.tflite", CATALOGUE)
    with pytest.raises(InputError, match="holds other.tflite, exported with another"):
        to_tflite(of_ids, tmp_path / "2" / "student.tflite", CATALOGUE)
    assert Artefact.read(tmp_path / "2").words == {"pieces": ("red", "blue")}

    to_tflite(of_texts, tmp_path / "3" / "student.tflite", CATALOGUE)
    (tmp_path / "3" / "words" / "notes.md").write_text("not ours")
    to_tflite(of_ids, tmp_path / "3" / "student.tflite", CATALOGUE)
    assert os.listdir(tmp_path / "3" / "words") == ["notes.md"]


def test_refuses_unknown_quantization(tmp_path):
    with pytest.raises(InputError, match="'float32', 'float16', 'int8'. Received: 'int4'"):
        to_tflite(STUDENT, tmp_path / "s.tflite", CATALOGUE, quantization="int4")


def test_refuses_another_suffix(tmp_path):
    with pytest.raises(InputError, match="must end in .tflite. Received: .*model.bin"):
        to_tflite(STUDENT, tmp_path / "model.bin", CATALOGUE)


def through_cholesky(queries):
    return queries * tf.linalg.cholesky(tf.eye(2) * queries[0, 0])[0, 0]


# no runtime has the first; the second only TensorFlow's own kernels, which are not built in
@pytest.mark.parametrize(
    "operator, name", [(tf.math.digamma, "Digamma"), (through_cholesky, "Cholesky")]
)
def test_refuses_operators_that_litert_does_not_have(tmp_path, capfd, operator, name):
    class Exotic(PlantedStudent):
        def encode_histories(self, history):
            return operator(super().encode_histories(history))

    with pytest.raises(InputError, match=f"(?s)LiteRT has no built-in operator.*{name}"):
        to_tflite(Exotic(), tmp_path / "s.tflite", CATALOGUE)
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr().err == ""


def test_refuses_loops_that_the_converter_does_not_support(tmp_path):
    class Recurrent(PlantedStudent):
        def encode_histories(self, history):
            queries = super().encode_histories(history)
            return tf.scan(lambda state, query: state + query, tf.transpose(queries))

    with pytest.raises(InputError, match="(?s)The student cannot be converted.*such as a loop"):
        to_tflite(Recurrent(), tmp_path / "s.tflite", CATALOGUE)
    assert os.listdir(tmp_path) == []


def with_an_unknown_version(model):
    opened = flatbuffer_utils.convert_bytearray_to_object(model)
    opened.operatorCodes[0].version = 99
    return bytes(flatbuffer_utils.convert_object_to_bytearray(opened))


def test_refuses_what_litert_cannot_run(tmp_path, monkeypatch):
    real = tf.lite.TFLiteConverter.from_saved_model

    def broken(*args, **kwargs):
        converter = real(*args, **kwargs)
        convert = converter.convert
        converter.convert = lambda: with_an_unknown_version(convert())
        return converter

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", broken)
    with pytest.raises(InputError, match="LiteRT cannot run the result.*version '99'"):
        to_tflite(STUDENT, tmp_path / "s.tflite", CATALOGUE)
    assert os.listdir(tmp_path) == []


def test_writes_nothing_on_standard_error(tmp_path, capfd):
    to_tflite(STUDENT, tmp_path / "student.tflite", CATALOGUE, quantization="int8")
    assert capfd.readouterr().err == ""
