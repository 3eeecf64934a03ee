"""The vocabularies that a ranking student is exported with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfrs_distill.models.features import IdFeature
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.pipeline.data import WORDS
from tfrs_distill.serving.word_vocabulary import WordVocabulary


def vocabularies_of(
    student: RankingModel, ids: Mapping[str, Sequence[str]], words: WordVocabulary | None
) -> dict[str, Any]:
    """The vocabularies of the columns that the student reads.

    Args:
        student: whose features are read.
        ids: of the data, by column.
        words: of the data's texts, where it has any.
    """
    read = [f.column for f in student.features if isinstance(f, IdFeature)]
    found: dict[str, Any] = {name: of_one for name, of_one in ids.items() if name in read}
    return found if words is None else found | {WORDS: words}
