"""Splits and folds that keep duplicates together: no sample has a near copy on the other side."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from distance_data import cut, edited, long_text, some
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.selecting.identity import Grouping


def planted(groups: int, seed: int) -> tuple[hr.Dataset, np.ndarray]:
    """Texts, some with one to four near or exact copies, in any order; and which text each one is of."""
    random = np.random.default_rng(seed)
    sizes = random.choice([1, 1, 1, 2, 5], groups)
    owners = np.repeat(np.arange(groups), sizes)
    random.shuffle(owners)
    texts = [long_text(200, 1_000 * seed + owner) for owner in owners]
    texts = [edited(text, int(random.integers(0, 2)), place) for place, text in enumerate(texts)]
    return cut({"text": texts, "label": owners % 3}, 40), owners


def sides_of(parts: Any) -> dict[int, str]:
    return {int(number): name for name, part in parts.items() for number in part.sample_ids}


def crossings(report: hr.DuplicateReport, sides: dict[int, Any]) -> int:
    """How many links lead from one side to another."""
    return sum(sides[one] != sides[other] for one, other in report.edges.select("id", "preferred_id").rows())


def components(report: hr.DuplicateReport) -> int:
    """How many groups of two samples or more the links connect."""
    groups: list[set[int]] = []
    for link in report.edges.select("id", "preferred_id").iter_rows():
        touched = [group for group in groups if group & set(link)]
        groups = [group for group in groups if group not in touched] + [set(link).union(*touched)]
    return len(groups)


@pytest.mark.parametrize(
    "options", [{}, {"exact": True}, {"stratify": "label"}], ids=["hash", "exact", "classes"]
)
def test_near_copies_stay_together(options: dict[str, Any]) -> None:
    """No link crosses, sizes are near what was asked for, and the split's report finds nothing shared."""
    ds, owners = planted(300, 1)
    report = hr.find_duplicates(ds, "text", hr.SimHash(3))
    by = hr.Duplicates(report)

    parts = ds.split(train=0.7, test=0.3, seed=3, by=by, **options)

    sides = sides_of(parts)
    assert len(report.edges) > 80
    assert crossings(report, sides) == 0
    assert crossings(report, sides_of(ds.split(train=0.7, test=0.3, seed=3, **options))) > 20
    assert len(parts["test"]) / len(owners) == pytest.approx(0.3, abs=0.06 if not options else 0.01)
    told = parts.report()
    assert told.shared_groups == 0
    assert told.frame["groups"].sum() == components(report)
    assert "groups of duplicates by SimHash(" in str(told)
    apart = ds.split(train=0.7, test=0.3, seed=3, **options)
    assert (apart.report(by=by).shared_groups or 0) > 10


@some
@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(0, 9), st.booleans())
def test_a_group_is_what_links_connect(values: list[int], seed: int, exact: bool) -> None:
    """Whatever the values: equal ones have one part, and the parts hold every sample."""
    ds = cut({"x": values}, 5)
    report = hr.find_duplicates(ds, "x", keep="last" if exact else "first")

    parts = ds.split(one=0.5, other=0.5, seed=seed, by=hr.Duplicates(report), exact=exact)

    sides = sides_of(parts)
    assert sorted(sides) == list(range(len(values)))
    for value in set(values):
        assert len({sides[place] for place, each in enumerate(values) if each == value}) == 1


def test_chains_are_one_group() -> None:
    """A is near B, B is near C, and A and C are far apart: still one group."""
    report = hr.find_duplicates(*_chain())
    by = hr.Duplicates(report)

    hashes = by.hashes(np.arange(5))

    assert len(report.edges) == 2
    assert len(set(hashes[:3].tolist())) == 1
    assert len(set(hashes.tolist())) == 3


def _chain() -> tuple[hr.Dataset, str, hr.SimHash]:
    """Three texts in a chain, and two others."""
    method = hr.SimHash(3)
    start = long_text(600, 5)
    for seed in range(1, 400):
        middle = edited(start, 3, seed)
        end = edited(middle, 3, 10_000 + seed)
        ds = cut({"text": [start, middle, end, "quite another text", long_text(50, 9)]})
        codes = method.signer(ds.schema)(ds.to_arrow().to_batches()[0]).arrays["codes"]
        one, two, both = (int(np.bitwise_count(codes[a] ^ codes[b])) for a, b in ((0, 1), (1, 2), (0, 2)))
        if 0 < one <= 3 and 0 < two <= 3 < both:
            return ds, "text", method
    raise AssertionError("no chain was found")


def test_a_higher_threshold_makes_smaller_groups() -> None:
    """`at` takes weaker links away, and what they held together may part."""
    ds, _ = planted(60, 4)
    report = hr.find_duplicates(ds, "text", hr.SimHash(3))

    every, equal = (hr.Duplicates(each).hashes(ds.sample_ids) for each in (report, report.at(1)))

    assert len(np.unique(every)) < len(np.unique(equal)) < len(ds)


def test_samples_without_duplicates_stand_where_they_stood() -> None:
    """They have the parts of a split by ids, so that a report without links changes nothing."""
    ds = cut({"x": list(range(200))})
    plain = ds.split(train=0.6, test=0.4, seed=5)

    grouped = ds.split(train=0.6, test=0.4, seed=5, by=hr.Duplicates(hr.find_duplicates(ds)))

    assert sides_of(grouped) == sides_of(plain)


def test_every_executor_splits_the_same() -> None:
    """The report, the split and the folds follow from the data alone."""
    ds, _ = planted(40, 2)

    def outcome(chosen: hr.Executor) -> tuple[Any, ...]:
        by = hr.Duplicates(hr.find_duplicates(ds, "text", hr.SimHash(), executor=chosen))
        folds = ds.kfold(3, by=by, executor=chosen)
        return sides_of(ds.split(by=by, executor=chosen)), [
            fold.validation.sample_ids.tolist() for fold in folds
        ]

    assert outcome(hr.Threads(3)) == outcome(hr.Serial())


def test_folds_keep_duplicates_together() -> None:
    """No link leads from a fold to another one."""
    ds, _ = planted(120, 3)
    report = hr.find_duplicates(ds, "text", hr.SimHash())

    folds = ds.kfold(4, by=hr.Duplicates(report), stratify="label")

    sides = {int(number): fold.number for fold in folds for number in fold.validation.sample_ids}
    assert sorted(sides) == list(range(len(ds)))
    assert crossings(report, sides) == 0
    assert folds.report().shared_groups == 0


def test_parts_of_what_was_compared_can_be_split() -> None:
    """A selection of the samples, another recipe over them, and a copy of the value."""
    ds = cut({"x": [1, 2, 3, 1, 2, 3] * 20})
    by = hr.Duplicates(hr.find_duplicates(ds))

    part = ds.rows(range(0, 120, 2)).select(["x"])

    sides = sides_of(part.split(one=0.5, other=0.5, by=by))
    copied = pickle.loads(pickle.dumps(by))
    assert sides_of(part.split(one=0.5, other=0.5, by=copied)) == sides
    whole = sides_of(ds.split(one=0.5, other=0.5, by=by))
    assert all(whole[number] == name for number, name in sides.items())


def test_a_report_about_other_samples_is_refused() -> None:
    """Other data, or samples that were not compared."""
    ds = cut({"x": [1, 2, 1, 2]})
    by = hr.Duplicates(hr.find_duplicates(ds.rows([0, 1, 2])))

    with pytest.raises(hr.StateError, match=r"compared 3 samples, and 1 others take part, first id 3"):
        ds.split(by=by)
    with pytest.raises(hr.StateError, match="about other data"):
        cut({"x": [1, 2, 1, 2, 1]}).kfold(2, by=by)
    with pytest.raises(hr.StateError, match="about other data"):
        cut({"x": [1, 2, 1, 2, 1]}).split().report(by=by)
    with pytest.raises(hr.OptionError, match=r"takes what `hr.find_duplicates` returns, got Dataset"):
        hr.Duplicates(ds)  # type: ignore[arg-type]
    assert isinstance(by, Grouping)
    assert not isinstance(hr.Content(), Grouping)
