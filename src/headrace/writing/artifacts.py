"""The fitted pipelines of a recipe, saved beside the data that they prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import OptionError, OutputError, SourceError
from headrace.execution.recipe import Recipe
from headrace.fitting.artifact import Artifact, save
from headrace.prepare.chain import Chain
from headrace.writing.staging import Staging

if TYPE_CHECKING:
    import polars as pl


def save_artifacts(recipe: Recipe, staging: Staging) -> list[str]:
    """Save each fitted pipeline in the staging folder, as it serves new samples, for `hr.Pipeline.load`.

    Pipelines that call a user's function without a name cannot be saved, and are left out.

    Returns:
        The files' names, in the order of the recipe; those of pipelines end in `.json`.
    """
    fitted = [step for step in recipe.steps if isinstance(step, Chain)]
    names: list[str] = []
    for number, chain in enumerate(fitted):
        path = staging.folder / f"_pipeline-{number}.json"
        try:
            # Without the time of the fit, so that equal jobs write equal files.
            steps = tuple(step.for_others() for step in chain.steps)
            save(path, Artifact(steps, chain.dtype, _schema(chain), {}))
        except OptionError:
            continue
        except SourceError as error:
            raise OutputError(f"{error}; free space, say, and run again") from error
        beside = path.with_name(f"{path.name}.arrow")
        saved = [file for file in (path, beside) if file.exists()]
        for file in saved:  # whoever may read the folder may read them, as the shards
            file.chmod(staging.folder.stat().st_mode & 0o666)
        names += [file.name for file in saved]
    return names


def _schema(chain: Chain) -> pl.Schema:
    import polars as pl

    return pl.Schema(chain.columns)
