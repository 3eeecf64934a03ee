"""New interactions and items for a finished run: the student goes on, checked and published.

- `new_data.py`: what came since, behind what the run was trained on; `stages.py`: the work
- `publish.py`: versions of a run, and the update from one to the next
"""
