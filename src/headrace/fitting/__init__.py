"""Fitting pipelines: what to scan, the scans themselves, and what is kept of them."""
