"""Programs that the tests start in processes of their own.

python index_programs.py build FOLDER KIND: build the default index of the shards in a folder, and print it.
"""

from __future__ import annotations

import sys

import headrace as hr


def build(folder: str, kind: str) -> None:
    index = hr.open(folder).index("x", kind=kind)  # type: ignore[call-overload]
    print(index.lookup(3).tolist(), flush=True)


if __name__ == "__main__":
    build(*sys.argv[2:])
