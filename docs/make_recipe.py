"""Write `docs/recipe.md` from the code: `python docs/make_recipe.py`."""

from pathlib import Path

from tfrs_distill.recipe import Recipe

PAGE = """# The recipe

A run is data: `tfrs-distill run --recipe FILE` takes a TOML file with any of these settings. What
it leaves out has the value below; an unknown key or a value that breaks its rule is an error that
names it. `--recipe synthetic` runs on planted data whose right answer is known. A run leaves its
own recipe, whole, in `saved_models/<name>/recipe.toml`.

```toml
{recipe}```
"""


def page() -> str:
    """The page as it must be."""
    return PAGE.format(recipe=Recipe().to_toml())


if __name__ == "__main__":
    (Path(__file__).parent / "recipe.md").write_text(page(), encoding="utf-8")
