"""The `.tflite` file with weights in 8 bits, which computes in 8 bits where LiteRT can."""

from tfrs_distill.export.forms.tflite import tflite_form

FORM = tflite_form(
    "student_int8",
    "int8",
    "8-bit weights, .tflite",
    file="student_int8.tflite",
    quantization="int8",
)
