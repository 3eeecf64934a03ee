"""A run as data: the settings of `tfrs-distill run`, in a file that users can read and edit.

- `recipe.py`: the recipe of each task, and the built-in recipes
- `sections.py`: their sections, with the default and the meaning of each field
- `toml_file.py`: reads and writes a recipe as TOML
- `settings.py`: a field with its validation rule
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
