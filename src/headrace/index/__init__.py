"""Indexes over columns: from values to sample ids."""
