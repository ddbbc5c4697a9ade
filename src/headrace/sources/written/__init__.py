"""Data sets that `ds.write` wrote: their manifest, and what their columns were before a format took them."""
