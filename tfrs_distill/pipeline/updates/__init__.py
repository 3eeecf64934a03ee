"""Updates a finished run with new interactions and items; the new version is checked, published.

- `new_data.py`: joins the new data to the run's data; `stages.py`: the stages of an update
- `publish.py`: versions of a run, and the update from one to the next
"""
