"""The verb that writes a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from headrace.errors import OptionError, check_whole
from headrace.execution.executors import Executor, Threads
from headrace.execution.recipe import Recipe
from headrace.execution.reporting import Progress, reporter_for
from headrace.execution.stages import Stages
from headrace.planning.mixing import Mixing
from headrace.planning.order import Shuffle, check_shuffle
from headrace.planning.selection import Selection
from headrace.sources.names import without_scheme
from headrace.sources.remote import is_url
from headrace.writing.cutting import Cutting
from headrace.writing.formats.base import FormatOptions
from headrace.writing.job import WriteJob, run_job
from headrace.writing.written import Written

Format = Literal["parquet", "hdf5", "lmdb", "arrow", "tfrecord"]


class WriteVerbs:
    """The part of a data set that writes it.

    Attributes:
        recipe: What is done to the samples.
        selection: Which samples take part.
        mixing: In which proportions parts take turns; None without parts.
    """

    recipe: Recipe
    selection: Selection
    mixing: Mixing | None

    def write(  # noqa: PLR0913  each is one word of the contract
        self,
        path: str | os.PathLike[str],
        format: Format = "parquet",
        *,
        shards: int | None = None,
        rows_per_shard: int | None = None,
        row_group_rows: int | None = None,
        compression: str | None = None,
        bloom_filters: Sequence[str] = (),
        partition_by: str | Sequence[str] | None = None,
        shuffle: Shuffle | None = None,
        seed: int = 0,
        views: int = 1,
        executor: Executor | None = None,
        resume: bool = True,
        update: bool = False,
        progress: Progress | Stages = True,
    ) -> Written:
        """Write the prepared samples to a folder that `hr.open` opens.

        Samples come in their order, as they are after the last step, nulls included; with `pack` or `augment`
        as a loader delivers them. The files are the same bytes on any executor, and however often the job was
        interrupted. They appear under their names once all of them are complete, and with them
        `_headrace.json`, which says what they follow from and holds their hashes. Fitted pipelines lie beside
        it, for `hr.Pipeline.load`.

        A job that was stopped, even by `kill -9`, goes on when it is run again.

        Args:
            path: The folder: new, empty, or of this job. Executors on other machines must reach it too.
            format: `"parquet"`, `"hdf5"`, `"lmdb"`, `"arrow"` or `"tfrecord"`.
            shards: How many files; equal in size but for one sample. By default each input shard becomes one,
                or several of about 256 MiB of decoded samples, so that an update writes only what changed.
            rows_per_shard: How many samples each file holds, instead of `shards`.
            row_group_rows: How many samples each row group holds; by default about 64 MiB, at most 131,072.
            compression: Name of a codec, such as `"zstd"`, or `"none"`; None for the format's default.
            bloom_filters: Columns that get Bloom filters, which `filter` uses; Parquet alone has them.
            partition_by: Columns that go into the names of folders, like `year=2013/`, and not into files.
            shuffle: `"global"`, True for the same, or `hr.BlockShuffle(...)`: a loader's order in epoch 0,
                sorted on disk and not in memory. None keeps the order.
            seed: Chooses that order, and what augmentations draw.
            views: How many epochs of augmented samples are written, one behind the other: epochs 0 to
                `views - 1` of a loader with this seed.
            executor: Where shards are written; threads by default.
            resume: Whether to go on with what an interrupted run has left; False begins anew.
            update: Bring an output up to date with changed data or another recipe: shards that would be the
                same are kept, others are written or dropped.
            progress: True shows a bar for each stage on a terminal, elsewhere a line for each tenth; or a
                function of how many items of a stage are done and how many there are.

        Returns:
            What was written.

        Raises:
            OptionError: An argument cannot be right.
            SchemaError: A column cannot be written in this format.
            OutputError: The folder is not this job's, another job writes to it, it holds what is read, or the
                disk is full.
            StateError: The folder holds the work of another job; the message says what differs.
            JobError: Some shards could not be written, say for an error in a row group; the others are kept.
            FingerprintError: A function of the recipe cannot be identified by value.

        Example:
            >>> import headrace as hr, tempfile
            >>> out = tempfile.mkdtemp()
            >>> written = hr.from_arrays({"x": [1, 2, 3]}).write(out, rows_per_shard=2, progress=False)
            >>> written.rows, written.shards
            (3, 2)
            >>> hr.open(out).to_polars()["x"].to_list()
            [1, 2, 3]
        """
        for name, value in (("resume", resume), ("update", update)):
            if value not in (True, False):
                raise OptionError(f"`{name}` must be True or False, got {value!r}")
        if not hasattr(executor or Threads, "map"):
            raise OptionError(f"`executor` must be an executor, such as `hr.Threads(4)`, got {executor!r}")
        check_whole("seed", seed)
        check_whole("views", views, least=1)
        chain = self.recipe.augment
        if views > 1 and chain is None:
            raise OptionError(
                f"{views} views of samples that nothing changes are copies; `augment` comes before"
            )
        shared = [op.title for op in (() if chain is None else chain.ops) if op.same_on_batch]
        if shared:
            raise OptionError(f"{shared[0]}: `same_on_batch` needs the batches of a loader; a file has none")
        order = check_shuffle(shuffle or False)
        job = WriteJob(
            self.recipe,
            self.selection,
            self.mixing,
            format,
            FormatOptions(compression, _names("bloom_filters", bloom_filters)),
            Cutting(shards, rows_per_shard, row_group_rows),
            _names("partition_by", partition_by),
            "global" if order is True else order,
            seed,
            views,
        )
        return run_job(job, _folder(path), executor or Threads(), stages_of(progress), resume, update)


def _folder(path: str | os.PathLike[str]) -> Path:
    place = without_scheme(os.fspath(path))
    if is_url(place) or "\0" in place:
        raise OptionError(
            f"`path` must be a folder of a file system, got {place!r}; write to one, and copy from there"
        )
    return Path(os.path.abspath(os.path.expanduser(place)))


def _names(name: str, given: str | Sequence[str] | None) -> tuple[str, ...]:
    names: list[Any] = [given] if isinstance(given, str) else list(given or ())
    if not all(isinstance(one, str) for one in names):
        raise OptionError(f"`{name}` must name columns, got {given!r}")
    return tuple(names)


def stages_of(progress: Progress | Stages) -> Stages:
    """Return the stages that a job adds its own to."""
    return progress if isinstance(progress, Stages) else Stages(reporter_for(progress))
