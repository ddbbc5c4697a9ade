"""What was found: the samples that go and for which, shares, clusters, guards, and files."""
