"""Parameter-efficient tuning: only small layers added to a large model are trained."""

from tfrs_distill.teachers.bert.parameter_efficient.attach_saved import attach_saved
from tfrs_distill.teachers.bert.parameter_efficient.attached import Attached, ParameterEfficient
from tfrs_distill.teachers.bert.parameter_efficient.bottleneck_adapters import BottleneckAdapters
from tfrs_distill.teachers.bert.parameter_efficient.low_rank import LoRA
from tfrs_distill.teachers.bert.parameter_efficient.prefix_vectors import PrefixVectors

__all__ = [
    "Attached",
    "BottleneckAdapters",
    "LoRA",
    "ParameterEfficient",
    "PrefixVectors",
    "attach_saved",
]
