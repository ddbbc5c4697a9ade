"""Shingles of texts are those that Python's `re` makes, whatever the letters and however texts are held."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from near_data import Gram, shingle_set, some

from headrace.dedup.text import shingles
from headrace.dedup.text.shingles import plain_texts, shingles_of
from headrace.dedup.text.sort_kernels import sorted_spread

# Libraries may know letters that this Python does not.
letters = st.characters(exclude_categories=["Cs", "Cn"])
tricky = st.sampled_from("aAzZ_09 -.'\t\n\x0b\x1c\x85\xa0\u2003ÀàßẞİıſKΣσςᾼ'’·ǅﬁÉé́日本𝔸𐐀٣²")  # noqa: RUF001
lines = st.text(st.one_of(tricky, letters), max_size=40)


def hashed(texts: list[str], unit: shingles.Unit, ngram: int) -> list[list[int]]:
    hashes, lengths = shingles_of(pa.array(texts, pa.large_string()), unit, ngram)
    assert lengths.sum() == len(hashes)
    return [part.tolist() for part in np.split(hashes, np.cumsum(lengths)[:-1])] if texts else []


@some
@given(st.lists(lines, min_size=1, max_size=6), st.integers(1, 4))
@example(["ΑΣ ΑΣΑ Σ ΑΣ. Α'Σ ΑΣ'Α"], 1)  # noqa: RUF001
@example(["One two three four five six seven eight nine ten"], 1)
def test_words_are_those_of_python(texts: list[str], ngram: int) -> None:
    r"""Each text has the hashes of its n-grams of `re.findall(r"\w+", text.lower())`, each made alone."""
    grams = [shingle_set(text, ngram) for text in texts]
    alone = hashed([" ".join(gram) for each in grams for gram in each], "word", ngram)
    expected = iter(alone)

    for found, each in zip(hashed(texts, "word", ngram), grams, strict=True):
        assert found == sorted({next(expected)[0] for _ in each})


@some
@given(st.lists(lines, min_size=2, max_size=6), st.integers(1, 4), st.sampled_from(["word", "char"]))
@example([" a  b\t", "a b"], 2, "char")
@example(["\x1c\x1dA\x85b", "a b"], 2, "char")
def test_sets_are_those_of_python(texts: list[str], ngram: int, unit: shingles.Unit) -> None:
    """Two shingles of any texts have one hash if they are equal, and only then."""
    known: dict[Gram, int] = {}
    for text, found in zip(texts, hashed(texts, unit, ngram), strict=True):
        grams = shingle_set(text, ngram, unit)
        assert found == sorted(set(found))
        assert len(found) == len(grams)
        assert {known[gram] for gram in grams if gram in known} == set(known.values()) & set(found)
        known |= {gram: value for gram in grams for value in hashed_gram(gram, ngram, unit)}


def hashed_gram(gram: Gram, ngram: int, unit: shingles.Unit) -> list[int]:
    """Return the hash of one shingle; one with blanks at its ends cannot be made alone."""
    text = gram if isinstance(gram, str) else " ".join(gram)
    if text.strip() == text or unit == "word":
        (alone,) = hashed([text], unit, ngram)
        assert len(alone) == 1
        return alone
    return []


def test_every_letter_is_told_as_python_does() -> None:
    r"""Each code point that this Python knows is a word, or none, as `\w` says."""
    points = [*range(0xD800), *range(0xE000, 0x32000), *range(0xE0000, 0xE0200)]
    known = [chr(point) for point in points if unicodedata.category(chr(point)) != "Cn"]
    _, lengths = shingles_of(pa.array(known, pa.large_string()), "word", 1)

    assert (lengths > 0).tolist() == [bool(re.search(r"\w", letter.lower())) for letter in known]


def test_how_texts_are_held_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices, dictionaries, views and blocks of a few bytes give the hashes of plain texts."""
    texts = ["one two three", None, "Zwölf Boxkämpfer jagen", "", "one two three four", "x"]
    plain = [text for text in texts if text is not None]
    expected = hashed(plain, "word", 2)
    column = pa.array(["before", *texts, "behind"]).slice(1, len(texts))

    for held in (
        column,
        column.dictionary_encode(),
        pa.DictionaryArray.from_arrays(np.arange(6, dtype=np.int32), column),  # null is among its values
        column.cast(pa.string_view()),
        column.cast(pa.large_string()),
    ):
        found, rows = plain_texts(held)
        assert found.to_pylist() == plain
        assert rows is not None
        assert rows.tolist() == [0, 2, 3, 4, 5]
        hashes, lengths = shingles_of(found, "word", 2)
        assert [lengths.tolist(), hashes.tolist()] == [
            [len(e) for e in expected],
            [value for each in expected for value in each],
        ]
    monkeypatch.setattr(shingles, "_BLOCK_BYTES", 8)
    assert hashed(plain, "word", 2) == expected
    assert hashed([], "word", 2) == []


def test_bytes_that_are_no_utf8_do_no_harm() -> None:
    """Broken bytes at any place are read within their text."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, 4000, np.uint8)
    offsets = np.sort(rng.integers(0, 4001, 300))
    from headrace.dedup.text.shingle_kernels import shingle_texts

    for is_words in (True, False):
        folded = np.arange(128, dtype=np.int16)
        values, lengths = shingle_texts(data, offsets, is_words, 1, folded, np.ones(0x110000, np.uint8))
        assert lengths.sum() == len(values)
        assert (lengths <= np.diff(offsets)).all()


@some
@given(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1)), max_size=300), st.integers(0, 3))
def test_numbers_are_sorted(values: list[int], skip: int) -> None:
    """Sorting gives what NumPy's gives, however numbers are spread."""
    words = np.array(values, np.uint64) >> np.uint64(skip)

    assert sorted_spread(words, skip).tolist() == np.sort(words).tolist()
