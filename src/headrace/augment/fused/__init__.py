"""Runs of augmentations that compiled kernels perform together, each sample while it is in the caches."""
