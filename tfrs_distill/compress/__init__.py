"""Student in, smaller student out.

- `compress.py`: the methods of `methods.py`, applied to a trained student
- `structures/`: forms of an item table; `bits.py`: numbers of 4 and 2 bits
- `units.py`: hidden units that a network can do without
"""

from tfrs_distill.compress.compress import compress, quantization_of
from tfrs_distill.compress.units import unit_importance

__all__ = ["compress", "quantization_of", "unit_importance"]
