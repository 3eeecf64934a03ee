"""Student in, smaller student out.

- `compress.py`: the methods of `methods.py`, applied to a trained student
- `structures/`: forms of an item table; `bits.py`: numbers of 4 and 2 bits
- `units.py`: hidden units that a network can do without
- `budget.py`: the best student that fits into so many bytes
"""

from tfrs_distill.compress.budget import candidates_of, to_budget
from tfrs_distill.compress.compress import compress, quantization_of
from tfrs_distill.compress.units import unit_importance

__all__ = ["candidates_of", "compress", "quantization_of", "to_budget", "unit_importance"]
