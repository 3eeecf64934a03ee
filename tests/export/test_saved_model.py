import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from planted_student import (
    PlantedStudent,
    assert_answers,
    catalogue_of,
    histories_of,
    padded,
)

from tfrs_distill.errors import InputError
from tfrs_distill.export import to_saved_model
from tfrs_distill.serving.artefact import Artefact

STUDENT, CATALOGUE = PlantedStudent(), catalogue_of(60)

READER = """
import sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
serve = model.signatures["serving_default"]
(name, spec), = serve.structured_input_signature[1].items()
assert (name, spec.dtype, spec.shape.as_list()) == ("history", tf.int32, [None, None]), spec
answers = {}
for key, history in np.load(sys.argv[2]).items():
    for output, value in serve(history=tf.constant(history)).items():
        answers[f"{key}-{output}"] = value.numpy()
np.savez(sys.argv[3], **answers)
assert "tfrs_distill" not in sys.modules
"""


def test_a_fresh_reader_gets_the_models_top_k(tmp_path):
    to_saved_model(STUDENT, tmp_path / "m" / "1", CATALOGUE, k=10)
    questions = {
        f"{batch_size}-{length}": histories_of(60, [length] * batch_size)
        for batch_size in (1, 7)
        for length in (1, 5, 700)
    }
    inputs = {key: padded(histories, 701) for key, histories in questions.items()}
    np.savez(tmp_path / "questions.npz", **inputs)
    files = [tmp_path / "m" / "1", tmp_path / "questions.npz", tmp_path / "answers.npz"]
    subprocess.run(
        [sys.executable, "-c", READER, *map(str, files)], check=True, cwd=tmp_path, timeout=120
    )
    answers = np.load(tmp_path / "answers.npz")
    for key, histories in questions.items():
        scores, item_ids = answers[f"{key}-scores"], answers[f"{key}-item_ids"]
        assert_answers(STUDENT, histories, scores, item_ids, 10)


def test_provenance_describes_it(tmp_path):
    artefact = to_saved_model(
        STUDENT, tmp_path / "1", CATALOGUE, k=10, provenance={"metrics": {"ndcg@10": 0.5}}
    )
    assert artefact == Artefact.read(tmp_path / "1")
    assert artefact.item_ids == CATALOGUE.item_ids and artefact.titles == CATALOGUE.titles
    assert (artefact.k, artefact.max_history, artefact.num_items) == (10, 5, 60)
    assert artefact.has_saved_model and artefact.tflite_files == ()
    signature = json.loads((tmp_path / "1" / "signature.json").read_text())
    assert signature["inputs"] == {"history": {"dtype": "int32", "shape": [-1, -1]}}
    assert signature["outputs"]["scores"] == {"dtype": "float32", "shape": [-1, 10]}
    assert signature["outputs"]["item_ids"] == {"dtype": "int32", "shape": [-1, 10]}
    assert signature["embeddings"] == {"num_embeddings": 60, "embedding_dim": 5}
    assert signature["padding"] == 0
    provenance = json.loads((tmp_path / "1" / "provenance.json").read_text())
    assert provenance["metrics"] == {"ndcg@10": 0.5}
    assert provenance["catalogue_fingerprint"] == CATALOGUE.fingerprint()
    assert provenance["versions"]["tensorflow"] == tf.__version__


def test_is_small_because_only_the_query_side_is_saved(tmp_path):
    artefact = to_saved_model(STUDENT, tmp_path / "1", CATALOGUE)
    assert artefact.bytes_of("saved_model.pb") < 50_000  # the unused variable alone has 200,000


def test_replaces_an_artefact(tmp_path):
    to_saved_model(STUDENT, tmp_path / "1", CATALOGUE, k=10)
    assert to_saved_model(STUDENT, tmp_path / "1", CATALOGUE, k=20).k == 20
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_refuses_a_folder_with_other_files(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an artefact, and it would be replaced"):
        to_saved_model(STUDENT, tmp_path, CATALOGUE)
    with pytest.raises(InputError, match="not an artefact, and it would be replaced"):
        to_saved_model(STUDENT, tmp_path / "thesis.txt", CATALOGUE)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_full_disk_keeps_the_old_artefact(tmp_path, monkeypatch):
    old = to_saved_model(STUDENT, tmp_path / "1", CATALOGUE, k=10)

    def full(module, folder, signatures):
        with open(os.path.join(folder, "saved_model.pb"), "wb") as file:
            file.write(b"half")
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        to_saved_model(STUDENT, tmp_path / "1", CATALOGUE, k=20)
    assert raised.value.errno == errno.ENOSPC
    assert Artefact.read(tmp_path / "1") == old
    assert os.listdir(tmp_path) == ["1"]


def test_writes_nothing_on_standard_error(tmp_path, capfd):
    to_saved_model(STUDENT, tmp_path / "1", CATALOGUE)
    assert capfd.readouterr().err == ""
