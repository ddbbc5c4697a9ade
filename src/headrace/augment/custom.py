"""A user's own augmentation, which is given draws that are keyed by sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Augmentation, Field, Noise, Parity, Spec
from headrace.batch import Ragged
from headrace.draws import numbers
from headrace.draws.draws import Words, draw_words, reference_words
from headrace.errors import HeadraceError, OptionError, PrepareError, SchemaError
from headrace.fingerprint import derive_key, digest

Shape = int | Sequence[int]


@dataclass(frozen=True, eq=False, slots=True)
class LambdaDraws:
    """Random numbers for the samples of one batch, by role.

    A role is a name of your own. Each role of each sample has numbers of its own, which depend on the seed,
    the epoch, the sample's id and the role alone: not on the batch, nor on what else is drawn. The same role
    gives the same numbers again.

    Attributes:
        noise: What they are made of.
        column: The first column of the augmentation, which keys them.
    """

    noise: Noise
    column: str

    def words(self, role: str, shape: Shape = ()) -> Any:
        """Draw 32 random bits for each sample, uint32 of shape [n, *shape]."""
        sides = (shape,) if isinstance(shape, int) else tuple(shape)
        count, xp = math.prod(sides), self.noise.xp
        mix = derive_key("role", role)
        key = self.noise.keys[self.column] ^ np.array([mix & 0xFFFFFFFF, mix >> 32], np.uint32)
        if xp is np:
            words: Any = draw_words([key], [count], self.noise.identity)[0]
        else:
            words = reference_words(xp, xp.asarray(key), self.noise.identity, count)
        return xp.reshape(words, (words.shape[0], *sides))

    def uniform(self, role: str, shape: Shape = ()) -> Any:
        """Draw from 0 (included) to 1 (excluded), float32 of shape [n, *shape]."""
        return numbers.uniform(self.words(role, shape))

    def normal(self, role: str, shape: Shape = ()) -> Any:
        """Draw from the standard normal distribution, float32 of shape [n, *shape]."""
        return numbers.normal(self.words(role, shape))

    def integers(self, role: str, n: int, shape: Shape = ()) -> Any:
        """Draw from 0 to n - 1, int64 of shape [n, *shape]."""
        return numbers.integers(self.words(role, shape), n)

    def bernoulli(self, role: str, p: float, shape: Shape = ()) -> Any:
        """Draw whether something of probability p happens, bool of shape [n, *shape]."""
        return numbers.bernoulli(self.words(role, shape), p)

    def permutation(self, role: str, k: int) -> Any:
        """Draw an order of k things, int64 of shape [n, k]."""
        return numbers.permutation(self.words(role, k))


@dataclass(frozen=True)
class Lambda(Augmentation):
    """Change columns by a function of your own; its parity is what the function makes it.

    The function gets the columns of a batch, name to array of shape [n, ...], which it must not write to,
    and a `LambdaDraws`. It returns the columns that it changes, of the same shape and dtype, and those that
    `returns` promises. If it draws from that alone and treats each sample by itself, samples come out the
    same in any batch, rank and process. It must be thread-safe.

    Attributes:
        function: `function(columns, draws)`.
        returns: What changed columns hold if shape or dtype change, and what added columns hold. Those cannot
            be had with `p` below 1.
        version: Stands for the function in fingerprints, where it cannot be identified by its code and the
            values that it closes over.

    Example:
        >>> import headrace as hr, numpy as np
        >>> def shift(columns, draws):
        ...     return {"x": columns["x"] + draws.integers("shift", 10)[:, None]}
        >>> ds = hr.from_arrays({"x": np.zeros((4, 2), np.int64)})
        >>> x = ds.augment(hr.augment.Lambda("x", shift)).loader(4, output="numpy").batch(0)["x"]
        >>> bool((x[:, 0] == x[:, 1]).all() and 0 <= x.min() and x.max() < 10)
        True
    """

    function: Callable[[dict[str, Any], LambdaDraws], Mapping[str, Any]] = field(
        metadata={"fingerprint": "now"}
    )
    _: KW_ONLY
    returns: Mapping[str, Spec] = field(default_factory=dict[str, Spec])
    version: str | None = None
    identity: str = field(default="", init=False)

    parity: ClassVar[Parity] = "C"
    draws_elements: ClassVar[bool] = True
    on_host: ClassVar[bool] = True  # the function is given NumPy arrays, and may do anything with them

    def check(self) -> None:
        """Refuse options that cannot be right."""
        if not callable(self.function):
            raise OptionError(f"{self.title}: `function` must be a function, got {self.function!r}")
        if self.same_on_batch:
            raise OptionError(
                f"{self.title}: `same_on_batch` has no meaning, for its draws are the function's"
            )
        if not all(isinstance(spec, Spec) for spec in self.returns.values()):  # pyright: ignore
            raise OptionError(f"{self.title}: `returns` must be names with `Spec`s, got {self.returns!r}")
        stands = self.function if self.version is None else self.version
        object.__setattr__(self, "identity", digest("lambda", stands))

    def fields(self, specs: Mapping[str, Spec]) -> Sequence[Field]:
        """None: the function draws what it needs."""
        return ()

    def words(self, specs: Mapping[str, Spec]) -> int:
        """None."""
        return 0

    def draw(self, words: Words, specs: Mapping[str, Spec]) -> Mapping[str, NDArray[Any]]:
        """Nothing."""
        return {}

    def neutral(self, specs: Mapping[str, Spec]) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def output(self, specs: Mapping[str, Spec]) -> Mapping[str, Spec]:
        """Return what `returns` says, and otherwise what the columns held before."""
        before = {column: specs[column] for column in self.columns}
        for column in self.columns:
            if specs[column].is_ragged and self.p < 1:
                raise self.refuse(column, specs[column], "samples of one shape if `p` is below 1")
        for column, spec in self.returns.items():
            if column in specs and column not in self.columns:
                raise SchemaError(f"{self.title}: returns column `{column}`, which it is not given")
            if self.p < 1 and before.get(column) != spec:
                raise OptionError(
                    f"{self.title}: `p` must be 1 if `returns` changes or adds a column (`{column}`)"
                )
        return {**before, **self.returns}

    def apply(
        self, xp: Any, columns: Mapping[str, Any], params: Mapping[str, Any], noise: Noise
    ) -> Mapping[str, Any]:
        """Call the function, and check what it returns."""
        given = {name: _read_only(xp, column) for name, column in columns.items()}
        try:
            result: Any = self.function(dict(given), LambdaDraws(noise, self.columns[0]))
        except HeadraceError:
            raise
        except Exception as error:
            raise PrepareError(f"{self.title}: {self.label} failed: {error!r}") from error
        if not isinstance(result, Mapping):
            raise PrepareError(
                f"{self.title}: {self.label} must return columns by name, got {type(result).__name__}"
            )
        missing = [name for name in self.returns if name not in result]
        if missing:
            raise PrepareError(
                f"{self.title}: {self.label} must return column `{missing[0]}`, as it promises"
            )
        return {name: self._taken(xp, name, column, columns, params) for name, column in result.items()}

    def _taken(
        self, xp: Any, name: str, column: Any, columns: Mapping[str, Any], params: Mapping[str, Any]
    ) -> Any:
        """Check one column that was returned, and leave the samples alone that the gate does."""
        samples = params["applied"].shape[0]
        spec = self.returns.get(name) or (Spec.of(columns[name]) if name in columns else None)
        if spec is None:
            raise PrepareError(
                f"{self.title}: {self.label} returned column `{name}`, which it was not given and `returns` "
                "does not promise"
            )
        is_array = isinstance(column, Ragged) or (hasattr(column, "dtype") and hasattr(column, "shape"))
        count = len(column) if isinstance(column, Ragged) else column.shape[0] if is_array else -1
        if not is_array or count != samples or Spec.of(column) != spec:
            got = f"{count} of {Spec.of(column)}" if is_array else type(column).__name__
            raise PrepareError(
                f"{self.title}: {self.label} must return column `{name}` with {samples} samples of {spec}, "
                f"got {got}"
            )
        if isinstance(column, Ragged):
            return column
        if self.p >= 1:
            return xp.asarray(column, copy=True)
        is_on = xp.reshape(params["applied"] != 0, (samples,) + (1,) * (column.ndim - 1))
        return xp.where(is_on, column, columns[name])

    @property
    def label(self) -> str:
        """What errors call the function."""
        code = getattr(self.function, "__code__", None)
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"`{name}` (line {code.co_firstlineno} of {code.co_filename})" if code else f"`{name}`"


def _read_only(xp: Any, column: Any) -> Any:
    """Look at a NumPy array without leave to write."""
    if xp is not np or isinstance(column, Ragged):
        return column
    view = column.view()
    view.flags.writeable = False
    return view
