"""Equal samples in two passes: a Bloom filter finds candidates, and their keys decide."""
