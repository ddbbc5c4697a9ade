"""Who imports whom: directions between the modules, and the one file of each library.

Every rule is one function from a module to a list of complaints, with a test that the package has none and a
test that small snippets which break the rule are caught. A module that is missing from `LAYERS` is complained
of as well, so that each new one gets a place on purpose.
"""

from __future__ import annotations

import pytest

from source_tree import MODULES, Module, complaints_of, find_imports

# From bottom to top. A module imports from lower layers and its own package, never from a sibling beside it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "version", "replacing", "code"),
    ("fingerprint", "copying", "hashing", "slices", "tables"),
    ("batch",),
    ("draws",),
    ("images",),
    ("manifest",),
    ("sources", "planning", "prepare", "augment"),
    ("stores",),
    ("execution",),
    ("torch",),
    ("devices",),
    ("loader",),
    ("selecting", "index", "values", "caching"),
    ("fitting", "dedup"),
    ("writing",),
    ("dataset",),
    ("inputs",),
    ("jobs", "online", "service"),
    ("report",),
    ("cli",),
    ("testing",),
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}

# The parts of a package that has folders by concern, from bottom to top in the same way.
PARTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "augment": (
        ("base",),
        ("chain",),
        ("stage",),
        ("image", "series", "tokens", "tabular", "custom"),
        ("mixing",),
        ("fused",),
        ("cuda",),
    ),
    "dedup": (
        ("method", "one_column", "preference", "growing"),
        ("exact", "shelf"),
        ("bloom", "codes", "signing"),
        ("text", "report"),
        ("find",),
        ("bloom_filter", "overlap", "verbs"),
    ),
    "stores": (
        ("counts", "checksums", "copies", "claims", "digests", "leases", "limits", "locks", "owners"),
        ("base",),
        ("memory", "paged"),
        ("folder", "lmdb", "redis"),
        ("opening",),
    ),
}

# (file, imported module) -> why it may. Empty is the aim; an entry that is no longer needed fails.
ALLOWED_IMPORTS: dict[tuple[str, str], str] = {}

# Files whose functions numba compiles; whoever uses them imports them when they are first needed.
COMPILED = (
    "augment/fused/image/block_kernels.py",
    "augment/fused/image/byte_kernels.py",
    "augment/fused/compiling.py",
    "augment/fused/image/element_kernels.py",
    "augment/fused/image/float_kernels.py",
    "augment/fused/image/kernels.py",
    "augment/fused/image/loop.py",
    "augment/fused/image/map_kernels.py",
    "augment/fused/mixing/kernels.py",
    "augment/fused/image/resample_kernels.py",
    "augment/fused/image/rotate_kernels.py",
    "augment/fused/image/row_kernels.py",
    "augment/fused/series/kernels.py",
    "augment/fused/series/moves.py",
    "augment/fused/tabular/kernels.py",
    "augment/fused/tokens/kernels.py",
    "augment/fused/word_kernels.py",
    "copying.py",
    "dedup/bloom/kernels.py",
    "dedup/codes/kernels.py",
    "dedup/exact/group_kernels.py",
    "dedup/report/edge_kernels.py",
    "dedup/text/minhash_kernels.py",
    "dedup/text/shingle_kernels.py",
    "dedup/text/sort_kernels.py",
    "draws/kernels.py",
    "draws/number_kernels.py",
    "execution/kernels.py",
    "hashing/kernels.py",
    "hashing/xxh3_instructions.py",
    "hashing/xxh3_kernels.py",
    "index/kernels.py",
    "planning/bit_kernels.py",
    "planning/kernels.py",
    "prepare/kernels.py",
    "prepare/numbers/memory_kernels.py",
    "prepare/numbers/program_functions.py",
    "prepare/numbers/program_kernels.py",
    "prepare/statistics/count_kernels.py",
    "prepare/statistics/limb_kernels.py",
    "prepare/statistics/product_kernels.py",
    "prepare/statistics/rank_kernels.py",
    "prepare/statistics/sum_kernels.py",
    "prepare/steps/lookup_kernels.py",
    "selecting/group_kernels.py",
    "sources/text_kernels.py",
)

# Library -> the only files that may import it. A name that ends in "/" is a folder.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "torch": ("torch.py", "testing/"),
    "numba": COMPILED,
    "h5py": ("sources/hdf5.py", "writing/formats/hdf5.py"),
    "imagecodecs": ("sources/hdf5_filters.py", "writing/formats/hdf5_chunks.py"),
    "lmdb": ("stores/lmdb/", "index/tables.py", "writing/formats/lmdb.py"),
    "scipy": ("index/kdtree.py",),
    "rbloom": ("index/bloom.py",),
    "datasketches": ("prepare/statistics/kll.py",),
    "PIL": ("images.py",),
    "imagehash": ("dedup/codes/imagehash.py",),
    "msgpack": ("sources/codings.py", "sources/written/packing.py"),
    "safetensors": ("sources/codings.py",),
    "google_crc32c": ("sources/tfrecord.py", "writing/formats/tfrecord.py"),
    "fsspec": ("sources/storage.py", "sources/transfers.py"),
    "aiohttp": ("sources/storage.py",),
    "redis": ("stores/redis/", "online/redis.py"),
    "confluent_kafka": ("online/kafka.py",),
    "dask": ("execution/dask/",),
    "distributed": ("execution/dask/",),
    "cloudpickle": ("execution/dask/calls.py",),
    "pandas": ("execution/dask/collections.py",),
    "cupy": ("execution/device/cuda.py", "augment/cuda/module.py"),
    "jinja2": ("report/page.py",),
    "pydantic": ("jobs/",),
    "array_api_strict": ("testing/",),
    "pytest": ("testing/",),
    "hypothesis": ("testing/",),
    "psutil": (),
}
# Files whose whole purpose is that library. Everywhere else the function that needs it imports it.
AT_MODULE_LEVEL: dict[str, tuple[str, ...]] = {
    "torch": ("torch.py",),
    "numba": COMPILED,
    "pytest": ("testing/",),
    "hypothesis": ("testing/",),
    "pydantic": ("jobs/",),
}


def check_import_directions(module: Module) -> list[str]:
    if module.path == "__init__.py":
        return []
    if module.layer not in HEIGHT:
        return [f"{module.path}: `{module.layer}` has no place in LAYERS"]
    complaints: list[str] = []
    for found in find_imports(module):
        root, *rest = found.name.split(".")
        if root != "headrace" or module.layer == "testing":
            continue
        target = rest[0] if rest else "headrace itself"
        if target == module.layer or (module.path, target) in ALLOWED_IMPORTS:
            continue
        if target not in HEIGHT:
            complaints.append(f"{module.path}:{found.line}: `{target}` is no module in LAYERS")
        elif HEIGHT[target] >= HEIGHT[module.layer]:
            complaints.append(f"{module.path}:{found.line}: `{module.layer}` must not import `{target}`")
    return complaints


def check_parts(module: Module) -> list[str]:
    if module.layer not in PARTS or module.path == f"{module.layer}/__init__.py":
        return []
    height = {name: height for height, names in enumerate(PARTS[module.layer]) for name in names}
    own = module.path.removesuffix(".py").split("/")[1]
    if own not in height:
        return [f"{module.path}: `{own}` has no place in PARTS"]
    complaints: list[str] = []
    for found in find_imports(module):
        root, package, *rest = [*found.name.split("."), "", ""]
        if (root, package) != ("headrace", module.layer) or rest[0] == own:
            continue
        if height.get(rest[0], len(height)) >= height[own]:
            complaints.append(f"{module.path}:{found.line}: `{own}` must not import `{rest[0]}`")
    return complaints


def check_libraries(module: Module) -> list[str]:
    complaints: list[str] = []
    for found in find_imports(module):
        library = found.name.split(".")[0]
        if library not in LIBRARIES:
            continue
        where = f"{module.path}:{found.line}"
        if not module.is_in(LIBRARIES[library]):
            places = " and ".join(LIBRARIES[library]) or "no file of the package"
            complaints.append(f"{where}: {library} is imported in {places} alone")
        elif found.at_module_level and not module.is_in(AT_MODULE_LEVEL.get(library, ())):
            complaints.append(f"{where}: {library} is imported inside the function that needs it")
    return complaints


def test_imports_go_down_only() -> None:
    """A module imports lower layers alone, and every module has a layer."""
    assert complaints_of(check_import_directions) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("planning/plan.py", "import headrace.sources.base"),
        ("planning/plan.py", "from headrace.sources import base"),
        ("planning/plan.py", "from headrace import sources"),
        ("planning/plan.py", "from ..sources.base import Source"),
        ("planning/plan.py", "from .. import sources"),
        ("planning/plan.py", "import importlib\nimportlib.import_module('headrace.sources')"),
        ("manifest.py", "def locate():\n    from headrace.loader import Loader"),
        ("errors.py", "from headrace.batch import Batch"),
        ("stores/disk.py", "from headrace.index.hash import HashIndex"),
        ("loader.py", "from headrace.dataset import Dataset"),
        ("cli.py", "from headrace.testing import SourceTests"),
        ("dataset.py", "import headrace"),
        ("dataset.py", "from headrace import Batch"),
        ("loader.py", "if TYPE_CHECKING:\n    pass\nelse:\n    from headrace.cli import main"),
        ("helpers.py", "pass"),
        ("dataset.py", "from headrace.helpers import anything"),
    ],
)
def test_import_upwards_is_caught(path: str, text: str) -> None:
    """An import of a sibling, of a higher layer or of an unknown module is caught, however it is written."""
    assert len(check_import_directions(Module(path, text))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("planning/plan.py", "from headrace.planning.order import Order\nfrom .world import World"),
        ("planning/plan.py", "from headrace.manifest import Manifest\nfrom ..errors import OptionError"),
        ("manifest.py", "if TYPE_CHECKING:\n    from headrace.loader import Loader"),
        ("loader.py", "from headrace.torch import to_tensors"),
        ("testing/sources.py", "import headrace\nfrom headrace.cli import main"),
        ("__init__.py", "from headrace.cli import main"),
    ],
)
def test_import_downwards_is_accepted(path: str, text: str) -> None:
    """Lower layers, the own package and imports for type checkers alone pass."""
    assert check_import_directions(Module(path, text)) == []


def test_parts_of_a_package_import_down_only() -> None:
    """Within a package that is in folders, data flows one way too."""
    assert complaints_of(check_parts) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("dedup/exact/verify.py", "from headrace.dedup.find import find"),
        ("dedup/exact/verify.py", "def look():\n    from headrace.dedup.text import near"),
        ("dedup/bloom/bloom.py", "from headrace.dedup.codes.distances import BITS"),
        ("dedup/bloom/bloom.py", "from headrace.dedup import verbs"),
        ("dedup/helpers.py", "pass"),
        ("dedup/find.py", "from headrace.dedup.helpers import anything"),
    ],
)
def test_parts_that_import_upwards_are_caught(path: str, text: str) -> None:
    """An import of a part beside, above or unknown is caught."""
    assert len(check_parts(Module(path, text))) == 1


def test_every_allowed_import_is_in_use() -> None:
    """An exception whose import is gone is taken off the list."""
    modules = {module.path: module for module in MODULES}
    unused = [
        (path, target)
        for path, target in ALLOWED_IMPORTS
        if path not in modules
        or not any(found.name.split(".")[:2] == ["headrace", target] for found in find_imports(modules[path]))
    ]

    assert unused == []


def test_libraries_are_imported_in_their_own_file() -> None:
    """A format library or torch is imported in its own file, inside the function that needs it."""
    assert complaints_of(check_libraries) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("loader.py", "import torch"),
        ("loader.py", "def pin():\n    from torch.utils.data import DataLoader"),
        ("sources/parquet.py", "def read():\n    import h5py"),
        ("sources/hdf5.py", "import h5py"),
        ("sources/hdf5.py", "class Hdf5Source:\n    import h5py"),
        ("batch.py", "from numba import njit"),
        ("testing/sources.py", "import torch"),
        ("execution/device.py", "import psutil"),
    ],
)
def test_library_outside_its_file_is_caught(path: str, text: str) -> None:
    """A library in a foreign file, or at module level where it must wait, is caught."""
    assert len(check_libraries(Module(path, text))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("torch.py", "import torch"),
        ("sources/hdf5.py", "def read():\n    import h5py"),
        ("loader.py", "if TYPE_CHECKING:\n    import torch"),
        ("loader.py", "from headrace.torch import to_tensors"),
    ],
)
def test_library_in_its_file_is_accepted(path: str, text: str) -> None:
    """The own file may import its library; a name used by type checkers alone costs nothing."""
    assert check_libraries(Module(path, text)) == []
