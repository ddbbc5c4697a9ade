"""Sources: bytes to `pyarrow.RecordBatch`, one file a format."""
