"""The package's source as syntax trees: what the tests of its architecture and house rules read."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "headrace"


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its path below the package and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def layer(self) -> str:
        return self.path.removesuffix(".py").split("/")[0]

    def is_in(self, places: tuple[str, ...]) -> bool:
        return any(
            self.path == place or (place.endswith("/") and self.path.startswith(place)) for place in places
        )


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name in full, as in `headrace.batch.Batch`, and when it is imported."""

    name: str
    line: int
    at_module_level: bool


Rule = Callable[[Module], list[str]]
MODULES = [
    Module(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
]


def complaints_of(rule: Rule) -> list[str]:
    assert MODULES, f"no source files under {PACKAGE}"
    return [complaint for module in MODULES for complaint in rule(module)]


def parts_run(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a node that run: all but the body of `if TYPE_CHECKING:`."""
    if isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING":
        yield from node.orelse
    else:
        yield from ast.iter_child_nodes(node)


def find_imports(module: Module) -> Iterator[Import]:
    """Yield what a module imports at run time, inside functions too, by statement or by constant name."""
    stack: list[tuple[ast.AST, bool]] = [(module.tree, True)]
    while stack:
        node, top = stack.pop()
        for name in imported_names(node, module):
            yield Import(name, getattr(node, "lineno", 0), top)
        top = top and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        stack.extend((part, top) for part in parts_run(node))


def imported_names(node: ast.AST, module: Module) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(names=names):
            origin = full_name(node, module)
            return [f"{origin}.{alias.name}" for alias in names]
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return [name]
        case _:
            return []


def full_name(node: ast.ImportFrom, module: Module) -> str:
    """Return where a from-import looks, with leading dots resolved."""
    if node.level == 0:
        return node.module or ""
    package = ["headrace", *module.path.split("/")[:-1]]
    kept = package[: len(package) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])
