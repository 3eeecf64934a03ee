"""Knowledge distillation and compression for TensorFlow Recommenders.

    import tfrs_distill as td

`td.data` reads data, `td.teachers` has the teachers, `td.cross_fit` caches their outputs,
`td.Distiller` trains the students of `td.models`, `td.evaluate` evaluates them, `td.compress` makes
them smaller, `td.export` exports them, and `td.Recommender` reads the exported files.
"""

import lazy_loader

from tfrs_distill.keras_version import require_keras_2

require_keras_2()

__version__ = "0.1.0"

# The public names are those of `__init__.pyi`, imported at first use: reading a `.tflite` artefact
# never imports TensorFlow.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
