"""A recipe, run stage by stage; a stage whose inputs have not changed is not run again.

- `run.py`: which stages a recipe's task asks for
- `retrieval_run.py`: the stages of a retrieval run in their order; `dataset.py`, `training.py`,
  `teacher_kinds/`, `export_student.py`, `measure.py`: what they do
- `ranking/`: the same for a ranking student, alone or behind a retrieval student
- `resume.py`: what makes a stage resumable
"""

from tfrs_distill.pipeline.run import run

__all__ = ["run"]
