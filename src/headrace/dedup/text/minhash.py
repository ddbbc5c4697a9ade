"""Near duplicates among texts: MinHash finds candidates, their shingles decide."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.dedup.method import Edges, MatchOptions, Signature, Signatures
from headrace.dedup.one_column import OneColumn
from headrace.dedup.text.bands import PERMUTATIONS, Banding
from headrace.dedup.text.near import match_near
from headrace.dedup.text.shingles import Unit, check_shingle, holds_texts, plain_texts, shingles_of
from headrace.errors import OptionError, check_whole
from headrace.hashing.keys import key_column

_SEED = 0x4D696E48  # of the permutations
_COMPARED = OneColumn("`hr.MinHash`", "texts", holds_texts, "texts")
_SHOWN = 13  # similarities, 0.05 apart
_MOST_PERMUTATIONS = 1 << 16  # of which a signature takes 256 KiB


@dataclass(frozen=True, slots=True)
class MinHashSigner:
    r"""Makes sets of shingles, and their MinHash signatures.

    Attributes:
        unit: What a token is.
        ngram: How many tokens make a shingle.
        permutations: How many minima a signature has.
        unicode: The version of Unicode by which Python tells `\w` and white space.
        version: Of all the hashes here.
    """

    unit: Unit
    ngram: int
    permutations: int
    unicode: str = unicodedata.unidata_version
    version: int = 1

    def __call__(self, batch: pa.RecordBatch) -> Signature:
        """Make them of a text column.

        Returns:
            `lengths`, int64 of shape [texts], how many shingles each text has; `shingles`, uint64, the hashes
            of those of each text, sorted and each once, one text behind the other; `minima`, uint32 of shape
            [texts with shingles, permutations]; `keys`, uint64 of shape [texts without shingles, 2].
        """
        from headrace.dedup.text.minhash_kernels import find_minima

        texts, rows = plain_texts(batch.column(0))
        shingles, lengths = shingles_of(texts, self.unit, self.ngram)
        ends = np.cumsum(lengths[lengths > 0])
        arrays = {
            "lengths": lengths,
            "shingles": shingles,
            "minima": find_minima(shingles, ends, *_permutations(self.permutations)),
            "keys": key_column(texts.filter(pa.array(lengths == 0))),
        }
        return Signature(rows, arrays)


@dataclass(frozen=True, slots=True)
class MinHash:
    r"""Texts are duplicates if their sets of shingles have a Jaccard similarity at a threshold or above.

    A shingle is every `ngram` words in a row; words are the `\w+` of the lower-cased text. With `unit="char"`
    it is every `ngram` characters of the lower-cased text, in which runs of white space are one blank. The
    score of a pair is the exact similarity: shingles both have, over shingles that either has.

    Candidates are found by MinHash (Broder: On the resemblance and containment of documents, 1997): texts
    whose signatures agree in all rows of at least one band. Every candidate is then verified, so that none
    is dropped without one that is kept and that similar. Two texts of similarity s are found with the
    probability 1 - (1 - s^rows)^bands, see `probability` and `describe`; what is not found stays.

    A text of fewer than `ngram` tokens equals only texts that are the same to the byte, and is compared with
    no longer one. Null equals nothing. Letters that came to Unicode after this version of Python are no
    words to it.

    Attributes:
        threshold: Least similarity of duplicates, above 0 to 1.
        ngram: Tokens in a shingle.
        unit: "word" or "char".
        bands: How many; by default chosen with their rows so that texts at the threshold are found with at
            least 98 %.
        permutations: Length of a signature, a multiple of `bands` and at most 65,536; by default at most 128.

    Raises:
        OptionError: A setting cannot be right.

    Example:
        >>> import headrace as hr
        >>> texts = ["The cat sat on the mat.", "the cat sat on the mat", "The cat sat on the log."]
        >>> ds = hr.from_arrays({"text": texts})
        >>> hr.find_duplicates(ds, method=hr.MinHash(threshold=0.5, ngram=2)).pairs.rows()
        [(1, 0, 1.0), (2, 0, 0.6666666666666666)]
    """

    name: ClassVar[str] = "minhash"

    threshold: float = 0.8
    ngram: int = 5
    unit: Unit = "word"
    bands: int | None = None
    permutations: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        threshold: Any = self.threshold
        is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if not is_number or not 0 < threshold <= 1:
            raise OptionError(f"`threshold` must be a number above 0 and at most 1, got {self.threshold!r}")
        check_shingle(self.unit, self.ngram)
        for name in ("bands", "permutations"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least=1)
        if (self.permutations or 0) > _MOST_PERMUTATIONS:
            raise OptionError(
                f"`permutations` must be at most {_MOST_PERMUTATIONS:,}, got {self.permutations:,}"
            )
        if self.bands is None:
            return
        most = self.permutations or PERMUTATIONS
        if self.bands > most or (self.permutations is not None and most % self.bands):
            divisors = [bands for bands in range(1, most + 1) if most % bands == 0]
            nearest = min(divisors, key=lambda bands: abs(bands - (self.bands or 0)))
            raise OptionError(
                f"`bands` must divide `permutations`, got {self.bands} and {most}; take bands={nearest} or "
                f"permutations={self.bands * -(-most // self.bands)}"
            )

    @property
    def banding(self) -> Banding:
        """The bands, and the rows of each."""
        most = self.permutations or PERMUTATIONS
        if self.bands is None:
            return Banding.choose(self.threshold, most)
        return Banding(self.bands, most // self.bands)

    def probability(self, similarity: float) -> float:
        """Tell how likely two texts of a similarity are found.

        Example:
            >>> import headrace as hr
            >>> round(hr.MinHash(threshold=0.8).probability(0.8), 3)
            0.986
        """
        return self.banding.probability(similarity)

    def describe(self) -> str:
        """Show how likely two texts are found, by their similarity.

        Example:
            >>> import headrace as hr
            >>> print(hr.MinHash(threshold=0.8).describe())
            18 bands of 7 rows; texts are compared if they share a band
            similarity   0.40  0.45  0.50  0.55  0.60  0.65  0.70  0.75  0.80  0.85  0.90  0.95  1.00
            probability  0.03  0.07  0.13  0.24  0.40  0.60  0.79  0.92  0.99  1.00  1.00  1.00  1.00
        """
        bands, rows = self.banding.bands, self.banding.rows
        shown = [1 - step / 20 for step in reversed(range(_SHOWN))]
        return "\n".join(
            (
                f"{bands} bands of {rows} rows; texts are compared if they share a band",
                "similarity   " + "  ".join(f"{similarity:.2f}" for similarity in shown),
                "probability  " + "  ".join(f"{self.probability(similarity):.2f}" for similarity in shown),
            )
        )

    def columns(self, schema: pa.Schema) -> tuple[str, ...]:
        """Choose the only text column.

        Raises:
            OptionError: There is none, or more than one.
        """
        return _COMPARED.choose(schema)

    def signer(self, schema: pa.Schema) -> MinHashSigner:
        """Return what makes sets of shingles and their signatures.

        Raises:
            OptionError: There is more than one column.
            SchemaError: It holds no texts.
        """
        _COMPARED.check(schema)
        return MinHashSigner(self.unit, self.ngram, self.permutations or PERMUTATIONS)

    def match(self, signatures: Signatures, options: MatchOptions) -> Edges:
        """Link texts of one set of shingles, and those at the threshold or above."""
        return match_near(signatures, self.banding, self.threshold, options)


def _permutations(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the factors and addends of the permutations, which are the same for all time."""
    from headrace.hashing.kernels import hash_words

    drawn = hash_words(np.arange(count, dtype=np.uint64), _SEED)
    return (drawn >> np.uint64(32)).astype(np.uint32) | np.uint32(1), drawn.astype(np.uint32)
