"""Planning: which samples form which batch, as pure arithmetic."""
