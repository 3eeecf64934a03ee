"""Export a student's artefact: `python -m tfrs_distill.pipeline.stages.export_student`.

TensorFlow numbers its functions by the earlier operations of a process. In a fresh process an
artefact's files do not depend on whether the run was interrupted.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import tensorflow as tf

import tfrs_distill.compress.compressed_item_tower  # noqa: F401  (registers its class for loading)
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.export import export_artefact
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.pipeline.vocabularies import vocabularies_of
from tfrs_distill.serving.word_vocabulary import WordVocabulary


def export(request: dict[str, Any]) -> None:
    """Export the students of a request to its directory."""
    students = {n: tf.keras.models.load_model(path) for n, path in request["students"].items()}
    student = students["student"]
    fields = request["catalogue"]
    catalogue: Any = fields and Catalogue(**fields)
    directory, provenance = request["directory"], request["provenance"]
    if "retrieval" in students:
        both = TwoStageStudent(
            students["retrieval"],
            student,
            num_candidates=request["num_candidates"],
            retrieval_weight=request["retrieval_weight"],
        )
        export_artefact(both, directory, catalogue, provenance=provenance)
    elif "vocabularies" in request:
        words = request["words"] and WordVocabulary(
            tuple(request["words"]["words"]), request["words"]["max_words"]
        )
        vocabularies = vocabularies_of(student, request["vocabularies"], words)
        export_artefact(
            student, directory, catalogue, vocabularies=vocabularies, provenance=provenance
        )
    else:
        export_artefact(student, directory, catalogue, k=request["k"], provenance=provenance)


if __name__ == "__main__":
    export(json.load(sys.stdin))
    print("{}")
