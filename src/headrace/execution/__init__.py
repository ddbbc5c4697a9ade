"""Execution: the rooms that a batch passes, and who calls them."""
