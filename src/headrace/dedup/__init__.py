"""Duplicates: which samples are equal or nearly so, which of them to keep, and a report that shows it."""
