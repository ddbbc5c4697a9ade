"""Hashes that never change: XXH64 of bytes, and a hash of any column's values."""
