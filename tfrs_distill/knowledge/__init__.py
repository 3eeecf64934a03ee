"""Teachers' knowledge on disk: by fingerprint, sharded, whole or not at all, memory-mapped."""

from tfrs_distill.knowledge.cache_teacher import cache_teacher
from tfrs_distill.knowledge.cached_teacher import CachedTeacher
from tfrs_distill.knowledge.cross_fit import cross_fit
from tfrs_distill.knowledge.item_vectors import ItemVectors, cache_item_vectors
from tfrs_distill.knowledge.maintenance import inspect, prune, verify
from tfrs_distill.knowledge.top_k_knowledge import align_top_k, summarise_top_k

__all__ = [
    "CachedTeacher",
    "ItemVectors",
    "align_top_k",
    "cache_item_vectors",
    "cache_teacher",
    "cross_fit",
    "inspect",
    "prune",
    "summarise_top_k",
    "verify",
]
