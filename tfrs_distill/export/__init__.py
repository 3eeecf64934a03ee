"""Export of trained students: SavedModel for TensorFlow Serving, `.tflite` for LiteRT."""

from tfrs_distill.export.artefact import export_artefact, to_saved_model
from tfrs_distill.export.tflite import to_tflite

__all__ = ["export_artefact", "to_saved_model", "to_tflite"]
