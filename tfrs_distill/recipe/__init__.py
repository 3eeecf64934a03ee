"""A run, as data: what `tfrs-distill run` does, in a file a person can read and change.

- `recipe.py`: the sections, their defaults and what each field means; the built-in recipes
- `toml_file.py`: a recipe to and from TOML
- `settings.py`: a field with its rule beside it
"""

from tfrs_distill.recipe.recipe import (
    DataSettings,
    DistillationSettings,
    EvaluationSettings,
    ExportSettings,
    KnowledgeSettings,
    Recipe,
    StudentSettings,
    TeacherSettings,
    TrainingSettings,
    TwinSettings,
)

__all__ = [
    "DataSettings",
    "DistillationSettings",
    "EvaluationSettings",
    "ExportSettings",
    "KnowledgeSettings",
    "Recipe",
    "StudentSettings",
    "TeacherSettings",
    "TrainingSettings",
    "TwinSettings",
]
