"""Compression of a finished run's student: the search, its page, and the artefact."""
