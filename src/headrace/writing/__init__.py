"""Writing a data set: planned shards, written aside, recorded, and published when all of them are there."""
