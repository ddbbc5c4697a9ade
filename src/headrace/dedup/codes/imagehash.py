"""Images whose perceptual hashes are near each other, by the library ImageHash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.dedup.codes.distances import BITS, check_distance, match_codes, signature_of
from headrace.dedup.method import Edges, MatchOptions, Signature, Signatures
from headrace.dedup.one_column import OneColumn
from headrace.errors import HeadraceError, MissingDependencyError, OptionError, SchemaError, UndecodableError
from headrace.hashing.keys import key_column
from headrace.images import check_pillow, open_image, to_grey, to_pixels
from headrace.prepare.tensors import tensor_shape, tensor_values

Algorithm = Literal["phash", "dhash"]
Pixels = NDArray[np.uint8]

_SIZES = {"phash": (32, 32), "dhash": (8, 9)}  # what the hash looks at
_CHANNELS = (1, 3, 4)
_LEAST_CONTRAST = 8  # of 256 levels of grey
_LEAST_BITS = 4  # set, and not set


@dataclass(frozen=True, slots=True)
class ImageHashSigner:
    """Makes a code of 64 bits of each image, and a key of each that shows too little for one.

    Attributes:
        algorithm: Which hash.
        version: Of the rule by which an image shows too little.
    """

    algorithm: Algorithm
    version: int = 1

    def __call__(self, batch: pa.RecordBatch) -> Signature:
        """Make the signatures of the images that are not null.

        Raises:
            UndecodableError: An image cannot be decoded; `rows` tells which one.
        """
        rows = np.flatnonzero(batch.column(0).is_valid())
        column = batch.column(0) if len(rows) == batch.num_rows else batch.take(pa.array(rows)).column(0)
        codes = np.zeros(len(rows), np.uint64)
        is_plain = np.zeros(len(rows), np.bool_)
        contents: list[bytes] = []
        for place, pixels in enumerate(_images(column, batch.schema.names[0], rows)):
            codes[place], is_plain[place] = self._code(pixels)
            if is_plain[place]:
                contents.append(_content(pixels))
        keys = key_column(pa.array(contents, pa.large_binary()))
        return signature_of(None if len(rows) == batch.num_rows else rows, codes, is_plain, keys)

    def _code(self, pixels: Pixels) -> tuple[np.uint64, bool]:
        """Return an image's hash, and whether the image shows too little for it to say anything."""
        import imagehash

        grey = to_grey(pixels, _SIZES[self.algorithm])
        bits: Any = getattr(imagehash, self.algorithm)(grey).hash
        levels = np.asarray(grey)
        contrast = min(int(np.ptp(levels, axis=axis).max()) for axis in (0, 1))
        is_even = min(int(bits.sum()), int((~bits).sum())) < _LEAST_BITS
        return np.packbits(bits).view(">u8")[0].astype(np.uint64), contrast < _LEAST_CONTRAST or is_even


@dataclass(frozen=True, slots=True)
class ImageHash:
    """Images are duplicates if their perceptual hashes of 64 bits differ in few bits or none.

    Finds copies of an image that were resized or encoded again, often also those whose brightness was
    changed a little; not those that were turned, mirrored or cropped. The hashes are those of the library
    ImageHash: "phash" (signs of the lowest frequencies of 32 x 32 pixels) or "dhash" (whether brightness
    rises from one to the next of 9 x 8 pixels).

    The default distance is 0, for that alone is safe: on a set of exact copies, pairs within 10 bits were
    duplicates in 98 % of the cases by phash and in 22 % by dhash, pairs of equal hash in all of them
    (published by the authors of imagededup). Look at the pairs before you drop by a larger one. A pair's
    score is the share of equal bits, 1 - bits that differ / 64.

    A hash says nothing of an image that shows nearly the same along every row or every column (one colour,
    stripes, an even gradient): where the grey levels that it looks at span less than 8 of 256 there, or where
    fewer than 4 of its bits are set or not set. Such images are duplicates only if their pixels are equal, so
    that a black page never is the duplicate of a white one. Null is no duplicate of anything.

    A column holds encoded images (bytes of JPEG or PNG, decoded as `hr.DecodeImage` does) or arrays of uint8:
    [height, width], [height, width, channels] or [channels, height, width], with 1 (grey), 3 (RGB) or 4
    channels (RGBA, whose alpha is dropped). The last axis counts the channels if it can; else the first one.

    Needs the extra `imagehash`.

    Attributes:
        algorithm: "phash" or "dhash".
        distance: In how many of the 64 bits two hashes may differ, 0 to 10.

    Raises:
        OptionError: A setting cannot be right.
        MissingDependencyError: The library is not installed.

    Example:
        >>> import headrace as hr, numpy as np
        >>> image = np.random.default_rng(0).integers(0, 256, (1, 64, 48, 3), np.uint8)
        >>> ds = hr.from_arrays({"image": np.concatenate([image, image[:, ::-1], image])})
        >>> hr.find_duplicates(ds, "image", hr.ImageHash()).pairs.rows()
        [(2, 0, 1.0)]
    """

    name: ClassVar[str] = "imagehash"

    algorithm: Algorithm = "phash"
    distance: int = 0

    def __post_init__(self) -> None:
        if self.algorithm not in _SIZES:
            raise OptionError(f'`algorithm` must be "phash" or "dhash", got {self.algorithm!r}')
        check_distance(self.distance)
        if find_spec("imagehash") is None:
            raise MissingDependencyError.from_extra("ImageHash", "imagehash", "`hr.ImageHash`")
        check_pillow("`hr.ImageHash`")

    @property
    def threshold(self) -> float:
        """The least score of a pair."""
        return 1 - self.distance / BITS

    def columns(self, schema: pa.Schema) -> tuple[str, ...]:
        """Compare the only column of images.

        Raises:
            OptionError: There is none, or there are several.
        """
        return _COMPARED.choose(schema)

    def signer(self, schema: pa.Schema) -> ImageHashSigner:
        """Make codes of a column of images.

        Raises:
            OptionError: Several columns are to be compared.
            SchemaError: The column holds no images.
        """
        _COMPARED.check(schema)
        return ImageHashSigner(self.algorithm)

    def match(self, signatures: Signatures, options: MatchOptions) -> Edges:
        """Link images whose hashes are near."""
        return match_codes(signatures, self.distance, options)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _is_array(kind: pa.DataType) -> bool:
    shape: Any = tensor_shape(kind)
    while pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    value = kind.value_type if isinstance(kind, pa.FixedShapeTensorType) else kind
    has_channels = len(shape) == 3 and (shape[2] in _CHANNELS or shape[0] in _CHANNELS)
    return pa.types.is_uint8(value) and (len(shape) == 2 or has_channels)


def _is_image(kind: pa.DataType) -> bool:
    return _is_bytes(kind) or _is_array(kind)


_COMPARED = OneColumn(
    "`hr.ImageHash`",
    "images",
    _is_image,
    "encoded images or arrays of uint8 of shape [height, width], [height, width, channels] or [channels, "
    "height, width]",
)


def _images(column: pa.Array, name: str, rows: NDArray[np.int64]) -> Iterator[Pixels]:
    """Yield the pixels of each image, of shape [height, width, channels]."""
    if not _is_bytes(column.type):
        shape = tensor_shape(column.type)
        values = tensor_values(column)
        if values is None:
            raise SchemaError(f"column `{name}`: an image has rows that are null")
        arrays = values.to_numpy(zero_copy_only=False).reshape(len(column), *shape)
        if len(shape) == 2:
            arrays = arrays[..., None]
        elif shape[2] not in _CHANNELS:
            arrays = np.moveaxis(arrays, 1, 3)
        yield from arrays
        return
    for row, value in zip(rows, column, strict=True):
        try:
            with open_image(memoryview(value.as_buffer()).cast("B")) as image:
                pixels = to_pixels(image, "RGB")
        except HeadraceError as error:
            raise UndecodableError.at((int(row),), f"column `{name}`", error) from error
        yield pixels


def _content(pixels: Pixels) -> bytes:
    """Return bytes that only images of equal pixels have, whether grey is held in one channel or in three."""
    colours = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[:, :, :3]
    return np.array(colours.shape, "<u4").tobytes() + colours.tobytes()
