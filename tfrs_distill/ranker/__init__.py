"""An exported ranking student on disk, and its scores. A `.tflite` file needs no TensorFlow."""

from tfrs_distill.ranker.ranker import Ranker

__all__ = ["Ranker"]
