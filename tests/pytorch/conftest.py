"""What all tests of the border to PyTorch share."""

from __future__ import annotations

import pytest
import torch.utils.data._utils


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error in a worker, torch waits 5 seconds for workers that do not know of it; 1 will do."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 1.0)
