"""The kinds of teachers that a recipe can name, each trained, opened and cross-fitted alike.

- `kind.py`: what every kind does
- `two_tower.py`: attention over items with text, attributes, knowledge graph; a tuned BERT
- `cross_encoder.py`: a two-tower's best items, ordered by a BERT that reads pairs
- `item_item.py`, `array.py`, `python_file.py`: EASE; answers in a file; your own function
- `ensemble.py`: several of these
"""

from collections.abc import Callable

from tfrs_distill.pipeline.teacher_kinds.array import Array
from tfrs_distill.pipeline.teacher_kinds.cross_encoder import CrossEncoder
from tfrs_distill.pipeline.teacher_kinds.ensemble import EnsembleOf
from tfrs_distill.pipeline.teacher_kinds.item_item import ItemItem
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, Setting, TeacherKind
from tfrs_distill.pipeline.teacher_kinds.python_file import PythonFile
from tfrs_distill.pipeline.teacher_kinds.two_tower import TwoTowerOfItems

__all__ = ["EnsembleOf", "Facts", "Setting", "TeacherKind", "teacher_kind"]

SINGLE: dict[str, Callable[[Setting], TeacherKind]] = {
    "two-tower": TwoTowerOfItems,
    "cross-encoder": CrossEncoder,
    "item-item": ItemItem,
    "array": Array,
    "python": PythonFile,
}


def teacher_kind(setting: Setting) -> TeacherKind:
    """The kind of teacher that the recipe names."""
    named = setting.recipe.teacher
    if named.kind != "ensemble":
        return SINGLE[named.kind](setting)
    return EnsembleOf(setting, {member: SINGLE[member](setting) for member in named.members})
