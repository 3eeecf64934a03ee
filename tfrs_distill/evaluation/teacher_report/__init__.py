"""A comparison of teachers: quality by segment beside a twin, agreement, calibration, cost.

- `report.py`: `compare_teachers`, the whole of it as plain JSON
- `segments.py`: head, middle and tail items; short and long histories
- `agreement.py`: how alike two teachers' recommendations are
- `calibration_error.py`: whether a teacher's probabilities are those that are observed
- `cost.py`: milliseconds per 1,000 items and queries
"""

from tfrs_distill.evaluation.teacher_report.report import compare_teachers, scorer_of

__all__ = ["compare_teachers", "scorer_of"]
