"""The LMDB store: one file of pages by key, shared by the processes of one machine."""
