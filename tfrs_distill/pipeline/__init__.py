"""A recipe, run stage by stage; a stage whose inputs have not changed is not run again.

- `run.py`: the stages in their order
- `resume.py`: what makes a stage resumable
- `dataset.py`, `training.py`, `knowledge.py`, `measure.py`: what the stages do
"""

from tfrs_distill.pipeline.run import run

__all__ = ["run"]
