"""A job file as a whole, and what must hold between its sections."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Self

from pydantic import PrivateAttr, model_validator

from headrace.errors import HeadraceError, JobError
from headrace.jobs.named import UNFITTED
from headrace.jobs.positions import Path, Places
from headrace.jobs.sections import (
    Augment,
    Dedup,
    ExecutorSection,
    Fit,
    Join,
    PrepareSection,
    Report,
    Section,
    Select,
    Source,
    Split,
    Write,
)
from headrace.jobs.types import Several, Sql, Text, refuse


class JobFile(Section):
    """A job: where samples come from, what is done to them, and where they are written.

    Made by `read_job`. Paths are taken from the job file's folder.

    Example:
        >>> job = JobFile.model_validate({"source": {"path": "data"}, "write": {"path": "out"}})
        >>> job.write.format, job.executor.kind
        ('parquet', 'threads')
    """

    source: Source
    join: Several[Join] = ()
    columns: Several[dict[Text, Sql]] = ()
    select: Select = Select()
    dedup: Dedup | None = None
    split: Split | None = None
    fit: Fit = Fit()
    prepare: Several[PrepareSection] = ()
    augment: Augment | None = None
    write: Write
    executor: ExecutorSection = ExecutorSection()
    report: Report = Report()
    _places: Places = PrivateAttr(default_factory=Places)

    def with_places(self, places: Places) -> JobFile:
        """Return the job, which knows where each setting stands."""
        other = self.model_copy()
        other._places = places
        return other

    @contextmanager
    def at(self, *path: str | int) -> Generator[None]:
        """Name the place of a setting in the errors that its use raises."""
        try:
            yield
        except JobError:
            raise  # it is about shards, which it names
        except HeadraceError as error:
            raise type(error)(f"{self._places.of(path)}: {error}") from error

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts; none without a split."""
        return () if self.split is None else tuple(self.split.shares)

    @property
    def fitted_part(self) -> str | None:
        """The part that steps are fitted to; None for all samples."""
        return self.fit.part or ("train" if self.split is not None else None)

    @model_validator(mode="after")
    def _check_between(self) -> Self:
        found: list[tuple[Path, str]] = []
        parts = (
            f"the split's parts, {', '.join(f'`{part}`' for part in self.parts) or 'of which there are none'}"
        )
        if self.fit.part is not None and self.fit.part not in self.parts:
            found.append((("fit", "part"), f"must be one of {parts}, got {self.fit.part!r}"))
        elif self.prepare and self.fitted_part is not None and self.fitted_part not in self.parts:
            found.append((("split",), f"has no part `train`, so say `fit.part`, one of {parts}"))
        for place, part in enumerate((self.augment and self.augment.parts) or ()):
            if part not in self.parts:
                found.append((("augment", "parts", place), f"must be one of {parts}, got {part!r}"))
        fitted = [step.step not in UNFITTED for step in self.prepare]
        for place in range(1, len(fitted)):
            if fitted[place] and not fitted[place - 1] and any(fitted[:place]):
                text = "a step that learns nothing comes before or after all others"
                found.append((("prepare", place - 1, "step"), text))
        if self.fit.artifact is not None and any(fitted):
            place = fitted.index(True)
            found.append((("prepare", place, "step"), "`fit.artifact` brings its steps; leave out this one"))
        refuse("job", found)
        return self
