"""The choice of a compression, which each format has its own of."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.errors import OptionError
from headrace.writing.formats.base import FormatOptions


def choose_codec(title: str, options: FormatOptions, known: Sequence[str]) -> str:
    """Return the codec that the options name; by default the first one.

    Args:
        title: What errors call the format.
        options: How shards are laid out.
        known: The format's codecs.

    Raises:
        OptionError: The format has no such codec, or no Bloom filters.
    """
    if options.bloom_filters:
        raise OptionError(
            f"{title} files have no Bloom filters, got {list(options.bloom_filters)}; leave `bloom_filters` "
            'out, or write `format="parquet"`'
        )
    if options.compression is None:
        return known[0]
    if options.compression not in known:
        raise OptionError(
            f"`compression` of {title} files must be one of {', '.join(known)}, got {options.compression!r}"
        )
    return options.compression
