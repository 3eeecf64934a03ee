"""A finished run's student in fewer bytes: the search, its page, and the artefact it leaves."""
