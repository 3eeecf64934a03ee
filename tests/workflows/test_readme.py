"""README's programs, as printed, on real data, with fewer users, epochs and folds."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def substituted(program: str, old: str, new: str) -> str:
    """`program` with `old` replaced; a missing text is an error, not a no-op."""
    assert old in program, f"README's program does not say {old!r}"
    return program.replace(old, new)


@pytest.mark.realdata
def test_the_programs_run_one_after_the_other(
    movielens_folder, minilm_folder, tmp_path, monkeypatch, capsys
):
    library, ranking = re.findall(
        r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    library = substituted(
        library, "movielens_100k()", "movielens_100k().of_some_users(200, seed=0)"
    )
    library = substituted(library, "epochs=8", "epochs=1")
    library = substituted(library, '"cache", fingerprint', '"cache", num_folds=2, fingerprint')
    library = substituted(library, "epochs=25", "epochs=1")
    ranking = substituted(ranking, "epochs=5", "epochs=1")
    ranking = substituted(ranking, "epochs=10", "epochs=1")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    exec(compile(library, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "ndcg@10" in printed and printed.count("Recommendation(") == 10
    assert (tmp_path / "saved_models" / "mine" / "1" / "student.tflite").is_file()
    assert (tmp_path / "saved_models" / "mine" / "1" / "saved_model.pb").is_file()
    exec(compile(ranking, "README.md", "exec"), names)
    assert (tmp_path / "saved_models" / "likes" / "1" / "student.tflite").is_file()
    assert "{'like': array([" in capsys.readouterr().out
