"""JPEG and PNG bytes to pixels, by Pillow: judged by the header before a pixel is decoded.

Pixels are what Pillow and its libjpeg yield. Colour profiles and the orientation that a camera
notes in EXIF are left alone, and alpha is dropped, not blended, where the mode asked for has
none. CMYK becomes RGB by Pillow's plain formula. Of a JPEG that holds several pictures (MPO), the
first is decoded. No setting of Pillow's is read or changed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, MemoryLimitError, MissingDependencyError, SchemaError

MOST_PIXELS = 1 << 26
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}

_PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_DEPTH = 24  # where a PNG tells the bits of a channel


def check_pillow(purpose: str) -> None:
    """Raise MissingDependencyError unless Pillow is installed."""
    if find_spec("PIL") is None:
        raise MissingDependencyError.from_extra("pillow", "image", purpose)


def open_image(value: memoryview, most_pixels: int = MOST_PIXELS) -> Any:
    """Read an image's header, as a context manager with `height` and `width`.

    Raises:
        SchemaError: It is no JPEG or PNG, an animation, or has other than 8 bits a channel.
        CorruptSourceError: It begins as an image and its header is damaged.
        MemoryLimitError: It has too many pixels.
    """
    # The plugin by itself: `Image.open` would try others, and warn of large images as it likes.
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    head = value[:8].tobytes()
    is_png = head == _PNG
    if not is_png and not head.startswith(_JPEG):
        raise SchemaError(f"is no JPEG or PNG image, begins with {head!r}")
    try:
        image = (PngImageFile if is_png else JpegImageFile)(io.BytesIO(value))
    except Exception as error:
        raise CorruptSourceError(f"the image's header is damaged or cut off: {error}") from error
    pixels, frames = image.height * image.width, getattr(image, "n_frames", 1)
    if pixels > most_pixels:
        raise MemoryLimitError(
            f"an image of {image.height:,} x {image.width:,} has {pixels:,} pixels, more than the "
            f"{most_pixels:,} that are allowed"
        )
    if frames > 1:
        raise SchemaError(f"a single image is needed, got an animation of {frames} images")
    if image.mode not in _PLAIN_MODES or (is_png and value[_DEPTH] > 8):
        mode = f"{image.mode} of {value[_DEPTH]} bits" if is_png else image.mode
        raise SchemaError(f"images of 8 bits a channel can be decoded, got Pillow's mode {mode}")
    if is_png and bytes(value).rfind(b"IEND") < 0:
        raise CorruptSourceError("the image is cut off: it lacks the end of a PNG")
    return image


def to_pixels(image: Any, mode: str, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode an open image to uint8 of shape [height, width, channels].

    Args:
        image: What `open_image` returns.
        mode: "L", "RGB" or "RGBA".
        size: Height and width to resize to, by Pillow's bilinear filter, which averages over all
            pixels that fall together.

    Raises:
        CorruptSourceError: The pixels are damaged or cut off.
    """
    from PIL.Image import Resampling

    try:
        image.load()
        if mode != "RGBA":
            image.info.pop("transparency", None)  # of a palette; Pillow would warn that it is dropped
        plain = image if image.mode == mode else image.convert(mode)
        if size is not None and size != (plain.height, plain.width):
            plain = plain.resize((size[1], size[0]), Resampling.BILINEAR)
        array = np.asarray(plain)
    except Exception as error:
        raise CorruptSourceError(f"the image is damaged or cut off: {error}") from error
    return array.reshape(*array.shape[:2], CHANNELS[mode])


def to_png(pixels: NDArray[np.uint8], labels: Sequence[tuple[int, int, str]] = ()) -> bytes:
    """Write pixels of shape [height, width, 3] as a PNG, with small black texts.

    Args:
        pixels: The picture.
        labels: Where each text begins, left and top, and the text.
    """
    from PIL.Image import fromarray
    from PIL.ImageDraw import Draw

    image = fromarray(np.ascontiguousarray(pixels))
    draw = Draw(image)
    for left, top, text in labels:
        draw.text((left, top), text, fill=(0, 0, 0))
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


def to_grey(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Any:
    """Return a small grey image of Pillow's, by its formula for grey and its Lanczos filter.

    Args:
        pixels: Shape [height, width, channels]: grey, RGB, or RGBA, whose alpha is dropped.
        size: Height and width to resize to.
    """
    from PIL.Image import Resampling, fromarray

    plain = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, :3]
    return fromarray(np.ascontiguousarray(plain)).convert("L").resize((size[1], size[0]), Resampling.LANCZOS)
