"""Student in, smaller student out; and a smaller BERT.

- `compress.py`: the methods of `methods.py`, applied to a trained student
- `structures/`: forms of an item table; `bits.py`: numbers of 4 and 2 bits
- `units.py`: hidden units and attention heads that an encoder can do without
- `encoder.py`: what is left of an encoder without them, and its matrices in low rank
- `fine_tune.py`: trained further, unless that makes it worse
- `budget.py`: the best student that fits into so many bytes
- `magnitude.py`: small weights become 0 while a student trains
- `bert.py`: a BERT of fewer layers or heads, and its `.tflite` file
"""

from tfrs_distill.compress.budget import to_budget
from tfrs_distill.compress.compress import compress, quantization_of

__all__ = ["compress", "quantization_of", "to_budget"]
