"""Guards against leaving out too much: how large a share of a source may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.dedup.report.report import DuplicateReport
from headrace.dedup.report.shares import percent
from headrace.errors import DuplicateShareError, DuplicateShareWarning, OptionError, SchemaError, warn_caller
from headrace.execution.executors import Executor

if TYPE_CHECKING:
    import polars as pl

LEAST_SAMPLES = 50
_MOST_NAMED = 3
_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Guards:
    """Which share of the samples of a source may be dropped.

    Sources of fewer than 50 samples are judged together, as a share of few says nothing.

    Attributes:
        warn_above: A larger share of a source is warned of, 0 to 1; None never warns.
        stop_above: A larger share is refused; None refuses nothing.
        by: The column whose values are the sources; None for shards.
    """

    warn_above: float | None = 0.2
    stop_above: float | None = 0.9
    by: str | None = None

    def __post_init__(self) -> None:
        for name, share in (("warn_above", self.warn_above), ("stop_above", self.stop_above)):
            is_number = isinstance(share, (int, float)) and not isinstance(share, bool)
            if share is not None and not (is_number and 0 <= share <= 1):
                raise OptionError(f"`{name}` must be a share in 0..1, or None, got {share!r}")

    def check(self, report: DuplicateReport, executor: Executor | None) -> None:
        """Judge what a report would drop.

        Raises:
            DuplicateShareError: It is more of a source than `stop_above`.
            UnknownColumnError: `by` is no column.
        """
        if self.warn_above is None and self.stop_above is None:
            return
        sources = _judged(report.removed(self.by, executor=executor), self.by)
        if self.stop_above is not None and (worst := _above(sources, self.stop_above)):
            raise DuplicateShareError(
                f"at most {percent(self.stop_above)} of a source may be left out as duplicates "
                f"(`stop_above={self.stop_above}`), got {_named(worst)}; the largest clusters hold "
                f"{_describe(report)}; compare other columns, or compare more strictly, or pass "
                "`stop_above=None` if these are duplicates"
            )
        if self.warn_above is not None and (worst := _above(sources, self.warn_above)):
            warn_caller(
                f"more than {percent(self.warn_above)} of a source is left out as duplicates "
                f"(`warn_above={self.warn_above}`): {_named(worst)}; `report.largest()` of "
                "`hr.find_duplicates` shows them; pass `warn_above=None` if these are duplicates",
                DuplicateShareWarning,
            )


@dataclass(frozen=True, slots=True)
class _Source:
    """Samples that are judged together."""

    name: str
    samples: int
    dropped: int

    @property
    def share(self) -> float:
        return self.dropped / max(self.samples, 1)

    def __str__(self) -> str:
        return f"{percent(self.share)} of {self.name} ({self.dropped:,} of {self.samples:,} samples)"


def _judged(shares: pl.DataFrame, by: str | None) -> list[_Source]:
    """Put small sources together, and the highest share first."""
    import polars as pl

    is_small = pl.col("samples") < LEAST_SAMPLES
    sources = [
        _Source(name if by is None else f"`{by}` {_shortened(name)}", samples, dropped)
        for name, samples, dropped, _ in shares.filter(~is_small).iter_rows()
    ]
    small = shares.filter(is_small)
    together = _Source(
        f"all sources of fewer than {LEAST_SAMPLES} samples",
        int(small["samples"].sum()),
        int(small["dropped"].sum()),
    )
    if together.samples >= LEAST_SAMPLES:
        sources.append(together)
    return sorted(sources, key=lambda source: -source.share)


def _above(sources: list[_Source], share: float) -> list[_Source]:
    return [source for source in sources if source.share > share]


def _named(sources: list[_Source]) -> str:
    unseen = len(sources) - _MOST_NAMED
    return ", ".join(map(str, sources[:_MOST_NAMED])) + (f" and {unseen:,} more" if unseen > 0 else "")


def _describe(report: DuplicateReport) -> str:
    """Show the first sample of each of the largest clusters."""
    known = [name for name in report.search.columns if name in report.dataset.schema.names]
    try:
        rows = report.largest(_MOST_NAMED, known, members=1).rows()
    except SchemaError:  # values that a frame cannot hold, though they can be compared
        rows = report.largest(_MOST_NAMED, [], members=1).rows()
    return ", ".join(
        f"{size:,} samples like sample {sample:,}"
        + (f" ({', '.join(map(_shortened, values))})" if values else "")
        for _, size, sample, _, *values in rows
    )


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
