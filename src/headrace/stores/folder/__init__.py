"""A folder as a store: arrays that all processes map, written entry by entry into planned places."""
