"""Export of trained students: SavedModel for TensorFlow Serving, `.tflite` for LiteRT."""

from tfrs_distill.export.artefact import export_artefact, to_saved_model
from tfrs_distill.export.tflite import to_tflite
from tfrs_distill.export.two_stage import export_two_stage

__all__ = ["export_artefact", "export_two_stage", "to_saved_model", "to_tflite"]
