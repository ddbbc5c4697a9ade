"""Streams with a cache in states that last as long as their process, held against those without one.

python state_programs.py full DATA CACHE BYTES: no file may become larger than so many bytes.
python state_programs.py readonly DATA CACHE: the folder may be read and not be written to.

Prints, as JSON, whether each stream was right, the misses, and what was warned of.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import warnings
from pathlib import Path

from cached_data import hash_of, packed, plain

SOMEBODY = 65534  # a user without any rights


def stream(ds: object, shuffle: object) -> tuple[list[str], int]:
    """Two epochs, and how many row groups had to be prepared."""
    with ds.loader(6, shuffle=shuffle, threads=2, output="numpy") as loader:  # type: ignore[attr-defined]
        return [*hash_of(loader), *hash_of(loader)], loader.stats()["cache_misses"]


def main(state: str, data: str, cache: str, *limit: str) -> None:
    """Compute the streams without a cache, enter the state, and compute them with one."""
    kinds = [(make, shuffle) for make in (packed, plain) for shuffle in (True, "global")]
    datasets = [(make(Path(data)), shuffle) for make, shuffle in kinds]
    expected = [stream(ds, shuffle)[0] for ds, shuffle in datasets]
    with tempfile.TemporaryDirectory() as other:  # so that compiled code is loaded while that can be done
        assert [stream(ds.cache(other), shuffle)[0] for ds, shuffle in datasets] == expected
    if state == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), int(limit[0])))
    elif os.geteuid() == 0:  # whom no mode keeps from writing
        os.seteuid(SOMEBODY)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        got = [stream(ds.cache(cache), shuffle) for ds, shuffle in datasets]
    right = [hashes == other for (hashes, _), other in zip(got, expected, strict=True)]
    found = {"right": right, "misses": [misses for _, misses in got], "told": [str(w.message) for w in told]}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
