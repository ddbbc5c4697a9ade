"""What the source never does: read the environment, unpickle, print, change module state, grow large.

Every rule is one function from a module to a list of complaints, with a test that the package has none and a
test that small snippets which break the rule are caught.
"""

from __future__ import annotations

import ast

import pytest

from source_tree import Module, complaints_of, find_imports

READS_ENVIRONMENT = ("planning/world.py", "execution/world.py")  # World.detect, one visible function
PRINTS = ("cli/",)
# The shipped contracts send objects through pickle and back; an LMDB value is unpickled only where the user
# says `allow_pickle=True`.
UNPICKLES = ("testing/", "sources/codings.py")

ENVIRONMENT_NAMES = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
PICKLE_LIBRARIES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal"}
UNPICKLING_NAMES = {"load", "loads", "Unpickler"}
MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 60


def check_environment(module: Module) -> list[str]:
    if module.is_in(READS_ENVIRONMENT):
        return []
    attributes = (node for node in ast.walk(module.tree) if isinstance(node, ast.Attribute))
    found = [node.lineno for node in attributes if node.attr in ENVIRONMENT_NAMES]
    found += [
        item.line for item in find_imports(module) if item.name.removeprefix("os.") in ENVIRONMENT_NAMES
    ]
    return [f"{module.path}:{line}: only World.detect reads the environment" for line in found]


def check_unpickling(module: Module) -> list[str]:
    if module.is_in(UNPICKLES):
        return []
    nodes = list(ast.walk(module.tree))
    names = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    picklers = {alias.asname or alias.name for alias in names if alias.name in PICKLE_LIBRARIES}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in UNPICKLING_NAMES]
    found = [node.lineno for node in attributes if ast.unparse(node.value) in picklers]
    for item in find_imports(module):
        library, _, name = item.name.partition(".")
        if library in PICKLE_LIBRARIES and name in UNPICKLING_NAMES:
            found.append(item.line)
    return [f"{module.path}:{line}: nothing is unpickled, for that runs code from data" for line in found]


def check_printing(module: Module) -> list[str]:
    if module.is_in(PRINTS):
        return []
    calls = (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))
    found = [call.lineno for call in calls if ast.unparse(call.func) == "print"]
    return [f"{module.path}:{line}: only the command line prints" for line in found]


def check_globals(module: Module) -> list[str]:
    found = [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.Global)]
    return [f"{module.path}:{line}: module state is not changed by `global`" for line in found]


def check_sizes(module: Module) -> list[str]:
    count = len(module.text.splitlines())
    functions = [
        node for node in ast.walk(module.tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    large = [function for function in functions if count_lines(function) > MOST_FUNCTION_LINES]
    return [
        *([f"{module.path}: {count} lines, at most {MOST_FILE_LINES}"] if count > MOST_FILE_LINES else []),
        *(f"{module.path}:{it.lineno}: `{it.name}` is over {MOST_FUNCTION_LINES} lines" for it in large),
    ]


def count_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines from `def` to its end, without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_environment_is_read_in_one_place() -> None:
    """No environment variable changes what headrace does, World.detect aside."""
    assert complaints_of(check_environment) == []


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.environ['X']",
        "import os as o\no.getenv('X')",
        "from os import environ",
        "from os import getenv",
    ],
)
def test_reading_the_environment_is_caught(text: str) -> None:
    """The environment is caught under every spelling, and accepted where World.detect lives."""
    assert len(check_environment(Module("loader.py", text))) == 1
    assert check_environment(Module("planning/world.py", text)) == []


def test_nothing_is_unpickled() -> None:
    """Data, caches and states are never unpickled."""
    assert complaints_of(check_unpickling) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\npickle.loads(b'')",
        "import pickle as p\ndef f(file):\n    return p.load(file)",
        "from pickle import loads",
        "import cloudpickle\ncloudpickle.Unpickler",
    ],
)
def test_unpickling_is_caught(text: str) -> None:
    """Unpickling is caught under an alias and as a from-import."""
    assert len(check_unpickling(Module("stores/disk.py", text))) == 1


def test_pickling_is_accepted() -> None:
    """Writing a pickle runs nothing, and other libraries have a function `loads` too."""
    text = "import json, pickle\njson.loads('1')\npickle.dumps(1)"

    assert check_unpickling(Module("stores/disk.py", text)) == []


def test_only_the_command_line_prints() -> None:
    """A library does not write to standard output."""
    assert complaints_of(check_printing) == []


def test_printing_is_caught() -> None:
    """A call of print is caught outside the command line; the word in a docstring is none."""
    assert len(check_printing(Module("loader.py", "def f():\n    print('x')"))) == 1
    assert check_printing(Module("loader.py", "'>>> print(1)'")) == []
    assert check_printing(Module("cli/show.py", "print('x')")) == []


def test_there_are_no_global_statements() -> None:
    """No function changes module state."""
    assert complaints_of(check_globals) == []


def test_global_statement_is_caught() -> None:
    """A global statement is caught inside nested functions too."""
    text = "def f():\n    def g():\n        global x\n        x = 1"

    assert len(check_globals(Module("loader.py", text))) == 1


def test_files_and_functions_stay_small() -> None:
    """A file stays under 400 lines and a function under 60, its docstring not counted."""
    assert complaints_of(check_sizes) == []


def test_large_files_and_functions_are_caught() -> None:
    """One line too many is caught, in a file and in a function; a docstring's lines are free."""
    body = "    x = 1\n" * (MOST_FUNCTION_LINES - 1)  # and the line of `def` itself
    docstring = '    """Say.\n\n    More.\n    """\n'

    assert check_sizes(Module("loader.py", "x = 1\n" * MOST_FILE_LINES)) == []
    assert len(check_sizes(Module("loader.py", "x = 1\n" * (MOST_FILE_LINES + 1)))) == 1
    assert check_sizes(Module("loader.py", f"def f():\n{docstring}{body}")) == []
    assert len(check_sizes(Module("loader.py", f"def f():\n{body}    return x\n"))) == 1
