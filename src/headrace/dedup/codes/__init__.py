"""Codes of 64 bits: pairs that differ in few of them, and the perceptual hashes of images."""
