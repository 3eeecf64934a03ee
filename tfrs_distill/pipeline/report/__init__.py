"""What a run cost and what it kept: for a program, for a terminal and for a browser.

- `by_task.py`: which of the following a report's task asks for
- `verdict.py`: whether the teacher helped, in one sentence
- `paired_difference.py`: a difference and its interval in words; `cautions.py`: what to beware of
- `table.py`: the rows and columns of the comparison; the terminal's table
- `page.py`: `report.html`, one file that needs nothing else; `style.py`: its CSS
- `document.py`: what every page has
- `ranking_verdict.py`, `ranking_table.py`, `ranking_page.py`, `ranking_charts.py`,
  `ranking_metrics.py`: the same for a run with a ranking student
- `charts.py`: its charts, as inline SVG; `labels.py`: where a label finds room
- `numbers.py`: figures as people read them
- `write.py`: `report.json` and `report.html` on disk; `json_types.py`: what both are made of
"""

from tfrs_distill.pipeline.report.by_task import html_page, terminal_table, verdict
from tfrs_distill.pipeline.report.write import write_report

__all__ = ["html_page", "terminal_table", "verdict", "write_report"]
