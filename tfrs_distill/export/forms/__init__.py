"""The forms in which a student is exported, one a file; the SavedModel first, the others' source.

Whatever goes over the forms (writing, measuring, timing, reporting) reads `FORMS`: a further one is
a file here and its name in the two lines below.
"""

from tfrs_distill.export.forms import saved_model, tflite_float32, tflite_int8
from tfrs_distill.export.forms.form import ExportForm

FORMS = {module.FORM.key: module.FORM for module in (saved_model, tflite_float32, tflite_int8)}

__all__ = ["FORMS", "ExportForm"]
