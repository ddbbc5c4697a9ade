"""Augmentations of tabular columns."""
