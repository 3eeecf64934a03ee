import hashlib
import json
import subprocess
import sys

import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.serving.artefact import (
    Artefact,
    RankingStage,
    next_version,
)

FILES = [
    "student.tflite",
    "variables/variables.data-00000-of-00001",
    "vocabulary.txt",
    "titles.txt",
    "signature.json",
]
ODD_TITLES = (
    "Heat\n(1995)",
    "back\\slash \\n",
    "\\\n\\\\",
    "a\rb\r\n",
    "",
    "\x85 \u2028",
    "Amélie",
)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "saved_models" / "small" / "1"
    (folder / "variables").mkdir(parents=True)
    (folder / "student.tflite").write_bytes(b"model" * 20)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"weights")
    write(folder, ("50", "7"), ("Heat (1995)", "Babe (1995)"))
    return folder


def write(folder, item_ids, titles, **signature):
    Artefact(
        folder=folder,
        kind="retrieval",
        vocabularies={"item_id": item_ids},
        words={},
        titles=titles,
        signature={"k": 2, "max_history": 5, **signature},
        provenance={"seed": 3},
    ).write()


@pytest.fixture
def ranking_folder(tmp_path):
    folder = tmp_path / "saved_models" / "ranks" / "1"
    folder.mkdir(parents=True)
    (folder / "student_int8.tflite").write_bytes(b"small")
    (folder / "student.tflite").write_bytes(b"model" * 20)
    Artefact(
        folder=folder,
        kind="ranking",
        vocabularies={"item_id": ("50", "7"), "class_name": ODD_TITLES},
        words={"review": ("fit", "too")},
        titles=("Heat (1995)", "Babe\n(1995)"),
        signature={
            "format": 2,
            "columns": {"item_id": {"kind": "id"}},
            "tasks": {"like": {"kind": "Binary"}},
        },
        provenance={"seed": 3},
    ).write()
    return folder


def test_reads_what_was_written(folder):
    artefact = Artefact.read(folder)
    assert artefact.item_ids == ("50", "7")
    assert artefact.titles == ("Heat (1995)", "Babe (1995)")
    assert (artefact.num_items, artefact.k, artefact.max_history) == (2, 2, 5)
    assert artefact.has_saved_model and artefact.tflite_files == ("student.tflite",)
    assert artefact.provenance["seed"] == 3


def test_line_i_is_item_i(folder):
    assert (folder / "vocabulary.txt").read_bytes() == b"50\n7\n"
    assert (folder / "titles.txt").read_bytes() == b"Heat (1995)\nBabe (1995)\n"


def test_provenance_holds_size_and_sha256_of_every_other_file(folder):
    files = json.loads((folder / "provenance.json").read_text())["files"]
    assert files.keys() == {*FILES, "saved_model.pb"}
    assert files["student.tflite"] == {
        "bytes": 100,
        "sha256": hashlib.sha256(b"model" * 20).hexdigest(),
    }


def test_size_of_a_saved_model_includes_its_variables(folder):
    artefact = Artefact.read(folder)
    assert artefact.bytes_of("student.tflite") == 100
    assert artefact.bytes_of("saved_model.pb") == len("graph") + len("weights")


def test_lists_student_tflite_first(folder):
    (folder / "a.tflite").write_bytes(b"a")
    write(folder, ("50", "7"), ("Heat (1995)", "Babe (1995)"))
    assert Artefact.read(folder).tflite_files == ("student.tflite", "a.tflite")


def test_any_text_is_preserved(folder):
    item_ids = tuple(f"id{i}\n\\" for i in range(len(ODD_TITLES)))
    write(folder, item_ids, ODD_TITLES)
    artefact = Artefact.read(folder)
    assert artefact.titles == ODD_TITLES and artefact.item_ids == item_ids
    written = (folder / "titles.txt").read_bytes()
    assert written.count(b"\n") == len(ODD_TITLES) and b"\r" not in written


def test_refuses_text_that_is_not_unicode(folder):
    with pytest.raises(InputError, match=r"titles.txt cannot be written as UTF-8"):
        write(folder, ("1", "2"), ("Heat", "\ud800"))


@pytest.mark.parametrize("name", FILES)
def test_names_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing. Copy the whole folder again"):
        Artefact.read(folder)


@pytest.mark.parametrize("name", FILES)
def test_names_a_truncated_file(folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1])
    with pytest.raises(
        InputError, match=f"{name} is truncated: {len(whole) - 1} bytes, expected {len(whole)}"
    ):
        Artefact.read(folder)


@pytest.mark.parametrize("name", FILES)
def test_names_a_changed_file(folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(InputError, match=f"{name} is changed: its sha256 is not the one in prov"):
        Artefact.read(folder)
    (folder / name).write_bytes(whole + b"x")
    with pytest.raises(InputError, match=f"{name} is changed: {len(whole) + 1} bytes"):
        Artefact.read(folder)


@pytest.mark.parametrize("length", [0, 20])
def test_names_a_truncated_provenance(folder, length):
    path = folder / "provenance.json"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match="provenance.json is truncated or changed"):
        Artefact.read(folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"files": {}}', '{"files": []}'])
def test_refuses_a_provenance_without_files(folder, text):
    (folder / "provenance.json").write_text(text)
    with pytest.raises(InputError, match="does not list the artefact's files"):
        Artefact.read(folder)


def test_names_a_folder_that_is_not_an_artefact(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        Artefact.read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not an artefact: it has no provenance.json. Give a"):
        Artefact.read(tmp_path)


def test_suggests_the_newest_version_of_a_name(folder):
    for version in ("2", "10"):
        (folder.parent / version).mkdir()
    with pytest.raises(InputError, match="give one of them, such as .*small/10"):
        Artefact.read(folder.parent)


def test_next_version_is_one_after_the_newest(folder):
    assert next_version(folder.parent).name == "2"
    (folder.parent / "10").mkdir()
    (folder.parent / ".11.abc.partial").mkdir()
    (folder.parent / "best").mkdir()
    (folder.parent / "²").mkdir()
    (folder.parent / "12").write_text("a file")
    assert next_version(folder.parent) == folder.parent / "11"
    assert next_version(folder.parent.parent / "new").name == "1"


def test_reads_without_tensorflow(folder):
    program = (
        "import sys; from tfrs_distill.serving.artefact import Artefact; "
        f"assert Artefact.read({str(folder)!r}).num_items == 2; "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_retrieval_student_alone_has_no_second_stage(folder):
    assert Artefact.read(folder).ranking_stage is None


def test_reads_the_second_stage(folder):
    (folder / "ranking").mkdir()
    (folder / "ranking" / "student.tflite").write_bytes(b"ranks")
    stage = {"task": "like", "num_candidates": 100, "retrieval_weight": 0.5}
    write(folder, ("50", "7"), ("Heat (1995)", "Babe (1995)"), ranking=stage)
    artefact = Artefact.read(folder)
    assert artefact.ranking_stage == RankingStage("like", 100, 0.5)
    assert artefact.tflite_files == ("student.tflite",)
    (folder / "ranking" / "student.tflite").write_bytes(b"renks")
    with pytest.raises(InputError, match="ranking/student.tflite is changed"):
        Artefact.read(folder)


def test_reads_what_was_written_of_a_ranking_student(ranking_folder):
    artefact = Artefact.read(ranking_folder)
    assert artefact.vocabularies == {"item_id": ("50", "7"), "class_name": ODD_TITLES}
    assert artefact.words == {"review": ("fit", "too")}
    assert artefact.titles == ("Heat (1995)", "Babe\n(1995)")
    assert artefact.columns == {"item_id": {"kind": "id"}}
    assert artefact.tasks == {"like": {"kind": "Binary"}}
    assert artefact.tflite_files == ("student.tflite", "student_int8.tflite")
    assert not artefact.has_saved_model
    assert artefact.bytes_of("student.tflite") == 100
    assert artefact.provenance["seed"] == 3


def test_each_reader_suggests_the_other(folder, ranking_folder):
    with pytest.raises(InputError, match="holds a ranking student, which .* with `Ranker.load`"):
        Artefact.read(ranking_folder, "retrieval")
    with pytest.raises(InputError, match="not the artefact of a ranking student.*Recommender.load"):
        Artefact.read(folder, "ranking")


@pytest.mark.parametrize("name", ["vocabularies/item_id.txt", "words/review.txt", "titles.txt"])
def test_names_a_damaged_file_of_a_ranking_student(ranking_folder, name):
    whole = (ranking_folder / name).read_bytes()
    (ranking_folder / name).write_bytes(whole[:-1])
    with pytest.raises(InputError, match=f"{name} is truncated"):
        Artefact.read(ranking_folder)
    (ranking_folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        Artefact.read(ranking_folder)


def test_a_ranking_student_needs_its_signature(ranking_folder):
    provenance = json.loads((ranking_folder / "provenance.json").read_text())
    del provenance["files"]["signature.json"]
    (ranking_folder / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(InputError, match="does not list the artefact's files"):
        Artefact.read(ranking_folder)
