"""A loader's saved state: a position in an epoch, and what it must agree with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.errors import StateError
from headrace.planning.order import ORDER_VERSION
from headrace.planning.plan import Plan

STATE_VERSION = 1

# Parts of a state that must not change between saving and loading, and what errors call them.
FIXED_PARTS = {
    "version": "the state's format",
    "order_version": "the version of the order's algorithm",
    "data": "the data",
    "selection": "the selected samples",
    "recipe": "the recipe",
    "seed": "the seed",
    "shuffle": "the shuffle",
}


def identify(plan: Plan, recipe: str) -> dict[str, Any]:
    """Return the fixed parts of a state: those of a plan, and the recipe's fingerprint."""
    return {
        "version": STATE_VERSION,
        "order_version": ORDER_VERSION,
        "data": plan.manifest.fingerprint,
        "selection": plan.selection.fingerprint,
        "recipe": recipe,
        "seed": plan.seed,
        "shuffle": plan.order.name,
    }


def read_state(state: Mapping[str, Any], identity: Mapping[str, Any], count: int) -> tuple[int, int]:
    """Return the epoch and the cursor of a saved state, after checking that it fits.

    Args:
        state: What was saved.
        identity: The fixed parts as they are now.
        count: Samples of an epoch; a state at an epoch's end begins the next one.

    Raises:
        StateError: The state belongs to other data, another recipe, seed or shuffle.
    """
    missing = [name for name in (*FIXED_PARTS, "epoch", "cursor") if name not in state]
    if missing:
        raise StateError(f"a loader's state must hold {', '.join(missing)}; got the keys {sorted(state)}")
    for name, title in FIXED_PARTS.items():
        if state[name] != identity[name]:
            raise StateError(
                f"the state does not fit: {title} differs (`{name}` is {identity[name]!r}, and "
                f"{state[name]!r} in the state); load it into a loader like the one that saved it"
            )
    for name in ("epoch", "cursor"):
        if isinstance(state[name], bool) or not isinstance(state[name], int) or state[name] < 0:
            raise StateError(f"`{name}` in a state must be a whole number of at least 0, got {state[name]!r}")
    epoch, cursor = state["epoch"], state["cursor"]
    return (epoch + 1, 0) if cursor >= count else (epoch, cursor)
