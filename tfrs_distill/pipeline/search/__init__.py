"""A search for a recipe's settings with Optuna, on validation alone.

- `space.py`: which settings are searched, and where
- `trials.py`: one trial, a part of a run
- `study.py`: the trials of student and twin, kept in SQLite
- `page.py` with `page.html.jinja`: what was found, for a browser
"""
