"""Reads an exported student with LiteRT alone; nothing here imports TensorFlow at import.

- `recommender.py`, `ranker.py`: `Recommender` and `Ranker`
- `artefact/`: the folder that an exported student lives in, and the ids that people give it
- `interpreter.py`: a `.tflite` file under threads
- `word_vocabulary.py`, `item_names.py`, `attribute_vocabulary.py`: texts, titles and what is known
  of users to and from indices
"""

import lazy_loader

# At first use: the command line's help needs neither.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
