"""What a run cost and what it kept: for a program, for a terminal and for a browser.

- `verdict.py`: whether the teacher helped, in one sentence
- `table.py`: the rows and columns of the comparison; the terminal's table
- `page.py`: `report.html`, one file that needs nothing else; `style.py`: its CSS
- `charts.py`: its charts, as inline SVG; `labels.py`: where a label finds room
- `numbers.py`: figures as people read them
- `write.py`: `report.json` and `report.html` on disk
"""

from tfrs_distill.report.page import html_page
from tfrs_distill.report.table import terminal_table
from tfrs_distill.report.verdict import verdict
from tfrs_distill.report.write import write_report

__all__ = ["html_page", "terminal_table", "verdict", "write_report"]
