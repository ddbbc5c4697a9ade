"""Steps that clean text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.errors import OptionError
from headrace.prepare.step import PrepareStep
from headrace.prepare.steps.matching import one_line

if TYPE_CHECKING:
    import polars as pl

_REFERENCE = re.compile(r"\$\$|\$(?:\{([^}]*)\}|([0-9A-Za-z_]+))")


@dataclass(frozen=True)
class TextStep(PrepareStep):
    """A step from text to text; null stays null. Categories are cast to text before."""

    def treats(self, dtype: pl.DataType) -> bool:
        """Text is treated."""
        import polars as pl

        return dtype == pl.String

    def clean(self, series: pl.Series) -> pl.Series:
        """Return a column's cleaned texts."""
        raise NotImplementedError

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with texts cleaned; thread-safe."""
        return frame.with_columns([self.clean(frame[name]) for name in self.names])


@dataclass(frozen=True)
class Strip(TextStep):
    """Take characters away from both ends of each text.

    Attributes:
        characters: Which ones, in any order; None for Unicode's white space.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"work": [" Private", " ?"]})
        >>> hr.Pipeline([hr.Strip()]).fit(ds).transform({"work": " Private"})
        {'work': 'Private'}
    """

    characters: str | None = None

    def __post_init__(self) -> None:
        if self.characters is not None and not (isinstance(self.characters, str) and self.characters):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(
                f"`characters` must be a text of at least one character, or None, got {self.characters!r}"
            )

    def clean(self, series: pl.Series) -> pl.Series:
        """Strip each text."""
        return series.str.strip_chars(self.characters)


@dataclass(frozen=True)
class Casefold(TextStep):
    """Make texts equal that differ in upper and lower case alone, by Unicode's full case folding.

    It goes further than lower case: "ß" becomes "ss", and the two small sigmas become one. Texts of ASCII
    are folded by Polars; each other one that occurs is folded once by Python's `str.casefold`, with the
    Unicode version of that Python. Accents are not touched, nor are texts normalised.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"street": ["STRASSE", "Straße"]})
        >>> hr.Pipeline([hr.Casefold()]).fit(ds).transform(ds).to_polars()["street"].to_list()
        ['strasse', 'strasse']
    """

    def clean(self, series: pl.Series) -> pl.Series:
        """Fold each text."""
        import polars as pl

        lower = series.str.to_lowercase()
        others = series.filter(series.str.len_bytes() != series.str.len_chars()).unique()
        if not len(others):
            return lower
        folded = pl.Series([text.casefold() for text in others.to_list()], dtype=pl.String)
        return series.replace_strict(others, folded, default=lower, return_dtype=pl.String)


@dataclass(frozen=True)
class RegexReplace(TextStep):
    """Replace every match of a regular expression.

    The expression is one of Rust's `regex`: Unicode, linear time, no look-around and no back-references.

    Attributes:
        pattern: What is replaced.
        replacement: What takes its place; `${1}` or `${name}` stands for a group, `$$` for a dollar.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"income": ["<=50K.", ">50K"]})
        >>> hr.Pipeline([hr.RegexReplace(r"[.]$", "")]).fit(ds).transform({"income": "<=50K."})
        {'income': '<=50K'}
    """

    pattern: str
    replacement: str

    def __post_init__(self) -> None:
        import polars as pl

        if not isinstance(self.pattern, str) or not isinstance(self.replacement, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(
                f"`pattern` and `replacement` must be texts, got {self.pattern!r}, {self.replacement!r}"
            )
        try:
            groups = pl.Series([""]).str.extract_groups(self.pattern).struct.fields
            pl.Series([""]).str.replace_all(self.pattern, "")
        except pl.exceptions.PolarsError as error:
            raise OptionError(
                f"`pattern` must be a regular expression, got {self.pattern!r}: {one_line(error)}"
            ) from error
        known = {"0", *groups, *(str(number + 1) for number in range(len(groups)))}
        for match in _REFERENCE.finditer(self.replacement):
            name = match[1] if match[1] is not None else match[2]
            if name is not None and name not in known:
                raise OptionError(
                    f"`replacement` names group {name!r}, which `pattern` does not have; write ${{1}}text "
                    f"where text follows and $$ for a dollar, got {self.replacement!r}"
                )

    def clean(self, series: pl.Series) -> pl.Series:
        """Replace in each text."""
        return series.str.replace_all(self.pattern, self.replacement)
