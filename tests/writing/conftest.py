"""What the tests of writing share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for the disk: what it wrote need not outlast a power cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
