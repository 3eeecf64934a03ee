"""Runs with a ranking student.

- `run.py`: the stages of a run whose student predicts labels of rows, in their order
- `dataset.py`, `tasks.py`, `models.py`, `teachers.py`, `training.py`, `validation.py`,
  `export_student.py`, `measure.py`, `latency.py`: what they do
- `two_stage_run.py`: retrieval, then ranking; `two_stage.py`, `list_teachers.py`,
  `two_stage_export.py`, `two_stage_measure.py`: what its own stages do
"""
