"""Compress a trained student, or a BERT checkpoint.

- `compress.py`: apply the methods of `methods.py` to a trained student
- `structures/`: compressed forms of a table; `bits.py`: numbers of 4 and 2 bits
- `compressed_table.py`: a compressed table, as a layer and as stored in a file
- `compressed_item_tower.py`: for retrieval; `feature_tables.py`: for ranking, one table per feature
- `units.py`: importance of hidden units and attention heads
- `network.py`: remove units and heads from a network, and factorize its matrices
- `suited.py`: which methods apply to a student, and which parts of its network remain
- `measures.py`: scores of a student and of its file
- `fine_tune.py`: fine-tune, unless that lowers the score
- `budget.py`: the best student within a size limit
- `magnitude.py`: set small weights to 0 during training
- `bert.py`: a BERT with fewer layers or heads, and its `.tflite` file
"""

from tfrs_distill.compress.budget import to_budget
from tfrs_distill.compress.compress import compress, quantization_of

__all__ = ["compress", "quantization_of", "to_budget"]
