"""Every notebook runs from its first cell to its last; only sizes are reduced."""

from pathlib import Path

import nbclient
import nbformat
import pytest

COLAB = Path(__file__).parents[2] / "colab"
SMALLER = {
    "01_distill_a_recommender.ipynb": [
        ("TEACHER_EPOCHS = 8", "TEACHER_EPOCHS = 1"),
        ("STUDENT_EPOCHS = 60", "STUDENT_EPOCHS = 2"),
        ("num_folds=4", "num_folds=2"),
    ]
}


def test_every_notebook_is_tested():
    assert {path.name for path in COLAB.glob("*.ipynb")} == set(SMALLER)


@pytest.mark.nightly
@pytest.mark.realdata
@pytest.mark.parametrize("name", SMALLER)
def test_notebook(name, movielens_folder, minilm_folder, tmp_path):
    notebook = nbformat.read(COLAB / name, as_version=4)
    for old, new in SMALLER[name]:
        (cell,) = [cell for cell in notebook.cells if old in cell.source]
        cell.source = cell.source.replace(old, new)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    printed = "".join(
        output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "1,682 items" in printed and "student - twin: " in printed
    assert "student_int8.tflite: " in printed and printed.count("Recommendation(") == 10
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
