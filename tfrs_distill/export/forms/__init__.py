"""The forms of an exported student, one per file; the others are made from the SavedModel.

All code that handles the forms (writing, measuring, timing, reporting) reads `FORMS`. To add one,
add a file here and its name to the two lines below.
"""

from tfrs_distill.export.forms import saved_model, tflite_float32, tflite_int8
from tfrs_distill.export.forms.form import ExportForm

FORMS = {module.FORM.key: module.FORM for module in (saved_model, tflite_float32, tflite_int8)}

__all__ = ["FORMS", "ExportForm"]
