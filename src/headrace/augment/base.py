"""What an augmentation is: parameters drawn for each sample on the host, then one change of the elements."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from headrace.batch import Ragged
from headrace.draws.draws import Words, reference_words
from headrace.errors import OptionError, SchemaError

Parity = Literal["A", "B", "C"]
"""How equal CPU and GPU are: A by whole-number arithmetic, B by IEEE arithmetic without fused
multiply-add, both bit by bit; C within a tolerance that the operation states."""

Field = tuple[str, str] | tuple[str, str, tuple[int, ...]]
"""Name, kind ("i4", "u4" or "f4") and, for several numbers, shape of one parameter."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a column holds at one point of a chain.

    Attributes:
        shape: Shape of one sample; of a ragged column, of one of its values.
        dtype: Its dtype.
        is_ragged: Whether the samples differ in length.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_ragged: bool = False

    @staticmethod
    def of(column: Any) -> Spec:
        """Describe an array of shape [n, ...] or a `Ragged`."""
        if isinstance(column, Ragged):
            return Spec(column.values.shape[1:], column.values.dtype, True)
        dtype = column.dtype
        if not isinstance(dtype, np.dtype):  # of another array library
            dtype = np.dtype(str(dtype).rpartition(".")[2])
        return Spec(tuple(column.shape[1:]), dtype)

    @property
    def size(self) -> int:
        """How many elements a sample has; of a ragged column, one of its values."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        lists = "lists of " if self.is_ragged else ""
        return f"{lists}{self.dtype} of shape {list(self.shape)}"


@dataclass(frozen=True, eq=False, slots=True)
class Noise:
    """Random words for the elements of samples, by the array API: what a reference implementation draws from.

    Attributes:
        xp: The namespace of its arrays.
        keys: The key of each column, uint32 of shape [2].
        identity: See `Draws.identity`, an array of `xp`.
    """

    xp: Any
    keys: Mapping[str, Words]
    identity: Any

    def words(self, column: str, count: int) -> Any:
        """Return one word for each of `count` elements of each sample, uint32 of shape [n, count].

        Element e, counted in C order within its sample, has word e % 4 of block e // 4.
        """
        key = self.xp.asarray(self.keys[column])
        return reference_words(self.xp, key, self.identity, count)


@dataclass(frozen=True)
class Augmentation(ABC):
    """A random change of samples. Immutable, thread-safe, picklable.

    A subclass is a frozen dataclass that says which parameters it draws, how it draws them and what they do.

    Attributes:
        columns: The column or columns that it changes; all of them get the same parameters.
        p: The probability that it changes a sample.
        name: What its draws are keyed by; by default the class and the how-manieth of its class it is.
        same_on_batch: Draw parameters once for the whole (global) batch. Then they depend on the batch.
    """

    columns: str | Sequence[str]
    _: KW_ONLY
    p: float = 1.0
    name: str | None = None
    same_on_batch: bool = False

    parity: ClassVar[Parity] = "A"
    draws_elements: ClassVar[bool] = False
    on_host: ClassVar[bool] = False  # never performed on a device

    def __post_init__(self) -> None:
        for option in fields(self):
            object.__setattr__(self, option.name, _plain(getattr(self, option.name)))
        names: Any = (self.columns,) if isinstance(self.columns, str) else self.columns
        if not isinstance(names, tuple) or not names or not all(isinstance(each, str) for each in names):
            raise OptionError(f"{self.title}: `columns` must name a column or several, got {self.columns!r}")
        if len(set(names)) < len(names):
            raise OptionError(f"{self.title}: each of `columns` can be named once, got {self.columns!r}")
        object.__setattr__(self, "columns", names)
        chance = cast("object", self.p)
        if isinstance(chance, bool) or not isinstance(chance, (int, float)) or not 0 <= chance <= 1:
            raise OptionError(f"{self.title}: `p` must be a probability from 0 to 1, got {self.p!r}")
        name, is_shared = cast("object", self.name), cast("object", self.same_on_batch)
        if name is not None and (not isinstance(name, str) or not name):
            raise OptionError(f"{self.title}: `name` must be text, got {self.name!r}")
        if not isinstance(is_shared, bool):
            raise OptionError(
                f"{self.title}: `same_on_batch` must be True or False, got {self.same_on_batch!r}"
            )
        self.check()

    @property
    def title(self) -> str:
        """What messages call it."""
        return str(self.name or type(self).__name__)

    @property
    def changed(self) -> tuple[str, ...]:
        """The columns, as a tuple."""
        return tuple(self.columns)

    def check(self) -> None:  # noqa: B027  most have nothing to refuse
        """Refuse options that cannot be right.

        Raises:
            OptionError: Says which option, what must hold and what was given.
        """

    @abstractmethod
    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """The parameters of one sample; every one takes 4 bytes, or an array of such.

        Args:
            specs: What the columns hold before.
        """

    @abstractmethod
    def words(self, specs: Mapping[str, Spec]) -> int:
        """How many random words a sample's parameters need."""

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Return what the columns that it changes or adds hold afterwards; by default what they held before.

        Raises:
            SchemaError: A column does not hold what is needed.
        """
        return {column: specs[column] for column in self.changed}

    @abstractmethod
    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Turn words into parameters: field to array of shape [n, ...].

        Args:
            words: uint32 of shape [n, `words`]; the place of a word fixes its role.
            specs: What the columns hold before.
        """

    @abstractmethod
    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Return the parameters of a sample that is left alone; where the shape changes, of its centre."""

    @abstractmethod
    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Change columns, by the array API alone: the reference of all faster forms.

        Args:
            xp: The namespace of all arrays.
            columns: This operation's columns, of shape [n, ...]; not to be written to.
            params: The fields, arrays of shape [n, ...].
            noise: Words for elements.

        Returns:
            The columns that it changes or adds, as fresh arrays.
        """

    def refuse(self, column: str, spec: Spec, needed: str) -> SchemaError:
        """Make the error for a column that does not hold what is needed."""
        return SchemaError(f"{self.title}: column `{column}` must hold {needed}, got {spec}")


@dataclass(frozen=True)
class Mixing(Augmentation):
    """An augmentation that mixes each sample with another one, its partner.

    The partner comes with its own draws, through all augmentations before that are no mixing ones.

    Attributes:
        partner: `"order"`, the next sample of the same lane in the epoch's order, which costs little more to
            read; or `"id"`, a sample drawn from all that take part.
    """

    _: KW_ONLY
    partner: Literal["order", "id"] = "order"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partner not in ("order", "id"):
            raise OptionError(f'{self.title}: `partner` must be "order" or "id", got {self.partner!r}')

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Return the columns as they are; `mix` does the work."""
        return {column: columns[column] for column in self.changed}

    @abstractmethod
    def mix(
        self,
        xp: Any,
        columns: Mapping[str, Any],
        partners: Mapping[str, Any],
        params: Mapping[str, Any],
        noise: Noise,
    ) -> Mapping[str, Any]:
        """Mix columns with those of the partners, by the array API alone; see `apply`."""


def _plain(value: Any) -> Any:
    """Turn lists, arrays and their scalars into tuples and Python's numbers, which nobody can change."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(each) for each in cast("Sequence[object]", value))
    to_list = getattr(value, "tolist", None)  # of NumPy's arrays and scalars, and of tensors
    return value if to_list is None or isinstance(value, type) else _plain(to_list())


def describe(shape: tuple[int, ...], dtype: DTypeLike) -> Spec:
    """Make a `Spec` from a shape and anything that NumPy takes for a dtype.

    Example:
        >>> str(describe((32, 32, 3), "uint8"))
        'uint8 of shape [32, 32, 3]'
    """
    return Spec(shape, np.dtype(dtype))
