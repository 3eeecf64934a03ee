import errno
import os

import pytest
from planted_student import PlantedStudent, assert_answers, catalogue_of, histories_of

from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact
from tfrs_distill.serving.artefact import Artefact
from tfrs_distill.serving.recommender import Recommender

STUDENT, CATALOGUE = PlantedStudent(num_items=400), catalogue_of(400)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "planted" / "1"
    return export_artefact(STUDENT, folder, CATALOGUE, k=10, provenance={"seed": 7})


def test_holds_every_format_and_nothing_else(artefact):
    assert artefact.has_saved_model
    assert artefact.tflite_files == ("student.tflite", "student_int8.tflite")
    assert artefact.provenance["seed"] == 7
    found = {path.name for path in artefact.folder.iterdir()}
    models = {"saved_model.pb", "variables", "student.tflite", "student_int8.tflite"}
    sidecars = {"vocabulary.txt", "titles.txt", "signature.json", "provenance.json"}
    assert models | sidecars <= found <= models | sidecars | {"assets", "fingerprint.pb"}
    assert os.listdir(artefact.folder.parent) == ["1"]


@pytest.mark.parametrize("format", ["tflite", "saved_model"])
def test_float32_formats_return_the_same_scores(artefact, format):
    histories = histories_of(400, [1, 5, 40, 700, 3, 0, 2])
    scores, item_ids = Recommender.load(artefact.folder, format=format)(histories, 10)
    assert_answers(STUDENT, histories, scores, item_ids, 10)


def test_int8_file_is_smaller(artefact):
    # Two tables of 400 rows of 4 and 5 numbers lose 3 of 4 bytes; scales and operators cost some.
    saved = artefact.bytes_of("student.tflite") - artefact.bytes_of("student_int8.tflite")
    assert saved > 0.4 * (400 * 4 + 400 * 5) * 3


def test_refuses_a_folder_with_other_files(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an artefact, and it would be replaced"):
        export_artefact(STUDENT, tmp_path, CATALOGUE)
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("fitting", [0, 1, 2, 5])
def test_full_disk_keeps_the_old_artefact(artefact, monkeypatch, fitting):
    real, calls = os.fsync, []

    def full_after(file):
        calls.append(file)
        if len(calls) > fitting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    monkeypatch.setattr("tfrs_distill.files.os.fsync", full_after)
    with pytest.raises(OSError, match="No space left on device"):
        export_artefact(STUDENT, artefact.folder, CATALOGUE, k=20)
    assert len(calls) == fitting + 1
    assert Artefact.read(artefact.folder) == artefact
    assert os.listdir(artefact.folder.parent) == ["1"]
