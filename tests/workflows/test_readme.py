"""README's program, as printed, on the real data; only the number of epochs is made smaller."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def substituted(program: str, old: str, new: str) -> str:
    """`program` with `old` replaced; a text that is not there any more is an error, not a no-op."""
    assert old in program, f"README's program does not say {old!r}"
    return program.replace(old, new)


@pytest.mark.realdata
def test_the_library_example_runs(movielens_folder, minilm_folder, tmp_path, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    program = substituted(program, "epochs=8", "epochs=1")
    program = substituted(program, "epochs=25", "epochs=1")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert "ndcg@10" in printed and printed.count("Recommendation(") == 10
    assert (tmp_path / "saved_models" / "mine" / "1" / "student.tflite").is_file()
    assert (tmp_path / "saved_models" / "mine" / "1" / "saved_model.pb").is_file()
