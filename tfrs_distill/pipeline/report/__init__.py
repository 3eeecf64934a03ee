"""What a run cost and what it kept: for a program, for a terminal and for a browser.

`report.json` has, whatever the run's tasks are:

- `models[name]`: `metrics[task][metric]` (`value`, and `interval` where one was measured),
  `parameters`, `bytes`, `latency_ms` (`p50`, `p95`); `name` and `what` where the model is not what
  `models.MODELS` says of its key; `form_of`, the model that was exported in this form
- `tasks[task]`: `metric`, by which it is compared, and `what` it is; the first task leads
- `comparisons[name][task]`: `metric`, `difference`, `interval`, `seeds`; `ratio`, `p`, `gained` and
  `lost` where it is one of NDCGs, other figures of some pairs
- `protocol`: in words, how rows were `split`, what the `models` predicted, what the `twin` has of
  the student, what the validation `score` is, and what the models took from another run
  (`transfer`, as figures too); `rows_are`: what a latency is of
- `resampled`: what intervals are over; `reliability[task][model]`, `confusion[task][model]`,
  `teachers` (of `compare_teachers`), `segments` (of `segment_report`), `lists` (of a few users),
  `map` (of the items), where there are such
- `data`, `training[model]`, `stages[stage]`, `recipe`, `seed`, `versions`, `verdict`

The files: `models.py` (a report's models and figures), `verdict.py` (whether the teacher helped),
`paired_difference.py` (a difference in words), `cautions.py` (what to beware of), `table.py` (rows
and columns; the terminal's), `teachers.py` (teachers side by side), `segments.py` (quality by
segment), `page.py` with `page.html.jinja` and `page.css` (`report.html`, which needs nothing else),
`charts.py` (inline SVG) with `labels.py`, `numbers.py` (figures as people read them), `write.py`
(both files on disk); `compare.py` (what `tfrs-distill compare` says), made of `over_runs.py` (one
report over seeds; settings beside each other), `task_results.py` (a task's test rows, of lists and
of rows alike), `settings.py` (the terminal's tables of settings), `comparison_page.py` (their page)
and `lists.py` (what was recommended to the same user); `item_map.py` (the page's map of the items);
`evaluation.py` (what `tfrs-distill evaluate` prints).
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
