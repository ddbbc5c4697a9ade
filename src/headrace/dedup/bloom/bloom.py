"""Equal samples, found with a Bloom filter: two passes, and the answer of an exact search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow as pa

from headrace.dedup.bloom.stages import KeyFilter, stage_size
from headrace.dedup.exact.exact import Exact, KeySigner
from headrace.dedup.exact.groups import match_keys
from headrace.dedup.exact.normalizing import Normalize
from headrace.dedup.method import Edges, MatchOptions, Signatures, Signed

_LEAST_CANDIDATES = 1 << 10
_CANDIDATE_SHARE = 16


@dataclass(frozen=True, slots=True)
class Bloom:
    """Samples are duplicates if the values of all compared columns are equal, found in little memory.

    A first pass fills a Bloom filter. What it surely has not seen is new; what it may have seen is only a
    candidate, and nothing is dropped for that. A second pass takes the samples with a candidate's key, and
    decides them exactly. So the answer equals that of `hr.Exact` with the same settings, at some ten bits for
    each key of the capacity and 24 bytes for each candidate; samples are read or taken from the cache twice.

    Where the filter would pass the memory limit, keys go to a temporary file at once, as with `hr.Exact`.

    Attributes:
        error_rate: Share of the new keys that become candidates for nothing, above 0 and at most 0.5.
        capacity: How many distinct keys there may be; by default as many as samples.
        grow: Whether the filter grows beyond its capacity. If not, a further key raises CapacityError.
        normalize: As in `hr.Exact`.
        nulls_equal: As in `hr.Exact`.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"text": ["a", "b", "a", "a"]})
        >>> hr.find_duplicates(ds, method=hr.Bloom(error_rate=0.1)).pairs.rows()
        [(2, 0, 1.0), (3, 0, 1.0)]
    """

    name: ClassVar[str] = "bloom"

    error_rate: float = 0.01
    capacity: int | None = None
    grow: bool = True
    normalize: Normalize = None
    nulls_equal: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            OptionError: One of them cannot be right.
        """
        stage_size(1 if self.capacity is None else self.capacity, self.error_rate, self.grow)
        Exact(self.normalize, self.nulls_equal)  # checks them

    @property
    def _exact(self) -> Exact:
        return Exact(self.normalize, self.nulls_equal)

    def columns(self, schema: pa.Schema) -> tuple[str, ...]:
        """Compare the columns that an exact search compares."""
        return self._exact.columns(schema)

    def signer(self, schema: pa.Schema) -> KeySigner:
        """Hash each sample, as an exact search does."""
        return self._exact.signer(schema)

    def match(self, signatures: Signatures, options: MatchOptions) -> Edges:
        """Link samples of equal key to the preferred one.

        Raises:
            CapacityError: There are more distinct keys than `capacity`, and the filter must not grow.
            OSError: The temporary file cannot be written or read.
        """
        capacity = max(signatures.count, 1) if self.capacity is None else self.capacity
        # As many keys as samples are never too many, and a filter that need not grow takes a bit less.
        grow = self.grow and self.capacity is not None
        if stage_size(capacity, self.error_rate, grow).nbytes > options.memory_limit:
            return match_keys(signatures, signatures.count, options)
        seen = KeyFilter(capacity, self.error_rate, grow)
        repeated = KeyFilter(max(capacity // _CANDIDATE_SHARE, _LEAST_CANDIDATES), self.error_rate, grow=True)
        for signed in signatures:
            keys = signed.arrays["keys"]
            repeated.add(keys[seen.add(keys)])
            if seen.nbytes + repeated.nbytes > options.memory_limit:
                return match_keys(signatures, signatures.count, options)
        left = options.memory_limit - repeated.nbytes
        del seen
        return match_keys(
            _candidates(signatures, repeated), signatures.count, replace(options, memory_limit=left)
        )


def _candidates(signatures: Signatures, repeated: KeyFilter) -> Iterator[Signed]:
    """Yield the samples of each row group whose key may be one that came more than once."""
    for signed in signatures:
        keys = signed.arrays["keys"]
        chosen = repeated.contains(keys)
        yield Signed(signed.ranks[chosen], {"keys": keys[chosen]})
