"""A comparison of teachers: quality by segment next to a twin, agreement, calibration, cost.

- `report.py`: `compare_teachers`, the complete report as plain JSON
- `cost.py`: milliseconds per 1,000 items and queries

Segments, agreement and calibration work for any scorer: `segments.py`, `agreement.py`,
`calibration_error.py` and `whole_catalogue.py` beside them.
"""

from tfrs_distill.evaluation.teacher_report.report import compare_teachers, scorer_of

__all__ = ["compare_teachers", "scorer_of"]
