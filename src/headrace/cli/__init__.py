"""The command line: `headrace info`, `head`, `explain`, `run`, `cache` and `demo`.

Results go to standard output, for people or, with `--json`, for machines. What goes wrong goes to
standard error, in one sentence.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from headrace.errors import HeadraceError, OptionError

FAILED, INTERRUPTED, PIPE_CLOSED = 2, 130, 141

_CACHE = "Look at a folder of prepared row groups, or clear it."
_SHARDS = 'a file, a folder or a glob in quotes, such as "data/*.parquet"; several are one data set'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows the program's name; taken from the process by default.

    Returns:
        The exit code: 0, 1 if the demo saw other samples than planned or a cache was not sound, 2 for an
        error, 3 if a job wrote only a part of its output, 130 after Ctrl-C, 141 if whoever read the output
        went away.

    Example:
        >>> main(["--version"])
        headrace 0.1.0
        0
    """
    options: Any = None
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse printed the help or the version
        return int(stop.code or 0)
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", INTERRUPTED)
    except Exception as error:
        if options is not None and options.traceback:
            traceback.print_exc()
        is_ours = isinstance(error, HeadraceError)
        return _fail(str(error) if is_ours else f"unexpected {type(error).__name__}: {error}")


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence, without the usage above them."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise OptionError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="headrace",
        description="Look at data sets as a loader sees them, and prepare them.",
        allow_abbrev=False,
    )
    version = getattr(sys.modules["headrace"], "__version__", "")
    parser.add_argument("--version", action="version", version=f"headrace {version}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    info = _command(commands, "info", "Show shards, columns and counts, from footers alone.", _info)
    info.add_argument("path", nargs="+", help=_SHARDS)
    info.add_argument(
        "--hash", action="store_true", help="hash all bytes and keep the hashes beside the data"
    )

    head = _command(commands, "head", "Show the first samples.", _head)
    head.add_argument("path", nargs="+", help=_SHARDS)
    head.add_argument("-n", type=int, default=5, metavar="N", help="how many (default: 5)")

    explain = _command(commands, "explain", "Foretell what an epoch costs and how well it mixes.", _explain)
    explain.add_argument("path", nargs="+", help=_SHARDS)
    for command in (info, head, explain):
        command.add_argument("--format", metavar="NAME", help="where the first bytes do not tell it")
    for name, default, what in (
        ("batch-size", 256, "samples of each rank's batch"),
        ("world-size", 1, "training processes"),
        ("seed", 0, "chooses the order"),
    ):
        explain.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    explain.add_argument(
        "--shuffle", action=argparse.BooleanOptionalAction, default=True, help="(default: --shuffle)"
    )

    _add_run(commands)

    cache = commands.add_parser("cache", help=_CACHE, description=_CACHE, allow_abbrev=False)
    actions = cache.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, what in (
        ("ls", "List what is kept, how complete, how large, and when it was used."),
        ("verify", "Look at every checksum; what is not sound is dropped."),
        ("clear", "Remove what nobody has open, and nothing that is not the cache's own."),
    ):
        action = _command(actions, name, what, _cache)
        action.add_argument("path", help="the folder that `ds.cache` was given")
        action.set_defaults(action=name)

    _command(commands, "demo", "Train a small model, kill it, resume it, and compare.", _demo)
    return parser


def _add_run(commands: Any) -> None:
    job = _command(commands, "run", "Perform the job that a file describes; run again, it continues.", _run)
    job.add_argument("job", help='a TOML file; see "docs/jobs.md"')
    job.add_argument("--dry-run", action="store_true", help="show what it would read and write, and how long")
    job.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="say something else than the file, such as write.path=out; may be given several times",
    )
    job.add_argument("--update", action="store_true", help="write what changed, keep the rest")
    job.add_argument("--no-resume", action="store_true", help="begin anew where a run was interrupted")
    job.add_argument("--quiet", action="store_true", help="say only what goes wrong")


def _command(commands: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=what, allow_abbrev=False
    )
    command.add_argument("--json", action="store_true", help="print JSON, and nothing else beside it")
    command.add_argument("--traceback", action="store_true", help="show where an error came from")
    command.set_defaults(run=run)
    return command


# The commands load with their first use, so that `headrace --help` is quick.


def _info(options: Any) -> int:
    if options.hash:
        from headrace.cli.hashes import make_hashes

        return make_hashes(options.path, options.format, options.json)
    from headrace.cli.show import show_info

    return show_info(options.path, options.format, options.json)


def _head(options: Any) -> int:
    from headrace.cli.show import show_head

    return show_head(options.path, options.format, options.n, options.json)


def _explain(options: Any) -> int:
    from headrace.cli.show import Epoch, show_explanation

    epoch = Epoch(options.batch_size, options.world_size, options.shuffle, options.seed)
    return show_explanation(options.path, options.format, epoch, options.json)


def _run(options: Any) -> int:
    from headrace.cli.run import RunOptions, run_job

    overrides = [*options.set, *(["write.update=true"] if options.update else [])]
    settings = RunOptions(overrides, options.dry_run, not options.no_resume, options.quiet, options.json)
    return run_job(options.job, settings)


def _cache(options: Any) -> int:
    from headrace.cli.cache import run_cache

    return run_cache(options.action, options.path, options.json)


def _demo(options: Any) -> int:
    from headrace.cli.demo import run_demo

    return run_demo(options.json)


def _fail(message: str, code: int = FAILED) -> int:
    """Say in one line what went wrong."""
    sys.stderr.write(f"headrace: {' '.join(message.split())}\n")
    return code


def _discard_output() -> None:
    """Let the interpreter flush what is left into nothing when it ends, instead of complaining."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
