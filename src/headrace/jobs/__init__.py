"""Offline jobs from a file: what `headrace run` reads, checks, plans and performs."""
