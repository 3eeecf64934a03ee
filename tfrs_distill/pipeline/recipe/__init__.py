"""A run, as data: what `tfrs-distill run` does, in a file a person can read and change.

- `sections.py`: the sections, their defaults and what each field means
- `ranking_sections.py`: those of a ranking student
- `recipe.py`: the recipe, and the built-in ones
- `toml_file.py`: a recipe to and from TOML
- `settings.py`: a field with its rule beside it
"""

from tfrs_distill.pipeline.recipe.ranking_sections import RankingSettings, WordsSettings
from tfrs_distill.pipeline.recipe.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import (
    CrossEncoderSettings,
    DataSettings,
    DistillationSettings,
    EncoderSettings,
    EvaluationSettings,
    ExportSettings,
    KnowledgeSettings,
    StudentSettings,
    TeacherSettings,
    TrainingSettings,
    TuningSettings,
    TwinSettings,
)

__all__ = [
    "CrossEncoderSettings",
    "DataSettings",
    "DistillationSettings",
    "EncoderSettings",
    "EvaluationSettings",
    "ExportSettings",
    "KnowledgeSettings",
    "RankingSettings",
    "Recipe",
    "StudentSettings",
    "TeacherSettings",
    "TrainingSettings",
    "TuningSettings",
    "TwinSettings",
    "WordsSettings",
]
