"""Bands of a MinHash signature: how many, of how many rows, and how likely they find similar texts."""

from __future__ import annotations

from dataclasses import dataclass

PERMUTATIONS = 128
_LIKELY = 0.98  # how likely two texts just at the threshold share a band


@dataclass(frozen=True, slots=True)
class Banding:
    """Signatures cut into bands; texts that share all rows of one band are candidates.

    Attributes:
        bands: How many.
        rows: Of each, that is how many minima.
    """

    bands: int
    rows: int

    def probability(self, similarity: float) -> float:
        """Tell how likely two texts of a Jaccard similarity are candidates: 1 - (1 - s^rows)^bands.

        From Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, section 3.4.

        Example:
            >>> round(Banding(16, 8).probability(0.8), 2)
            0.95
        """
        return 1 - (1 - similarity**self.rows) ** self.bands

    @staticmethod
    def choose(threshold: float, permutations: int = PERMUTATIONS) -> Banding:
        """Take the most rows by which texts at the threshold are candidates with 98 %, and all bands.

        More rows make fewer candidates that are not similar. If none makes it likely enough, there is
        one row in each band.

        Example:
            >>> Banding.choose(0.8)
            Banding(bands=18, rows=7)
        """
        for rows in range(permutations, 1, -1):
            banding = Banding(permutations // rows, rows)
            if banding.probability(threshold) >= _LIKELY:
                return banding
        return Banding(permutations, 1)
