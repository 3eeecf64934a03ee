"""Stage 5: write the artefact, in a fresh process.

TensorFlow numbers its functions by what a process did before; in a fresh one an artefact's files
are of the same size whether the run was interrupted or not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill.export import export_artefact
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.pipeline.dataset import load_data


def export(request: dict[str, Any]) -> None:
    """Export the student of a request to its directory."""
    student = tf.keras.models.load_model(request["student"])
    if not isinstance(student, RetrievalStudent):
        raise TypeError(f"{request['student']} holds a {type(student).__name__}.")
    export_artefact(
        student,
        request["directory"],
        load_data(Path(request["data"])).catalogue,
        k=request["k"],
        provenance=request["provenance"],
    )


if __name__ == "__main__":
    export(json.load(sys.stdin))
    print("{}")
