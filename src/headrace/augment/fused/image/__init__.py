"""The compiled stage of images: maps of places, tables of values, then noise and a cast, in one pass."""
