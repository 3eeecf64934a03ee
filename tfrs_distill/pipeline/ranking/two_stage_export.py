"""The export stage of a two-stage run: write both students' artefact, in a fresh process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_distill.export.two_stage import export_two_stage
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.models.ranking_student import RankingStudent
from tfrs_distill.pipeline.dataset import load_data


def export(request: dict[str, Any]) -> None:
    """Export the students of a request to its directory."""
    retrieval = tf.keras.models.load_model(request["retrieval"])
    ranking = tf.keras.models.load_model(request["ranking"])
    if not isinstance(retrieval, RetrievalStudent) or not isinstance(ranking, RankingStudent):
        raise TypeError(f"Received: {type(retrieval).__name__} and {type(ranking).__name__}.")
    export_two_stage(
        retrieval,
        ranking,
        request["directory"],
        load_data(Path(request["data"])).catalogue,
        num_candidates=request["num_candidates"],
        retrieval_weight=request["retrieval_weight"],
        provenance=request["provenance"],
    )


if __name__ == "__main__":
    export(json.load(sys.stdin))
    print("{}")
