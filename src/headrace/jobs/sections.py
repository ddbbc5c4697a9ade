"""The sections of a job file: what each may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headrace.jobs.named import AUGMENTATION, METHOD, OPTIONS, STEP, Complaint, Kind
from headrace.jobs.positions import Path
from headrace.jobs.types import (
    Content,
    FilePath,
    FilePaths,
    Gap,
    Guard,
    Keys,
    Names,
    PartName,
    Several,
    Share,
    Shuffle,
    Size,
    SourceFormat,
    Sql,
    Table,
    Text,
    Whole,
    WrittenFormat,
    refuse,
    wrong,
)
from headrace.selecting.split import DEFAULT_SHARES


class Section(BaseModel):
    """A table of a job file: frozen, and without keys that mean nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Named(BaseModel):
    """A table that names something and holds its parameters beside the name."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    @property
    def parameters(self) -> dict[str, Any]:
        """What stands beside the name."""
        return dict(self.model_extra or {})


def _check_named(kind: Kind, name: str, parameters: Table, key: str, below: Path = ()) -> None:
    found: list[Complaint] = list(kind.check(name, parameters))
    refuse(name, [((key,) if wrong_one is None else (*below, wrong_one), text) for wrong_one, text in found])


class Shards(Section):
    """Shards to open: `hr.open`'s arguments.

    Attributes:
        path: A file, a folder, a glob or a URL, or several.
        format: Where the files' first bytes do not tell it.
        options: How to read the format: the settings of its options class.
        memory_limit: The most that decoding one row group may take.
        verify: Compare all bytes with the content hashes beside the data.
        storage_options: For URLs.
    """

    path: FilePaths
    format: SourceFormat | None = None
    options: Table = {}
    memory_limit: Size = None
    verify: bool = False
    storage_options: Table = {}

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.options and self.format is None:
            refuse("source", [(("options",), "needs `format` beside it, whose options these are")])
        if self.format is not None:
            _check_named(OPTIONS, self.format, self.options, "format", ("options",))
        return self


class Source(Shards):
    """The samples.

    Attributes:
        columns: Which columns are wanted; all by default.
    """

    columns: Names | None = None


class Join(Shards):
    """A small table whose columns come along with the samples that have its keys.

    Attributes:
        on: The keys: a column, several, or a table of names here to names there.
        how: "left" keeps all samples, "inner" those whose key is in the table.
        columns: Which of the table's columns come along; all by default.
        suffix: Put behind names that are there already.
        derive: Columns of the samples that are computed before: name to SQL expression.
        derive_there: The same for the table's own columns.
    """

    on: Keys
    how: Literal["left", "inner"] = "left"
    columns: Names | None = None
    suffix: str | None = None
    derive: dict[Text, Sql] = {}
    derive_there: dict[Text, Sql] = {}


class Sample(Section):
    """Samples chosen by chance: `ds.sample`'s arguments."""

    n: Whole | None = None
    fraction: Share | None = None
    seed: int = 0
    replace: bool = False

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.n is None) == (self.fraction is None):
            raise wrong("needs either `n` or `fraction`")
        return self


class Select(Section):
    """Which samples take part, and which of their columns.

    Attributes:
        where: SQL expressions that must all be true.
        drop_nulls: Columns that must not be null.
        sample: Samples chosen by chance from what is left.
        columns: The columns to keep, after all others of this section.
        drop: Or those to leave out.
        rename: Old name to new name, last.
        cache: A folder that keeps the outcome of `where` for the next run.
    """

    where: Several[Sql] = ()
    drop_nulls: Names = ()
    sample: Sample | None = None
    columns: Names | None = None
    drop: Names = ()
    rename: dict[str, str] = {}
    cache: FilePath | None = None


class Dedup(Section):
    """Duplicates to leave out: `ds.dedup`'s arguments.

    Attributes:
        method: "Exact", "Bloom", "MinHash", "SimHash" or "ImageHash".
        options: The method's settings.
        warn_above: A larger share of a source is warned of; false never warns.
        stop_above: A larger share is refused; false refuses nothing.
    """

    on: Names | None = None
    method: str = "Exact"
    options: Table = {}
    keep: Literal["first", "last", "none"] = "first"
    priority: Text | None = None
    warn_above: Guard = 0.2
    stop_above: Guard = 0.9
    guard_by: Text | None = None
    cache: FilePath | None = None
    memory_limit: Size = None

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        _check_named(METHOD, self.method, self.options, "method", ("options",))
        return self


class Split(Section):
    """Parts, each of which becomes an output: `ds.split`'s arguments.

    Attributes:
        shares: Name of each part to its share.
        by: Columns whose equal values stay together.
        by_content: Equal samples stay together: true for all columns, or their names.
    """

    shares: Annotated[dict[PartName, Share], Field(min_length=1)] = dict(DEFAULT_SHARES)
    seed: int = 0
    by: Names | None = None
    by_content: Content = False
    stratify: Text | None = None
    time: Text | None = None
    gap: Gap = None
    exact: bool = False

    @model_validator(mode="after")
    def _check_by(self) -> Self:
        if self.by is not None and self.by_content is not False:
            refuse("split", [(("by_content",), "takes the place of `by`; leave out one of them")])
        return self


class Fit(Section):
    """What the steps of `prepare` learn from.

    Attributes:
        part: The part of the split that they are fitted to; "train" by default.
        values: "refit" learns anew in each run, "frozen" keeps what the output that is there was made with.
        artifact: A saved pipeline to use instead of a fit.
        dtype: Of the floats that steps make.
        memory_limit: What values that are kept for exact quantiles may take.
        cache: A folder that keeps what was found in each shard.
    """

    part: Text | None = None
    values: Literal["refit", "frozen"] = "refit"
    artifact: FilePath | None = None
    dtype: Literal["float32", "float64"] = "float32"
    memory_limit: Size = None
    cache: FilePath | None = None


class PrepareSection(Named):
    """One step, by its name in `headrace`, with its parameters beside it."""

    step: str

    @model_validator(mode="after")
    def _check_step(self) -> Self:
        _check_named(STEP, self.step, self.parameters, "step")
        return self

    def make(self) -> Any:
        """Make the step."""
        return STEP.make(self.step, self.parameters)


class AugmentStep(Named):
    """One augmentation, by its name in `headrace.augment`, with its parameters beside it."""

    op: str

    @model_validator(mode="after")
    def _check_op(self) -> Self:
        _check_named(AUGMENTATION, self.op, self.parameters, "op")
        return self

    def make(self) -> Any:
        """Make the augmentation."""
        return AUGMENTATION.make(self.op, self.parameters)


class Augment(Section):
    """Random changes, of which each sample is written several times.

    Attributes:
        steps: The augmentations, in order.
        views: How many times each sample is written: as in epochs 0 to views - 1.
        seed: What the augmentations draw by.
        parts: The parts of the split that are augmented; all by default.
    """

    steps: Several[AugmentStep]
    views: Whole = 1
    seed: int = 0
    parts: Names | None = None

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if not self.steps:
            raise wrong("needs at least one of `steps`")
        return self


class Write(Section):
    """What is written, and how: `ds.write`'s arguments.

    Attributes:
        path: The output's folder; with a split, each part has a folder of its name in it.
        columns: The columns to write; all by default.
        drop: Or those to leave out.
        update: Keep the shards of a complete output whose samples did not change.
    """

    path: FilePath
    format: WrittenFormat = "parquet"
    columns: Names | None = None
    drop: Names = ()
    shards: Whole | None = None
    rows_per_shard: Whole | None = None
    row_group_rows: Whole | None = None
    compression: Text | None = None
    bloom_filters: Names = ()
    partition_by: Names = ()
    shuffle: Shuffle = False
    seed: int = 0
    update: bool = False


class ExecutorSection(Section):
    """Where the work is done.

    Attributes:
        kind: "threads" or "processes" of this machine, "dask", or "serial".
        count: How many threads or processes; one for each core by default.
        address: Of a Dask scheduler; without one, Dask runs on this machine.
    """

    kind: Literal["serial", "threads", "processes", "dask"] = "threads"
    count: Whole | None = None
    address: Text | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.count is not None and self.kind not in ("threads", "processes"):
            refuse("executor", [(("count",), f'goes with "threads" and "processes", not "{self.kind}"')])
        if self.address is not None and self.kind != "dask":
            refuse("executor", [(("address",), f'goes with kind = "dask", not "{self.kind}"')])
        return self


class Report(Section):
    """What the summary tells beside counts of samples.

    Attributes:
        changes: Also count the values that the steps of `prepare` change, which reads the data once more.
    """

    changes: bool = False
