"""Tables over any store of bytes by key: each entry is one page."""
