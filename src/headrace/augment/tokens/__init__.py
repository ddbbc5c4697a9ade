"""Augmentations of token ids, padded or ragged."""
