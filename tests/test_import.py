"""What `import headrace` does, seen in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import headrace

NOT_LOADED_BY_IMPORT = (
    "torch",
    "numba",
    "polars",
    "pyarrow",
    "h5py",
    "lmdb",
    "scipy",
    "redis",
    "dask",
    "cupy",
)
IMPORT_SECONDS = 0.25


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def heavy_after(statement: str) -> list[str]:
    """Return which of the heavy libraries a fresh interpreter has loaded after a statement."""
    loaded = run_python(f"import sys\n{statement}\nprint(*sys.modules)").split()
    return [name for name in NOT_LOADED_BY_IMPORT if name in loaded]


def test_import_loads_no_heavy_library() -> None:
    """`import headrace` loads neither torch nor a frame or format library."""
    assert heavy_after("import headrace") == []


def test_loading_a_heavy_library_is_caught() -> None:
    """The probe sees a library that was loaded."""
    assert "pyarrow" in heavy_after("import pyarrow")


def test_import_is_quick() -> None:
    """`import headrace` takes under a quarter of a second, the best of five tries."""
    code = "import time\nbegin = time.perf_counter()\nimport headrace\nprint(time.perf_counter() - begin)"

    assert min(float(run_python(code)) for _ in range(5)) < IMPORT_SECONDS


def test_public_names_resolve() -> None:
    """Every name in `headrace.__all__` is there, once, and `dir` shows it."""
    missing = [name for name in headrace.__all__ if not hasattr(headrace, name)]

    assert missing == []
    assert len(set(headrace.__all__)) == len(headrace.__all__)
    assert set(headrace.__all__) <= set(dir(headrace))
