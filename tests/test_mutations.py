"""Each line that `benchmarks/mutations.py` changes exists exactly once."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_line_to_change_exists_once_and_so_does_its_test_file(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    sys.modules.pop("mutations", None)
    from mutations import MUTATIONS, damaged

    for mutation in MUTATIONS:
        text = (ROOT / "tfrs_distill" / mutation.file).read_text(encoding="utf-8")
        assert damaged(mutation, text) != text
        assert (ROOT / "tests" / mutation.tests[0]).is_file()
    assert len(MUTATIONS) > 20
