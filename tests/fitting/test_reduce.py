"""Principal components and discriminants: scikit-learn's numbers, and the same bits everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sklearn import datasets, decomposition, discriminant_analysis

import headrace as hr

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(500, 6)) * [5, 3, 2, 1, 0.5, 0.2] + RNG.normal(size=6) * 10
NAMES = [f"x{place}" for place in range(6)]
IRIS = datasets.load_iris()


def frame_of(values: NDArray[Any], **more: Any) -> pl.DataFrame:
    names = [f"x{place}" for place in range(values.shape[1])]
    return pl.DataFrame({name: values[:, place] for place, name in enumerate(names)} | more)


def fitted(frame: pl.DataFrame, *steps: Any, dtype: str = "float64") -> hr.Pipeline:
    return hr.Pipeline(list(steps), dtype=dtype).fit(hr.from_polars(frame), progress=False)


def learned(pipe: hr.Pipeline) -> dict[str, Any]:
    """Return all that was learned, arrays as their bytes."""
    items = pipe.steps[-1].learned.items()
    plain = {name: it.to_list() if isinstance(it, pl.Series) else it for name, it in items}
    return {name: it.tobytes() if isinstance(it, np.ndarray) else it for name, it in plain.items()}


@pytest.mark.parametrize("step", [hr.PCA(), hr.IncrementalPCA(batch_size=50)])
def test_case_31_all_components(step: Any) -> None:
    """Variances equal scikit-learn's and those of numpy's covariance to 2e-14."""
    oracle = decomposition.PCA(svd_solver="full").fit(DATA)

    pca = fitted(frame_of(DATA), step).steps[0]

    np.testing.assert_allclose(pca.explained_variance_, oracle.explained_variance_, rtol=2e-14)
    eigenvalues = np.linalg.eigvalsh(np.cov(DATA.T, ddof=1))[::-1]
    np.testing.assert_allclose(pca.explained_variance_, eigenvalues, rtol=2e-14)
    np.testing.assert_allclose(pca.explained_variance_ratio_, oracle.explained_variance_ratio_, rtol=2e-14)
    np.testing.assert_allclose(pca.components_, oracle.components_, atol=1e-13)
    assert (pca.n_components_, pca.n_samples_) == (6, 500)


def test_case_32_few_components_are_exact() -> None:
    """Three components equal those of the whole data, from which batchwise approximation differs."""
    oracle = decomposition.PCA(3, svd_solver="full").fit(DATA)
    batchwise = decomposition.IncrementalPCA(3, batch_size=50).fit(DATA)

    pca = fitted(frame_of(DATA), hr.IncrementalPCA(3, batch_size=50)).steps[0]

    np.testing.assert_allclose(pca.explained_variance_, oracle.explained_variance_, rtol=2e-14)
    assert np.abs(batchwise.explained_variance_ / oracle.explained_variance_ - 1).max() > 1e-6


def test_case_33_iris_discriminants() -> None:
    """Two discriminants of iris have the stated shares, and scikit-learn's directions but for the sign."""
    pipe = fitted(frame_of(IRIS.data, y=IRIS.target), hr.LinearDiscriminantAnalysis(2, target="y"))

    lda = pipe.steps[0]
    np.testing.assert_allclose(lda.explained_variance_ratio_, [0.991212604965, 0.00878739503463], rtol=1e-11)
    for solver in ("svd", "eigen"):
        oracle = discriminant_analysis.LinearDiscriminantAnalysis(solver=solver).fit(IRIS.data, IRIS.target)
        np.testing.assert_allclose(
            lda.explained_variance_ratio_, oracle.explained_variance_ratio_[:2], rtol=1e-11
        )
        np.testing.assert_allclose(np.abs(lda.scalings_), np.abs(oracle.scalings_[:, :2]), rtol=1e-11)
    oracle = discriminant_analysis.LinearDiscriminantAnalysis().fit(IRIS.data, IRIS.target)
    found = pipe.transform(frame_of(IRIS.data)).to_numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(oracle.transform(IRIS.data)), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(lda.means_, oracle.means_, rtol=1e-14)
    every = fitted(frame_of(IRIS.data, y=IRIS.target), hr.LDA(target="y", tol=0.0)).steps[0]
    assert every.n_components_ == 2
    assert lda.classes_.to_list() == [0, 1, 2]
    assert lda.priors_.tolist() == oracle.priors_.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("whiten", [False, True])
def test_components_of_any_dtype_equal_scikit_learns(dtype: type, whiten: bool) -> None:
    """Transformed values equal scikit-learn's on the same numbers in float64, to 1e-11 of the largest."""
    values = (DATA * 10).astype(dtype)
    oracle = decomposition.PCA(4, whiten=whiten).fit(values.astype(np.float64))

    pipe = fitted(frame_of(values), hr.PCA(4, whiten=whiten))
    found = pipe.transform(frame_of(values))

    expected = oracle.transform(values.astype(np.float64))
    assert found.columns == ["pca_0", "pca_1", "pca_2", "pca_3"]
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_share_of_the_variance_chooses_as_scikit_learn_does(share: float) -> None:
    """As few components as explain more than the share."""
    assert fitted(frame_of(DATA), hr.PCA(share)).steps[0].n_components_ == (
        decomposition.PCA(share).fit(DATA).n_components_
    )


def test_a_share_that_is_met_exactly_needs_one_more() -> None:
    """Components explain more than the share, as in scikit-learn, not as much."""
    values = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])

    assert decomposition.PCA(0.5).fit(values).n_components_ == 2
    assert fitted(frame_of(values), hr.PCA(0.5)).steps[0].n_components_ == 2


def test_output_takes_the_dtype_of_the_pipeline() -> None:
    """Components are new numbers, float32 by default, rounded once."""
    found = fitted(frame_of(DATA), hr.PCA(2), dtype="float32").transform(frame_of(DATA))
    exact = fitted(frame_of(DATA), hr.PCA(2)).transform(frame_of(DATA))

    assert found.dtypes == [pl.Float32, pl.Float32]
    assert found.equals(exact.cast(pl.Float32))


STEPS = [hr.PCA(3, whiten=True, columns=NAMES), hr.LinearDiscriminantAnalysis(target="y")]


def written(frame: pl.DataFrame, folder: Path, groups: int) -> list[Path]:
    """Write a frame in so many row groups, to two shards."""
    parts = [frame[rows.tolist()] for rows in np.array_split(np.arange(len(frame)), groups)]
    paths = [folder / f"{groups}-0.parquet", folder / f"{groups}-1.parquet"]
    for path, some in zip(paths, (parts[: groups // 2], parts[groups // 2 :]), strict=True):
        with pq.ParquetWriter(path, frame.to_arrow().schema) as writer:
            for part in some:
                writer.write_table(part.to_arrow(), row_group_size=len(frame))
    return paths


@pytest.mark.parametrize("step", STEPS)
def test_fits_have_equal_bits_for_any_row_groups_and_order(step: Any, tmp_path: Path) -> None:
    """3, 97 and 1,000 row groups, in and out of order, by threads and not, learn the same bits as one."""
    frame = frame_of(np.tile(DATA, (2, 1)) + RNG.normal(size=(1000, 6)), y=RNG.integers(0, 4, 1000))
    expected = learned(fitted(frame, step))

    for groups, executor in ((3, hr.Serial()), (97, hr.Threads()), (1000, hr.Serial())):
        shards = written(frame[RNG.permutation(1000)], tmp_path, groups)
        dataset = hr.open([str(path) for path in reversed(shards)])
        assert len(dataset.manifest) == groups
        pipe = hr.Pipeline([step]).fit(dataset, executor=executor, progress=False)
        assert learned(pipe) == expected


def test_fits_in_processes_have_equal_bits(tmp_path: Path) -> None:
    """Statistics from other processes merge to the same bits."""
    frame = frame_of(DATA, y=np.arange(500) % 3)
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=100)
    steps = [hr.PCA(2, columns=NAMES[:3]), hr.LDA(target="y", columns=NAMES[3:])]
    expected = fitted(frame, *steps).steps

    pipe = hr.Pipeline(steps).fit(hr.open(tmp_path / "a.parquet"), executor=hr.Processes(2), progress=False)

    for step, other in zip(pipe.steps, expected, strict=True):
        assert step.mean_ == other.mean_
        assert step.weights().tobytes() == other.weights().tobytes()


@pytest.mark.parametrize("step", STEPS)
def test_a_row_has_the_same_bits_alone_as_among_others(step: Any) -> None:
    """A row, a slice, the frame, and the loader's batches of the samples give equal bits."""
    frame = frame_of(np.tile(DATA, (10, 1)), y=np.arange(5000) % 3)
    pipe = fitted(frame, step)
    inputs = frame.drop("y")
    whole = pipe.transform(inputs)

    assert pl.concat([pipe.transform(part) for part in (inputs[:7], inputs[7:4500], inputs[4500:])]).equals(
        whole
    )
    for row in (0, 255, 256, 4097):
        assert pipe.transform(inputs.row(row, named=True)) == whole.row(row, named=True)
    batches = hr.from_polars(inputs).prepare(pipe.step).loader(64, output="numpy")
    for name in whole.columns:
        delivered = np.concatenate([batch[name] for batch in batches])
        assert delivered.tobytes() == whole[name].to_numpy().tobytes()


def test_inputs_are_replaced_and_others_stay() -> None:
    """Outputs come last, in order; columns that were not summed stay as they are."""
    frame = frame_of(DATA, name=["a"] * 500, flag=[True] * 500)
    pipe = fitted(frame, hr.PCA(2, columns=["x4", "x1"], prefix="p"))

    found = pipe.transform(frame)

    assert found.columns == ["x0", "x2", "x3", "x5", "name", "flag", "p_0", "p_1"]
    assert found["x0"].equals(frame["x0"])
    oracle = decomposition.PCA(2).fit_transform(DATA[:, [4, 1]])
    np.testing.assert_allclose(found.select("p_0", "p_1").to_numpy(), oracle, atol=1e-12)


@pytest.mark.parametrize("step", STEPS)
def test_only_wanted_outputs_are_made_and_only_inputs_are_read(step: Any) -> None:
    """A narrowed step asks for its inputs, not for the target, and makes what is wanted, bit for bit."""
    frame = frame_of(DATA, y=np.arange(500) % 3, other=np.arange(500))
    pipe = fitted(frame.drop("other"), step)
    fitted_step = pipe.steps[0]
    name = fitted_step.made[1]

    narrowed, needed = fitted_step.narrowed(frozenset([name, "other"]))

    assert needed == {*fitted_step.names, "other"}
    assert narrowed is not None
    assert narrowed.made == [name]
    whole = pipe.transform(frame)
    assert narrowed.apply(frame.select(sorted(needed)))[name].equals(whole[name])
    assert fitted_step.narrowed(frozenset(["other"])) == (None, {"other"})
    assert "y" not in needed


def test_a_selected_output_is_prepared_alone() -> None:
    """Selecting an output of a prepared data set gives it with the same bits."""
    frame = frame_of(DATA, name=["a"] * 500)
    pipe = fitted(frame, hr.PCA(3))

    found = pipe.transform(hr.from_polars(frame)).select(["pca_2"]).to_polars()

    assert found.columns == ["pca_2"]
    assert found["pca_2"].equals(pipe.transform(frame)["pca_2"])


def test_schemas_are_foretold_where_the_count_is_said() -> None:
    """A stated number of components names the outputs before the fit; a share does not."""
    schema = frame_of(DATA, y=["a"] * 500).schema

    assert hr.PCA(2, columns=NAMES[1:]).bound(schema).unfitted_schema(schema) == pl.Schema(
        {"x0": pl.Float64, "y": pl.String, "pca_0": pl.Float64, "pca_1": pl.Float64}
    )
    assert hr.PCA(0.5).bound(schema).unfitted_schema(schema) is None
    assert hr.LDA(1, target="y").bound(schema).unfitted_schema(schema) == pl.Schema(
        {"y": pl.String, "lda_0": pl.Float64}
    )


def test_steps_before_and_after_are_fitted_too() -> None:
    """Scaled columns are reduced, and components scaled, in one pipeline."""
    frame = frame_of(DATA, y=np.arange(500) % 3)
    inner = hr.PCA(0.99, columns="^x.*$")
    pipe = fitted(frame, hr.StandardScaler(columns="^x.*$"), inner, hr.StandardScaler(columns="^pca_.*$"))

    found = pipe.transform(frame)

    scaled = (DATA - DATA.mean(0)) / DATA.std(0)
    expected = decomposition.PCA(0.99).fit_transform(scaled)
    np.testing.assert_allclose(found.drop("y").to_numpy(), expected / expected.std(0), atol=1e-11)


@pytest.mark.parametrize("whiten", [False, True])
def test_inverse_gives_the_inputs_back(whiten: bool) -> None:
    """All components hold all there was; few of them what scikit-learn gets back."""
    frame = frame_of(DATA, name=["a"] * 500)
    for count in (6, 3):
        pipe = fitted(frame, hr.PCA(count, whiten=whiten))
        oracle = decomposition.PCA(count, whiten=whiten).fit(DATA)

        back = pipe.inverse_transform(pipe.transform(frame))

        assert sorted(back.columns) == sorted(frame.columns)
        expected = oracle.inverse_transform(oracle.transform(DATA))
        np.testing.assert_allclose(back.select(NAMES).to_numpy(), expected, atol=1e-11)
    with pytest.raises(hr.UnknownColumnError, match="the inverse of PCA"):
        pipe.inverse_transform(pipe.transform(frame).drop("pca_1"))
    lda = fitted(frame_of(DATA, y=np.arange(500) % 2), hr.LDA(target="y"))
    with pytest.raises(hr.OptionError, match="LinearDiscriminantAnalysis has no inverse"):
        lda.inverse_transform(lda.transform(frame))


def test_saved_pipelines_give_equal_bits(tmp_path: Path) -> None:
    """A pipeline that was saved and loaded makes the same bits, and knows classes that are texts."""
    frame = frame_of(np.tile(DATA, (1, 8)), y=[f"kind {it % 3}" for it in range(500)])
    steps = [hr.PCA(4, columns="^x[0-9]$"), hr.LDA(target="y", columns="^x.[0-9]$")]
    pipe = hr.Pipeline(steps).fit(hr.from_polars(frame), progress=False)

    pipe.save(tmp_path / "pipe.json")
    loaded = hr.Pipeline.load(tmp_path / "pipe.json")

    assert loaded.transform(frame).equals(pipe.transform(frame))
    assert loaded.transform(frame.row(7, named=True)) == pipe.transform(frame).row(7, named=True)
    assert loaded["LinearDiscriminantAnalysis"].classes_.to_list() == ["kind 0", "kind 1", "kind 2"]


def test_missing_values_make_null_outputs_and_are_counted() -> None:
    """When applied, a sample that lacks a value has no components; the others keep their bits."""
    frame = frame_of(DATA)
    pipe = fitted(frame, hr.PCA(2))
    holes = frame.with_columns(pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("x1").alias("x1"))
    holes = holes.with_columns(pl.when(pl.int_range(pl.len()) == 5).then(np.nan).otherwise("x2").alias("x2"))

    found, whole = pipe.transform(holes), pipe.transform(frame)

    assert found["pca_0"].is_null().to_numpy().nonzero()[0].tolist() == [3, 5]
    assert found[6:].equals(whole[6:])
    report = pipe.report(hr.from_polars(holes)).filter(pl.col("event") == "null", pl.col("step") != "input")
    assert report.select("column", "count").rows() == [("x1", 1), ("x2", 1)]


def test_missing_and_infinite_values_in_a_fit_name_the_column() -> None:
    """A fit refuses what it cannot sum."""
    for value, message in ((None, "column `b`: .* missing"), (np.inf, "column `b`: 1 values are infinite")):
        frame = pl.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, value, 2.0]})
        with pytest.raises(hr.PrepareError, match=message):
            fitted(frame, hr.PCA())


def test_fewer_samples_than_columns() -> None:
    """There are as many components as samples, of which the last has no variance; more are refused."""
    few = DATA[:4]
    oracle = decomposition.PCA().fit(few)

    pca = fitted(frame_of(few), hr.PCA()).steps[0]

    assert pca.n_components_ == 4
    np.testing.assert_allclose(pca.explained_variance_[:3], oracle.explained_variance_[:3], rtol=1e-12)
    assert pca.explained_variance_[3] < 1e-12
    np.testing.assert_allclose(pca.components_ @ pca.components_.T, np.eye(4), atol=1e-12)
    with pytest.raises(hr.OptionError, match=r"at most 4, the smaller number of samples \(4\) and columns"):
        fitted(frame_of(few), hr.PCA(5))


def test_constant_columns_have_no_part() -> None:
    """A constant column has no weight; constant columns alone have no variance, and no share of it."""
    frame = pl.DataFrame({"a": [1.0, 2.0, 4.0], "b": [0.1, 0.1, 0.1]})
    pca = fitted(frame, hr.PCA(1)).steps[0]
    assert pca.components_.tolist() == [[1.0, 0.0]]

    pipe = fitted(frame.select("b"), hr.PCA(whiten=True))
    assert pipe.steps[0].explained_variance_.tolist() == [0.0]
    assert pipe.steps[0].explained_variance_ratio_.tolist() == [0.0]
    assert pipe.transform({"b": 0.1}) == {"pca_0": 0.0}
    assert fitted(frame.select("b"), hr.PCA(0.5)).steps[0].n_components_ == 1


def test_collinear_columns_have_no_variance_of_their_own() -> None:
    """Beyond the rank of the data, variances are zero up to rounding and never negative."""
    values = DATA @ RNG.normal(size=(6, 30))
    oracle = decomposition.PCA(svd_solver="full").fit(values)

    pipe = fitted(frame_of(values), hr.PCA(whiten=True))

    variances = pipe.steps[0].explained_variance_
    np.testing.assert_allclose(variances[:6], oracle.explained_variance_[:6], rtol=1e-10)
    assert variances.min() >= 0
    assert variances[6:].max() < 1e-12 * variances[0]
    assert pipe.transform(frame_of(values)).null_count().sum_horizontal()[0] == 0


def test_a_fit_that_cannot_be_made_says_why() -> None:
    """One sample, one class, a class for each sample, equal means, overflow: each is an error."""
    pair = pl.DataFrame({"x": [1.0, 2.0, 1.0, 2.0], "y": ["a", "a", "b", "b"]})
    failing = [
        (pair[:1], hr.PCA(columns="x"), "at least two samples, got 1"),
        (pair[:2], hr.LDA(target="y"), "at least two classes are needed, got 1"),
        (pair[1:3], hr.LDA(target="y"), "more samples than classes are needed, got 2 samples of 2 classes"),
        (pair, hr.LDA(target="y"), "nothing tells the classes apart"),
        (pair.with_columns(pl.Series("y", [0.5, 1, 1, 1])), hr.LDA(target="y"), "numbers with fractions"),
        (pl.DataFrame({"x": [1e300, -1e300]}), hr.PCA(), "column `x`: float64 cannot hold the variance"),
    ]
    for frame, step, message in failing:
        with pytest.raises(hr.PrepareError, match=message):
            fitted(frame, step)
    with pytest.raises(hr.OptionError, match="at most 1, the number of directions"):
        fitted(pair.with_columns(x=pl.Series([1.0, 2.0, 3.0, 4.0])), hr.LDA(2, target="y"))


def test_collinear_columns_are_left_out_as_scikit_learn_does() -> None:
    """A column that is another's multiple, and a constant one, do not disturb the discriminants."""
    values = np.column_stack([IRIS.data, IRIS.data[:, 0] * 2, np.full(150, 0.3)])
    oracle = discriminant_analysis.LinearDiscriminantAnalysis().fit(values, IRIS.target)

    pipe = fitted(frame_of(values, y=IRIS.target), hr.LDA(target="y"))

    found = pipe.transform(frame_of(values)).to_numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(oracle.transform(values)), rtol=1e-8, atol=1e-10)


def test_the_target_is_never_an_input() -> None:
    """By default all numbers but the target are inputs; a target among `columns`, or none, is refused."""
    schema = frame_of(IRIS.data, y=IRIS.target).schema

    assert hr.LDA(target="y").resolve(schema) == ("x0", "x1", "x2", "x3")
    with pytest.raises(hr.OptionError, match="the target `y` cannot be among the `columns`"):
        hr.LDA(target="y", columns=["x0", "y"]).resolve(schema)
    with pytest.raises(hr.UnknownColumnError, match="LinearDiscriminantAnalysis: has no column `z`"):
        hr.LDA(target="z").resolve(schema)


def test_reduced_columns_can_be_reduced_again() -> None:
    """Discriminants of whitened components are those of the columns: a turn and a scale change nothing."""
    frame = frame_of(IRIS.data, y=[f"kind {it}" for it in IRIS.target])
    plain = fitted(frame, hr.LDA(target="y")).transform(frame)

    pipe = fitted(frame, hr.PCA(0.9999999, whiten=True), hr.LDA(2, target="y"))

    found = pipe.transform(frame)
    assert found.columns == ["y", "lda_0", "lda_1"]
    np.testing.assert_allclose(np.abs(found[:, 1:].to_numpy()), np.abs(plain[:, 1:].to_numpy()), atol=1e-10)


def test_settings_that_cannot_be_right_are_refused() -> None:
    """Counts, shares, names and limits are checked when the step is made or meets the columns."""
    for count in (0, -1, 1.0, 0.0, True, "mle"):
        with pytest.raises(hr.OptionError, match="`n_components` must be"):
            hr.PCA(count)  # type: ignore[arg-type]
    with pytest.raises(hr.OptionError, match="`batch_size` must be"):
        hr.IncrementalPCA(batch_size=0)
    with pytest.raises(hr.OptionError, match="`target` must name"):
        hr.LDA(2)
    with pytest.raises(hr.OptionError, match="`n_components` must be"):
        hr.LDA(0.5, target="y")  # type: ignore[arg-type]
    with pytest.raises(hr.OptionError, match="`tol` must be"):
        hr.LDA(target="y", tol=-1)
    with pytest.raises(hr.OptionError, match="would make column `pca_1`, which is there already"):
        hr.PCA(2, columns=["a", "b"]).resolve(pl.Schema({"a": pl.Int8, "b": pl.Int8, "pca_1": pl.Int8}))
    with pytest.raises(hr.SchemaError, match="PCA needs at least one column of numbers"):
        hr.PCA().resolve(pl.Schema({"a": pl.String}))
