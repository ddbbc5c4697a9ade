"""Job files: what is read, what is refused, and on which line."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.jobs.file import read_job
from headrace.jobs.named import AUGMENTATION, METHOD, OPTIONS, STEP, Kind

LEAST = '[source]\npath = "data"\n[write]\npath = "out"\n'


@pytest.fixture
def job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to write a job to, which is called `job.toml` from here."""
    monkeypatch.chdir(tmp_path)
    return Path("job.toml")


def complaints(file: Path, text: str, *overrides: str) -> list[str]:
    """Return what is wrong with a job, one complaint after the other."""
    file.write_text(text)
    with pytest.raises(hr.OptionError) as caught:
        read_job(file, overrides)
    return str(caught.value).split(";\n")


def test_a_job_of_all_sections_is_read(job_file: Path) -> None:
    """What a file says is there, as it was said; what it does not say has its default."""
    job_file.write_text("""
        source = { path = ["a.csv", "s3://b/c.csv"], format = "csv", options = { null_values = ["NA"] } }
        join = { path = "w.parquet", on = { place = "city" }, how = "inner" }
        prepare = [{ step = "StandardScaler", columns = ["x"] }, { step = "Expression", y = "x * 2" }]
        [[columns]]
        late = "delay > 15"
        [select]
        where = "x > 1"
        sample = { fraction = 0.5, seed = 3 }
        [dedup]
        method = "MinHash"
        options = { threshold = 0.7 }
        stop_above = false
        [split]
        shares = { train = 0.8, test = 0.2 }
        by = "user"
        [augment]
        views = 3
        steps = { op = "GaussianJitter", columns = "x" }
        parts = "train"
        [write]
        path = "out"
        shuffle = { lanes = 4 }
    """)
    job = read_job(job_file)
    folder = Path.cwd()

    assert job.source.path == (f"{folder}/a.csv", "s3://b/c.csv")
    assert [join.on for join in job.join] == [{"place": "city"}]
    assert repr(job.prepare[0].make()) == repr(hr.StandardScaler(columns=("x",)))
    assert len(job.prepare[1].make().expressions) == 1
    assert job.select.where == ("x > 1",)
    assert job.select.sample is not None
    assert job.select.sample.fraction == 0.5
    assert job.dedup is not None
    assert (job.dedup.warn_above, job.dedup.stop_above) == (0.2, None)
    assert job.parts == ("train", "test")
    assert job.augment is not None
    assert job.augment.steps[0].make() == hr.augment.GaussianJitter("x")
    assert job.write.path == f"{folder}/out"
    assert (job.write.format, job.executor.kind, job.fit.values) == ("parquet", "threads", "refit")


def test_each_complaint_names_its_line(job_file: Path) -> None:
    """All that is wrong is told at once, in the order of the file, with what may have been meant."""
    text = """[source]
path = "data"
formt = "csv"

[selects]
where = "x > 1"

[[columns]]
late = "delay > ("

[[prepare]]
step = "StandrdScaler"

[[prepare]]
step = "StandardScaler"
colums = ["x"]

[[prepare]]
step = "HashEncoder"

[[prepare]]
step = "ClipOutliers"
method = "iqrs"

[write]
shards = "3"
"""
    assert complaints(job_file, text) == [
        "job.toml:3: source.formt: there is no such setting; did you mean `format`?",
        "job.toml:5: selects: there is no such setting; did you mean `select`?",
        "job.toml:9: columns.0.late: must be an SQL expression, got 'delay > (': "
        "unable to parse 'delay > (' as Expr",
        "job.toml:12: prepare.0.step: there is no step `StandrdScaler`; did you mean `StandardScaler`?",
        "job.toml:16: prepare.1.colums: `StandardScaler` has no parameter `colums`; did you mean `columns`?",
        "job.toml:19: prepare.2.step: `HashEncoder` needs the parameter `buckets`",
        'job.toml:22: prepare.3.step: `method` must be one of "quantile", "iqr", "zscore", "mad", "limits", '
        "got 'iqrs'",
        "job.toml:25: write.path: is missing",
        "job.toml:26: write.shards: must be a whole number, got '3'",
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("write.shards = 0", "write.shards: must be at least 1, got 0"),
        ("write.shards = true", "write.shards: must be a whole number, got True"),
        ("write.update = 1", "write.update: must be true or false, got 1"),
        ("write.path = 3", "write.path: must be text, got 3"),
        ('write.path = ""', "write.path: must not be empty, got ''"),
        (
            'write.format = "csv"',
            "write.format: must be 'parquet', 'hdf5', 'lmdb', 'arrow' or 'tfrecord', got",
        ),
        ("write.shuffle = 3", 'write.shuffle: must be true, false, "global" or a table of `lanes` and'),
        ("write.shuffle = {lane = 1}", 'write.shuffle: must be true, false, "global" or a table of `lanes`'),
        ("source.path = []", "source.path: must not be empty, got []"),
        ("source.path = {}", "source.path.0: must be text, got {}"),
        ('source.memory_limit = "much"', "source.memory_limit: must be a size like \"2GB\", got 'much'"),
        ("source.options = {delimiter = ';'}", "source.options: needs `format` beside it"),
        ("select.where = 1", "select.where: must be a list, got 1"),
        ("select.where = ['x', 2]", "select.where.1: must be text, got 2"),
        ("select.sample = {}", "select.sample: needs either `n` or `fraction`"),
        ("columns.x = 3", "columns.0.x: must be text, got 3"),
        ("columns = 3", "columns: must be a list, got 3"),
        ("join = {path = 'w', on = 3}", "join.0.on: must name a column, several, or a table of names"),
        ("join = {path = 'w', on = [['a']]}", "join.0.on: must name a column, several, or a table of names"),
        (
            "join = {path = 'w', on = 'a', how = 'outer'}",
            "join.0.how: must be 'left' or 'inner', got 'outer'",
        ),
        ("split.shares = {train = 1.5}", "split.shares.train: must be at most 1.0, got 1.5"),
        ("split.shares = {train = nan}", "split.shares.train: must be"),
        ("split.shares = {}", "split.shares: must not be empty, got {}"),
        ("split.shares = {'../x' = 0.5}", 'split.shares.../x: must be a folder\'s name, without "/"'),
        ("split.shares = {_x = 0.5}", 'split.shares._x: must be a folder\'s name, without "/"'),
        ('columns."" = "x"', "columns.0.: must not be empty, got ''"),
        ("split.gap = true", "split.gap: must be a number or a text like"),
        ("split = {by = 'a', by_content = true}", "split.by_content: takes the place of `by`"),
        ("dedup.method = 'exact'", "dedup.method: there is no method `exact`; did you mean `Exact`?"),
        ("dedup.options = {bits = 3}", "dedup.options.bits: `Exact` has no parameter `bits`"),
        ("dedup.stop_above = 2", "dedup.stop_above: must be a share above 0 and at most 1, or false, got 2"),
        ("augment.steps = []", "augment: needs at least one of `steps`"),
        ("augment.steps = {op = 'Lambda', columns = 'x'}", "augment.steps.0.op: there is no augmentation"),
        (
            "augment = {steps = {op='SwapNoise', columns='x'}, parts = ['a']}",
            "augment.parts.0: must be one of",
        ),
        ("fit.part = 'test'", "fit.part: must be one of the split's parts, of which there are none"),
        ("executor.count = 2\nexecutor.kind = 'dask'", "executor.count: goes with"),
        ("executor.address = 'a'", 'executor.address: goes with kind = "dask", not "threads"'),
        ("prepare = {step = 'FunctionStep', function = 'f'}", "prepare.0.step: there is no step"),
        (
            "prepare = {step = 'Expression', y = 'x +'}",
            "prepare.0.step: `Expression` refuses this: must be an SQL",
        ),
        (
            "prepare = {step = 'Expression', y = 3}",
            "prepare.0.step: `Expression` refuses this: must be an SQL",
        ),
        ("prepare = {step = 'HashEncoder', buckets = []}", "prepare.0.step: "),
        ("prepare = {step = 'StandardScaler', ddof = 'x'}", "prepare.0.ddof: must be int, got 'x'"),
        ("prepare = {step = 'StandardScaler', ddof = true}", "prepare.0.ddof: must be int, got True"),
        ("prepare = {step = 'Tokens', column = 3}", "prepare.0.column: must be str, got 3"),
        (
            "prepare = {step = 'FillMissing', by = [3]}",
            "prepare.0.by: must be str | Sequence[str] | None, got",
        ),
        ("fit.artifact = 'p'\nprepare = {step = 'Strip'}", "prepare.0.step: `fit.artifact` brings its steps"),
    ],
)
def test_a_wrong_value_is_refused(job_file: Path, line: str, complaint: str) -> None:
    """A value that no job can have is refused at its line, whatever is wrong with it."""
    overridden = line.partition("=")[0].strip()
    rest = [f"{name} = {value!r}" for name, value in (("source.path", "data"), ("write.path", "out"))]
    text = "\n".join([*(it for it in rest if not it.startswith(overridden + " ")), line])
    found = complaints(job_file, text)

    assert len(found) == 1
    assert found[0].startswith("job.toml:")
    assert found[0].partition(": ")[2].startswith(complaint)


def test_steps_without_a_fit_stand_at_the_ends(job_file: Path) -> None:
    """One pipeline has all steps that learn, so nothing stands between them."""
    text = LEAST + "".join(
        f'[[prepare]]\nstep = "{step}"\n{more}'
        for step, more in (("Strip", ""), ("Tokens", 'column = "t"\n'), ("Casefold", ""))
    )

    assert complaints(job_file, text) == [
        "job.toml:8: prepare.1.step: a step that learns nothing comes before or after all others"
    ]


def test_the_fitted_part_is_one_of_the_split(job_file: Path) -> None:
    """Without a part `train`, the one to learn from must be said."""
    text = f'{LEAST}[split]\nshares = {{ a = 0.5, b = 0.5 }}\n[[prepare]]\nstep = "StandardScaler"\n'
    assert complaints(job_file, text) == [
        "job.toml:5: split: has no part `train`, so say `fit.part`, one of the split's parts, `a`, `b`"
    ]
    assert read_job(job_file, ["fit.part=b"]).fitted_part == "b"


# What the command line says


@pytest.mark.parametrize(
    ("override", "section", "value"),
    [
        ("write.shards=4", "write.shards", 4),
        ('executor.kind="dask"', "executor.kind", "dask"),
        ("executor.kind=dask", "executor.kind", "dask"),
        ("select.where=x > 1 and y = 'a'", "select.where", ("x > 1 and y = 'a'",)),
        ("write.shuffle=true", "write.shuffle", True),
        (' write.bloom_filters = ["a", "b"]', "write.bloom_filters", ("a", "b")),
        ("dedup.on=[]", "dedup.on", ()),
        ("write.path=/a=b", "write.path", "/a=b"),
    ],
)
def test_overrides_take_the_place_of_the_file(
    job_file: Path, override: str, section: str, value: object
) -> None:
    """A value is TOML where it can be, else text; tables that are missing come to be."""
    job_file.write_text(LEAST + "shards = 3\n")
    found: Any = read_job(job_file, ["select.where=y", override])
    for name in section.split("."):
        found = getattr(found, name)

    assert found == value


def test_a_member_of_a_list_is_overridden(job_file: Path) -> None:
    """Members are counted from 0; a later override comes after an earlier one."""
    job_file.write_text(LEAST + '[[prepare]]\nstep = "Log"\n[[prepare]]\nstep = "Log"\n')
    job = read_job(job_file, ["prepare.1.offset=3.0", "prepare.1.offset=2.0"])

    assert [step.make().offset for step in job.prepare] == [0.0, 2.0]


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("write.shards=zero", "--set write.shards=zero: write.shards: must be a whole number, got 'zero'"),
        ("write.path=2013", "--set write.path=2013: write.path: must be text, got 2013"),
        ("write.paths=a", "--set write.paths=a: write.paths: there is no such setting; did you mean `path`?"),
        ("write={}", "--set write={}: write.path: is missing"),
        ("write.path", "--set write.path: must be of the form `section.key=value`"),
        ("=3", "--set =3: must be of the form `section.key=value`"),
        ("write..path=3", "--set write..path=3: must be of the form `section.key=value`"),
        ("write.path.x=3", "--set write.path.x=3: `write.path` is no table"),
        ("prepare.1.step=Log", "--set prepare.1.step=Log: `prepare` has 1 members, which are counted from 0"),
        ("prepare.step=Log", "--set prepare.step=Log: `prepare` has 1 members, which are counted from 0"),
        (
            "prepare.0.ofset=1",
            "--set prepare.0.ofset=1: prepare.0.ofset: `Log` has no parameter `ofset`; did",
        ),
    ],
)
def test_a_wrong_override_is_named(job_file: Path, override: str, complaint: str) -> None:
    """What is wrong with an override is said of it, and of no line."""
    found = complaints(job_file, LEAST + '[[prepare]]\nstep = "Log"\n', override)

    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_paths_are_taken_from_where_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the file from its folder, those of the command line from the working directory."""
    folder, here = tmp_path / "jobs[1]", tmp_path / "here"
    for each in (folder, here):
        each.mkdir()
    (folder / "job.toml").write_text('source.path = ["a/*.csv", "b", "/c", "s3://d/*"]\nwrite.path = "out"\n')
    monkeypatch.chdir(here)
    job = read_job(folder / "job.toml")

    assert job.source.path == (f"{tmp_path}/jobs[[]1]/a/*.csv", f"{folder}/b", "/c", "s3://d/*")
    assert job.write.path == f"{folder}/out"
    job = read_job("../jobs[1]/job.toml", ["write.path=../out", 'source.path=["a", "/b"]', "select.cache=c"])
    assert job.source.path == (f"{here}/a", "/b")
    assert (job.write.path, job.select.cache) == (f"{here}/../out", f"{here}/c")


# Files that are no job


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[source\npath = 1", "job.toml:1: this is no TOML: Expected ']' at the end of a table declaration"),
        ("a = 1\n\na = 2\n", "job.toml:3: this is no TOML: Cannot overwrite a value"),
        ("a = 1\r\nb = [\r\n1,\r\n", "job.toml:3: this is no TOML: Invalid value"),
        ("x = " + "[" * 100_000, "job.toml"),
    ],
)
def test_what_is_no_toml_is_refused(job_file: Path, text: str, complaint: str) -> None:
    """The line of the mistake is named, that of the end included."""
    assert complaints(job_file, text)[0].startswith(complaint)


def test_a_file_that_cannot_be_read_is_named(job_file: Path) -> None:
    """A file that is missing, a folder, and bytes that are no text."""
    with pytest.raises(hr.MissingSourceError, match=r"job\.toml: a job file is needed"):
        read_job(job_file)
    with pytest.raises(hr.SourceError, match="cannot be read"):
        read_job(job_file.absolute().parent)
    job_file.write_bytes(b"\xff")
    with pytest.raises(hr.OptionError, match=r"job\.toml: a job file must be UTF-8"):
        read_job(job_file)


def test_without_pydantic_the_extra_is_named(job_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    job_file.write_text(LEAST)
    monkeypatch.setitem(sys.modules, "pydantic", None)

    with pytest.raises(hr.MissingDependencyError, match=r"pip install headrace\[jobs\]"):
        read_job(job_file)


def test_an_error_of_the_work_names_the_line(job_file: Path) -> None:
    """What turns out wrong when the job is done keeps its class, and says which line asked for it."""
    job_file.write_text(LEAST)

    with (
        pytest.raises(hr.UnknownColumnError, match=r"^job\.toml:4: write\.path: no `x`$"),
        read_job(job_file).at("write", "path"),
    ):
        raise hr.UnknownColumnError("no `x`")


def test_every_name_leads_to_its_class() -> None:
    """Steps, augmentations and methods are called as in Python."""
    assert len(STEP.names()) > 35
    for name in STEP.names():
        assert STEP.find(name) is getattr(hr, name) or name == "Expression"
    for name in AUGMENTATION.names():
        assert AUGMENTATION.find(name) is getattr(hr.augment, name)
    for name in METHOD.names():
        assert METHOD.find(name) is getattr(hr, name)


NEEDED: dict[str, Any] = {
    **dict.fromkeys(("column", "columns", "target", "pattern", "replacement"), "x"),
    **dict.fromkeys(("buckets", "period", "size", "mask_id", "vocab_size", "bits", "degrees", "window"), 2),
    **dict.fromkeys(("mean", "std"), 0.5),
    "mapping": {"a": "b"},
    "dtype": "float32",
}


@pytest.mark.parametrize("kind", [STEP, AUGMENTATION, METHOD, OPTIONS], ids=lambda kind: kind.title)
def test_defaults_are_accepted_when_they_are_said(kind: Kind) -> None:
    """No parameter is refused for its type that Python takes; lists stand for tuples."""
    for name in kind.names():
        parameters = inspect.signature(kind.find(name)).parameters.values()
        said = {it.name: it.default for it in parameters if it.kind is not it.VAR_KEYWORD}
        said = {
            key: NEEDED[key] if value is inspect.Parameter.empty else value for key, value in said.items()
        }
        said = {
            key: value for key, value in said.items() if value is not None and "factory" not in repr(value)
        }
        said = {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}
        found = [complaint for complaint in kind.check(name, said) if complaint[0] is not None]

        assert not found, name
