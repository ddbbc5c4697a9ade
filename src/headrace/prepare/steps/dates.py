"""ParseDates: text to dates and times."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headrace.errors import OptionError
from headrace.prepare.step import PrepareStep
from headrace.prepare.steps.clean import OnError, check_choice, refuse

if TYPE_CHECKING:
    import polars as pl

_DATE = "([0-9]{4}-[0-9]{2}-[0-9]{2})"
_TIME = r"([0-9]{2}:[0-9]{2})(?::([0-9]{2}(?:\.[0-9]{1,6})?))?"
_OFFSET = "(Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"
_ISO = f"^{_DATE}(?:[T ]{_TIME}{_OFFSET})?$"
_HAS_OFFSET = re.compile(r"%[:#]*z|%\+")


@dataclass(frozen=True)
class ParseDates(PrepareStep):
    """Read text as dates, or as dates with a time.

    Without a format, only the forms of ISO 8601 are read that can mean one thing: `2013-01-31`, and for
    times `2013-01-31 09:30`, with `T` for the blank, seconds, up to six digits after the dot, and an offset
    like `+02:00` or `Z`. A text like "01/02/2013", whose day and month only its author knows, is refused;
    give its format.

    Null stays null. What is no date, or has white space around it, is an error or becomes null. So is a
    time that comes twice or never in its time zone when clocks are changed.

    Events: "invalid".

    Attributes:
        format: As in Polars, like "%d/%m/%Y"; None for ISO 8601. time_zone: Where times without an offset
            were taken, like "Europe/Paris"; those with one are converted. Times come out with this zone.
            None for times without a zone, and no offsets.
        on_error: "raise", or "null" for what cannot be read.
        into: "datetime" (microseconds), or "date".

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"day": ["31/01/2013", "01/02/2013"]})
        >>> hr.Pipeline([hr.ParseDates("%d/%m/%Y", into="date")]).fit(ds).transform({"day": "01/02/2013"})
        {'day': datetime.date(2013, 2, 1)}
    """

    format: str | None = None
    time_zone: str | None = None
    on_error: OnError = "raise"
    into: Literal["date", "datetime"] = "datetime"

    def __post_init__(self) -> None:
        check_choice("on_error", self.on_error, ("raise", "null"))
        check_choice("into", self.into, ("date", "datetime"))
        if self.into == "date" and self.time_zone is not None:
            raise OptionError('dates have no `time_zone`; take into="datetime", or leave it out')
        _check_zone(self.time_zone)
        if self.format is not None:
            self._check_format(self.format)

    def _check_format(self, text: str) -> None:
        """Write a moment in the format and read it again."""
        import polars as pl

        has_offset = _HAS_OFFSET.search(text) is not None
        if has_offset and self.into == "datetime" and self.time_zone is None:
            raise OptionError(
                f'times with an offset need `time_zone`, like "UTC", got the format {text!r} alone'
            )
        moment = pl.Series([datetime.datetime(2013, 11, 22, 20, 44, 55)])
        try:
            written = moment.dt.replace_time_zone("UTC" if has_offset else None).dt.strftime(text)
            read = written.str.strptime(self._target, text, strict=False)
            is_read = read.cast(pl.Date).eq_missing(moment.cast(pl.Date)).all()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise OptionError(f"`format` must be one of dates, like '%Y-%m-%d', got {text!r}") from error
        if not is_read:
            raise OptionError(f"`format` must tell the whole date, like '%Y-%m-%d', got {text!r}")

    @property
    def _target(self) -> pl.Date | pl.Datetime:
        import polars as pl

        return pl.Date() if self.into == "date" else pl.Datetime("us")

    def treats(self, dtype: pl.DataType) -> bool:
        """Text is read."""
        import polars as pl

        return dtype == pl.String

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Send no samples through the step."""
        return self.apply(schema.to_frame()).schema

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with texts read as dates; thread-safe."""
        made: list[pl.Series] = []
        for name in self.names:
            result = self._parse(frame[name])
            if self.on_error == "raise":
                form = "ISO 8601" if self.format is None else repr(self.format)
                zone = "" if self.time_zone is None else f" in {self.time_zone}"
                failed = frame[name].is_not_null() & result.is_null()
                refuse(
                    frame[name],
                    failed,
                    f"cannot be read as {form}, or come twice or never{zone}"
                    if zone
                    else f"cannot be read as {form}",
                    'give their `format` and `time_zone`, or make them null by on_error="null"',
                )
            made.append(result)
        return frame.with_columns(made)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count what cannot be read."""
        failed = {name: frame[name].is_not_null() & self._parse(frame[name]).is_null() for name in self.names}
        return {name: {"invalid": int(series.sum())} for name, series in failed.items()}

    def _parse(self, series: pl.Series) -> pl.Series:
        import polars as pl

        if self.format is None:
            result = self._parse_iso(series)
        else:
            result = series.str.strptime(self._target, self.format, strict=False)
            if isinstance(result.dtype, pl.Datetime) and self.time_zone is not None:
                result = (
                    _converted(result, self.time_zone)
                    if result.dtype.time_zone
                    else _placed(result, self.time_zone)
                )
        is_bare = (series == series.str.strip_chars()).fill_null(False)
        return result.zip_with(is_bare, pl.Series([None], dtype=result.dtype)).alias(series.name)

    def _parse_iso(self, series: pl.Series) -> pl.Series:
        import polars as pl

        parts = series.str.extract_groups(_ISO).struct.unnest()
        day, time, seconds, offset = (parts[name] for name in parts.columns)
        if self.into == "date":
            parsed = day.str.strptime(pl.Date, "%Y-%m-%d", strict=False)
            return parsed.zip_with(time.is_null(), pl.Series([None], dtype=pl.Date))
        text = day + "T" + time.fill_null("00:00") + ":" + seconds.fill_null("00")
        local = text.str.strptime(pl.Datetime("us"), "%Y-%m-%dT%H:%M:%S%.f", strict=False)
        if self.time_zone is None:
            return local.zip_with(offset.is_null(), pl.Series([None], dtype=local.dtype))
        sign = offset.str.starts_with("-").cast(pl.Int64) * -2 + 1
        digits = offset.str.replace_all("[^0-9]", "")
        hours = digits.str.slice(0, 2).cast(pl.Int64, strict=False).fill_null(0)
        minutes = digits.str.slice(2, 2).cast(pl.Int64, strict=False).fill_null(0)
        east = ((hours * 60 + minutes) * sign * 60_000_000).cast(pl.Duration("us"))
        moment = _converted((local - east).dt.replace_time_zone("UTC"), self.time_zone)
        return moment.zip_with(offset.is_not_null(), _placed(local, self.time_zone))


def _converted(series: pl.Series, zone: str) -> pl.Series:
    return series.dt.convert_time_zone(zone)


def _placed(series: pl.Series, zone: str) -> pl.Series:
    """Take times as those of a zone; null where they come twice or never."""
    return series.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")


def _check_zone(zone: str | None) -> None:
    import polars as pl

    if zone is None:
        return
    try:
        _placed(pl.Series([datetime.datetime(2013, 1, 1)]), zone)
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise OptionError(
            f'`time_zone` must be one of the IANA database, like "Europe/Paris", got {zone!r}'
        ) from error
