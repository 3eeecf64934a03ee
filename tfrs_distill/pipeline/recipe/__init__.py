"""A run, as data: what `tfrs-distill run` does, in a file a person can read and change.

- `recipe.py`: the recipe of each task, and the built-in ones
- `sections.py`: their sections, with defaults and what each field means
- `toml_file.py`: a recipe to and from TOML
- `settings.py`: a field with its rule beside it
- `kinds.py`: the kinds of teachers, by name
"""

from tfrs_distill.pipeline.recipe.recipe import (
    MultitaskRecipe,
    RankingRecipe,
    Recipe,
    RetrievalRecipe,
    TwoStageRecipe,
)

__all__ = ["MultitaskRecipe", "RankingRecipe", "Recipe", "RetrievalRecipe", "TwoStageRecipe"]
