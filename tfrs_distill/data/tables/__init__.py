"""Data sets in tables with any column names: files that pyarrow reads, and frames in memory."""
