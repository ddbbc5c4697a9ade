"""How fast duplicates are found, in how much memory, and how rightly, beside other libraries.

Exact: 2 million texts of some ten words, 200,000 of them copies of others and 200,000 copies with a word
changed. Which rows must stay is told by a dictionary of the texts. Near: 200,000 documents of 60 to 120
words, a fifth of them copies with 4 % of the words changed, by runs of three words; and the short texts once
more, by runs of two. Pairs are judged by their exact similarity.

Each case runs in a process of its own, in turn; ratios are taken within a round, then their median.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import dedup_exact_case
import dedup_near_case
import numpy as np
import pyarrow as pa
from dedup_near_case import Documents, draw_documents
from measure import Canary, format_table, run_child
from pyarrow import feather

CASE_PROGRAM = Path(__file__).with_name("dedup_case.py")
NEAR = {"documents": (0.7, 3), "short texts": (0.5, 2)}  # threshold, and words of a shingle
CANARY_BYTES = 1 << 28


def main() -> None:
    arguments = parse_arguments()
    canary = Canary(CANARY_BYTES)
    results: dict[str, Any] = {}
    short = ensure_texts(arguments.data, short_texts(arguments.texts))
    if arguments.cases:
        results["exact"] = run_cases("exact", arguments.cases, short, arguments.rounds, canary, [])
        print(format_table(*exact_summary(results["exact"])))
    folders = {
        "documents": ensure_texts(arguments.data, long_texts(arguments.documents)),
        "short texts": short,
    }
    for name in arguments.near if arguments.near_cases else ():
        settings = ["--threshold", str(NEAR[name][0]), "--ngram", str(NEAR[name][1])]
        cases, rounds = arguments.near_cases, arguments.rounds
        results[name] = run_cases("near", cases, folders[name], rounds, canary, settings)
        print(format_table(*near_summary(name, results[name])))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    exact, near = list(dedup_exact_case.CASES), list(dedup_near_case.CASES)
    parser = argparse.ArgumentParser(description="Benchmark: finding duplicates.")
    parser.add_argument("--cases", nargs="*", choices=exact, default=exact)
    parser.add_argument("--near-cases", nargs="*", choices=near, default=near)
    parser.add_argument("--near", nargs="*", choices=list(NEAR), default=list(NEAR))
    parser.add_argument("--texts", type=int, default=2_000_000)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "headrace-benchmarks")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--short", action="store_true", help="little of everything: does it run at all?")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.texts, arguments.documents, arguments.rounds = 20_000, 1000, 1
    arguments.cases = [name for name in arguments.cases if is_there(name)]
    arguments.near_cases = [name for name in arguments.near_cases if is_there(name)]
    return arguments


def is_there(case: str) -> bool:
    """Tell whether the library of a case is installed; its name begins with that."""
    library = case.partition("_")[0]
    if library == "python" or importlib.util.find_spec(library) is not None:
        return True
    print(f"The case `{case}` is left out: it needs {library}.", file=sys.stderr)
    return False


def short_texts(count: int) -> Documents:
    """About ten words each; of eight words or more, one eighth is at least one."""
    return Documents(count, near=count // 10, equal=count // 10, words=(8, 12), changed=0.125)


def long_texts(count: int) -> Documents:
    """Copies with two to four words changed, all of which stay above the threshold."""
    return Documents(count, near=count // 5, changed=0.04)


def ensure_texts(data: Path, documents: Documents) -> Path:
    """Write texts, which of them come first, and which pairs were planted; complete ones are used again."""
    drawn = (documents.count, documents.words[0], documents.near, documents.equal, documents.changed)
    folder = data / "-".join(map(str, ("texts", *drawn)))
    if (folder / "texts.arrow").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    texts, planted = draw_documents(documents)
    codes = texts.dictionary_encode().indices.to_numpy()
    first = np.zeros(len(texts), bool)
    first[np.unique(codes, return_index=True)[1]] = True
    np.save(folder / "first.npy", first)
    np.save(folder / "planted.npy", planted)
    feather.write_feather(pa.table({"text": texts}), folder / "texts.part", compression="uncompressed")
    (folder / "texts.part").rename(folder / "texts.arrow")
    return folder


def run_cases(
    kind: str, names: list[str], folder: Path, rounds: int, canary: Canary, settings: list[str]
) -> list[dict[str, Any]]:
    """Run every case once a round, in turn."""
    found: list[dict[str, Any]] = []
    for number in range(rounds):
        measured: dict[str, Any] = {}
        for name in names:
            print(f"round {number + 1} of {rounds}: {kind}, {name}", file=sys.stderr, flush=True)
            mood = canary.rows_per_second()
            command = [sys.executable, str(CASE_PROGRAM), kind, name, str(folder), *settings]
            measured[name], others = run_child(command)
            measured[name] |= {"others": others, "canary": mood}
        found.append(measured)
    return found


def exact_summary(rounds: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """One line a case, with its rate beside those of Polars and of a set of texts."""
    header = ["exact", "M texts/s", "/polars", "/set", "CPU s", "growth MB", "kept", "lost", "left", "others"]
    lines = [
        [
            name,
            f"{middle(rounds, name, rate) / 1e6:.2f}",
            ratio(rounds, name, "polars"),
            ratio(rounds, name, "python_set"),
            f"{middle(rounds, name, lambda run: run['cpu']):.2f}",
            f"{middle(rounds, name, lambda run: run['growth']) / 1e6:.1f}",
            f"{rounds[0][name]['kept']:,}",
            f"{rounds[0][name]['lost']:,}",
            f"{rounds[0][name]['left']:,}",
            f"{middle(rounds, name, lambda run: run['others']):.2f}",
        ]
        for name in rounds[0]
    ]
    return header, lines


def near_summary(name: str, rounds: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """One line a case, with its rate beside those of rensa and datasketch."""
    header = [
        f"near, {name}",
        "k texts/s",
        "/rensa",
        "/datasketch",
        "CPU s",
        "growth MB",
        "precision",
        "recall",
        "others",
    ]
    lines = [
        [
            case,
            f"{middle(rounds, case, rate) / 1e3:.1f}",
            ratio(rounds, case, "rensa"),
            ratio(rounds, case, "datasketch"),
            f"{middle(rounds, case, lambda run: run['cpu']):.2f}",
            f"{middle(rounds, case, lambda run: run['growth']) / 1e6:.1f}",
            f"{rounds[0][case]['precision']:.4f}",
            f"{rounds[0][case]['recall']:.4f}",
            f"{middle(rounds, case, lambda run: run['others']):.2f}",
        ]
        for case in rounds[0]
    ]
    return header, lines


def rate(run: dict[str, Any]) -> float:
    return run["texts"] / run["seconds"]


def middle(rounds: list[dict[str, Any]], name: str, value: Callable[[dict[str, Any]], float]) -> float:
    return median(value(one[name]) for one in rounds)


def ratio(rounds: list[dict[str, Any]], name: str, other: str) -> str:
    """How many times as fast a case is as another one, in the median round."""
    if other not in rounds[0]:
        return ""
    return f"{median(rate(one[name]) / rate(one[other]) for one in rounds):.2f}"


if __name__ == "__main__":
    main()
