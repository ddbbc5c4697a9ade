"""Batches on a device: page-locked slabs, streams, events and the order that keeps them apart."""
