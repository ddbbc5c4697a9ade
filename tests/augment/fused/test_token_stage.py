"""The compiled stage of tokens gives the bytes of the references, padded and ragged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stage_checks import check_stage

from headrace.augment import MaskTokens, RandomWindow, TokenDropout, TokenReplace
from headrace.augment.base import Spec
from headrace.augment.chain import Chain
from headrace.augment.fused.tokens.stage import find_token_stage
from headrace.batch import Ragged
from headrace.draws import Draws, Samples
from headrace.errors import SchemaError

SPECIAL = (2, 3)
FORMS = ["whole", "padded", "lengths", "ragged"]


def columns_of(form: str, rng: np.random.Generator, dtype: str = "int64", n: int = 5) -> dict[str, Any]:
    """Ids and their types, and a column of lengths or none."""
    width = int(rng.integers(1, 30))
    lengths = rng.integers(0, width + 1, n)
    ids: NDArray[Any] = rng.integers(1, 12, (n, width)).astype(dtype)
    kinds = rng.integers(0, 3, (n, width)).astype(np.int8)
    if form == "ragged":
        is_token = np.arange(width) < lengths[:, None]
        offsets = np.append(0, np.cumsum(lengths))
        return {"ids": Ragged(ids[is_token], offsets), "kinds": Ragged(kinds[is_token], offsets)}
    if form == "padded":
        ids[np.arange(width) >= lengths[:, None]] = 0
        ids[rng.random(ids.shape) < 0.1] = 0  # gaps within samples too
    return {"ids": ids, "kinds": kinds, "lengths": lengths.astype(np.int32)}


def options_of(form: str) -> dict[str, Any]:
    """What says which places hold tokens."""
    if form == "padded":
        return {"pad_id": 0}
    return {"lengths": "lengths", "pad_id": 0} if form == "lengths" else {}


def all_ops(form: str, rng: np.random.Generator) -> list[Any]:
    """One of each kind, with options that fit."""
    some: dict[str, Any] = {**options_of(form), "p": float(rng.choice([1.0, 0.5])), "name": "op"}
    two, rate = ["ids", "kinds"], float(rng.random())
    ops: list[Any] = [
        MaskTokens("ids", mask_id=4, vocab_size=30, special_ids=SPECIAL, mlm_probability=rate, **some),
        TokenReplace("ids", vocab_size=30, special_ids=SPECIAL, rate=rate, **some),
        TokenDropout(two, rate=rate, replacement=7, special_ids=SPECIAL, **some),
    ]
    pad: dict[str, Any] = {**some, "pad_id": 0}
    ops.append(RandomWindow(two, size=int(rng.integers(1, 40)), **pad))
    if form != "whole":
        ops.append(TokenDropout(two, rate=rate, special_ids=SPECIAL, **some))
    return ops


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_tokens_become_those_of_the_references(form: str, dtype: str) -> None:
    """All operations on random samples of all forms."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        for op in all_ops(form, rng):
            check_stage(find_token_stage, [op], columns_of(form, rng, dtype), seed)


@pytest.mark.parametrize("form", FORMS)
def test_batches_without_tokens_are_no_trouble(form: str) -> None:
    """No samples, and samples that are all empty."""
    rng = np.random.default_rng(0)
    for op in all_ops(form, rng):
        if form != "ragged":
            check_stage(find_token_stage, [op], columns_of(form, rng, n=0))
            continue
        for n in (0, 3):
            empty = {
                name: Ragged(np.empty(0, dtype), np.zeros(n + 1, np.int64))
                for name, dtype in (("ids", np.int64), ("kinds", np.int8))
            }
            check_stage(find_token_stage, [op], empty)


def test_ragged_columns_that_do_not_go_together_are_refused() -> None:
    """As by the reference, before anything is read."""
    ids = Ragged(np.arange(3), np.array([0, 1, 3]))
    kinds = Ragged(np.arange(3), np.array([0, 2, 3]))
    op = TokenDropout(["ids", "kinds"], rate=0.5)

    with pytest.raises(SchemaError, match="column `kinds` must have as many values"):
        check_stage(find_token_stage, [op], {"ids": ids, "kinds": kinds})
    stage = find_token_stage(Chain((op,)).bind({"ids": Spec.of(ids), "kinds": Spec.of(kinds)}), 0)
    assert stage is not None
    planned = stage.bound.plan(Draws(0), Samples(np.arange(2)))
    with pytest.raises(SchemaError, match="column `kinds` must have as many values"):
        stage.run({"ids": ids, "kinds": kinds}, None, planned, lambda wanted: {})
