"""The compiled stage of series: several augmentations in one pass over each sample."""
