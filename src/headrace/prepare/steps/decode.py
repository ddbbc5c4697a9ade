"""Steps that decode one column: images to arrays of pixels, text and bytes to token ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import list_array
from headrace.errors import HeadraceError, OptionError, SchemaError, UnknownColumnError, check_whole
from headrace.images import CHANNELS, MOST_PIXELS, check_pillow, open_image, to_pixels
from headrace.prepare.base import Names, Step
from headrace.prepare.columns import WithColumns
from headrace.prepare.ragged import to_ragged

if TYPE_CHECKING:
    import polars as pl

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class DecodeImage:
    """Decode a column of JPEG and PNG images to uint8 of shape [height, width, channels].

    Colours come out as Pillow decodes them, the same wherever the same Pillow is installed. A
    colour profile and the orientation noted in EXIF are left alone, alpha is dropped without
    blending unless the mode is "RGBA", and CMYK becomes RGB by the plain formula. Refused, with
    the row's name: what is neither JPEG nor PNG, images that are cut off, animations, and 16 bits
    a channel. Damage inside a JPEG that still decodes cannot be seen.

    Needs the extra `image`.

    Attributes:
        column: The column of encoded images.
        size: Height and width to resize to, or one number for both, by a bilinear filter that
            averages where it shrinks. Without it, all images must have one size.
        mode: "RGB", "L" (grey) or "RGBA".
        into: The column to put the pixels in; by default they replace the images.
        max_pixels: What an image may have, told by its header before it is decoded.

    Example:
        >>> import io, headrace as hr, PIL.Image
        >>> file = io.BytesIO()
        >>> PIL.Image.new("RGB", (640, 480), "teal").save(file, "JPEG")
        >>> ds = hr.from_arrays({"image": [file.getvalue()]})
        >>> ds.prepare(hr.DecodeImage("image", size=(224, 224))).take([0])["image"].shape
        (1, 224, 224, 3)
    """

    column: str
    size: tuple[int, int] | int | None = None
    mode: Literal["RGB", "L", "RGBA"] = "RGB"
    into: str | None = None
    max_pixels: int = MOST_PIXELS

    def __post_init__(self) -> None:
        size: Any = (self.size, self.size) if isinstance(self.size, int) else self.size
        if size is not None:
            if not isinstance(size, (tuple, list)) or len(size) != 2:
                raise OptionError(f"`size` must be (height, width) or one number for both, got {size!r}")
            object.__setattr__(self, "size", tuple(check_whole("size", side, least=1) for side in size))
        if self.mode not in CHANNELS:
            raise OptionError(f"`mode` must be one of {', '.join(CHANNELS)}, got {self.mode!r}")
        check_whole("max_pixels", self.max_pixels, least=1)
        check_pillow("`DecodeImage`")

    def output_names(self, names: Names) -> Names:
        """Return the names with that of the pixels."""
        return _names_with(names, self.column, self.into)

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Decode nothing where nobody wants the pixels."""
        return _narrow(self, self.column, self.into, wanted)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the decoded images."""
        import polars as pl

        images = _column(frame, self.column)
        name = self.into or self.column
        if images.dtype != pl.Binary:
            raise SchemaError(f"column `{self.column}` must hold the bytes of images, got {images.dtype}")
        if not len(images):
            shape = None if self.size is None else (*self._pair(), CHANNELS[self.mode])
            kind = pl.Null if shape is None else pl.Array(pl.UInt8, shape)  # told by the first image alone
            return frame.with_columns(pl.Series(name, [], kind))
        pixels = self._decode(images)
        flat = pl.Series(name, pixels.reshape(-1))
        return frame.with_columns(flat.reshape(pixels.shape))

    def _decode(self, images: pl.Series) -> Array:
        pixels: Array | None = None
        for row, value in enumerate(_buffers(images)):
            try:
                if value is None:
                    raise SchemaError("the image is null; leave such samples out")
                with open_image(value, self.max_pixels) as image:
                    size = (image.height, image.width) if self.size is None else self._pair()
                    if pixels is None:
                        pixels = np.empty((len(images), *size, CHANNELS[self.mode]), np.uint8)
                    elif size != pixels.shape[1:3]:
                        raise SchemaError(
                            f"images must be of one size, got {size[0]} x {size[1]} after "
                            f"{pixels.shape[1]} x {pixels.shape[2]}; resize them by `size=(height, width)`"
                        )
                    pixels[row] = to_pixels(image, self.mode, size)
            except HeadraceError as error:
                raise type(error)(f"column `{self.column}`, row {row}: {error}") from error.__cause__
        assert pixels is not None
        return pixels

    def _pair(self) -> tuple[int, int]:
        assert isinstance(self.size, tuple)
        return self.size


@dataclass(frozen=True, slots=True)
class Tokens:
    """Turn a column into lists of token ids, ready to be packed with `pad_to`.

    A column of bytes holds ids as they lie in memory, little-endian, as packed corpora do; `dtype`
    tells of which kind. Text becomes its UTF-8 bytes, ids 0 to 255. Lists of whole numbers are
    ids already. A null stays a null list.

    Attributes:
        column: The column of bytes, text or lists.
        dtype: The ids' dtype. For bytes it must be given and says how they lie there; text and
            lists take it on, as far as it holds their ids.
        vocabulary_size: Ids must lie in 0 to vocabulary_size - 1.
        into: The column to put the ids in; by default they replace the column.

    Example:
        >>> import headrace as hr, numpy as np
        >>> documents = [np.array(ids, "<u2").tobytes() for ids in ([464, 3290], [50256])]
        >>> ds = hr.from_arrays({"text": documents})
        >>> tokens = hr.Tokens("text", dtype="uint16", vocabulary_size=50257)
        >>> ds.prepare(tokens).pack(ids="text", pad_to=4).take([0, 1])["ids"].tolist()
        [[464, 3290, 0, 0], [50256, 0, 0, 0]]
    """

    column: str
    dtype: str | None = None
    vocabulary_size: int | None = None
    into: str | None = None

    def __post_init__(self) -> None:
        if self.dtype is not None:
            object.__setattr__(self, "dtype", _dtype_name(self.dtype))
        if self.vocabulary_size is not None:
            check_whole("vocabulary_size", self.vocabulary_size, least=1)

    def output_names(self, names: Names) -> Names:
        """Return the names with that of the ids."""
        return _names_with(names, self.column, self.into)

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Do nothing where nobody wants the ids."""
        return _narrow(self, self.column, self.into, wanted)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the lists of ids."""
        import polars as pl

        column = _column(frame, self.column)
        values, lengths = self._ids(column)
        self._check(values, lengths)
        if self.dtype is not None:
            values = values.astype(self.dtype, copy=False)
        is_null = column.is_null().to_numpy()
        lists = pl.Series(self.into or self.column, list_array(pa.array(values), lengths, is_null))
        return frame.with_columns(lists)

    def _ids(self, column: pl.Series) -> tuple[Array, NDArray[np.int64]]:
        """Return all ids in a row, and how many each sample has."""
        import polars as pl

        if column.dtype == pl.String:
            return _values(column.cast(pl.Binary).cast(pl.List(pl.UInt8)), self.column)
        if column.dtype == pl.Binary:
            return self._from_bytes(column)
        inner = getattr(column.dtype, "inner", None)
        if not isinstance(column.dtype, (pl.List, pl.Array)) or inner is None or not inner.is_integer():
            raise SchemaError(
                f"column `{self.column}` must hold text, bytes or lists of whole numbers, got {column.dtype}"
            )
        return _values(column.cast(pl.List(inner)), self.column)

    def _from_bytes(self, column: pl.Series) -> tuple[Array, NDArray[np.int64]]:
        if self.dtype is None:
            raise SchemaError(
                f'column `{self.column}` holds bytes, so `dtype` must say which ids lie there, like "uint16"'
            )
        import polars as pl

        values, sizes = _values(column.cast(pl.List(pl.UInt8)), self.column)
        item = np.dtype(self.dtype).itemsize
        if (sizes % item).any():
            row = int(np.argmax(sizes % item != 0))
            raise SchemaError(
                f"column `{self.column}`, row {row}: {sizes[row]:,} bytes are no whole number of "
                f"{self.dtype} of {item} bytes each"
            )
        ids = values.view(np.dtype(self.dtype).newbyteorder("<"))
        return np.require(ids.astype(self.dtype, copy=False), requirements="A"), sizes // item

    def _check(self, values: Array, lengths: NDArray[np.int64]) -> None:
        """Hold the ids against the vocabulary and the dtype."""
        checks: list[tuple[str, int, int]] = []
        if self.vocabulary_size is not None:
            checks.append((f"`vocabulary_size={self.vocabulary_size}`", 0, self.vocabulary_size - 1))
        if self.dtype is not None and values.dtype != self.dtype:
            limits = np.iinfo(self.dtype)
            checks.append((f'`dtype="{self.dtype}"`', int(limits.min), int(limits.max)))
        for option, low, high in checks:
            if values.size and (values.min() < low or values.max() > high):
                place = int(np.argmax((values < low) | (values > high)))
                row = int(np.searchsorted(np.cumsum(lengths), place, side="right"))
                raise SchemaError(
                    f"column `{self.column}`, row {row}: ids must lie in {low}..{high} by {option}, got "
                    f"{values[place]}"
                )


def _values(column: pl.Series, name: str) -> tuple[Array, NDArray[np.int64]]:
    """Return the whole numbers of a column of lists in a row, and the lists' lengths, 0 for null."""
    lists = column.rechunk().to_arrow()
    nulls = lists.flatten().null_count
    if nulls:
        raise SchemaError(
            f"column `{name}`: ids must not be null, but {nulls} are; leave them out by "
            f'`with_columns(pl.col("{name}").list.drop_nulls())` before'
        )
    ragged = to_ragged(lists)
    return ragged.values, np.diff(ragged.offsets)


def _buffers(column: pl.Series) -> Iterator[memoryview | None]:
    """Yield the bytes of each row, without a copy."""
    for value in column.rechunk().to_arrow():
        buffer = value.as_buffer()
        yield None if buffer is None else memoryview(buffer).cast("B")


def _dtype_name(dtype: Any) -> str:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or kind.kind not in "iu" or kind.str.startswith(">"):
        raise OptionError(
            f'`dtype` must name little-endian whole numbers, like "uint16" or "int32", got {dtype!r}'
        )
    return kind.name


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in frame.columns:
        raise UnknownColumnError.from_names([name], frame.columns, "the frame")
    return frame[name]


def _names_with(names: Names, column: str, into: str | None) -> Names:
    if column not in names:
        raise UnknownColumnError.from_names([column], names, "the data set")
    return tuple(dict.fromkeys((*names, into or column)))


def _narrow(
    step: Step, column: str, into: str | None, wanted: frozenset[str] | None
) -> tuple[Step, frozenset[str] | None]:
    output = into or column
    if wanted is None:
        return step, None
    return (step, (wanted - {output}) | {column}) if output in wanted else (WithColumns(()), wanted)
