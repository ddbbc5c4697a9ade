"""The steps of pipelines, a file for each kind, and what they share."""
