"""Augmentations that mix a sample with a partner, labels too."""
