"""The `.tflite` file with weights in 32 bits, which computes the same as the student."""

from tfrs_distill.export.forms.tflite import tflite_form
from tfrs_distill.serving.artefact import TFLITE

FORM = tflite_form(
    "student_tflite", ".tflite", "float32, for a device", file=TFLITE, quantization="float32"
)
