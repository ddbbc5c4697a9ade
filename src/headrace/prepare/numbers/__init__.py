"""Columns of numbers as memory, and programs that run over them value by value."""
