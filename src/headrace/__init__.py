"""headrace loads and prepares data for machine learning.

**Every batch is a pure function of (data, recipe, seed, epoch, step).**

A tour of the central types, in the order in which a sample meets them:

- `Source` reads one format: one row group of one shard becomes a `pyarrow.RecordBatch`.
- `Manifest` knows the shards, their row groups and their counts, from footers alone; it gives
  every sample its id.
- `Selection` says which samples take part, `Plan` in which order and in which batch: pure
  arithmetic, before any byte is read.
- `Dataset` is the recipe, an immutable value; `open`, `from_arrays`, `from_arrow`,
  `from_polars` and `from_dask` make one, and each of its verbs returns a new one.
- `Loader` iterates over the batches of an epoch and resumes exactly.
- `Batch` holds named arrays and the samples' ids.

Names load when they are first used, so that `import headrace` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from headrace.version import __version__

if TYPE_CHECKING:
    from headrace import augment, draws
    from headrace.batch import Batch, Ragged, Sparse
    from headrace.dataset import Dataset
    from headrace.dedup.bloom.bloom import Bloom
    from headrace.dedup.bloom_filter import BloomFilter
    from headrace.dedup.codes.imagehash import ImageHash
    from headrace.dedup.exact.exact import Exact
    from headrace.dedup.find import find_duplicates
    from headrace.dedup.overlap import Overlap, overlap
    from headrace.dedup.report.grouping import Duplicates
    from headrace.dedup.report.report import DuplicateReport
    from headrace.dedup.text.minhash import MinHash
    from headrace.dedup.text.simhash import SimHash
    from headrace.errors import (
        CacheError,
        CapacityError,
        ChangedSourceError,
        ClosedError,
        CorruptSourceError,
        DeviceMemoryError,
        DuplicateShareError,
        DuplicateShareWarning,
        FingerprintError,
        HeadraceError,
        JobError,
        MemoryLimitError,
        MissingDependencyError,
        MissingSourceError,
        OptionError,
        OutputError,
        PrecisionWarning,
        PrepareError,
        SchemaError,
        SourceError,
        StateError,
        UndecodableError,
        UnfinishedError,
        UnknownColumnError,
        UnknownPartError,
        UnknownSampleError,
        WorkerError,
    )
    from headrace.execution.dask.executor import Dask
    from headrace.execution.executors import Executor, Processes, Serial, Threads
    from headrace.fitting.pipeline import Pipeline
    from headrace.index.base import Index
    from headrace.inputs import from_arrays, from_arrow, from_dask, from_polars, mix
    from headrace.inputs import open_dataset as open
    from headrace.loader import Loader
    from headrace.manifest import Manifest, RowGroup, Shard
    from headrace.planning.buckets import Buckets
    from headrace.planning.order import BlockShuffle
    from headrace.planning.plan import Plan
    from headrace.planning.selection import Selection
    from headrace.planning.world import World
    from headrace.prepare.steps.bins import Bucketize, KBinsDiscretizer
    from headrace.prepare.steps.clean import Cast, Replace
    from headrace.prepare.steps.clip import ClipOutliers
    from headrace.prepare.steps.constant import DropConstant
    from headrace.prepare.steps.cycles import Cyclic, DateParts
    from headrace.prepare.steps.dates import ParseDates
    from headrace.prepare.steps.decode import DecodeImage, Tokens
    from headrace.prepare.steps.encode import HashEncoder, OrdinalEncoder
    from headrace.prepare.steps.features import Cross, Expression, Polynomial
    from headrace.prepare.steps.fill import FillMissing, MissingIndicator
    from headrace.prepare.steps.functions import FunctionStep
    from headrace.prepare.steps.normalize import Normalizer
    from headrace.prepare.steps.onehot import MultiHot, OneHotEncoder
    from headrace.prepare.steps.reduce import LDA, PCA, IncrementalPCA, LinearDiscriminantAnalysis
    from headrace.prepare.steps.rules import FixInconsistent
    from headrace.prepare.steps.scale import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
    from headrace.prepare.steps.target import TargetEncoder
    from headrace.prepare.steps.text import Casefold, RegexReplace, Strip
    from headrace.prepare.steps.transforms import Log, PowerTransformer, QuantileTransformer
    from headrace.prepare.steps.windows import Lag, Rolling
    from headrace.selecting.folds import Fold, Folds
    from headrace.selecting.identity import Content
    from headrace.selecting.report import SplitReport
    from headrace.selecting.split import Splits
    from headrace.sources.arrow import ArrowOptions
    from headrace.sources.base import Source
    from headrace.sources.csv import CsvOptions
    from headrace.sources.hdf5 import Hdf5Options
    from headrace.sources.idx import IdxOptions
    from headrace.sources.jsonlines import JsonLinesOptions
    from headrace.sources.lmdb import LmdbOptions
    from headrace.sources.parquet import ParquetOptions
    from headrace.sources.shard_cache import ShardCache
    from headrace.sources.tfrecord import TfRecordOptions
    from headrace.stores.folder.store import FolderStore
    from headrace.stores.lmdb.store import LmdbStore
    from headrace.stores.memory import MemoryStore
    from headrace.stores.redis.store import RedisStore


_MODULES = {
    "batch": ("Batch", "Ragged", "Sparse"),
    "dataset": ("Dataset",),
    "dedup.bloom.bloom": ("Bloom",),
    "dedup.bloom_filter": ("BloomFilter",),
    "dedup.exact.exact": ("Exact",),
    "dedup.find": ("find_duplicates",),
    "dedup.report.grouping": ("Duplicates",),
    "dedup.codes.imagehash": ("ImageHash",),
    "dedup.overlap": ("Overlap", "overlap"),
    "dedup.text.minhash": ("MinHash",),
    "dedup.report.report": ("DuplicateReport",),
    "dedup.text.simhash": ("SimHash",),
    "errors": (
        "CacheError",
        "CapacityError",
        "ChangedSourceError",
        "ClosedError",
        "CorruptSourceError",
        "DeviceMemoryError",
        "DuplicateShareError",
        "DuplicateShareWarning",
        "FingerprintError",
        "HeadraceError",
        "JobError",
        "MemoryLimitError",
        "MissingDependencyError",
        "MissingSourceError",
        "OptionError",
        "OutputError",
        "PrecisionWarning",
        "PrepareError",
        "SchemaError",
        "SourceError",
        "StateError",
        "UndecodableError",
        "UnfinishedError",
        "UnknownColumnError",
        "UnknownPartError",
        "UnknownSampleError",
        "WorkerError",
    ),
    "execution.dask.executor": ("Dask",),
    "execution.executors": ("Executor", "Processes", "Serial", "Threads"),
    "fitting.pipeline": ("Pipeline",),
    "index.base": ("Index",),
    "inputs": ("from_arrays", "from_arrow", "from_dask", "from_polars", "mix", "open"),
    "loader": ("Loader",),
    "manifest": ("Manifest", "RowGroup", "Shard"),
    "planning.buckets": ("Buckets",),
    "planning.order": ("BlockShuffle",),
    "planning.plan": ("Plan",),
    "planning.selection": ("Selection",),
    "planning.world": ("World",),
    "prepare.steps.bins": ("Bucketize", "KBinsDiscretizer"),
    "prepare.steps.clean": ("Cast", "Replace"),
    "prepare.steps.clip": ("ClipOutliers",),
    "prepare.steps.constant": ("DropConstant",),
    "prepare.steps.cycles": ("Cyclic", "DateParts"),
    "prepare.steps.dates": ("ParseDates",),
    "prepare.steps.decode": ("DecodeImage", "Tokens"),
    "prepare.steps.encode": ("HashEncoder", "OrdinalEncoder"),
    "prepare.steps.features": ("Cross", "Expression", "Polynomial"),
    "prepare.steps.fill": ("FillMissing", "MissingIndicator"),
    "prepare.steps.functions": ("FunctionStep",),
    "prepare.steps.normalize": ("Normalizer",),
    "prepare.steps.onehot": ("MultiHot", "OneHotEncoder"),
    "prepare.steps.reduce": ("LDA", "PCA", "IncrementalPCA", "LinearDiscriminantAnalysis"),
    "prepare.steps.rules": ("FixInconsistent",),
    "prepare.steps.scale": ("MaxAbsScaler", "MinMaxScaler", "RobustScaler", "StandardScaler"),
    "prepare.steps.target": ("TargetEncoder",),
    "prepare.steps.text": ("Casefold", "RegexReplace", "Strip"),
    "prepare.steps.transforms": ("Log", "PowerTransformer", "QuantileTransformer"),
    "prepare.steps.windows": ("Lag", "Rolling"),
    "selecting.folds": ("Fold", "Folds"),
    "selecting.identity": ("Content",),
    "selecting.report": ("SplitReport",),
    "selecting.split": ("Splits",),
    "sources.arrow": ("ArrowOptions",),
    "sources.base": ("Source",),
    "sources.csv": ("CsvOptions",),
    "sources.hdf5": ("Hdf5Options",),
    "sources.idx": ("IdxOptions",),
    "sources.jsonlines": ("JsonLinesOptions",),
    "sources.lmdb": ("LmdbOptions",),
    "sources.parquet": ("ParquetOptions",),
    "sources.shard_cache": ("ShardCache",),
    "sources.tfrecord": ("TfRecordOptions",),
    "stores.folder.store": ("FolderStore",),
    "stores.lmdb.store": ("LmdbStore",),
    "stores.memory": ("MemoryStore",),
    "stores.redis.store": ("RedisStore",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
_PACKAGES = ("augment", "draws")  # public by the names of their own
_OWN_NAMES = {"open": "open_dataset"}  # `open` would hide the builtin in its own module

__all__ = [
    "LDA",
    "PCA",
    "ArrowOptions",
    "Batch",
    "BlockShuffle",
    "Bloom",
    "BloomFilter",
    "Bucketize",
    "Buckets",
    "CacheError",
    "CapacityError",
    "Casefold",
    "Cast",
    "ChangedSourceError",
    "ClipOutliers",
    "ClosedError",
    "Content",
    "CorruptSourceError",
    "Cross",
    "CsvOptions",
    "Cyclic",
    "Dask",
    "Dataset",
    "DateParts",
    "DecodeImage",
    "DeviceMemoryError",
    "DropConstant",
    "DuplicateReport",
    "DuplicateShareError",
    "DuplicateShareWarning",
    "Duplicates",
    "Exact",
    "Executor",
    "Expression",
    "FillMissing",
    "FingerprintError",
    "FixInconsistent",
    "Fold",
    "FolderStore",
    "Folds",
    "FunctionStep",
    "HashEncoder",
    "Hdf5Options",
    "HeadraceError",
    "IdxOptions",
    "ImageHash",
    "IncrementalPCA",
    "Index",
    "JobError",
    "JsonLinesOptions",
    "KBinsDiscretizer",
    "Lag",
    "LinearDiscriminantAnalysis",
    "LmdbOptions",
    "LmdbStore",
    "Loader",
    "Log",
    "Manifest",
    "MaxAbsScaler",
    "MemoryLimitError",
    "MemoryStore",
    "MinHash",
    "MinMaxScaler",
    "MissingDependencyError",
    "MissingIndicator",
    "MissingSourceError",
    "MultiHot",
    "Normalizer",
    "OneHotEncoder",
    "OptionError",
    "OrdinalEncoder",
    "OutputError",
    "Overlap",
    "ParquetOptions",
    "ParseDates",
    "Pipeline",
    "Plan",
    "Polynomial",
    "PowerTransformer",
    "PrecisionWarning",
    "PrepareError",
    "Processes",
    "QuantileTransformer",
    "Ragged",
    "RedisStore",
    "RegexReplace",
    "Replace",
    "RobustScaler",
    "Rolling",
    "RowGroup",
    "SchemaError",
    "Selection",
    "Serial",
    "Shard",
    "ShardCache",
    "SimHash",
    "Source",
    "SourceError",
    "Sparse",
    "SplitReport",
    "Splits",
    "StandardScaler",
    "StateError",
    "Strip",
    "TargetEncoder",
    "TfRecordOptions",
    "Threads",
    "Tokens",
    "UndecodableError",
    "UnfinishedError",
    "UnknownColumnError",
    "UnknownPartError",
    "UnknownSampleError",
    "WorkerError",
    "World",
    "__version__",
    "augment",
    "draws",
    "find_duplicates",
    "from_arrays",
    "from_arrow",
    "from_dask",
    "from_polars",
    "mix",
    "open",
    "overlap",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"headrace.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    value = getattr(import_module(f"headrace.{_HOMES[name]}"), _OWN_NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
