"""Similar texts: sets of shingles, their MinHash signatures and SimHash codes, and the pairs among them."""
