"""Journals: whose a folder is, what is continued, what is refused, and what an update keeps."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
from journal_jobs import (
    FIRST,
    SCHEMA,
    SECOND,
    Job,
    content_of,
    inodes,
    publish,
    run,
    stage,
    tree,
    write_shard,
)

import headrace as hr
from headrace.sources.written.manifest import NAME, WrittenFile, WrittenManifest
from headrace.writing.journal import Journal


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the outputs of both jobs, each written at once."""
    folder = tmp_path_factory.mktemp("clean")
    run(folder / "first", FIRST)
    run(folder / "second", SECOND)
    return folder


def opened(out: Path, job: Job = FIRST, *, resume: bool = True, update: bool = False) -> Journal:
    return Journal.open(out, job.identity, resume=resume, update=update)


def test_output_holds_the_shards_and_nothing_of_the_job(out: Path) -> None:
    """After a job there are its shards, its other files, the manifest, and no trace of staging."""
    assert run(out, FIRST) == FIRST.names
    found = tree(out)

    assert {name: content for name, content in found.items() if name in FIRST.keys} == {
        name: content_of(key) for name, key in FIRST.keys.items()
    }
    assert set(found) == {*FIRST.names, "_pipeline.json", NAME, "year=2012", "year=2013"}


def test_nothing_shows_before_it_is_published(out: Path) -> None:
    """Whoever lists the folder meanwhile sees one hidden-like folder and no shard."""
    stage(out, FIRST, FIRST.names)

    assert os.listdir(out) == ["_unfinished"]


def test_complete_output_is_left_alone(out: Path) -> None:
    """A second run of the same job gets the manifest and touches nothing, not even by a lock."""
    run(out, FIRST)
    before = out.stat().st_mtime_ns
    journal = opened(out)
    journal.close()
    journal.close()

    assert journal.complete is not None
    assert [file.name for file in journal.complete.files] == FIRST.names
    assert out.stat().st_mtime_ns == before


def test_next_run_writes_only_what_lacks(out: Path, clean: Path) -> None:
    """Recorded shards are kept, and the output is that of a run at once."""
    stage(out, FIRST, FIRST.names[1:3])

    assert run(out, FIRST) == [FIRST.names[0], *FIRST.names[3:]]
    assert tree(out) == tree(clean / "first")


def test_staging_goes_to_other_processes(out: Path) -> None:
    """A task gets the staging folder by pickle, and what it records is known to all."""
    journal = opened(out)
    staging = pickle.loads(pickle.dumps(journal.staging))
    file = write_shard(staging, "year=2012/part-00000.parquet", "d")
    journal.close()

    assert journal.staging.record(file.name, "d") == file
    assert (file.nbytes, file.rows, file.null_counts) == (len(content_of("d")), (4, 1), {"x": ord("d")})
    assert journal.staging.record(file.name, "another") is None
    assert journal.staging.record("part-00000.parquet", "a") is None


def test_parts_that_are_no_shards(out: Path) -> None:
    """What tasks hand to each other is there as a whole, stays for the next run, and is not published."""
    journal = opened(out)
    aside = journal.staging.aside("spill/00012.arrow")
    aside.write_bytes(b"rows")
    assert not journal.staging.has_part("spill/00012.arrow")
    journal.staging.keep_part("spill/00012.arrow", aside)
    given_up = journal.staging.aside("spill/00013.arrow")
    given_up.write_bytes(b"ro")
    journal.staging.discard(given_up)
    journal.staging.discard(given_up)
    journal.close()
    again = opened(out)
    again.close()

    assert again.staging.has_part("spill/00012.arrow")
    assert [path.name for path in (again.staging.folder / "spill").iterdir()] == ["00012.arrow"]
    run(out, FIRST)
    assert "spill" not in tree(out)


def test_half_written_shards_of_killed_tasks_are_removed(out: Path) -> None:
    """What was written aside takes no room any more once the job goes on."""
    journal = opened(out)
    journal.staging.aside("year=2012/part-00000.parquet").write_bytes(b"half")
    journal.close()
    again = opened(out)
    again.close()

    assert [path for path in again.staging.folder.rglob("*") if path.is_file()] == []


# Other work in the folder


@pytest.mark.parametrize("is_complete", [True, False])
def test_other_identity_is_refused_with_what_differs(out: Path, is_complete: bool) -> None:
    """The message names the parts that differ, both values, and what to do; nothing changes."""
    run(out, FIRST) if is_complete else stage(out, FIRST, FIRST.names[:2])
    before = tree(out)
    other = {**FIRST.identity, "recipe": "x" * 200, "order": "shuffled"}
    with pytest.raises(hr.StateError) as caught:
        Journal.open(out, other, resume=True, update=False)

    text = str(caught.value)
    assert f"{out}: " in text
    assert "`recipe` was 'scaled' and is 'xxx" in text
    assert "`order` was missing and is 'shuffled'" in text
    assert "`source`" not in text
    assert "x" * 100 not in text
    assert ("`update=True`" if is_complete else "`resume=False`") in text
    assert tree(out) == before


def test_starting_over_throws_unfinished_work_away(out: Path, clean: Path) -> None:
    """With `resume=False` work of another identity makes room, and that of the same one is done again."""
    staging = stage(out, SECOND, SECOND.names[:2])
    journal = opened(out, FIRST, resume=False)
    journal.close()
    assert not staging.folder.exists()
    stage(out, FIRST, FIRST.names)

    assert run(out, FIRST, resume=False) == FIRST.names
    assert tree(out) == tree(clean / "first")


def test_complete_output_stays_until_it_is_written_anew(out: Path, clean: Path) -> None:
    """With `resume=False` the old output can be read until the new one is there, interrupted or not."""
    run(out, FIRST)
    (out / FIRST.names[0]).write_bytes(b"damaged")
    journal = opened(out, resume=False)
    assert journal.complete is None
    write_shard(journal.staging, FIRST.names[0], "a")
    journal.close()
    assert set(FIRST.names) < set(tree(out))
    assert run(out, FIRST) == FIRST.names[1:]

    assert tree(out) == tree(clean / "first")


def test_complete_output_beside_work_of_another_identity(out: Path) -> None:
    """While an update is unfinished, the job of the old output still finds it complete."""
    run(out, FIRST)
    stage(out, SECOND, SECOND.names[:1])

    assert run(out, FIRST) is None
    with pytest.raises(hr.StateError, match="unfinished work"):
        opened(out, Job({"source": "flights of July"}, {}), update=True)
    assert run(out, SECOND, update=True) == ["part-00003.parquet"]


def test_complete_output_beside_a_start_that_came_to_nothing(out: Path, clean: Path) -> None:
    """What a run left that ended before it had a journal is removed, although nothing is to be done."""
    run(out, FIRST)
    (out / "_unfinished" / f"{'0' * 16}-{'0' * 8}").mkdir(parents=True)

    assert run(out, FIRST) is None
    assert tree(out) == tree(clean / "first")


def test_output_with_a_shard_gone_is_told(out: Path, clean: Path) -> None:
    """A complete output that lost a shard is not taken for complete; an update writes what lacks."""
    run(out, FIRST)
    (out / FIRST.names[2]).unlink()
    (out / FIRST.names[3]).write_bytes(b"cut")
    with pytest.raises(hr.OutputError, match=r"part-00002.parquet: is gone .* and 1 more; `update=True`"):
        opened(out)

    assert run(out, FIRST, update=True) == FIRST.names[2:4]
    assert tree(out) == tree(clean / "first")


# Updates


def test_update_keeps_moves_and_drops(out: Path, clean: Path) -> None:
    """Shards with known keys keep their files under any new name, others are written, the rest is gone."""
    run(out, FIRST)
    (out / "year=2013" / "notes.txt").write_text("mine")
    before = inodes(out)
    assert run(out, SECOND, update=True) == ["part-00003.parquet"]
    after = inodes(out)

    assert (out / "year=2013" / "notes.txt").read_text() == "mine"
    (out / "year=2013" / "notes.txt").unlink()
    (out / "year=2013").rmdir()
    assert tree(out) == tree(clean / "second")
    moved = [("part-00000", "part-00001"), ("part-00001", "part-00000"), ("part-00002", "part-00002")]
    assert all(after[f"{new}.parquet"] == before[f"{old}.parquet"] for new, old in moved)
    assert before["year=2013/part-00000.parquet"] in [
        after["year=2014/part-00000.parquet"],
        after["year=2014/part-00001.parquet"],
    ]


def test_update_of_an_empty_folder_is_a_first_run(out: Path, clean: Path) -> None:
    """`update=True` needs no output to begin with."""
    assert run(out, FIRST, update=True) == FIRST.names
    assert tree(out) == tree(clean / "first")


def test_manifest_that_names_files_elsewhere(out: Path, tmp_path: Path) -> None:
    """An update removes nothing outside of the folder, whatever a manifest that was changed says."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    run(out, FIRST)
    names = ("../precious", "part-00000.parquet")
    files = tuple(WrittenFile(name, (1,), 4, "", name) for name in names)
    manifest = WrittenManifest("parquet", SCHEMA, files, identity={"a": "b"})
    (out / NAME).write_bytes(manifest.to_bytes())
    with pytest.raises(hr.CorruptSourceError, match=r"'\.\./precious'"):
        run(out, SECOND, update=True)

    assert precious.read_bytes() == b"mine"


# Refusals


@pytest.mark.parametrize("entry", ["data.csv", ".DS_Store", "part-00000.parquet"])
def test_folder_with_other_files_is_refused(out: Path, entry: str) -> None:
    """A folder in which anything lies that no job wrote is not touched, whatever was asked."""
    out.mkdir()
    (out / entry).write_text("mine")
    for resume, update in [(True, False), (False, True)]:
        with pytest.raises(hr.OutputError, match=f"must be empty .* holds `{entry}`"):
            opened(out, resume=resume, update=update)

    assert tree(out) == {entry: b"mine"}


def test_file_that_came_before_the_first_shard(out: Path) -> None:
    """An empty folder `_unfinished` makes nobody's folder ours."""
    (out / "_unfinished").mkdir(parents=True)
    (out / "mine.csv").write_text("mine")
    with pytest.raises(hr.OutputError, match=r"holds `mine\.csv`"):
        opened(out)

    assert tree(out) == {"mine.csv": b"mine"}


def test_places_that_can_be_no_output(tmp_path: Path) -> None:
    """Files, paths below files, links that lead nowhere, and file systems without room for it are refused."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "_unfinished").write_text("mine")
    places = [
        tmp_path / name for name in ("file", "file/out", "loop", "loop/out", "dangling", "taken", "n" * 300)
    ]
    for place in [*places, Path("/proc/out")]:
        with pytest.raises(hr.OutputError) as caught:
            opened(place)
        assert str(caught.value).startswith(str(place))
        assert "name a" in str(caught.value) or "remove it" in str(caught.value)

    assert (tmp_path / "taken" / "_unfinished").read_text() == "mine"


def test_folder_is_made_and_may_be_a_link(tmp_path: Path) -> None:
    """Missing folders above are made, and a link to a folder is that folder."""
    run(tmp_path / "a" / "b" / "out", FIRST)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")

    assert run(tmp_path / "link" / "out", FIRST) is None


def test_publishing_refuses_what_changed_meanwhile(out: Path) -> None:
    """A shard that is gone, or a stranger's file in the place of one, is told before anything moves."""
    journal = opened(out)
    files = [write_shard(journal.staging, name, key) for name, key in FIRST.keys.items()]
    (out / "part-00001.parquet").write_bytes(b"mine")
    with pytest.raises(hr.OutputError, match=r"part-00001\.parquet: was put there by somebody else"):
        publish(journal, FIRST, files, {})
    (out / "part-00001.parquet").unlink()
    (journal.staging.folder / "part-00002.parquet").write_bytes(b"cut")
    with pytest.raises(hr.OutputError, match=r"part-00002\.parquet: had .* run again"):
        publish(journal, FIRST, files, {})
    journal.close()

    assert os.listdir(out) == ["_unfinished"]
    assert run(out, FIRST) == ["part-00002.parquet"]


def test_closed_journal_publishes_nothing(out: Path) -> None:
    """After `close` another job may write to the folder, so this one must not."""
    journal = opened(out)
    files = [write_shard(journal.staging, name, key) for name, key in FIRST.keys.items()]
    journal.close()
    with pytest.raises(hr.ClosedError, match="closed"):
        journal.publish(WrittenManifest("parquet", SCHEMA, tuple(files)), {})


# Processes of earlier runs


@pytest.mark.parametrize("resume", [True, False])
def test_late_task_puts_nothing_into_a_folder_that_is_gone(out: Path, clean: Path, resume: bool) -> None:
    """A task that outlives its job fails, whether the job was published meanwhile or started over."""
    late = stage(out, FIRST, [])
    aside = late.aside("part-00000.parquet")
    part = late.aside("spill/0.arrow")
    for path in (aside, part):
        path.write_bytes(content_of("a"))
    run(out, FIRST, resume=resume)
    for attempt in (
        lambda: late.keep("part-00000.parquet", "a", aside, [4], {}),
        lambda: late.keep_part("spill/0.arrow", part),
    ):
        with pytest.raises(FileNotFoundError):
            attempt()
    for name in ("part-00000.parquet", "year=2012/part-00000.parquet"):
        with pytest.raises(hr.OutputError, match="is not there; workers must reach"):
            late.aside(name)

    assert tree(out) == tree(clean / "first")


def test_late_task_may_put_its_shard_once_more(out: Path, clean: Path) -> None:
    """Two attempts at one shard, of which the later ends after the job has published, leave one output."""
    stage(out, FIRST, FIRST.names)
    journal = opened(out)
    late = journal.staging.aside(FIRST.names[0])
    late.write_bytes(content_of("a"))
    journal.staging.keep(FIRST.names[0], "a", late, [4, 1], {"x": ord("a")})
    journal.close()

    assert run(out, FIRST) == []
    assert tree(out) == tree(clean / "first")


# Damage


DAMAGES = [b"", b'{"content": {"na', b"[" * 100_000, b"\xff\xfe", b"null", b"[]", b"{}"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_record_is_as_if_it_were_not_there(out: Path, clean: Path, damage: bytes) -> None:
    """A shard whose record cannot be trusted is written again."""
    staging = stage(out, FIRST, FIRST.names)
    (staging.folder / ".part-00001.parquet.json").write_bytes(damage)

    assert run(out, FIRST) == ["part-00001.parquet"]
    assert tree(out) == tree(clean / "first")


def test_record_with_a_flipped_digit_and_shard_cut_short(out: Path, clean: Path) -> None:
    """A record vouches for itself and for the size of its shard."""
    staging = stage(out, FIRST, FIRST.names)
    record = staging.folder / ".part-00000.parquet.json"
    record.write_bytes(record.read_bytes().replace(b'"rows": [4', b'"rows": [5'))
    (staging.folder / "part-00001.parquet").write_bytes(b"cut")
    (staging.folder / "part-00002.parquet").unlink()

    assert run(out, FIRST) == FIRST.names[:3]
    assert tree(out) == tree(clean / "first")


@pytest.mark.parametrize("damage", [b"", b'{"content": {"version": 1', b"{}"])
def test_damaged_journal_is_told_and_can_be_started_over(out: Path, clean: Path, damage: bytes) -> None:
    """Nobody knows whose work that is, so it is used for nothing."""
    stage(out, FIRST, FIRST.names)
    (out / "_unfinished" / "job.json").write_bytes(damage)
    with pytest.raises(hr.StateError, match=r"job\.json: the journal .* is damaged.* `resume=False`"):
        opened(out)

    assert run(out, FIRST, resume=False) == FIRST.names
    assert tree(out) == tree(clean / "first")


def test_journal_whose_staging_folder_is_gone(out: Path) -> None:
    """Removing the staging folder by hand loses the work and no more."""
    staging = stage(out, FIRST, FIRST.names)
    shutil.rmtree(staging.folder)

    assert run(out, FIRST) == FIRST.names


@pytest.mark.parametrize("damage", [*DAMAGES, None])
def test_damaged_manifest_is_told(out: Path, damage: bytes | None) -> None:
    """An output whose manifest cannot be read is neither complete nor anybody's to replace."""
    run(out, FIRST)
    (out / NAME).write_bytes((out / NAME).read_bytes()[:-100] if damage is None else damage)
    before = tree(out)
    for resume, update in [(True, False), (False, True)]:
        with pytest.raises(hr.CorruptSourceError, match=NAME):
            opened(out, resume=resume, update=update)

    assert tree(out) == before
