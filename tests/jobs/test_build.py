"""From a job file to written data sets: each section does what the verb of its name does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest

import headrace as hr
from headrace.execution.stages import Stages
from headrace.jobs.build import build
from headrace.jobs.file import read_job
from headrace.jobs.run import run
from headrace.jobs.summary import JobSummary

Job = Callable[..., JobSummary]
LEAST = '[source]\npath = "data"\n[write]\npath = "out"\n[executor]\nkind = "serial"\n'
SALES = pl.DataFrame(
    {
        "city": ["Oslo", "Rome", "Bern", "Rome", None, "Kyiv"] * 40,
        "day": [n // 6 for n in range(240)],
        "sold": [float(n * 37 % 101) if n % 7 else None for n in range(240)],
        "price": [n % 5 + 1 for n in range(240)],
    }
)
CITIES = pl.DataFrame({"name": ["Rome", "Oslo", "Kyiv"], "people": [2.8, 0.7, 2.9], "price": [7, 8, 9]})


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Runs a job beside four shards of sales and a table of cities; the folder is the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for number, part in enumerate(SALES.iter_slices(60)):
        part.write_parquet(f"data/{number}.parquet", row_group_size=25)
    CITIES.write_parquet("cities.parquet")

    def run_it(text: str, *overrides: str) -> JobSummary:
        Path("job.toml").write_text(f"{LEAST}{text}")
        summary = run(read_job("job.toml", overrides), Stages())
        assert not summary.failed
        return summary

    return run_it


def written(name: str = "out") -> pl.DataFrame:
    return hr.open(name).to_polars()


def test_the_least_job_copies(job: Job) -> None:
    """Without anything to do, the samples come out as they came in."""
    summary = job("")

    assert written().equals(SALES)
    assert (summary.counts.source, summary.counts.dropped, summary.counts.duplicates) == (240, 0, 0)
    assert summary.counts.changed is None


def test_join_columns_and_select_as_polars_does(job: Job) -> None:
    """Tables are joined first, columns follow, conditions see both, and columns are chosen last."""
    summary = job("""
        [[join]]
        path = "cities.parquet"
        derive = { town = "UPPER(city)" }
        derive_there = { name = "UPPER(name)" }
        on = { town = "name" }
        suffix = "_there"
        [[columns]]
        revenue = "sold * price"
        [[columns]]
        share = "revenue / people"
        [select]
        where = ["revenue > 50", "people IS NULL OR people < 2.85"]
        drop_nulls = "sold"
        drop = ["town", "price_there"]
        rename = { people = "millions" }
    """)
    upper = CITIES.with_columns(pl.col("name").str.to_uppercase())
    expected = (
        SALES.with_columns(town=pl.col("city").str.to_uppercase())
        .join(upper, left_on="town", right_on="name", how="left", suffix="_there", maintain_order="left")
        .with_columns(revenue=pl.col("sold") * pl.col("price"))
        .with_columns(share=pl.col("revenue") / pl.col("people"))
        .filter(pl.col("revenue") > 50, pl.col("people").is_null() | (pl.col("people") < 2.85))
        .drop("town", "price_there")
        .rename({"people": "millions"})
    )

    assert written().select(sorted(expected.columns)).equals(expected.select(sorted(expected.columns)))
    assert summary.counts.dropped == 240 - len(expected)


def test_an_inner_join_leaves_samples_out(job: Job) -> None:
    """Samples without a match count as dropped."""
    summary = job("""
        [[join]]
        path = "cities.parquet"
        on = { city = "name" }
        how = "inner"
        columns = "people"
    """)
    expected = SALES.join(CITIES, left_on="city", right_on="name", maintain_order="left")

    assert written().equals(expected.select(*SALES.columns, "people"))
    assert summary.counts.dropped == 240 - len(expected)


def test_samples_and_duplicates_as_the_verbs_choose(job: Job) -> None:
    """Chance and duplicates choose what the data set's verbs choose."""
    summary = job("""
        [select]
        sample = { n = 120, seed = 5 }
        [dedup]
        on = ["city", "price"]
        keep = "last"
        warn_above = false
        stop_above = false
    """)
    chosen = hr.open("data").sample(120, seed=5)
    expected = chosen.dedup(["city", "price"], keep="last", warn_above=None, stop_above=None, progress=False)

    assert written().equals(expected.to_polars())
    assert (summary.counts.dropped, summary.counts.duplicates) == (120, 120 - len(expected))


SPLIT = """
    [split]
    shares = { train = 0.5, test = 0.4 }
    by = "day"
    seed = 3
    [[prepare]]
    step = "FillMissing"
    columns = "sold"
    [[prepare]]
    step = "StandardScaler"
    columns = ["sold"]
    [fit]
    dtype = "float64"
"""


def test_parts_are_fitted_to_one_and_written_apart(job: Job) -> None:
    """Each part is an output; the values are learned from `train` alone and used for all."""
    summary = job(SPLIT, "report.changes=true")
    parts = hr.open("data").split(train=0.5, test=0.4, by="day", seed=3)
    learned_from = parts["train"].to_polars()["sold"]
    filled = learned_from.fill_null(learned_from.mean())

    for name, part in parts.items():
        sold = part.to_polars()["sold"].fill_null(learned_from.mean())
        expected = (sold - filled.mean()) / filled.std(ddof=0)
        found = written(f"out/{name}")["sold"]
        assert (found - expected).abs().max() < 1e-12
    assert summary.counts.outputs == {name: len(part) for name, part in parts.items()}
    assert summary.counts.dropped == 240 - sum(map(len, parts.values()))
    assert summary.counts.changed == sum(part.to_polars()["sold"].null_count() for part in parts.values())


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_any_executor_writes_the_same_bytes(job: Job, kind: str) -> None:
    """What is written depends on the job and not on where it is done."""
    text = f"{SPLIT}[dedup]\nwarn_above = false\nstop_above = false\n[augment]\nviews = 2\n"
    text += 'parts = "train"\nsteps = { op = "GaussianJitter", columns = "sold" }\n'
    job(text)
    job(text, "write.path=other", f"executor.kind={kind}", "executor.count=2")

    assert contents("other") == contents("out")
    assert len(contents("out")) > 8


def contents(name: str) -> Mapping[str, bytes]:
    folder = Path(name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_views_are_the_epochs_of_a_loader(job: Job) -> None:
    """Each view of an augmented part is what a loader with this seed delivers in its epoch."""
    summary = job("""
        [select]
        where = "sold IS NOT NULL"
        columns = ["sold"]
        [augment]
        views = 3
        seed = 11
        steps = [{ op = "GaussianJitter", columns = "sold", sigma = 2.0 }]
    """)
    ds = hr.open("data").filter(pl.col("sold").is_not_null(), progress=False).select(["sold"])
    expected: list[float] = []
    with ds.augment(hr.augment.GaussianJitter("sold", 2.0)).loader(64, seed=11, output="numpy") as loader:
        for epoch in range(3):
            loader.set_epoch(epoch)
            expected += [value for batch in loader for value in batch["sold"].tolist()]

    assert written()["sold"].to_list() == expected
    assert summary.outputs[0].rows == summary.counts.outputs[""] == 3 * len(ds)


def test_settings_of_write_reach_the_verb(job: Job) -> None:
    """Format, cut, order, folders and columns are those asked for."""
    job("", 'write.partition_by="city"', "write.row_group_rows=7", "select.where=city IS NOT NULL")
    assert {path.parent.name for path in Path("out").rglob("*.parquet")} == {
        f"city={name}" for name in ("Oslo", "Rome", "Bern", "Kyiv")
    }
    settings = ["format=arrow", "shards=2", "drop=price", "seed=4", "shuffle={lanes = 2, window = 4}"]
    job("", "write.path=two", *(f"write.{setting}" for setting in settings))
    expected = hr.open("data").drop(["price"])
    expected.write("verb", "arrow", shards=2, seed=4, shuffle=hr.BlockShuffle(2, 4), progress=False)

    assert contents("two") == contents("verb")
    assert len(written("two").columns) == 3


# Values that were learned


PREPARE = '[[prepare]]\nstep = "StandardScaler"\ncolumns = "sold"\n'


def grow() -> None:
    """Add a shard whose sales are far from those before."""
    SALES.with_columns(sold=pl.lit(1e4)).write_parquet("data/9.parquet")


def test_frozen_values_outlive_new_data(job: Job) -> None:
    """An update with frozen values prepares new samples as the old ones were, and keeps old shards."""
    job(PREPARE, "fit.values=frozen")
    before = written()["sold"]
    grow()
    summary = job(PREPARE, "fit.values=frozen", "write.update=true")

    assert written()["sold"][:240].equals(before)
    assert (summary.outputs[0].kept, summary.outputs[0].written) == (4, 1)
    scaler = hr.Pipeline.load("out/_pipeline-0.json")["StandardScaler"]
    assert scaler.mean_["sold"] == pytest.approx(SALES["sold"].mean())


def test_refitted_values_follow_the_data(job: Job) -> None:
    """By default an update learns anew, and writes everything that changes by it."""
    job(PREPARE)
    grow()
    summary = job(PREPARE, "write.update=true")

    assert (summary.outputs[0].kept, summary.outputs[0].written) == (0, 5)
    assert abs(written()["sold"].mean() or 0) < 1e-3


def test_frozen_values_are_of_the_same_steps(job: Job) -> None:
    """Other parameters than those of the output are refused, at the line that wants frozen values."""
    job(PREPARE, "fit.values=frozen")

    with pytest.raises(hr.StateError, match=r'^--set fit\.values=frozen: fit\.values: "frozen" keeps what'):
        job(PREPARE, "fit.values=frozen", "prepare.0.ddof=1")


def test_a_saved_pipeline_takes_the_place_of_a_fit(job: Job) -> None:
    """Its steps are applied as they were saved; nothing is learned."""
    pipe = hr.Pipeline([hr.StandardScaler(columns="sold")]).fit(hr.from_polars(SALES[:50]), progress=False)
    pipe.save("saved.json")
    summary = job("", "fit.artifact=saved.json")

    assert written().equals(pipe.transform(hr.open("data")).to_polars())
    assert "fit" not in [stage.name for stage in summary.stages]


def test_target_encodings_of_the_fit_leave_each_fold_out(job: Job) -> None:
    """The part of the fit is encoded without each sample's fold; what is saved serves everyone else."""
    text = """
        [split]
        shares = { train = 0.6, test = 0.4 }
        [[prepare]]
        step = "TargetEncoder"
        columns = "city"
        target = "price"
    """
    job(text)
    parts = hr.open("data").split(train=0.6, test=0.4)
    pipe = hr.Pipeline([hr.TargetEncoder("price", columns="city")])
    train = pipe.fit_transform(parts["train"], progress=False).to_polars()

    assert written("out/train").equals(train)
    assert written("out/test").equals(pipe.transform(parts["test"]).to_polars())
    assert not train.equals(pipe.transform(parts["train"]).to_polars())
    for name in parts:
        served = hr.Pipeline.load(f"out/{name}/_pipeline-0.json").transform(parts["test"])
        assert served.to_polars().equals(written("out/test"))


def test_steps_without_a_fit_stand_around_the_pipeline(job: Job) -> None:
    """Texts become ids before or after what is learned."""
    job("""
        [[prepare]]
        step = "FillMissing"
        columns = "city"
        strategy = "constant"
        value = "?"
        [[prepare]]
        step = "Tokens"
        column = "city"
        into = "ids"
    """)

    assert written()["ids"].to_list() == [list((city or "?").encode()) for city in SALES["city"]]


# What turns out wrong when the work is done


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('[select]\nwhere = "solt > 1"\n', hr.UnknownColumnError, r"job\.toml:7: select: .*`sold`"),
        ('[select]\nwhere = "sold"\n', hr.OptionError, r"job\.toml:7: select: "),
        ('[[columns]]\nx = "AVG(sold)"\n', hr.OptionError, r"job\.toml:7: columns\.0: .*one row at a time"),
        ('[[columns]]\nx = "sold = city"\n', hr.PrepareError, r"job\.toml:7: columns\.0: "),
        ('[[prepare]]\nstep = "Tokens"\ncolumn = "sold"\n', hr.SchemaError, r"job\.toml:7: prepare: "),
        ('[dedup]\non = "solt"\n', hr.UnknownColumnError, r"job\.toml:7: dedup: .*`solt`"),
        ('[split]\nby = "solt"\n', hr.UnknownColumnError, r"job\.toml:7: split: .*`solt`"),
        (PREPARE.replace("sold", "solt"), hr.UnknownColumnError, r"job\.toml:7: prepare: .*`solt`"),
        ('[[join]]\npath = "city.parquet"\non = "city"\n', hr.MissingSourceError, r"job\.toml:7: join\.0: "),
        ('[[join]]\npath = "data"\non = "city"\n', hr.OptionError, r"job\.toml:7: join\.0: .*"),
        ('[fit]\nartifact = "p.json"\n', hr.MissingSourceError, r"job\.toml:8: fit\.artifact: .*p\.json"),
        (
            '[augment]\nsteps = { op = "Shift", columns = "a" }\n',
            hr.UnknownColumnError,
            r"job\.toml:7: augment",
        ),
    ],
)
def test_errors_of_the_work_name_the_line(
    job: Job, text: str, error: type[hr.HeadraceError], message: str
) -> None:
    """Whatever cannot be done keeps its class and says which section asks for it; nothing is written."""
    with pytest.raises(error, match=rf"(?s)^{message}"):
        job(text)
    assert not Path("out").exists()


def test_what_cannot_be_opened_or_written_names_the_line(job: Job) -> None:
    """The first and the last section, too, are named where their use fails."""
    with pytest.raises(hr.MissingSourceError, match=r"^--set source\.path=nowhere: source\.path: "):
        job("", "source.path=nowhere")
    with pytest.raises(hr.UnknownColumnError, match=r"^job\.toml:3: write: .*`x`"):
        job("", "write.bloom_filters=x")


def test_each_step_that_reads_is_a_stage(job: Job) -> None:
    """People see what is done, with the samples that went through; nothing is written by the decisions."""
    job("")
    stages = Stages()
    built = build(
        read_job("job.toml", ['select.where="sold > 3"', "dedup.on=day", "dedup.warn_above=false"]), stages
    )
    built.close()

    assert [stage.name for stage in stages.all] == ["select", "dedup"]
    assert all(stage.done == stage.total > 0 for stage in stages.all)
    assert stages.all[0].rows == 240
    assert [output.path for output in built.outputs] == [str(Path.cwd() / "out")]
