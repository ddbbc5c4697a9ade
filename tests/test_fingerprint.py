"""Fingerprints: equal for equal values, different for different ones, refused for what has no value."""

from __future__ import annotations

import contextlib
import datetime
import enum
import functools
import importlib
import math
import re
import sys
import threading
import types
import typing
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import FingerprintError
from headrace.fingerprint import derive_key, digest

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def defined(source: str, name: str = "f", module: str = "user", **names: Any) -> Any:
    """What `name` means after running source text in a fresh module with some globals."""
    space = {"__name__": module, "dataclass": dataclass, **names}
    exec(compile(source, "any file", "exec", dont_inherit=True), space)
    return space[name]


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Setting:
    width: int = 1
    label: str = field(default="", metadata={"fingerprint": False})
    later: int | None = field(default=None, metadata={"fingerprint": "unless None"})


# Values


@settings(max_examples=200, deadline=None, derandomize=True)
@given(plain_values, plain_values)
def test_equal_values_have_equal_digests(first: object, second: object) -> None:
    """Rebuilt from its own text a value keeps its digest; two values share one only if they look alike."""
    copy = eval(repr(first), {"nan": math.nan, "inf": math.inf})
    assert digest(copy) == digest(first)
    if digest(first) == digest(second):
        assert repr(first).translate({40: 91, 41: 93}) == repr(second).translate({40: 91, 41: 93})


@pytest.mark.parametrize(
    "values",
    [
        [1, 1.0, True, "1", b"1", complex(1), np.int64(1), np.float64(1), [1], {1}],
        [0.0, -0.0, math.nan, 5e-324],
        ["", b"", None, [], {}, set(), ...],
        [["ab", "c"], ["a", "bc"], ["abc"], [["ab"], "c"], "ab,c"],
        [{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1}, {"b": 2, "a": 1}],
        [Colour.RED, Colour.BLUE, "RED", 1],
        [datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1), datetime.timedelta(1)],
        [np.dtype("i4"), np.dtype("i8"), np.dtype(">i8"), "int64"],
        [Decimal("1"), Decimal("1.0"), Decimal("NaN"), 1, "1"],
        [re.compile("a"), re.compile("a", re.IGNORECASE), re.compile(b"a"), re.compile("a" * 999), "a"],
        [
            pl.Series([1, 2], dtype=dtype)
            for dtype in (pl.Int64, pl.Int128, pl.Decimal(9, 0), pl.Decimal(9, 1))
        ],
        [pl.Series([1, number], dtype=pl.Decimal(9, 0)) for number in range(3)],
        [re.compile("a" * 998 + "b"), re.compile("a" * 999 + "b")],
    ],
)
def test_different_values_have_different_digests(values: list[object]) -> None:
    """Types, signs of zero, nesting and boundaries between texts all count."""
    assert len({digest(value) for value in values}) == len(values)


def test_not_a_number_equals_itself() -> None:
    """NaN has one digest, though it is not equal to itself; so have arrays with it."""
    assert digest(float("nan")) == digest(math.nan) == digest(-math.nan)
    assert digest(np.array([1.0, np.nan])) == digest(np.array([1.0, np.nan]))


def test_several_values_are_not_one() -> None:
    """`digest(a, b)` tells its arguments apart from their sum and their order."""
    assert len({digest("a", "b"), digest("b", "a"), digest("ab"), digest(["a", "b"])}) == 4


def test_sets_have_no_order() -> None:
    """Sets are equal however they were filled, and frozen or not."""
    names = [f"name-{number}" for number in range(50)]
    backwards = names[::-1]
    assert digest(set(names)) == digest(set(backwards)) == digest(frozenset(names))
    assert digest(set(names)) != digest(set(names[1:]))


def test_mappings_go_by_content() -> None:
    """Any mapping with the same entries in the same order is the same setting."""
    assert digest(OrderedDict(a=1, b=2)) == digest({"a": 1, "b": 2})


def test_dataclasses_go_by_fields() -> None:
    """Every field counts but those that say otherwise."""
    assert digest(Setting(1)) == digest(Setting(1)) != digest(Setting(2))
    assert digest(Setting(1, "a")) == digest(Setting(1, "b"))
    assert digest(Setting(later=0)) != digest(Setting()) != digest(Setting(later=1))


def test_arrays_go_by_dtype_shape_and_content() -> None:
    """Equal arrays have equal digests, however they lie in memory."""
    array = np.arange(6).reshape(2, 3)
    assert digest(array) == digest(np.asfortranarray(array)) == digest(array[:, ::-1][:, ::-1])
    others = [array.ravel(), array.T, array.astype(np.int32), array + 1, array.astype(">i8")]
    assert len({digest(array), *map(digest, others)}) == 6
    structured = [np.zeros(1, [(name, "i4")]) for name in ("a", "b")]
    assert digest(structured[0]) != digest(structured[1])


def test_a_change_in_the_middle_of_long_data_is_seen() -> None:
    """Nothing is identified by a shortened text, as libraries print long arrays."""
    long, changed = np.arange(10_000), np.arange(10_000)
    changed[5000] = 7
    assert digest(long) != digest(changed)
    assert digest(pl.DataFrame({"a": long})) != digest(pl.DataFrame({"a": changed}))
    assert digest(pa.record_batch({"a": long})) != digest(pa.record_batch({"a": changed}))
    assert digest(pl.Series(long)) != digest(pl.Series(changed))
    for as_column in (pa.array, lambda values: pa.table({"a": values})):
        with pytest.raises(FingerprintError, match="version="):
            digest(as_column(long))


def test_polars_and_arrow() -> None:
    """Expressions, types and schemas are known by value."""
    price = pl.col("price")
    assert digest(price * 2 + 1) == digest(pl.col("price") * 2 + 1)
    expressions = [
        price * 2,
        price * 3,
        price.log(),
        pl.col("cost") * 2,
        price.alias("p"),
        price.cast(pl.Int8),
    ]
    assert len(set(map(digest, expressions))) == 6
    assert digest(pl.selectors.numeric()) == digest(pl.selectors.numeric())
    kinds = [
        pl.Datetime("us"),
        pl.Datetime("ms"),
        pl.Int64(),
        pl.List(pl.Int64),
        pa.int64(),
        pa.list_(pa.int64()),
    ]
    assert len(set(map(digest, kinds))) == 6
    schemas = [pa.schema([("a", pa.int64())]), pa.schema([("a", pa.int32())]), pa.schema([("b", pa.int64())])]
    assert len(set(map(digest, schemas))) == 3
    assert digest(schemas[0]) == digest(pa.schema([("a", pa.int64())]))


@pytest.mark.parametrize("has_cloudpickle", [False, True])
def test_an_expression_with_a_python_function_is_refused(
    has_cloudpickle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polars would keep it as a pickle, by name and with paths; `map` is named instead."""
    library = types.ModuleType("cloudpickle")
    library.dumps = lambda function: b"by name"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cloudpickle", library if has_cloudpickle else None)
    expression = pl.col("a").map_batches(lambda column: column.sort(), return_dtype=pl.Int64)
    with pytest.raises(FingerprintError, match=r"ds\.map"):
        digest(expression)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        threading.Lock(),
        iter([1]),
        Path("a").open,
        np.array([object()]),
        np.ma.array([1, 2], mask=[0, 1]),
        [1, {"a": object()}],
        "x".join,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_value_is_refused(value: object) -> None:
    """The error is ours, wherever in a setting the value lies."""
    with pytest.raises(FingerprintError):
        digest(value)


def test_the_refusal_says_what_to_do() -> None:
    """It names the value, its type and the way out."""
    with pytest.raises(FingerprintError, match=r"lock.*of type lock.*`version=`"):
        digest(threading.Lock())


# Functions


def test_functions_go_by_code() -> None:
    """The same code is the same function, whatever its name, file and line; other code is another."""
    first = defined("def f(x):\n    return x + 1")
    renamed = defined("\n\n\n# moved\ndef g(x):\n\n    return x + 1", "g", module="other")
    assert digest(first) == digest(renamed)
    sources = ["return x + 2", "return x - 1", "return x + y", "return x + 1.0", "return x.a", "return x.b"]
    functions = [defined(f"def f(x, y=0):\n    {source}") for source in sources]
    assert len({digest(first), *map(digest, functions)}) == 7


def test_lambdas_with_other_constants_differ() -> None:
    """Lambdas share a name; their constants tell them apart."""
    shifts: list[Callable[[int], int]] = [lambda x: x + 1, lambda x: x + 2, lambda x: x + 1]
    assert digest(shifts[0]) == digest(shifts[2]) != digest(shifts[1])


def test_what_lies_within_try_counts() -> None:
    """Two functions of equal bytecode that protect different statements are different."""
    inside = defined(
        "def f(x):\n    try:\n        a(x)\n        b(x)\n    except ValueError:\n        return 0"
    )
    outside = defined(
        "def f(x):\n    try:\n        a(x)\n    except ValueError:\n        return 0\n    else:\n        b(x)"
    )
    assert digest(inside) != digest(outside)


def closed_over(value: object) -> Callable[[], object]:
    """A function that closes over a value."""
    return lambda: value


def test_functions_go_by_closure() -> None:
    """Closed-over values count by value, functions among them."""
    assert digest(closed_over([1, 2])) == digest(closed_over([1, 2])) != digest(closed_over([1, 3]))
    assert digest(closed_over(lambda: 1)) == digest(closed_over(lambda: 1)) != digest(closed_over(lambda: 2))
    with pytest.raises(FingerprintError, match="version="):
        digest(closed_over(threading.Lock()))


def test_an_empty_closure_is_refused() -> None:
    """A function that closes over a name without a value cannot run, and is named."""

    def use() -> int:
        return later

    with pytest.raises(FingerprintError, match="`later`"):
        digest(use)
    later = 1
    assert digest(use) == digest(use)


def test_functions_go_by_defaults() -> None:
    """Default values count, of keyword-only parameters too."""
    sources = ["def f(x, y=1): return x", "def f(x, y=2): return x", "def f(x, *, y=1): return x"]
    sources += ["def f(x, *, y=2): return x"]
    assert len({digest(defined(source)) for source in sources}) == 4


def test_functions_go_by_the_globals_that_they_name() -> None:
    """A global counts where it is named, also in nested functions and class bodies; others do not."""
    sources = [
        "def f(x):\n    return x * FACTOR",
        "def f(x):\n    return [(lambda: FACTOR)() for _ in x]",
        "def f(x):\n    class A:\n        y = FACTOR\n    return A.y",
        "def g(x):\n    return x * FACTOR\ndef f(x):\n    return g(x)",
    ]
    for source in sources:
        two, three = defined(source, FACTOR=2), defined(source, FACTOR=3)
        assert digest(two) == digest(defined(source, FACTOR=2, OTHER=9)) != digest(three), source
    assert digest(defined("def f(x): return x", FACTOR=2)) == digest(defined("def f(x): return x", FACTOR=3))


def test_partials_go_by_function_and_arguments() -> None:
    """Keyword arguments of a partial have no order; everything else of it counts."""
    first = functools.partial(closed_over, 1, a=1, b=2)
    assert digest(first) == digest(functools.partial(closed_over, 1, b=2, a=1))
    others = [
        functools.partial(closed_over, 2, a=1, b=2),
        functools.partial(closed_over, 1, a=1),
        closed_over,
    ]
    others += [functools.partial(closed_over(1), 1, a=1, b=2)]
    assert len({digest(first), *map(digest, others)}) == 5


def test_methods_go_by_their_object() -> None:
    """A bound method is its function and the object's value."""
    source = "@dataclass\nclass A:\n    k: int\n    def f(self, x): return x + self.k"
    kind = defined(source, "A")
    assert digest(kind(1).f) == digest(defined(source, "A")(1).f) != digest(kind(2).f)


def test_callable_dataclasses_go_by_their_code() -> None:
    """A user's dataclass that works as a function counts with the code of its methods."""
    source = "@dataclass\nclass A:\n    k: int\n    def __call__(self, x): return x + {}"
    one, two = (defined(source.format(number), "A")(5) for number in (1, 2))
    assert digest(one) == digest(defined(source.format(1), "A")(5)) != digest(two)


@pytest.mark.parametrize("module", ["user", "__main__"])
@pytest.mark.parametrize(
    "body",
    [
        "def a(self): return {}",
        "@staticmethod\n    def a(): return {}",
        "@classmethod\n    def a(cls): return {}",
        "@property\n    def a(self): return {}",
        "limit = {}",
    ],
)
def test_classes_go_by_methods_and_plain_attributes(module: str, body: str) -> None:
    """A class that a function names counts with what it does, in scripts too, and with its bases."""
    for source in (f"class A:\n    {body}", f"class B:\n    {body}\nclass A(B): pass"):
        one, two = (defined(source.format(number), "A", module) for number in (1, 2))
        assert digest(one) == digest(defined(source.format(1), "A", module)) != digest(two)


def test_scripts_have_two_names() -> None:
    """A class of a script is the same where a spawned process calls the script `__mp_main__`."""
    source = "class A:\n    def a(self): return 1"
    assert digest(defined(source, "A", "__main__")) == digest(defined(source, "A", "__mp_main__"))


def test_functions_that_name_themselves() -> None:
    """Recursion, also by way of another function, ends."""
    source = "def f(n): return n and g(n - {})\ndef g(n): return f(n)"
    assert digest(defined(source.format(1))) == digest(defined(source.format(1)))
    assert digest(defined(source.format(1))) != digest(defined(source.format(2)))


def test_library_functions_are_known_by_name() -> None:
    """Functions of C modules and modules count by name; NumPy's through its module."""
    assert digest(math.sin) == digest(math.sin) != digest(math.cos)
    functions = [lambda x: np.log(x), lambda x: np.exp(x), lambda x: math.log(x)]  # noqa: PLW0108
    assert len(set(map(digest, functions))) == 3


MODULE = "K = {}\ndef inner(x, k={}): return x * k * K\ndef scale(x): return inner(x)"


@pytest.mark.parametrize(
    "source",
    [
        "from helper import scale\ndef f(x): return scale(x)",
        "import helper\ndef f(x): return helper.scale(x)",
        "import package.part\ndef f(x): return package.part.scale(x)",
        "def f(x):\n    import helper\n    return helper.scale(x)",
        "def f(x):\n    from helper import scale\n    return scale(x)",
        "def f(x):\n    from package import part\n    return part.scale(x)",
        "def f(x):\n    import package.part as p\n    return p.scale(x)",
        "import helper\ndef make(m):\n    return lambda x: m.scale(x)\nf = make(helper)",
        "import helper\ndef f(x, m=helper): return m.scale(x)",
        "from helper import scale\nclass A:\n    def a(self, x): return scale(x)\ndef f(x): return A().a(x)",
    ],
)
def test_users_modules_enter_with_all_that_a_function_calls_there(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constants and defaults count, however deep; what the function has nothing to do with does not."""

    def found(constant: int, default: int, other: str = "") -> str:
        for name in ("helper", "package", "package.part"):
            sys.modules.pop(name, None)
        (tmp_path / "package").mkdir(exist_ok=True)
        (tmp_path / "package" / "__init__.py").touch()
        for path in (tmp_path / "helper.py", tmp_path / "package" / "part.py"):
            path.write_text(MODULE.format(constant, default) + other)
        importlib.invalidate_caches()
        return digest(defined(source))

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    first = found(2, 3)
    assert found(2, 3, "\ndef unrelated(): pass") == first
    assert len({first, found(4, 3), found(2, 5)}) == 3
    for name in ("helper", "package", "package.part"):
        sys.modules.pop(name, None)


def test_a_users_module_alone_has_no_value() -> None:
    """What of it is meant, nobody knows; a library is known by its name."""
    assert digest(math) == digest(math) != digest(re)
    with pytest.raises(FingerprintError, match="version="):
        digest({"helper": types.ModuleType("helper")})


@pytest.mark.parametrize(
    "body",
    [
        "def a(self): return FACTOR",
        "def a(self): return self.b()\n    def b(self, x=FACTOR): return x",
        "table = [FACTOR]\n    def a(self): return self.table",
        "class Inner:\n        k = FACTOR\n    def a(self): return self.Inner.k",
        "@functools.cached_property\n    def a(self): return FACTOR",
        "@staticmethod\n    def a(): return FACTOR",
    ],
)
def test_classes_go_by_what_their_methods_name(body: str) -> None:
    """Globals, defaults and attributes of any type count as they do for functions."""
    for source in (f"class A:\n    {body}\ndef f(): return A().a", f"@dataclass\nclass f:\n    {body}"):
        one, two = (defined(source, FACTOR=factor, functools=functools) for factor in (1, 2))
        assert digest(one) == digest(defined(source, FACTOR=1, functools=functools)) != digest(two)


def test_named_tuples_go_by_class_and_values() -> None:
    """Neither slots nor what Python wrote into the class is in the way."""
    head = "class P(typing.NamedTuple):\n    a: int = {}"
    source = head + "\n    def twice(self): return 2 * self.a * {}\nvalue = P(5)"
    found = [
        defined(source.format(*pair), "value", typing=typing) for pair in ((1, 1), (1, 1), (1, 2), (2, 1))
    ]
    assert digest(found[0]) == digest(found[1])
    assert len(set(map(digest, found))) == 3


def test_the_function_of_columns_is_known_by_name() -> None:
    """`from polars import col` does as well as `pl.col`."""
    first, second = (defined(f"def f(): return col('{name}')", col=pl.col) for name in "ab")
    assert digest(first) != digest(second)


def test_enums_go_by_their_values() -> None:
    """A member is its value too, and a class what all of its members are."""
    source = "class A(enum.Enum):\n    X = {}\n    Y = 2\ndef f(): return A.X.value\nvalue = A.X"
    for name in ("A", "f", "value"):
        one, two = (defined(source.format(value), name, enum=enum) for value in (1, 5))
        assert digest(one) == digest(defined(source.format(1), name, enum=enum)) != digest(two)


def test_a_functions_own_attributes_count() -> None:
    """A function may keep a setting on itself."""
    source = "def f(x): return x * f.k\nf.k = {}"
    assert digest(defined(source.format(1))) == digest(defined(source.format(1)))
    assert digest(defined(source.format(1))) != digest(defined(source.format(2)))


def test_a_library_decorator_does_not_hide_a_function() -> None:
    """What a library wraps counts, and so does what the wrapped function names."""
    source = "@contextlib.contextmanager\ndef f(x): yield x * FACTOR"
    one, two = (defined(source, FACTOR=factor, contextlib=contextlib) for factor in (1, 2))
    assert digest(one) == digest(defined(source, FACTOR=1, contextlib=contextlib)) != digest(two)


def test_many_functions_that_call_each_other_are_looked_at_once() -> None:
    """Otherwise the ways through them, here 3 to the 40th power, would all be gone."""
    lines = [f"def f{n}(x): return f{n + 1}(x) + f{n + 1}(x + {n}) + f{n + 2}(x)" for n in range(40)]
    source = "\n".join([*lines, "def f40(x): return {}", "def f41(x): return x"])
    one, two = (defined(source.format(value), "f0") for value in (1, 2))
    assert digest(one) != digest(two)


class Missing(dict[str, int]):
    def __missing__(self, name: str) -> int:
        return 3


@dataclass
class Extended:
    k: int = 1

    @functools.cached_property
    def twice(self) -> int:
        return 2 * self.k


def test_containers_and_dataclasses_that_do_more_than_hold() -> None:
    """Subclasses with code of their own, factories, and attributes beside the fields are not overlooked."""
    factories = [defaultdict(lambda: 1), defaultdict(lambda: 2), defaultdict(int), {}]
    assert len(set(map(digest, factories))) == 4
    assert digest(Missing(a=1)) != digest({"a": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        assert digest(np.matrix([[1]])) != digest(np.array([[1]]))
    plain, extended, used = Extended(), Extended(), Extended()
    extended.__dict__["more"] = 5
    assert used.twice == 2
    assert digest(plain) == digest(used) != digest(extended)
    with pytest.raises(FingerprintError, match="LazyFrame"):
        digest(pl.LazyFrame({"a": [1]}))


# Across processes


SCRIPT = """
import polars as pl
from headrace.fingerprint import derive_key, digest
FACTOR = {"a", "b", "c"}
def scale(x, kinds=frozenset("defg")):
    return x in FACTOR and x in {"h", "i", "j"} or x in kinds
print(digest(scale), digest(pl.col("a") * 2), digest({"x", "y", "z"}), derive_key("a", 1))
"""


def test_digests_do_not_depend_on_the_hash_seed() -> None:
    """Other processes with other PYTHONHASHSEED find the same digests."""
    found = {
        run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(found) == 1
    assert digest({"x", "y", "z"}) in found.pop()


def test_digests_of_plain_values_never_change() -> None:
    """Saved states hold digests, so the encoding of plain values is part of the format."""
    value = ("order", 1, -2.5, None, True, {"a": [b"\x00", 1 + 2j]}, {"x", "y"}, np.arange(3, dtype="<i8"))
    assert digest(*value) == "478836240178daa38f7058b19926dea5"


# Keys


def test_keys_are_hashed_and_not_added() -> None:
    """Keys of all small (seed, epoch) pairs differ, where sums would collide."""
    keys = {derive_key("order", seed, epoch) for seed in range(40) for epoch in range(40)}
    assert len(keys) == 1600
    assert all(0 <= key < 1 << 64 for key in keys)


def test_keys_tell_streams_apart() -> None:
    """Names, numbers, their order and their number count."""
    parts = [
        ("a", 1),
        ("a", 11),
        ("a", 1, 1),
        (1, "a"),
        ("a", "1"),
        ("a",),
        ("b", 1),
        ("a", -1),
        ("a", 2**80),
    ]
    assert len({derive_key(*part) for part in parts}) == len(parts)


def test_keys_take_whole_numbers_of_any_kind() -> None:
    """A NumPy integer is the same seed as Python's, which a saved state keeps; a fraction is none."""
    assert derive_key("a", np.int64(5)) == derive_key("a", np.uint8(5)) == derive_key("a", 5)
    with pytest.raises(TypeError):
        derive_key("a", 1.5)  # type: ignore[arg-type]


def test_keys_never_change() -> None:
    """Orders and draws follow from these keys: they are part of the order's version."""
    assert derive_key("order", 1, 0, 0) == 13692905858799976736
