"""The program of an image stage: what becomes of the images of one column, as plain whole numbers.

The images of a sample go through passes, one after the other. Every kernel, on the CPU and on a GPU, works by
the same arrays; an image is `planes` times height times width times `item` elements, so [h, w, c] is one
plane with items of c elements, and [c, h, w] is c planes with items of one.

- `passes`, int32 of shape [passes, 16], the same for all samples, one row a pass:

  | words  | name           | meaning                                                                  |
  |--------|----------------|--------------------------------------------------------------------------|
  | 0      | kind           | what is done, see below                                                  |
  | 1      | applied        | where in a sample's record its gate is: 0 leaves the pass out; -1: none  |
  | 2-5    | p0, p1, p2, p3 | where in the record its parameters are; -1: none                         |
  | 6, 7   | planes, item   | of the images, before and after                                          |
  | 8, 9   | height, width  | before                                                                   |
  | 10, 11 | height, width  | after                                                                    |
  | 12-14  | a, b, c        | options                                                                  |

- `records`, int32 of shape [n, fields]: `Planned.packed`, what was drawn for each sample;
- `maps`, int32 of shape [n, maps, 10], made from the records by `compose_maps`: neighbouring crops, flips and
  quarter turns as one; behind them one that moves nothing. After it, (y, x) holds what before was at
  (y0 + y_dy * y + y_dx * x, x0 + x_dy * y + x_dx * x) if top <= y < bottom and left <= x < right, else the
  fill value. Words: y0, x0, y_dy, y_dx, x_dy, x_dx, top, left, bottom, right;
- `values`, of the images' dtype, of shape [rows, channels]: fill values, one for each channel;
- `tables`: of GAMMA what each uint8 becomes by each step, uint8 of shape [256, 256], or for floats the ends
  of the 1,024 straight pieces, float32 of shape [256, 1025]; of NOISE the key of the element draws;
- `numbers`, for NORMALIZE: of uint8 images the table [channels, 256] of what each value becomes, of floats
  mean and standard deviation, [channels, 2].

  | kind       | p0 .. p3                 | options                                                         |
  |------------|--------------------------|-----------------------------------------------------------------|
  | MAP        |                          | a: which of the maps; b: row of `values` outside of the image   |
  | RESIZE     | top, left, height, width | a: NEAREST, LINEAR or ANTIALIAS                                 |
  | ROTATE     | cos, sin                 | a: NEAREST or LINEAR; b: row of `values` outside of the image   |
  | BRIGHTNESS | factor                   |                                                                 |
  | CONTRAST   | factor                   |                                                                 |
  | SATURATION | factor                   |                                                                 |
  | GAMMA      | step                     | c: its table in `tables`                                        |
  | INVERT     | on                       |                                                                 |
  | POSTERIZE  | bits                     |                                                                 |
  | SOLARIZE   | threshold                |                                                                 |
  | GRAYSCALE  | on                       |                                                                 |
  | ERASE      | top, left, height, width | a: how many, the fields are arrays; b: row of `values` put in   |
  | NOISE      | sigma                    | a: mean as float32; b: 1 to clip floats; c: key in `tables`     |
  | NORMALIZE  |                          | a: 1 where planes become items, 2 where items become planes     |
  | COPY       |                          | nothing changes; every program ends with NORMALIZE or COPY      |

The maps and at most one RESIZE or ROTATE come before all other passes.
CROP, FLIP_X, FLIP_Y and TURN (p0, p1: top and left; flip; flip; k) are rows of the same form, which
`compose_maps` turns into maps.
"""

from __future__ import annotations

from enum import IntEnum

PASS_WORDS = 16
MAP_WORDS = 10
AS_IT_IS = (0, 0, 1, 0, 0, 1, 0, 0, 1 << 30, 1 << 30)
"""The map that moves nothing."""


class Kind(IntEnum):
    """What a pass does."""

    MAP = 0
    RESIZE = 1
    ROTATE = 2
    BRIGHTNESS = 16
    CONTRAST = 17
    GAMMA = 18
    INVERT = 19
    POSTERIZE = 20
    SOLARIZE = 21
    SATURATION = 32
    GRAYSCALE = 33
    ERASE = 48
    NOISE = 49
    NORMALIZE = 64
    COPY = 65
    CROP = 80
    FLIP_X = 81
    FLIP_Y = 82
    TURN = 83


class Word(IntEnum):
    """Where in a row of `passes` something is."""

    KIND = 0
    APPLIED = 1
    P0 = 2
    P1 = 3
    P2 = 4
    P3 = 5
    PLANES = 6
    ITEM = 7
    HEIGHT = 8
    WIDTH = 9
    NEW_HEIGHT = 10
    NEW_WIDTH = 11
    A = 12
    B = 13
    C = 14


class Sampling(IntEnum):
    """How values between pixels are found."""

    NEAREST = 0
    LINEAR = 1
    ANTIALIAS = 2


class Constant(IntEnum):
    """Which address of the constants is what."""

    FILLS = 0
    NUMBERS = 1
    LINE = 2  # m and factor of each channel, if those make of uint8 what the table says; else 0
    NORMAL = 3  # the quantile table
    IDENTITY = 4  # who the first sample is
    TABLES = 5  # where those begin that passes name: tables of gamma, keys of noise


class Memory(IntEnum):
    """Which address of a thread's own memory is what."""

    FIRST = 0
    SECOND = 1
    ROW = 2
    TABLE = 3
    COMPOSED = 4
    RESIZE = 5
