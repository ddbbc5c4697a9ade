"""Augmentations of tokens: as loops do them, padded and ragged, and with the shares of their rules."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pyarrow as pa
import pytest
from chain_runs import plan, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.augment import MaskTokens, RandomWindow, TokenDropout, TokenReplace
from headrace.batch import Ragged
from headrace.draws import Draws, Samples
from headrace.errors import OptionError, SchemaError

Array = np.ndarray[Any, Any]
PAD, CLS, SEP, MASK, VOCAB = 0, 2, 3, 4, 60
LIBRARIES = pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
SOME = settings(
    deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


def sentences(lengths: list[int], seed: int = 0) -> list[list[int]]:
    """Samples of these lengths: special tokens at both ends, ordinary ones between."""
    random = np.random.default_rng(seed)
    made: list[list[int]] = []
    for length in lengths:
        words = random.integers(5, VOCAB, length).tolist()
        made.append([CLS, *words[2:], SEP] if length >= 2 else words)
    return made


def padded(samples: list[list[int]], width: int, dtype: str = "int32", fill: int = PAD) -> Array:
    return np.array([[*sample, *[fill] * (width - len(sample))] for sample in samples], dtype).reshape(
        -1, width
    )


def ragged(samples: list[list[int]], dtype: str = "int32") -> Ragged:
    offsets = np.cumsum([0, *(len(sample) for sample in samples)])
    return Ragged(np.array([each for sample in samples for each in sample], dtype), offsets)


def element_words(op: Any, ids: Any, count: int, path: str) -> list[list[int]]:
    drawn = Draws(0).words(path, Samples(np.asarray(ids, np.int64)), count, purpose=f"elements of {op.ids}")
    return drawn.tolist()


def gates(op: Any, columns: Any, path: str) -> list[bool]:
    return [bool(each) for each in plan(op, columns).records[path]["applied"]]


def mask_by_loop(op: MaskTokens, samples: list[list[int]], is_on: list[bool]) -> tuple[Any, Any]:
    """BERT's rule, token by token, with the words that the scheme names."""
    words = element_words(op, range(len(samples)), 2 * max(map(len, samples), default=0), "MaskTokens#0")
    ids, labels = [list(sample) for sample in samples], [[-100] * len(sample) for sample in samples]
    for number, sample in enumerate(samples):
        for place, token in enumerate(sample):
            word, other = words[number][2 * place : 2 * place + 2]
            if token in op.special_ids or not is_on[number] or word >= int(op.mlm_probability * 2**32):
                continue
            labels[number][place] = token
            share = word / 2**32 / op.mlm_probability
            if share < op.mask_replace_prob:
                ids[number][place] = op.mask_id
            elif share < op.mask_replace_prob + op.random_replace_prob:
                ids[number][place] = other * op.vocab_size >> 32
    return ids, labels


@LIBRARIES
@SOME
@given(lengths=LENGTHS, p=st.sampled_from([0.5, 1.0]), chosen=st.sampled_from([0.15, 0.9, 1.0]))
def test_masking_is_as_a_loop_does_it(xp: Any, lengths: list[int], p: float, chosen: float) -> None:
    """Padded by an id, padded with lengths, and ragged: the same draws, the same tokens, the same labels."""
    samples = sentences(lengths)
    options: dict[str, Any] = {"mask_id": MASK, "vocab_size": VOCAB, "special_ids": (CLS, SEP), "p": p}
    op = MaskTokens("ids", **options, mlm_probability=chosen)
    by_pad, by_length = (
        MaskTokens("ids", **options, mlm_probability=chosen, **how)
        for how in ({"pad_id": PAD}, {"lengths": "length"})
    )
    lists = {"ids": ragged(samples)}
    ids, labels = mask_by_loop(op, samples, gates(op, lists, "MaskTokens#0"))

    if xp is np:
        found = run(op, lists)
        assert [each.tolist() for each in found["ids"]] == ids
        assert [each.tolist() for each in found["labels"]] == labels
    found = run(by_pad, {"ids": padded(samples, 12, "int64")}, xp=xp)
    np.testing.assert_array_equal(found["ids"], padded(ids, 12))
    np.testing.assert_array_equal(found["labels"], padded(labels, 12, fill=-100))
    columns = {"ids": padded(samples, 12, fill=7), "length": np.array(lengths)}
    found = run(by_length, columns, xp=xp)
    np.testing.assert_array_equal(found["ids"], padded(ids, 12, fill=7))
    np.testing.assert_array_equal(found["labels"], padded(labels, 12, fill=-100))
    np.testing.assert_array_equal(found["length"], lengths)


def test_masking_has_the_shares_of_bert() -> None:
    """15 % of ordinary tokens are chosen; of these 80 % become the mask, 10 % another token, 10 % stay."""
    ids = np.random.default_rng(0).integers(5, 30_000, (2000, 128))
    ids[:, 0], ids[:, 100:] = CLS, PAD
    op = MaskTokens("ids", mask_id=MASK, vocab_size=30_000, special_ids=(CLS,), pad_id=PAD)

    found = run(op, {"ids": ids})

    chosen = found["labels"] != -100
    np.testing.assert_array_equal(found["labels"][chosen], ids[chosen])
    np.testing.assert_array_equal(found["ids"][~chosen], ids[~chosen])
    assert not chosen[:, 0].any()
    assert not chosen[:, 100:].any()
    masked, kept = chosen & (found["ids"] == MASK), chosen & (found["ids"] == ids)
    count = chosen.sum()
    others = found["ids"][chosen & ~masked & ~kept]
    for share, expected, of in (
        (count / (2000 * 99), 0.15, 2000 * 99),
        (masked.sum() / count, 0.8, count),
        (kept.sum() / count, 0.1, count),
    ):
        assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / of)
    assert others.min() < 100
    assert others.max() > 29_900
    assert abs(others.mean() - 15_000) < 5 * 30_000 / np.sqrt(12 * len(others))


@pytest.mark.parametrize(("mask", "other"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.7, 0.3)])
def test_shares_of_masking_may_be_all_or_nothing(mask: float, other: float) -> None:
    """Every chosen token becomes the mask, another token, or stays."""
    ids = np.full((50, 64), 9)
    op = MaskTokens(
        "ids",
        mask_id=MASK,
        vocab_size=2,
        mlm_probability=1,
        mask_replace_prob=mask,
        random_replace_prob=other,
    )

    found = run(op, {"ids": ids})

    assert (found["labels"] == 9).all()
    shares = (found["ids"] == MASK).mean(), (found["ids"] < 2).mean(), (found["ids"] == 9).mean()
    np.testing.assert_allclose(shares, (mask, other, 1 - mask - other), atol=0.04)


def drop_by_loop(op: TokenDropout, samples: list[list[int]], is_on: list[bool]) -> list[list[int]]:
    """Which places of each sample stay."""
    words = element_words(op, range(len(samples)), max(map(len, samples), default=0), "TokenDropout#0")
    places: list[list[int]] = []
    for number, sample in enumerate(samples):
        free = [place for place, token in enumerate(sample) if token not in op.special_ids]
        last = max(free, key=lambda place: (words[number][place], -place), default=None)
        dropped = {place for place in free if words[number][place] < int(op.rate * 2**32) and place != last}
        places.append([place for place in range(len(sample)) if place not in dropped or not is_on[number]])
    return places


@LIBRARIES
@SOME
@given(lengths=LENGTHS, p=st.sampled_from([0.5, 1.0]), rate=st.sampled_from([0.1, 0.6, 1.0]))
def test_dropping_is_as_a_loop_does_it(xp: Any, lengths: list[int], p: float, rate: float) -> None:
    """Gaps close, further columns lose the same places, and lengths follow."""
    samples = sentences(lengths)
    kinds = [[place + 1 for place in range(length)] for length in lengths]
    options: dict[str, Any] = {"rate": rate, "special_ids": (CLS, SEP), "p": p}
    lists = {"ids": ragged(samples), "kinds": ragged(kinds, "uint8")}
    op = TokenDropout(("ids", "kinds"), **options)
    stay = drop_by_loop(op, samples, gates(op, lists, "TokenDropout#0"))
    ids, types = (
        [[row[place] for place in places] for row, places in zip(rows, stay, strict=True)]
        for rows in (samples, kinds)
    )

    if xp is np:
        found = run(op, lists)
        assert [each.tolist() for each in found["ids"]] == ids
        assert [each.tolist() for each in found["kinds"]] == types
    op = TokenDropout(("ids", "kinds"), **options, pad_id=1, lengths="length")
    columns = {
        "ids": padded(samples, 12, fill=1),
        "kinds": padded(kinds, 12, "uint8"),
        "length": np.array(lengths, np.int16),
    }
    found = run(op, columns, xp=xp)
    np.testing.assert_array_equal(found["ids"], padded(ids, 12, fill=1))
    np.testing.assert_array_equal(found["kinds"], padded(types, 12))
    np.testing.assert_array_equal(found["length"], [len(each) for each in ids])


def test_dropping_never_empties_a_sample() -> None:
    """At a rate of 1, one token stays, and not always the first."""
    ids = np.tile(np.arange(5, 13), (200, 1))

    found = run(TokenDropout("ids", rate=1, pad_id=0), {"ids": ids})["ids"]

    assert ((found != 0).sum(axis=1) == 1).all()
    assert set(found[:, 0].tolist()) == set(range(5, 13))


def test_dropped_tokens_can_be_replaced_in_place() -> None:
    """With a replacement nothing moves."""
    ids = np.tile(np.arange(5, 45), (200, 1))

    found = run(TokenDropout("ids", replacement=1), {"ids": ids})["ids"]

    changed = found != ids
    assert (found[changed] == 1).all()
    assert abs(changed.mean() - 0.1) < 5 * np.sqrt(0.09 / ids.size)


@LIBRARIES
@SOME
@given(lengths=LENGTHS, p=st.sampled_from([0.5, 1.0]))
def test_replacing_is_as_a_loop_does_it(xp: Any, lengths: list[int], p: float) -> None:
    """A token is replaced if its first word says so, by what its second one says."""
    samples = sentences(lengths)
    op = TokenReplace("ids", vocab_size=VOCAB, rate=0.5, special_ids=(CLS, SEP), pad_id=PAD, p=p)
    columns = {"ids": padded(samples, 12)}
    is_on = gates(op, columns, "TokenReplace#0")
    words = element_words(op, range(len(samples)), 24, "TokenReplace#0")
    expected = [
        [
            words[number][2 * place + 1] * VOCAB >> 32
            if words[number][2 * place] < 2**31 and token not in (CLS, SEP) and is_on[number]
            else token
            for place, token in enumerate(sample)
        ]
        for number, sample in enumerate(samples)
    ]

    np.testing.assert_array_equal(run(op, columns, xp=xp)["ids"], padded(expected, 12))
    if xp is np:
        found = run(op, {"ids": ragged(samples)})["ids"]
        assert [each.tolist() for each in found] == expected


@LIBRARIES
@SOME
@given(lengths=LENGTHS, p=st.sampled_from([0.5, 1.0]), size=st.integers(1, 15))
def test_windows_are_as_a_loop_cuts_them(xp: Any, lengths: list[int], p: float, size: int) -> None:
    """A window begins where the sample's word says, in the middle without the gate, and stays inside."""
    samples = sentences(lengths)
    op = RandomWindow("ids", size=size, pad_id=PAD, p=p)
    columns = {"ids": padded(samples, 12)}
    record = plan(op, columns).records["RandomWindow#0"]
    expected: list[list[int]] = []
    for sample, is_on, word in zip(samples, record["applied"], record["word"].tolist(), strict=True):
        spare = max(len(sample) - size, 0)
        begin = word * (spare + 1) >> 32 if is_on else spare // 2
        expected.append(sample[begin : begin + size])

    np.testing.assert_array_equal(run(op, columns, xp=xp)["ids"], padded(expected, size))
    both = {"ids": padded(samples, 12, fill=9), "length": np.array(lengths)}
    found = run(RandomWindow("ids", size=size, pad_id=7, lengths="length", p=p), both, xp=xp)
    np.testing.assert_array_equal(found["ids"], padded(expected, size, fill=7))
    np.testing.assert_array_equal(found["length"], [len(each) for each in expected])
    if xp is np:
        found = run(op, {"ids": ragged(samples)})["ids"]
        assert [each.tolist() for each in found] == expected


def test_every_window_is_drawn_and_columns_are_cut_alike() -> None:
    """All places come equally often, and a second column is cut where the first one is."""
    ids = np.tile(np.arange(1, 11), (4000, 1))

    found = run(RandomWindow(("ids", "kinds"), size=4), {"ids": ids, "kinds": ids * 2})

    counts = np.bincount(found["ids"][:, 0], minlength=8)[1:]
    assert (np.abs(counts / 4000 - 1 / 7) < 5 * np.sqrt(6 / 49 / 4000)).all()
    np.testing.assert_array_equal(found["ids"], found["ids"][:, :1] + np.arange(4))
    np.testing.assert_array_equal(found["kinds"], 2 * found["ids"])


def test_tokens_that_are_padded_on_the_left_are_found() -> None:
    """What is no pad is a token, wherever the padding is; windows begin with tokens."""
    ids = np.array([[0, 0, 5, 6, 7], [5, 6, 7, 8, 9]])

    window = run(RandomWindow("ids", size=3, pad_id=0), {"ids": ids})["ids"]
    mask = run(MaskTokens("ids", mask_id=1, vocab_size=9, pad_id=0, mlm_probability=1), {"ids": ids})

    assert window[0].tolist() == [5, 6, 7]
    assert (mask["labels"] == np.where(ids == 0, -100, ids)).all()


def test_a_sample_draws_the_same_in_any_batch() -> None:
    """Tokens depend on the sample's id and epoch, not on its place or on the samples beside it."""
    samples = sentences([9, 4, 12, 1, 7])
    op = MaskTokens("ids", mask_id=MASK, vocab_size=VOCAB, mlm_probability=0.5)
    together = run(op, {"ids": ragged(samples)}, ids=[10, 11, 12, 13, 14])

    for number, sample in enumerate(samples):
        alone = run(op, {"ids": ragged([sample])}, ids=[10 + number])
        assert alone["ids"].values.tolist() == list(together["ids"])[number].tolist()
    later = run(op, {"ids": ragged(samples)}, ids=[10, 11, 12, 13, 14], draws=Draws(0, 1))
    assert later["ids"].values.tolist() != together["ids"].values.tolist()


def test_lists_of_a_table_are_masked_in_the_loader() -> None:
    """Lists of Arrow reach the loader ragged, with labels of the same lengths."""
    table = pa.table({"ids": pa.array([[2, 7, 8, 3], [2, 9, 3]], pa.list_(pa.int32()))})
    op = MaskTokens("ids", mask_id=4, vocab_size=50, special_ids=(2, 3), mlm_probability=1)

    batch = hr.from_arrow(table).augment(op).loader(2, output="numpy").batch(0)

    assert [each.tolist() for each in batch["labels"]] == [[-100, 7, 8, -100], [-100, 9, -100]]


BAD: list[tuple[Any, str]] = [
    (lambda: MaskTokens("ids", mask_id=-1, vocab_size=9), "`mask_id`"),
    (lambda: MaskTokens("ids", mask_id=1, vocab_size=0), "`vocab_size`"),
    (lambda: MaskTokens(("a", "b"), mask_id=1, vocab_size=9), "one column"),
    (
        lambda: MaskTokens("ids", mask_id=1, vocab_size=9, mlm_probability=2),
        "`mlm_probability` must be a prob",
    ),
    (lambda: MaskTokens("ids", mask_id=1, vocab_size=9, random_replace_prob=0.3), "must not exceed 1"),
    (lambda: MaskTokens("ids", mask_id=1, vocab_size=9, special_ids="ab"), "`special_ids`"),
    (lambda: MaskTokens("ids", mask_id=1, vocab_size=9, special_ids=(1.5,)), "`special_ids`"),
    (lambda: TokenDropout("ids", rate=-0.1), "`rate` must be a probability"),
    (lambda: TokenReplace("ids", vocab_size=9, rate=True), "`rate` must be a probability"),
    (lambda: TokenReplace(("a", "b"), vocab_size=9), "one column"),
    (lambda: RandomWindow("ids", size=0), "`size`"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_options_that_cannot_be_right_are_refused(make: Any, message: str) -> None:
    """An error names the augmentation and the option."""
    with pytest.raises(OptionError, match=message):
        make()


IDS = np.ones((2, 5), np.int32)
UNFIT: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (TokenReplace("ids", vocab_size=9), {"ids": IDS.astype(np.float32)}, SchemaError, "whole numbers"),
    (TokenReplace("ids", vocab_size=9), {"ids": IDS[:, 0]}, SchemaError, "whole numbers"),
    (RandomWindow("ids", size=2, pad_id=0), {"ids": IDS[:, :0]}, SchemaError, "T at least 1"),
    (
        TokenReplace("ids", vocab_size=300),
        {"ids": IDS.astype(np.uint8)},
        SchemaError,
        "`vocab_size - 1`, which is 299",
    ),
    (
        MaskTokens("ids", mask_id=400, vocab_size=9),
        {"ids": IDS.astype(np.uint8)},
        SchemaError,
        "`mask_id`, which is 400",
    ),
    (MaskTokens("ids", mask_id=1, vocab_size=9), {"ids": IDS, "labels": IDS}, SchemaError, "there already"),
    (TokenDropout("ids"), {"ids": IDS}, OptionError, "`pad_id` must say"),
    (TokenDropout("ids", pad_id=-1), {"ids": IDS.astype(np.uint8)}, SchemaError, "`pad_id`, which is -1"),
    (
        TokenDropout(("ids", "b"), pad_id=0),
        {"ids": IDS, "b": IDS[:, :3]},
        SchemaError,
        "as many places as `ids`",
    ),
    (TokenDropout("ids", pad_id=0, lengths="n"), {"ids": IDS, "n": IDS}, SchemaError, "shape \\[n\\]"),
    (RandomWindow("ids", size=6), {"ids": IDS}, OptionError, "wider than column `ids`"),
    (
        RandomWindow("ids", size=2, lengths="n"),
        {"ids": ragged([[1]]), "n": np.ones(1, int)},
        OptionError,
        "ragged",
    ),
]


@pytest.mark.parametrize(("op", "columns", "error", "message"), UNFIT)
def test_columns_that_do_not_fit_are_refused(
    op: Any, columns: dict[str, Any], error: type[Exception], message: str
) -> None:
    """An error names the augmentation, the column, what it must hold and what it holds."""
    with pytest.raises(error, match=message) as caught:
        run(op, columns)
    assert type(op).__name__ in str(caught.value)


def test_ragged_columns_of_other_lengths_are_refused() -> None:
    """A further ragged column must have as many values in each sample."""
    columns = {"ids": ragged([[1, 2], [3]]), "kinds": ragged([[1], [2, 3]])}

    with pytest.raises(SchemaError, match="`kinds` must have as many values in each sample as `ids`"):
        run(RandomWindow(("ids", "kinds"), size=1), columns)
