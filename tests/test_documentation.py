"""The documentation is true: its code runs, its links lead somewhere, and public names are described.

In a Python block, an expression followed by `# -> text` must have that text as its `repr`. The blocks of one
page share their names, as a reader who pastes them one after the other would have it. A block marked `text`
is what the Python before it prints, line breaks aside; `...` stands for anything.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import headrace
from headrace.cli import main
from source_tree import MODULES, Module

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "DESIGN.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
NOT_RUN = {"CONTRIBUTING.md"}  # its Python is a pattern to fill in
NEEDS_TORCH = {"README.md", "torch.md"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str


def read_blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page, text[: match.start()].count("\n") + 1, match[1], match[2])
        for match in FENCE.finditer(text)
    ]
    return [block for block in found if block.language in languages]


def run_block(block: Block, names: dict[str, object]) -> None:
    """Run a block statement by statement, and hold values against what the page says of them."""
    lines = block.text.splitlines()
    for statement in ast.parse(block.text).body:
        promised = lines[(statement.end_lineno or 1) - 1].partition("# -> ")[2]
        ast.increment_lineno(statement, block.line)
        where = block.page.name
        if isinstance(statement, ast.Expr) and promised:
            value = eval(compile(ast.Expression(statement.value), where, "eval"), names)
            assert repr(value) == promised, f"{where}:{statement.lineno}"
        else:
            exec(compile(ast.Module([statement], []), where, "exec"), names)


@pytest.fixture
def beside_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder in which the examples' shards lie where the pages look for them."""
    (tmp_path / "data").symlink_to(ROOT / "examples" / "flights" / "data")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("beside_the_shards")
def test_python_on_the_pages_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every Python block runs, in order, and yields and prints what the page says."""
    if page.name in NEEDS_TORCH:
        pytest.importorskip("torch")
    names: dict[str, object] = {"__name__": "page"}
    for block in read_blocks(page, "python", "text"):
        if page.name in NOT_RUN:
            ast.parse(block.text)
        elif block.language == "python":
            capsys.readouterr()
            run_block(block, names)
        else:
            pattern = ".*".join(re.escape(part) for part in " ".join(block.text.split()).split("..."))
            printed = " ".join(capsys.readouterr().out.split())
            assert re.fullmatch(pattern, printed), f"{page.name}:{block.line}: {printed}"


def test_a_wrong_value_on_a_page_is_caught() -> None:
    """The check of values sees a value that is not what the page says."""
    run_block(Block(Path("page.md"), 1, "python", "x = 1\nx + 1  # -> 2\n"), {})
    with pytest.raises(AssertionError, match=r"page\.md:3"):
        run_block(Block(Path("page.md"), 1, "python", "x = 1\nx + 1  # -> 3\n"), {})


def commands() -> list[list[str]]:
    shell = [block for page in PAGES for block in read_blocks(page, "sh")]
    lines = [line.split("#")[0] for block in shell for line in block.text.splitlines()]
    return [line.replace('"', "").split() for line in lines if line.strip()]


@pytest.mark.usefixtures("beside_the_shards")
def test_commands_on_the_pages_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Every `headrace` command on a page runs; the demo, which takes longer, has a test of its own."""
    headrace.open("data/*-01.parquet").select(["hour"]).materialize("prepared")  # what the commands look at
    ours = [command for command in commands() if command[0] == "headrace"]

    assert ours
    for command in ours:
        if command[1] != "demo":
            assert main(command[1:]) == 0, command
    assert capsys.readouterr().err == ""


def test_make_targets_on_the_pages_exist() -> None:
    """Every `make` command on a page names a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:`|^)make (?:[A-Z]+=\S+ )?([a-z-]+)", text, re.MULTILINE))

    assert named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, and a heading of it."""
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, (
                link
            )


def test_every_page_is_linked_from_the_readme() -> None:
    """No page is left for nobody to find."""
    links = set(LINK.findall((ROOT / "README.md").read_text(encoding="utf-8")))

    assert {page.relative_to(ROOT).as_posix() for page in PAGES[1:]} <= links


def test_every_error_is_on_the_errors_page() -> None:
    """The page lists all classes, each with the builtin that it also is."""
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE))
    kinds = {name: value for name in headrace.__all__ if is_error(value := getattr(headrace, name))}

    assert set(rows) == set(kinds) - {"HeadraceError"}
    for name, builtin in rows.items():
        assert builtin in {base.__name__ for base in kinds[name].__mro__}, name


def is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, headrace.HeadraceError)


def public_parts(module: Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield public classes and functions, and the public methods of public classes."""
    for node in module.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield f"{module.path}: {node.name}", node
            for part in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                    yield f"{module.path}: {node.name}.{part.name}", part


def is_stub(node: ast.AST) -> bool:
    """Whether a function is a protocol's, with nothing but dots in it."""
    return isinstance(node, ast.FunctionDef) and [ast.unparse(part) for part in node.body] == ["..."]


def test_everything_public_has_a_docstring() -> None:
    """Every module, public class, function and method says what it is."""
    lacking = [module.path for module in MODULES if not ast.get_docstring(module.tree)]
    for module in MODULES:
        for name, node in public_parts(module):
            if not is_stub(node) and not ast.get_docstring(node):
                lacking.append(name)

    assert lacking == []


def shown_in_examples() -> str:
    """All code that the suite runs as documentation: blocks on pages and examples in docstrings."""
    blocks = [
        block.text for page in PAGES if page.name not in NOT_RUN for block in read_blocks(page, "python")
    ]
    lines = [
        line for module in MODULES for line in module.text.splitlines() if line.strip().startswith(">>>")
    ]
    return "\n".join([*blocks, *lines])


@pytest.mark.parametrize("name", [name for name in headrace.__all__ if name != "__version__"])
def test_every_public_name_is_shown_in_use(name: str) -> None:
    """A public name has a docstring, and code that runs shows it: its own example or one on a page."""
    value = getattr(headrace, name)
    described = inspect.getdoc(value) or ""

    assert described
    if is_error(value) or getattr(value, "_is_protocol", False):
        return  # errors are on their page, protocols are for others to satisfy
    assert ">>>" in described or re.search(rf"\bhr\.{name}\b", shown_in_examples()), (
        f"`hr.{name}` has no example"
    )
