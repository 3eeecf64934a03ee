"""Pages that are made from the code say what the code says."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_recipe_page_is_current():
    """Refresh it with `python docs/make_recipe.py`."""
    made = runpy.run_path(str(DOCS / "make_recipe.py"))["page"]()
    assert (DOCS / "recipe.md").read_text(encoding="utf-8") == made
