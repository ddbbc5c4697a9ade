"""The whole pipeline of a loader in one process of its own, whose batches come through shared memory."""
