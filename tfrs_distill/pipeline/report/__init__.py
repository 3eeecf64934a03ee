"""The report of a run (quality, size, latency): as JSON, for a terminal and for a browser.

`report.json` has, for runs of any task:

- `models[name]`: `metrics[task][metric]` (`value`, and `interval` if one was measured),
  `parameters`, `bytes`, `latency_ms` (`p50`, `p95`); `name` and `what` if they differ from those in
  `models.MODELS`; `form_of`, the model of which this is an exported form
- `tasks[task]`: `metric`, by which models are compared, and `what` is predicted; the first task
  decides the verdict
- `comparisons[name][task]`: `metric`, `difference`, `interval`, `seeds`; `ratio`, `p`, `gained` and
  `lost` if the metric is NDCG; further values of some pairs
- `protocol`: sentences about the `split`, what the `models` predicted, what the `twin` has in
  common with the student, the validation `score`, and what was transferred from another run
  (`transfer`; its values are in the report's `transfer`); `rows_are`: the unit of a latency
- `resampled`: what intervals are over; if available: `reliability[task][model]`,
  `confusion[task][model]`, `teachers` (of `compare_teachers`), `segments` (of `segment_report`),
  `lists` (of a few users), `map` (of the items)
- `data`, `training[model]`, `stages[stage]`, `recipe`, `seed`, `versions`, `verdict`

The files: `models.py` (a report's models and metrics), `verdict.py` (whether the teacher helped),
`paired_difference.py` (a difference in words), `cautions.py` (limits of the results), `table.py`
(rows and columns; the terminal's), `teachers.py` (teachers side by side), `segments.py` (quality by
segment), `page.py` with `page.html.jinja` and `page.css` (`report.html`, a self-contained page),
`charts.py` (inline SVG) with `labels.py`, `numbers.py` (formatting of numbers), `write.py` (both
files on disk); `compare.py` (the output of `tfrs-distill compare`), which uses `over_runs.py` (one
report over seeds; comparison of settings), `task_results.py` (a task's test rows, for lists and
rows), `settings.py` (the terminal's tables of settings), `comparison_page.py` (their page) and
`lists.py` (the recommendations to one user); `item_map.py` (the page's map of the items);
`evaluation.py` (the output of `tfrs-distill evaluate`).
"""

from tfrs_distill.pipeline.report.lists import lists_tables
from tfrs_distill.pipeline.report.page import html_page
from tfrs_distill.pipeline.report.segments import terminal_segments
from tfrs_distill.pipeline.report.settings import segments_table, settings_table
from tfrs_distill.pipeline.report.table import terminal_table
from tfrs_distill.pipeline.report.verdict import verdict
from tfrs_distill.pipeline.report.write import write_report

__all__ = [
    "html_page",
    "lists_tables",
    "segments_table",
    "settings_table",
    "terminal_segments",
    "terminal_table",
    "verdict",
    "write_report",
]
