"""Student in, smaller student out; and a smaller BERT.

- `compress.py`: the methods of `methods.py`, applied to a trained student
- `structures/`: forms of a table; `bits.py`: numbers of 4 and 2 bits
- `compressed_table.py`: a table in such a form, as a layer and as a file has it
- `compressed_item_tower.py`: retrieval's; `feature_tables.py`: ranking's, one a feature
- `units.py`: hidden units and attention heads that a network can do without
- `network.py`: what is left of a network without them, and its matrices in low rank
- `suited.py`: which of the methods suit a student, and what they leave of its network
- `measures.py`: how good a student is, and its file
- `fine_tune.py`: trained further, unless that makes it worse
- `budget.py`: the best student that fits into so many bytes
- `magnitude.py`: small weights become 0 while a student trains
- `bert.py`: a BERT of fewer layers or heads, and its `.tflite` file
"""

from tfrs_distill.compress.budget import to_budget
from tfrs_distill.compress.compress import compress, quantization_of

__all__ = ["compress", "quantization_of", "to_budget"]
