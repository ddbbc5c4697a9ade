"""Splits: disjoint, stable when data grows, groups whole, sizes and classes as asked, cuts by time."""

from __future__ import annotations

import datetime as dt
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selecting_data import cut, ids_of, skewed, some, values_of

import headrace as hr
from headrace.testing.strategies import layouts

SHARES = st.lists(st.integers(1, 10), min_size=1, max_size=4).flatmap(
    lambda parts: st.integers(0, 3).map(lambda rest: [part / (sum(parts) + rest) for part in parts])
)


def named(shares: list[float]) -> dict[str, float]:
    return {f"part {number}": share for number, share in enumerate(shares)}


def part_of(parts: hr.Splits[hr.Dataset]) -> dict[int, str]:
    """Sample id to part; fails where a sample is in two."""
    found = [(number, name) for name, ids in ids_of(parts).items() for number in ids]
    assert len(dict(found)) == len(found)
    return dict(found)


# By hash


@some
@given(SHARES, layouts(max_rows=30), st.integers(0, 5), st.booleans(), st.booleans())
def test_parts_are_disjoint_and_complete(
    shares: list[float], rows: list[int], seed: int, exact: bool, stratified: bool
) -> None:
    """Each sample is in one part, or left out where the shares sum to less than 1."""
    dataset = cut({"y": np.arange(sum(rows)) % 3}, rows)
    parts = dataset.split(named(shares), seed=seed, exact=exact, stratify="y" if stratified else None)
    placed = part_of(parts)

    assert list(parts) == list(named(shares))
    assert set(placed) <= set(range(sum(rows)))
    if sum(shares) > 0.999999:
        assert set(placed) == set(range(sum(rows)))


@some
@given(st.integers(0, 60), st.integers(1, 60), st.sampled_from([None, "group", "key", hr.Content()]))
def test_samples_keep_their_part_when_data_grows(before: int, more: int, by: Any) -> None:
    """The first samples of a longer data set go where they went alone, whatever tells them apart."""
    group = [None if number % 11 == 0 else number % 9 for number in range(before + more)]
    columns = {"group": pa.array(group), "key": [f"key {number}" for number in range(before + more)]}
    old = cut({name: values[:before] for name, values in columns.items()}, [before])
    new = cut(columns, [before // 2, before - before // 2, more])
    grown = part_of(new.split(seed=3, by=by))

    assert part_of(old.split(seed=3, by=by)).items() <= grown.items()
    assert len(grown) == before + more


def test_samples_keep_their_part_when_shards_are_added(tmp_path: Path) -> None:
    """New shards behind the old ones move no sample; by key it does not matter where they lie."""
    table = pa.table({"key": [f"key {number}" for number in range(600)], "user": np.arange(600) // 5})
    for number in (1, 2):
        pq.write_table(table.slice(200 * number, 200), tmp_path / f"part-{number}.parquet", row_group_size=64)
    before = hr.open(tmp_path)
    by_id, by_key = before.split(seed=1), before.split(seed=1, by="key")
    keys = {name: set(values_of(part, "key")) for name, part in by_key.items()}
    pq.write_table(table.slice(0, 200), tmp_path / "part-3.parquet")
    after = hr.open(tmp_path)

    assert part_of(by_id).items() <= part_of(after.split(seed=1)).items()
    pq.write_table(table.slice(0, 200), tmp_path / "part-0.parquet")  # all ids shift
    for name, part in hr.open(tmp_path).split(seed=1, by="key").items():
        assert keys[name] <= set(values_of(part, "key"))
    assert hr.open(tmp_path).split(seed=1, by="user").report().shared_groups == 0


def test_assignment_never_changes() -> None:
    """These parts were written down: by id, by text, by two columns, in exact sizes, by exact groups."""
    dataset = cut({"text": [f"{number % 12}" for number in range(24)], "n": np.arange(24) % 5})
    found = {
        name: "".join(part_of(dataset.split(a=0.5, b=0.5, **options))[number] for number in range(24))
        for name, options in OPTIONS.items()
    }
    folds = dataset.kfold(3, seed=7, by="text", stratify="n")
    found["folds"] = "".join(
        str(next(fold.number for fold in folds if number in fold.validation.sample_ids))
        for number in range(24)
    )

    assert found == GOLDEN


OPTIONS: dict[str, dict[str, Any]] = {
    "id": {},
    "seed": {"seed": 1},
    "text": {"by": "text"},
    "two": {"by": ["n", "text"]},
    "exact": {"exact": True},
    "stratified": {"stratify": "text"},
    "groups": {"by": "text", "exact": True},
}
GOLDEN = {
    "id": "ababbbaaaaaabababbabbbba",
    "seed": "baabbaababaabbabaabaabbb",
    "text": "baaaaabbbaabbaaaaabbbaab",
    "two": "baababbabbbbabbaaaaaabba",
    "exact": "aabbbaaabbaabbaaaaabbbbb",
    "stratified": "bbbabbaababbaaabaabbabaa",
    "groups": "aabaabbabbabaabaabbabbab",
    "folds": "100212021201100212021201",
}


@pytest.mark.parametrize("by", [None, "user", ["user", "day"], hr.Content(["user", "day"])])
@pytest.mark.parametrize("options", [{}, {"exact": True}, {"stratify": "day"}], ids=str)
def test_row_groups_and_executors_change_nothing(by: Any, options: dict[str, Any]) -> None:
    """The same samples in other row groups, on threads, serially or in processes: the same parts."""
    columns = {"user": np.arange(90) // 4, "day": np.arange(90) % 4}
    expected = ids_of(cut(columns, [90]).split(seed=2, by=by, **options))

    for rows in ([30, 30, 30], [1, 0, 50, 39]):
        assert ids_of(cut(columns, rows).split(seed=2, by=by, **options)) == expected
    executors = [hr.Serial(), hr.Threads(3)] + (
        [hr.Processes(2)] if isinstance(by, list) and "stratify" in options else []
    )
    for executor in executors:
        assert ids_of(cut(columns).split(seed=2, by=by, executor=executor, **options)) == expected


def test_sizes_are_near_the_shares() -> None:
    """Of 100,000 samples each part gets its share to within four standard deviations."""
    parts = cut({"x": np.arange(100_000)}, [100_000]).split(seed=4)
    sizes = {name: len(part) for name, part in parts.items()}

    assert list(sizes) == ["train", "val", "test"]
    for share, size in zip((0.7, 0.15, 0.15), sizes.values(), strict=True):
        assert abs(size - 100_000 * share) < 4 * (100_000 * share * (1 - share)) ** 0.5


def test_seeds_and_keys_assign_independently() -> None:
    """Another seed is another split: half of a half is in the other's half."""
    dataset = cut({"x": np.arange(20_000)}, [20_000])
    halves = [set(dataset.split(a=0.5, b=0.5, seed=seed)["a"].sample_ids.tolist()) for seed in range(3)]
    halves.append(set(dataset.split(a=0.5, b=0.5, by="x")["a"].sample_ids.tolist()))

    for one in range(4):
        for two in range(one):
            assert 0.48 < len(halves[one] & halves[two]) / len(halves[one]) < 0.52


def test_a_larger_share_takes_from_what_follows() -> None:
    """Training on less of the data leaves the test part where it is, if it comes first."""
    dataset = cut({"x": np.arange(1000)}, [1000])
    wide = dataset.split(test=0.2, train=0.8)
    small = dataset.split(test=0.2, train=0.1)

    assert ids_of(small)["test"] == ids_of(wide)["test"]
    assert set(ids_of(small)["train"]) < set(ids_of(wide)["train"])


# Groups and contents


@pytest.mark.parametrize(
    "options", [{}, {"exact": True}, {"stratify": "y"}, {"exact": True, "stratify": "y"}]
)
def test_no_group_is_in_two_parts(options: dict[str, Any]) -> None:
    """Whatever else is asked for, groups stay whole; those with a null stand alone."""
    group, label = skewed(600, 40, 3, seed=2)
    texts = [None if number == 0 else f"user {number}" for number in group]
    dataset = cut({"user": texts, "y": label})
    parts = dataset.split(seed=3, by="user", **options)
    users = [set(values_of(part, "user")) - {None} for part in parts.values()]

    assert len(set().union(*users)) == sum(map(len, users))
    assert parts.report().shared_groups == 0
    alone = [sum(text is None for text in values_of(part, "user")) for part in parts.values()]
    assert sum(alone) == (group == 0).sum() > 10
    assert np.count_nonzero(alone) > 1
    assert parts.report().frame["groups"].to_list() == [len(part) for part in users]


def test_a_planted_leak_is_shown_and_prevented() -> None:
    """Equal contents under two ids are found by the report, and kept together by `hr.Content`."""
    random = np.random.default_rng(0)
    x, text = random.random(300), [None if n % 50 == 0 else f"text {n}" for n in range(300)]
    chosen = np.concatenate([np.arange(300), np.arange(0, 300, 10)])  # thirty of them come again at the end
    dataset = cut({"x": x[chosen], "text": [text[n] for n in chosen], "id": np.arange(330)})
    leaky = dataset.split(train=0.5, test=0.5, seed=1)
    content = hr.Content(["x", "text"])
    placed = part_of(leaky)
    planted = sum(placed[number] != placed[300 + number // 10] for number in range(0, 300, 10))

    report = leaky.report(by=content)
    assert planted > 5
    assert report.shared_groups == planted
    assert report.shared is not None
    assert report.shared.rows() == [("train", "test", planted)]
    assert report.frame["shared_groups"].to_list() == [planted, planted]
    assert f"contents of `x`, `text` in more than one part: {planted}" in str(report)
    assert leaky.report(by=hr.Content()).shared_groups == 0  # the ids in `id` differ
    safe = dataset.split(train=0.5, test=0.5, seed=1, by=content).report()
    assert safe.shared_groups == 0
    assert "in more than one part: none" in str(safe)


def test_groups_of_computed_columns() -> None:
    """What the recipe computes tells groups and classes as well as what is stored, also before `pack`."""
    dataset = cut({"n": np.arange(60)}).with_columns(tens=pl.col("n") // 10, odd=pl.col("n") % 2 == 1)
    packed = dataset.pack(x=["n"])
    parts = packed.split(a=0.5, b=0.5, by="tens", stratify="odd")

    assert parts.report().shared_groups == 0
    assert [len(part) for part in parts.values()] == [30, 30]
    assert parts["a"].take(parts["a"].sample_ids[:1])["x"].shape == (1, 1)
    assert parts["a"].recipe is packed.recipe


def test_groups_behind_a_function() -> None:
    """Columns that only running the recipe tells are found too, and a wrong one is named."""
    dataset = cut({"n": np.arange(60)}).map(lambda frame: frame.with_columns(tens=pl.col("n") // 10))

    assert dataset.split(by="tens").report().shared_groups == 0
    with pytest.raises(hr.UnknownColumnError, match="no column `ten`; did you mean `tens`"):
        dataset.split(by="ten")


# Exact sizes


@some
@given(SHARES, st.integers(0, 200), st.integers(0, 3))
def test_exact_sizes(shares: list[float], count: int, seed: int) -> None:
    """Each part has its share of the samples, rounded to a whole one."""
    parts = cut({"x": np.arange(count)}).split(named(shares), seed=seed, exact=True)
    for share, part in zip(shares, parts.values(), strict=True):
        assert abs(len(part) - share * count) < 1


def test_exact_sizes_of_groups() -> None:
    """With groups of one size the sizes are exact too."""
    dataset = cut({"user": np.repeat(np.arange(100), 3)})

    assert [len(part) for part in dataset.split(by="user", exact=True).values()] == [210, 45, 45]


@some
@given(SHARES, st.lists(st.integers(0, 5), max_size=150), st.integers(0, 3), st.booleans())
def test_classes_are_shared_out_to_within_one_sample(
    shares: list[float], label: list[int], seed: int, alone: bool
) -> None:
    """Every part has its share of every class, also when each sample is a group of its own."""
    texts = pa.array([None if number == 5 else f"class {number}" for number in label], pa.string())
    dataset = cut({"y": texts, "id": np.arange(len(label))})
    parts = dataset.split(named(shares), seed=seed, stratify="y", by="id" if alone else None)
    counts = np.bincount(label, minlength=6)
    for share, part in zip(shares, parts.values(), strict=True):
        here = np.bincount(np.array(label, np.int64)[part.sample_ids], minlength=6)
        assert (np.abs(here - share * counts) < 1 + 1e-6).all()


def test_rounding_does_not_pile_up() -> None:
    """Many classes of three samples: the parts have their shares of all samples as well."""
    dataset = cut({"y": np.repeat(np.arange(200), 3), "id": np.arange(600)})
    for by in (None, "id"):
        sizes = [len(part) for part in dataset.split(stratify="y", by=by).values()]
        assert np.abs(np.array(sizes) - [420, 90, 90]).max() <= 2


# Selections, names, errors


def test_a_filtered_data_set_is_split_alone() -> None:
    """Only the samples that take part are looked at, and they go where they go in the whole."""
    dataset = cut({"y": np.arange(100) % 2})
    chosen = np.arange(0, 100, 3)
    whole, some_of_it = dataset.split(seed=5), dataset.rows(chosen).split(seed=5)
    for name, part in some_of_it.items():
        assert set(part.sample_ids.tolist()) == set(whole[name].sample_ids.tolist()) & set(chosen.tolist())
    exact = dataset.rows(chosen).split(a=0.5, b=0.5, stratify="y")
    assert sorted(np.concatenate([part.sample_ids for part in exact.values()]).tolist()) == chosen.tolist()


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"stratify": "y"}, {"by": "y"}, {"time": "y"}])
def test_order_and_repeats_stay(options: dict[str, Any]) -> None:
    """A listed selection keeps its order in each part, and all copies of a sample go together."""
    listed = np.random.default_rng(0).integers(0, 50, 200)
    parts = cut({"y": np.arange(50) % 7}).rows(listed).split(a=0.5, b=0.5, **options)
    placed = {number: name for name, ids in ids_of(parts).items() for number in ids}

    for name, part in parts.items():
        assert part.sample_ids.tolist() == [number for number in listed if placed[number] == name]


def test_only_row_groups_that_take_part_are_read() -> None:
    """The columns that decide are read, of the row groups that hold selected samples."""
    read: list[tuple[int, tuple[str, ...]]] = []
    dataset = cut({"y": np.arange(50), "z": np.arange(50)}, [10] * 5)
    source = dataset.recipe.source
    original = source.read
    source.read = lambda row_group, columns: (
        read.append((row_group.number, tuple(columns))) or original(row_group, columns)
    )  # type: ignore[method-assign]
    dataset.rows([3, 4, 41]).split(by="y", executor=hr.Serial())
    assert read == [(0, ("y",)), (4, ("y",))]
    read.clear()
    dataset.split(exact=True)
    dataset.kfold(3)
    assert read == []


def test_a_split_is_a_mapping() -> None:
    """Names, length and items; unknown names are told with those that there are."""
    parts = cut({"x": np.arange(20)}).split(fit=0.5, judge=0.25, exact=True)

    assert (list(parts), len(parts), "fit" in parts, parts.get("none")) == (["fit", "judge"], 2, True, None)
    assert repr(parts) == "Splits(fit=10, judge=5)"
    assert ids_of(pickle.loads(pickle.dumps(parts))) == ids_of(parts)
    with pytest.raises(hr.UnknownPartError, match="no part 'train'; it has 'fit', 'judge'"):
        parts["train"]
    assert cut({"x": [1]}).split({"seed": 1.0}, seed=3)["seed"].sample_ids.tolist() == [0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 0.8, "test": 0.3}, r"sum to 1 or less, got train=0\.8, test=0\.3, which is 1\.1"),
        ({"train": np.float32(1.5)}, "`train` must be a share above 0"),
        ({"train": 0}, "`train` must be a share above 0 and up to 1, got 0"),
        ({"train": True}, "`train` must be a share"),
        ({"train": "0.7"}, "`train` must be a share above 0 and up to 1, got '0.7'"),
        ({"train": float("nan")}, "`train` must be a share"),
        ({"shares": {"a": 1.0}, "b": 0.5}, "not both"),
        ({"seed": 0.5}, "`seed` must be a whole number"),
        ({"by": []}, "`by` takes one column or more"),
        ({"by": ["y", "y"]}, "`by` takes one column or more, each once"),
        (
            {"by": 3},
            r"`by` takes a column or a list of columns, or groups such as `hr.Duplicates\(report\)`, got int",
        ),
        ({"by": [3]}, "a column is named by a text, got 3"),
        ({"stratify": ["y"]}, r"classes are told by one column, got \['y'\]"),
        ({"time": "y", "by": "y"}, "`time` decides alone .* not go with `by`"),
        ({"time": "y", "exact": True}, "not go with `exact`"),
        ({"gap": 3}, "`gap` goes with `time`"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    """Each is an OptionError that says what was wrong."""
    with pytest.raises(hr.OptionError, match=message):
        cut({"y": np.arange(20)}).split(**arguments)


@pytest.mark.parametrize("option", ["by", "stratify", "time"])
def test_unknown_columns_are_named(option: str) -> None:
    """The name, and one like it."""
    with pytest.raises(hr.UnknownColumnError, match="no column `lable`; did you mean `label`"):
        cut({"label": [1, 2]}).split(**{option: "lable"})


def test_too_many_classes_are_refused() -> None:
    """A column of numbers is no label, in one row group or over many."""
    for rows in (None, [70_000]):
        with pytest.raises(hr.OptionError, match="at most 65,536 values, but column `x`"):
            cut({"x": np.arange(70_000) / 7}, rows or [10_000] * 7).split(stratify="x")


def test_an_empty_data_set_has_empty_parts() -> None:
    """Nothing to split is no error, except by time, where parts would have no border."""
    dataset = cut({"y": np.arange(5)}).rows([])
    for options in ({}, {"exact": True}, {"stratify": "y"}, {"by": "y"}, {"by": "y", "exact": True}):
        parts = dataset.split(**options)
        assert [len(part) for part in parts.values()] == [0, 0, 0]
        assert parts.report(classes="y").frame["share"].to_list() == [0.0, 0.0, 0.0]
    with pytest.raises(hr.OptionError, match="`train` gets none of the 0"):
        dataset.split(time="y")


# By time


@some
@given(st.lists(st.integers(-40, 40), min_size=1, max_size=80), SHARES, st.integers(0, 20))
def test_cuts_by_time(times: list[int], shares: list[float], gap: int) -> None:
    """No part reaches into the next, which begins more than the gap later; ties stay together."""
    dataset = cut({"t": np.array(times, np.int32)})
    try:
        parts = dataset.split(named(shares), time="t", gap=gap)
    except hr.OptionError as error:
        assert "gets none of the" in str(error)
        return
    values = [values_of(part, "t") for part in parts.values()]
    for earlier, later in pairwise(values):
        assert earlier.max() < later.min() - gap
    missing = sorted(set(range(len(times))) - set(part_of(parts)))
    starts = [int(part.min()) for part in values[1:]]
    end = max(int(part.max()) for part in values)
    for number in missing:  # each was left out for a gap, or comes after the last part
        assert times[number] > end or any(start - gap <= times[number] < start for start in starts)


def test_time_cuts_at_the_shares() -> None:
    """Without ties and gap the sizes are those asked for, whatever the order of the samples."""
    order = np.random.default_rng(0).permutation(200)
    for values in (order, order * 0.5, order.astype("datetime64[D]"), order.astype("timedelta64[s]")):
        parts = cut({"t": values}).split(time="t")
        assert [len(part) for part in parts.values()] == [140, 30, 30]
        assert sorted(order[parts["test"].sample_ids].tolist()) == list(range(170, 200))


@pytest.mark.parametrize(
    ("kind", "gap", "lost"),
    [
        (pa.timestamp("s"), "7d", 7), (pa.timestamp("ns", "UTC"), dt.timedelta(days=7), 7),
        (pa.date32(), "1w", 7), (pa.date64(), "1d12h", 1),
        (pa.timestamp("ms"), "1d1ns", 1), (pa.date32(), "0s", 0),
    ],
    ids=str,
)  # fmt: skip
def test_gaps_of_times(kind: pa.DataType, gap: Any, lost: int) -> None:
    """A gap of seven days leaves out seven days, in every unit."""
    days = pa.array([dt.datetime(2020, 1, 1) + dt.timedelta(days=number) for number in range(40)])
    if pa.types.is_date(kind):
        days = days.cast(pa.date32())
    parts = cut({"t": days.cast(kind)}).split(a=0.5, b=0.25, time="t", gap=gap)

    assert parts["a"].sample_ids.tolist() == list(range(20 - lost))
    assert parts["b"].sample_ids.tolist() == list(range(20, 30))


def test_extreme_times() -> None:
    """A gap before the smallest number does not wrap around, and unsigned numbers keep their size."""
    low = np.iinfo(np.int64).min
    with pytest.raises(hr.OptionError, match="`a` gets none"):
        cut({"t": np.array([low, low + 1])}).split(a=0.5, b=0.5, time="t", gap=10)
    high = np.array([1, 2**64 - 1], np.uint64)
    assert ids_of(cut({"t": high}).split(a=0.5, b=0.5, time="t", gap=3)) == {"a": [0], "b": [1]}
    assert ids_of(cut({"t": [3.0, 1.0, -np.inf, np.inf]}).split(a=0.5, b=0.5, time="t"))["a"] == [1, 2]


@pytest.mark.parametrize(
    ("values", "gap", "error", "message"),
    [
        ([1, None], None, hr.OptionError, "column `t` holds nulls"),
        ([1.0, float("nan")], None, hr.OptionError, "column `t` holds NaN"),
        (["a", "b"], None, hr.SchemaError, "times or numbers, got `t` of type string"),
        ([1, 2], "7d", hr.OptionError, "`gap` beside column `t` must be a number of at least 0, got '7d'"),
        ([1, 2], -1, hr.OptionError, "at least 0, got -1"),
        ([1, 2], float("nan"), hr.OptionError, "at least 0, got nan"),
        ([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], 3, hr.OptionError, "a `timedelta` or a text"),
        ([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], "1mo", hr.OptionError, "got '1mo'"),
        ([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], dt.timedelta(-1), hr.OptionError, "got datetime"),
        ([1, 1], None, hr.OptionError, "gets none of the 2 .* equal values stay together"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_times_that_cannot_be_cut(values: list[Any], gap: Any, error: type[Exception], message: str) -> None:
    """The column is named, and what to do."""
    with pytest.raises(error, match=message):
        cut({"t": pa.array(values)}).split(a=0.5, b=0.5, time="t", gap=gap)
