"""The rules of the house that no off-the-shelf linter knows."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from zfut.wire import mailboxes
from zfut.wire import messages as m

FILE_LINES_MAX = 500
TEST_FILE_LINES_MAX = 1000
"""Tests are read one at a time."""
FUNCTION_LINES_MAX = 60

ROOT = Path(__file__).parent.parent
INSTALLED = ("zfut", "cli")
FOLDERS = (*INSTALLED, "benchmarks", "examples", "tests")
FILES = sorted(path for top in FOLDERS for path in (ROOT / top).rglob("*.py"))
CORE = sorted((ROOT / "zfut" / "core").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEXTS = sorted(
    {
        *(*FILES, *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "Makefile"),
        *(ROOT / "setup.cfg", ROOT / "pyproject.toml"),
    }
    - {Path(__file__)}
)

RECEIVERS: dict[str, tuple[object, ...]] = {
    "owner": (mailboxes.ToOwner,),
    "executor": (mailboxes.ToExecutor,),
    "node": (mailboxes.ToNode,),
    "any": (mailboxes.ToOwner, mailboxes.ToWorker, mailboxes.ToNode),
}

PURE = {
    *("__future__", "bisect", "collections", "collections.abc", "dataclasses", "enum"),
    *("functools", "heapq", "itertools", "math", "msgspec", "msgspec.structs", "typing"),
}
"""All that the core may import besides zfut: none of it knows the time or reaches the world."""

LAZY = ("numpy", "pyarrow", "zmq", "cloudpickle")
"""What ``import zfut`` leaves to the moment when a value or a session needs it."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_fits_in_the_head_and_a_function_on_the_screen(path: Path) -> None:
    text = path.read_text()
    limit = TEST_FILE_LINES_MAX if path in TESTS else FILE_LINES_MAX
    assert len(text.splitlines()) <= limit
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, node.name


# ------------------------------------------------------------------ the core


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_holds_no_set(path: Path) -> None:
    """A set's order changes from run to run, and with it the order of effects. Use a dict."""
    for node in ast.walk(tree_of(path)):
        called = node.func if isinstance(node, ast.Call) else None
        function = called.id if isinstance(called, ast.Name) else ""
        assert not isinstance(node, ast.Set | ast.SetComp), ast.unparse(node)
        assert function not in ("set", "frozenset"), ast.unparse(node)


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_imports_nothing_that_knows_the_time_or_reaches_the_world(path: Path) -> None:
    """It is handed the time and asks for effects; so a seed always gives the same run."""
    for module in imports_of(tree_of(path)):
        assert module in PURE or module.partition(".")[0] == "zfut", module


def imports_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "__import__", "exec", "eval"), node.func.id


def test_imports_point_down_the_tree() -> None:
    """The contracts in setup.cfg: layers, parties, and no IO in the core."""
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed")
    run = "from importlinter.cli import lint_imports_command as main; main(['--no-cache'])"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", run], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------ packages


def test_every_package_is_installed() -> None:
    """setup.cfg lists the packages one by one, since cli/ is installed as zfut_cli."""
    found = [path.parent for path in FILES if path.name == "__init__.py"]
    names = [".".join(path.relative_to(ROOT).parts) for path in found]
    ours = [each for each in names if each.partition(".")[0] in INSTALLED]
    listed = setup()["options"]["packages"].split()
    assert sorted(listed) == sorted(re.sub(r"^cli\b", "zfut_cli", each) for each in ours)


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in FILES if path.relative_to(ROOT).parts[0] in INSTALLED}
    for folder in folders:
        assert (folder / "__init__.py").exists(), name(folder)


def test_nothing_is_installed_as_cli() -> None:
    """It would shadow, or be shadowed by, anybody's module of that name."""
    listed = setup()["options"]["packages"].split()
    assert not [each for each in listed if each.partition(".")[0] == "cli"]
    try:
        files = importlib.metadata.distribution("zfut").files or []
    except importlib.metadata.PackageNotFoundError:
        return
    # An editable install lists its sources; what is installed is said in RECORD.
    recorded = [file for file in files if "site-packages" in str(file.locate())]
    assert not [file for file in recorded if file.parts[0] == "cli"]


def test_importing_zfut_is_cheap() -> None:
    code = f"import sys, zfut; print(sorted(set({LAZY!r}) & set(sys.modules)))"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize("message", m.Message.__subclasses__(), ids=lambda c: c.__name__)
def test_a_message_says_who_sends_it_to_whom(message: type[m.Message]) -> None:
    """Its first line is 'sender -> receiver: what it asks', and the receiver accepts it."""
    match = re.match(r"(\w+) -> (\w+): \S", message.__doc__ or "")
    assert match
    assert match[1] in RECEIVERS
    for union in RECEIVERS[match[2]]:
        assert message in typing.get_args(union)


@pytest.mark.parametrize("message", m.Message.__subclasses__(), ids=lambda c: c.__name__)
def test_a_message_says_whether_it_may_come_twice(message: type[m.Message]) -> None:
    """Either it may be repeated, or it is sent once: the mailbox drops repeats."""
    assert re.search(r"Safe to repeat|Sent once", message.__doc__ or "")


# ------------------------------------------------------------------ texts


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_a_text_is_about_the_thing_itself(path: Path) -> None:
    """No work left to do, no issue numbers, no paths of the machine it was written on."""
    text = path.read_text()
    found = re.findall(r"\b(?:TODO|FIXME|XXX)\b", text)
    found += re.findall(r"(?<![\w&])#\d{1,5}\b|\bissue \d+", text)
    found += re.findall(r"/(?:root|work|home|Users)/\w+", text)
    assert not found


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_a_test_waits_for_the_thing_itself(path: Path) -> None:
    """Tests and fixtures do not sleep; functions that they send to workers may."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_test(node):
            for part in own_code(node):
                assert not is_sleep(part), f"{node.name}: {ast.unparse(part)}"


def is_test(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return node.name.startswith("test_") or any(
        "fixture" in ast.unparse(decorator) for decorator in node.decorator_list
    )


def own_code(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when ``node`` runs, without the functions and classes it defines."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            yield child
            yield from own_code(child)


def is_sleep(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep")


def test_the_rule_about_sleeping_can_fail() -> None:
    code = "def test_x():\n    def sent():\n        time.sleep(1)\n    {}"
    sleeping = ast.parse(code.format("while 1:\n        time.sleep(0.1)"))
    waiting = ast.parse(code.format("wait(sent)"))
    assert any(is_sleep(part) for part in own_code(sleeping.body[0]))
    assert not any(is_sleep(part) for part in own_code(waiting.body[0]))
