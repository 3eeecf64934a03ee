"""The folder of an exported student, and how it is read and checked.

`saved_models/<name>/<version>/` holds

    saved_model.pb, variables/   the SavedModel, where TensorFlow Serving looks for it
    student.tflite               the same function for LiteRT, float32
    *.tflite                     further forms of it, see `export/forms/`
    signature.json               inputs, outputs, and what they mean
    provenance.json              how it was made; size and sha256 of every other file

and, of a retrieval student,

    vocabulary.txt, titles.txt   line i is the id, the title, of the item with index i
    words/pieces.txt             where it reads texts, line i is the word piece with index i + 1
    ranking/                     with two stages: the artefact of the ranking student

or, of a ranking student,

    vocabularies/<column>.txt    line i is the id with index i of that column
    words/<column>.txt           the words of a text column, in the order of their indices
    titles.txt                   line i is the title of the item with index i

Reading needs no TensorFlow.
"""

from tfrs_distill.serving.artefact.artefact import (
    PIECES,
    RANKING,
    RETRIEVAL,
    WORDS,
    Artefact,
    RankingStage,
)
from tfrs_distill.serving.artefact.files import (
    PROVENANCE,
    RANKING_FOLDER,
    SAVED_MODEL,
    TFLITE,
    next_version,
)

__all__ = [
    "Artefact",
    "PIECES",
    "PROVENANCE",
    "RANKING",
    "RANKING_FOLDER",
    "RETRIEVAL",
    "RankingStage",
    "SAVED_MODEL",
    "TFLITE",
    "WORDS",
    "next_version",
]
