"""What a teacher said, on disk: by content fingerprint, whole or not at all, memory-mapped."""

from tfrs_distill.teacher_cache.cached_teacher import CachedTeacher
from tfrs_distill.teacher_cache.make import cache_teacher, cross_fit_teacher
from tfrs_distill.teacher_cache.top_k_knowledge import align_top_k, summarise_top_k

__all__ = [
    "CachedTeacher",
    "align_top_k",
    "cache_teacher",
    "cross_fit_teacher",
    "summarise_top_k",
]
