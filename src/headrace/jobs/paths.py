"""Paths of a job: taken from a folder, unless they say themselves where they begin."""

from __future__ import annotations

import glob
import os


def resolve(path: str, folder: str) -> str:
    """Take a path, which may be a glob, from a folder; URLs and absolute paths stay.

    Example:
        >>> resolve("data/*.csv", "/jobs"), resolve("/data", "/jobs"), resolve("s3://data", "/jobs")
        ('/jobs/data/*.csv', '/data', 's3://data')
    """
    if "://" in path or not path:
        return path
    return os.path.join(glob.escape(folder) if glob.has_magic(path) else folder, path)
