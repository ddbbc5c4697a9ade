"""The job files that the documentation shows are jobs that run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import headrace as hr
from headrace.execution.stages import Stages
from headrace.jobs.file import read_job
from headrace.jobs.run import run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DEFAULTS = {
    "source": '[source]\npath = "examples/flights/data/*-01.parquet"\n',
    "write": '[write]\npath = "out"\n',
}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n", 1)[0])
def test_each_job_on_the_page_runs(block: str, tmp_path: Path) -> None:
    """A block is a job, or sections of one that copies the flights of January."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    given = tomllib.loads(block)
    rest = [text for name, text in DEFAULTS.items() if name not in given]
    (tmp_path / "job.toml").write_text("".join([block, *rest]))
    summary = run(read_job(tmp_path / "job.toml"), Stages())

    assert not summary.failed
    for output in summary.outputs:
        assert len(hr.open(output.path)) == output.rows > 0


def test_every_section_is_on_the_page() -> None:
    """Each setting of each section is named, and each section is shown."""
    from headrace.jobs.model import JobFile

    for name, field in JobFile.model_fields.items():
        assert re.search(rf"\[{name}\]", PAGE), (name, field)
