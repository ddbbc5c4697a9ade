"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# Enough to meet what is often hit; `--hypothesis-profile=default` draws more.
settings.register_profile("suite", max_examples=40)
settings.load_profile("suite")
