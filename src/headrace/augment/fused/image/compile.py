"""Makes the program of an image stage from augmentations, as many in a row as it can perform."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Augmentation, Spec
from headrace.augment.chain import Bound
from headrace.augment.fused.image.program import PASS_WORDS, Kind, Sampling, Word
from headrace.augment.image.base import ImageAugmentation
from headrace.augment.image.checks import Fill, fill_values
from headrace.augment.image.color import Grayscale, Saturation
from headrace.augment.image.crop import CenterCrop, RandomCrop
from headrace.augment.image.discrete import Invert, Posterize, Solarize
from headrace.augment.image.erase import Cutout, RandomErasing
from headrace.augment.image.flip import HorizontalFlip, VerticalFlip
from headrace.augment.image.noise import GaussianNoise
from headrace.augment.image.normalize import Normalize
from headrace.augment.image.resize import RandomResizedCrop, ResamplingAugmentation, Resize
from headrace.augment.image.rotate import Rot90, Rotate
from headrace.augment.image.tone import Brightness, Contrast, Gamma, byte_gammas, float_gammas

Row = NDArray[np.int32]

MOVES: dict[type[Augmentation], tuple[Kind, tuple[str, ...]]] = {
    RandomCrop: (Kind.CROP, ("top", "left")),
    CenterCrop: (Kind.CROP, ("top", "left")),
    HorizontalFlip: (Kind.FLIP_X, ("flip",)),
    VerticalFlip: (Kind.FLIP_Y, ("flip",)),
    Rot90: (Kind.TURN, ("k",)),
}
"""Augmentations that move whole pixels, and the fields that say how."""

_WINDOW = ("top", "left", "height", "width")
RESAMPLINGS: dict[type[Augmentation], tuple[Kind, tuple[str, ...]]] = {
    Resize: (Kind.RESIZE, _WINDOW),
    RandomResizedCrop: (Kind.RESIZE, _WINDOW),
    Rotate: (Kind.ROTATE, ("cos", "sin")),
}
"""Augmentations that make new pixels of several old ones."""

CHANGES: dict[type[Augmentation], tuple[Kind, tuple[str, ...]]] = {
    Brightness: (Kind.BRIGHTNESS, ("factor",)),
    Contrast: (Kind.CONTRAST, ("factor",)),
    Saturation: (Kind.SATURATION, ("factor",)),
    Gamma: (Kind.GAMMA, ("step",)),
    Invert: (Kind.INVERT, ("on",)),
    Posterize: (Kind.POSTERIZE, ("bits",)),
    Solarize: (Kind.SOLARIZE, ("threshold",)),
    Grayscale: (Kind.GRAYSCALE, ("on",)),
    RandomErasing: (Kind.ERASE, _WINDOW),
    Cutout: (Kind.ERASE, _WINDOW),
    GaussianNoise: (Kind.NOISE, ("sigma",)),
}
"""Augmentations that change pixels where they are."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageProgram:
    """What becomes of the images of one column; see `program`.

    Attributes:
        before: What the column holds before.
        after: What it holds afterwards.
        planes: Of the images, see `program`.
        item: Likewise.
        first_sides: Height and width before.
        passes: All passes but the last, which is NORMALIZE or COPY.
        moves: For each map, the rows that it is composed of.
        fills: Rows of `values`, as tuples of one value for each channel.
        tables: What passes name by `c`: tables of gamma; of noise the augmentation's number and the column.
        normalize: The augmentation that comes last.
    """

    before: Spec
    after: Spec
    planes: int
    item: int
    first_sides: tuple[int, int]
    passes: tuple[Row, ...] = ()
    moves: tuple[tuple[Row, ...], ...] = ()
    fills: tuple[tuple[float, ...] | None, ...] = ()
    tables: tuple[NDArray[Any] | tuple[int, str], ...] = ()
    normalize: Normalize | None = None

    @staticmethod
    def empty(op: ImageAugmentation, spec: Spec) -> ImageProgram:
        """Return a program that does nothing, for the layout that an augmentation is told."""
        return ImageProgram(spec, spec, *_split(op, spec), op.sides(spec))

    @property
    def channels(self) -> int:
        """How many channels an image has."""
        return self.planes * self.item

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width afterwards."""
        if not self.passes:
            return self.first_sides
        return int(self.passes[-1][Word.NEW_HEIGHT]), int(self.passes[-1][Word.NEW_WIDTH])

    @property
    def only_moves(self) -> bool:
        """Whether pixels are moved and nothing else."""
        return self.normalize is None and all(row[Word.KIND] == Kind.MAP for row in self.passes)

    def extended(self, bound: Bound, number: int, column: str) -> ImageProgram | None:
        """Return a program that performs one more augmentation; None where this cannot be."""
        op = bound.chain.ops[number]
        if not isinstance(op, ImageAugmentation) or self.normalize is not None:
            return None
        after, dtype = bound.states[number + 1][column], self.before.dtype
        found = None
        if _split(op, self.after) != (self.planes, self.item):
            return None
        if type(op) in MOVES:
            found = self._with_move(bound, number, op, after)
        elif dtype.name not in ("uint8", "float32"):
            return None
        elif type(op) is Normalize and (dtype == np.uint8 or after.dtype == np.float32):
            found = replace(self, after=after, normalize=op)
        elif type(op) in RESAMPLINGS:
            found = self._with_resampling(bound, number, column)
        elif type(op) in CHANGES:
            found = self._with_change(bound, number, column)
        return found

    def _with_resampling(self, bound: Bound, number: int, column: str) -> ImageProgram | None:
        """Let one augmentation make new pixels: nothing but a map may come before."""
        op, after = bound.chain.ops[number], bound.states[number + 1][column]
        if any(row[Word.KIND] != Kind.MAP for row in self.passes) or len(self.passes) > 1:
            return None
        assert isinstance(op, ResamplingAugmentation)
        row = self._row(bound, number, *RESAMPLINGS[type(op)], op, after)
        is_smooth = isinstance(op, (Resize, RandomResizedCrop)) and op.antialias
        row[Word.A] = Sampling.ANTIALIAS if is_smooth else Sampling.LINEAR
        if op.moves(column):
            row[Word.A] = Sampling.NEAREST
        if not isinstance(op, Rotate):
            row[Word.APPLIED] = -1  # what is not applied has a window of its own
            return replace(self, passes=(*self.passes, row), after=after)
        row[Word.B] = len(self.fills)
        fills = (*self.fills, self._spread(op.fill))
        return replace(self, passes=(*self.passes, row), fills=fills, after=after)

    def _with_change(self, bound: Bound, number: int, column: str) -> ImageProgram:
        """Let one more augmentation change pixels where they are."""
        op, fills, tables = bound.chain.ops[number], self.fills, self.tables
        assert isinstance(op, ImageAugmentation)
        row = self._row(bound, number, *CHANGES[type(op)], op, bound.states[number + 1][column])
        if isinstance(op, (RandomErasing, Cutout)):
            row[Word.A] = op.counts[1] if isinstance(op, Cutout) else 1
            row[Word.B], fills = len(fills), (*fills, self._spread(op.filling[1]))
        elif isinstance(op, GaussianNoise):
            mean = float(op.mean) * (255 if self.before.dtype == np.uint8 else 1)
            row[Word.A], row[Word.B] = np.float32(mean).view(np.int32), op.clip
            row[Word.C], tables = len(tables), (*tables, (number, column))
        elif isinstance(op, Gamma):
            is_uint8 = self.before.dtype == np.uint8
            table = byte_gammas(*op.bounds) if is_uint8 else float_gammas(*op.bounds).astype(np.float32)
            row[Word.C], tables = len(tables), (*tables, table)
        return replace(self, passes=(*self.passes, row), fills=fills, tables=tables)

    def _with_move(
        self, bound: Bound, number: int, op: ImageAugmentation, after: Spec
    ) -> ImageProgram | None:
        """Let one more augmentation move pixels; those that are neighbours share a map."""
        kinds = [row[Word.KIND] for row in self.passes]
        if kinds and kinds[-1] > Kind.ROTATE:
            return None  # pixels are moved before they are changed
        row = self._row(bound, number, *MOVES[type(op)], op, after)
        passes, moves, fills, fill = self.passes, self.moves, self.fills, self._fill(op)
        if kinds and kinds[-1] == Kind.MAP:
            if None not in (fill, fills[-1]) and fill != fills[-1]:
                return None
            mapped, fill = passes[-1].copy(), fills[-1] if fill is None else fill
            passes, fills, row_moves = passes[:-1], fills[:-1], (*moves[-1], row)
            moves = moves[:-1]
        else:
            mapped, row_moves = row.copy(), (row,)
            mapped[Word.APPLIED : Word.PLANES] = -1
            mapped[[Word.KIND, Word.A, Word.B]] = Kind.MAP, len(moves), len(fills)
        mapped[[Word.NEW_HEIGHT, Word.NEW_WIDTH]] = row[[Word.NEW_HEIGHT, Word.NEW_WIDTH]]
        return replace(
            self, after=after, passes=(*passes, mapped), moves=(*moves, row_moves), fills=(*fills, fill)
        )

    def _fill(self, op: ImageAugmentation) -> tuple[float, ...] | None:
        """Return what lies outside of an image, a value for each channel; None if nothing does."""
        return self._spread(op.filling) if isinstance(op, (RandomCrop, CenterCrop)) else None

    def _spread(self, fill: Fill) -> tuple[float, ...]:
        """Return a fill value for each channel."""
        values = fill_values(fill)
        return values if len(values) == self.channels else values * self.channels

    def _row(
        self,
        bound: Bound,
        number: int,
        kind: Kind,
        fields: tuple[str, ...],
        op: ImageAugmentation,
        after: Spec,
    ) -> Row:
        """Make the row of one augmentation."""
        row = np.zeros(PASS_WORDS, np.int32)
        places = bound.places(number)
        row[Word.P0 : Word.PLANES] = -1
        row[Word.KIND], row[Word.APPLIED] = kind, places["applied"]
        row[Word.P0 : Word.P0 + len(fields)] = [places[name] for name in fields]
        row[Word.PLANES], row[Word.ITEM] = self.planes, self.item
        row[Word.HEIGHT], row[Word.WIDTH] = op.sides(self.after)
        row[Word.NEW_HEIGHT], row[Word.NEW_WIDTH] = op.sides(after)
        return row

    def all_passes(self) -> NDArray[np.int32]:
        """Return all passes, of shape [passes, 16]."""
        last = np.zeros(PASS_WORDS, np.int32)
        last[Word.APPLIED : Word.PLANES] = -1
        last[Word.PLANES], last[Word.ITEM] = self.planes, self.item
        op, sides = self.normalize, self.sides
        last[Word.HEIGHT : Word.NEW_WIDTH + 1] = (*sides, *sides)
        last[Word.KIND] = Kind.COPY if op is None else Kind.NORMALIZE
        if op is not None and op.to_layout not in (None, op.layout) and self.channels > 1:
            last[Word.A] = 1 if op.layout == "NCHW" else 2
        return np.stack([*self.passes, last])

    def values(self) -> NDArray[Any]:
        """Return the fill values, of shape [rows, channels] and the images' dtype."""
        rows = [(0.0,) * self.channels if fill is None else fill for fill in self.fills]
        return np.array(rows or [(0.0,) * self.channels]).astype(self.before.dtype)

    def numbers(self) -> NDArray[Any]:
        """Return what the last pass converts by: see `program`."""
        op, channels = self.normalize, self.channels
        if self.before.dtype == np.uint8:
            same = np.tile(np.arange(256, dtype=np.uint8), (channels, 1))
            return same if op is None else op.table(channels)
        if op is None:
            return np.zeros((channels, 2), np.float32)
        return np.stack(op.constants(channels, np.float32), axis=1)

    def line(self) -> NDArray[np.float64] | None:
        """Return m and factor of each channel so that (x - m) * factor is what the table says of each uint8.

        Behind them lie those of blocks of pixels; see `_with_lanes`. It is computed in float64 and rounded to
        float32; None if it differs for a value, however little.
        """
        op, values = self.normalize, np.arange(256, dtype=np.float64)
        if op is None or self.before.dtype != np.uint8 or self.after.dtype != np.float32:
            return None
        mean, std = op.constants(self.channels, np.float64)
        scale, table = 255.0 if op.scale else 1.0, op.table(self.channels)
        for shift in (mean * scale, np.rint(mean * scale)):
            found = ((values[None] - shift[:, None]) * (1 / (std * scale))[:, None]).astype(np.float32)
            if found.tobytes() == table.tobytes():
                return _with_lanes(np.stack([shift, 1 / (std * scale)], axis=1))
        return None


def _split(op: ImageAugmentation, spec: Spec) -> tuple[int, int]:
    """Return how many planes there are, and elements of an item; see `program`."""
    channels = op.channels(spec)
    return (channels, 1) if op.layout == "NCHW" else (1, channels)


def _with_lanes(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put behind the pairs of the channels those of blocks of 16 elements, first numbers before second ones.

    There is a block for each channel that the first element may belong to.
    """
    channels = (np.arange(len(pairs))[:, None] + np.arange(16)[None, :]) % len(pairs)
    return np.concatenate([pairs.ravel(), pairs[channels].transpose(0, 2, 1).ravel()])
