"""Equal samples: keys of their values, groups of equal keys within a memory limit, and a second look."""
