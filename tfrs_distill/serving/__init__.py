"""Reads an exported student with LiteRT alone; nothing here imports TensorFlow at import.

- `recommender.py`, `ranker.py`: `Recommender` and `Ranker`
- `artefact/`: the folder that an exported student lives in, and the ids that people give it
- `interpreter.py`: a `.tflite` file under threads
- `word_vocabulary.py`, `item_names.py`: texts and titles to and from indices
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrs_distill.serving.ranker import Ranker
    from tfrs_distill.serving.recommender import Recommender

__all__ = ["Ranker", "Recommender"]


def __getattr__(name: str) -> Any:
    """Import a reader at first use: the command line's help needs none."""
    if name == "Ranker":
        from tfrs_distill.serving.ranker import Ranker

        return Ranker
    if name == "Recommender":
        from tfrs_distill.serving.recommender import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
