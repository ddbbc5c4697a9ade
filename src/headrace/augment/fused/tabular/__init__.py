"""The compiled stages of columns of a table."""
