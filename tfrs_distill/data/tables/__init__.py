"""Data sets in tables of any columns: files that pyarrow reads, and frames in memory."""
