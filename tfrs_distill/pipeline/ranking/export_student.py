"""The export stage of a ranking run: write the artefact, in a fresh process.

TensorFlow numbers its functions by what a process did before; in a fresh one an artefact's files
are of the same size whether the run was interrupted or not.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import tensorflow as tf

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.export import export_artefact
from tfrs_distill.models.features import IdFeature
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.pipeline.ranking.dataset import WORDS, RankingData
from tfrs_distill.serving.word_vocabulary import WordVocabulary


def described(data: RankingData) -> dict[str, Any]:
    """What a request says of the data: what turns what people know into indices."""
    catalogue, words = data.catalogue, data.words
    return {
        "vocabularies": {name: list(ids) for name, ids in data.vocabularies.items()},
        "catalogue": catalogue and [catalogue.item_ids, catalogue.titles, catalogue.texts],
        "words": words and {"words": words.words, "max_words": words.max_words},
    }


def export(request: dict[str, Any]) -> None:
    """Export the student of a request to its directory."""
    student = tf.keras.models.load_model(request["student"])
    if not isinstance(student, RankingStudent):
        raise TypeError(f"{request['student']} holds a {type(student).__name__}.")
    read = [f.column for f in student.features if isinstance(f, IdFeature)]
    vocabularies: dict[str, Any] = {
        name: ids for name, ids in request["vocabularies"].items() if name in read
    }
    if request["words"]:
        words = request["words"]
        vocabularies[WORDS] = WordVocabulary(tuple(words["words"]), words["max_words"])
    catalogue = request["catalogue"]
    export_artefact(
        student,
        request["directory"],
        vocabularies=vocabularies,
        catalogue=Catalogue(*map(tuple, catalogue)) if catalogue else None,
        provenance=request["provenance"],
    )


if __name__ == "__main__":
    export(json.load(sys.stdin))
    print("{}")
