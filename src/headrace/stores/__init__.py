"""Stores: where prepared row groups are kept, each whole and sound, or not there."""
