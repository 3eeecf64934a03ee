"""Teacher outputs on disk: found by fingerprint, sharded, written atomically, memory-mapped."""

from tfrs_distill.knowledge.cache_teacher import cache_teacher
from tfrs_distill.knowledge.cached_teacher import CachedTeacher
from tfrs_distill.knowledge.cross_fit import cross_fit
from tfrs_distill.knowledge.generate_histories import generate_histories
from tfrs_distill.knowledge.item_vectors import cache_item_vectors
from tfrs_distill.knowledge.scrambled import scrambled

__all__ = [
    "CachedTeacher",
    "cache_item_vectors",
    "cache_teacher",
    "cross_fit",
    "generate_histories",
    "scrambled",
]
