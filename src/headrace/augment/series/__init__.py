"""Augmentations of series: columns of shape [n, time, channels], [n, channels, time] or [n, time]."""
