"""The Redis store: pages by key in a server, shared by machines."""
