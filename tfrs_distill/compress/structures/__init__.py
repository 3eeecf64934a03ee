"""The forms in which a table of embeddings can be stored, one per file.

To add one, add a file here and its class to the line below.
"""

from __future__ import annotations

from tfrs_distill.compress.structures.hashed import Hashed, QuotientRemainder
from tfrs_distill.compress.structures.low_rank import LowRank
from tfrs_distill.compress.structures.plain import Plain
from tfrs_distill.compress.structures.product import Product
from tfrs_distill.compress.structures.shared_rows import SharedRows
from tfrs_distill.compress.structures.structure import Structure

STRUCTURES: dict[str, type[Structure]] = {
    structure.name: structure
    for structure in (Plain, LowRank, Product, SharedRows, Hashed, QuotientRemainder)
}

__all__ = ["STRUCTURES", "Structure"]
