"""A run, as data: what `tfrs-distill run` does, in a file a person can read and change.

- `sections.py`: the sections, their defaults and what each field means
- `recipe.py`: the recipe of each task, and the built-in ones
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
from tfrs_distill.pipeline.recipe.sections import (
    CrossEncoderSettings,
    DataSettings,
    DistillationSettings,
    EncoderSettings,
    EvaluationSettings,
    ExportSettings,
    KnowledgeSettings,
    LabelsSettings,
    ListsSettings,
    RankingDataSettings,
    RankingKnowledgeSettings,
    RankingStudentSettings,
    RankingTeacherSettings,
    RetrievalExportSettings,
    StudentSettings,
    TeacherSettings,
    TrainingSettings,
    TuningSettings,
    TwinSettings,
    TwoStageEvaluationSettings,
    WordsSettings,
)

__all__ = [
    "CrossEncoderSettings",
    "DataSettings",
    "DistillationSettings",
    "EncoderSettings",
    "EvaluationSettings",
    "ExportSettings",
    "KnowledgeSettings",
    "LabelsSettings",
    "ListsSettings",
    "MultitaskRecipe",
    "RankingDataSettings",
    "RankingKnowledgeSettings",
    "RankingRecipe",
    "RankingStudentSettings",
    "RankingTeacherSettings",
    "Recipe",
    "RetrievalExportSettings",
    "RetrievalRecipe",
    "StudentSettings",
    "TeacherSettings",
    "TrainingSettings",
    "TuningSettings",
    "TwinSettings",
    "TwoStageEvaluationSettings",
    "TwoStageRecipe",
    "WordsSettings",
]
