"""Reads an exported student with LiteRT alone; nothing here imports TensorFlow at import.

- `recommender.py`, `ranker.py`: `Recommender` and `Ranker`
- `artefact/`: the folder that an exported student lives in, and the ids that people give it
- `interpreter.py`: a `.tflite` file under threads
- `word_vocabulary.py`, `item_names.py`: texts and titles to and from indices
"""

from tfrs_distill.serving.ranker import Ranker
from tfrs_distill.serving.recommender import Recommender

__all__ = ["Ranker", "Recommender"]
