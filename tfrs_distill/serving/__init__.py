"""Reads an exported student with LiteRT alone; importing it does not import TensorFlow.

- `recommender.py`, `ranker.py`: `Recommender` and `Ranker`
- `artefact/`: the folder of an exported student, and conversion of ids to indices
- `interpreter.py`: a thread-safe `.tflite` file
- `word_vocabulary.py`, `item_names.py`, `attribute_vocabulary.py`: conversion of texts, titles and
  user attributes to and from indices
"""

import lazy_loader

# At first use: the command line's help needs neither.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
