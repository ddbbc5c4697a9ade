"""Prepare: everything deterministic that is done to a row group."""
