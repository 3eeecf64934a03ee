"""A search for a recipe's settings with Optuna, on validation alone.

- `space.py`: the searched settings and their ranges
- `trials.py`: one trial, a part of a run
- `study.py`: the trials of student and twin, stored in SQLite
- `page.py` with `page.html.jinja`: the results, for a browser
"""
