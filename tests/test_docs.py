"""What the documentation names exists, what it shows runs, and what is generated is fresh."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import zfut
from tests.cluster.leftovers import new_base
from zfut import errors_page, options

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
API = DOCS / "guides" / "api.md"
TOPS = ("zfut", "cli", "tests", "docs", "benchmarks", "examples")
SECTIONS = ["Context", "Decision", "What it costs", "Evidence"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


# ------------------------------------------------------------------ what is named exists


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name)
def test_paths_and_symbols_exist(page: Path) -> None:
    for said in re.findall(r"`([^`\n]+)`", prose(page)):
        if is_path(said):
            assert (ROOT / said).exists(), said
        elif re.fullmatch(r"zfut(\.\w+)+", said):
            assert symbol_exists(said), said


def is_path(said: str) -> bool:
    top, slash, _ = said.partition("/")
    return bool(slash) and top in TOPS and re.fullmatch(r"[\w./-]+", said) is not None


def symbol_exists(said: str) -> bool:
    found, rest = longest_module(said.split("."))
    for part in rest:
        annotations = vars(found).get("__annotations__", {})
        if part in annotations and not hasattr(found, part):
            return part == rest[-1]
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def longest_module(parts: list[str]) -> tuple[ModuleType, list[str]]:
    module = importlib.import_module(parts[0])
    for count in range(2, len(parts) + 1):
        try:
            module = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            return module, parts[count - 1 :]
    return module, []


@pytest.mark.parametrize(
    ("said", "exists"),
    [
        ("zfut.get", True),
        ("zfut.core.owner.objects.Objects.set_value", True),
        ("zfut.errors.TaskError.task_name", True),
        ("zfut.wire", True),
        ("zfut.core.owner.objects.Objects.no_such_method", False),
        ("zfut.no_such_module.thing", False),
    ],
)
def test_a_symbol_that_is_not_there_is_seen(said: str, exists: bool) -> None:  # noqa: FBT001
    assert symbol_exists(said) is exists


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name)
def test_no_place_for_figures_is_empty(page: Path) -> None:
    places = re.findall(
        r"<!-- (\w+):begin -->(.*?)<!-- \1:end -->", page.read_text(), re.DOTALL
    )
    assert [place for place, found in places if not found.strip()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose(page)):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_index_leads_to_every_page() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", INDEX.read_text())
    listed = {(DOCS / target).resolve() for target in targets}
    assert {page.resolve() for page in PAGES if page != INDEX} <= listed


# ------------------------------------------------------------------ what is generated is fresh


def test_the_errors_page_is_fresh() -> None:
    """If this fails: ``make pages``."""
    assert (DOCS / "guides" / "errors.md").read_text() == errors_page.page()


# ------------------------------------------------------------------ pages with a form


def test_decisions_are_numbered() -> None:
    numbers = [int(page.name[:4]) for page in DECISIONS]
    assert numbers == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("page", DECISIONS, ids=name)
def test_a_decision_has_its_sections(page: Path) -> None:
    text = page.read_text()
    assert re.match(rf"# {page.name[:4]} \S", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS


def test_a_glossary_row_is_one_sentence_and_a_symbol_or_path() -> None:
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \| (.+?) \|$", (DOCS / "glossary.md").read_text(), re.MULTILINE
    )
    terms = [term for term, _, _ in rows[1:]]
    assert terms == sorted(terms, key=str.lower)
    for term, sentence, symbol in rows[1:]:
        assert re.fullmatch(r"[^.]+\.", re.sub(r"`[^`]+`", "code", sentence)), term
        assert re.fullmatch(r"`zfut(\.\w+)+`", symbol) or is_path(symbol.strip("`")), term


def test_the_public_names_are_explained() -> None:
    text = API.read_text()
    classes = {"ActorHandle", "ObjectRef", "RemoteClass", "RemoteFunction", "Session"}
    for public in set(zfut.__all__) - classes - {"__version__"}:
        assert re.search(rf"\b{public}\b", text), public


def test_the_arguments_of_init_are_explained() -> None:
    text = API.read_text()
    for argument in set(inspect.signature(zfut.init).parameters) - {"limits"}:
        assert f"`{argument}`" in text, argument


def test_the_options_are_explained() -> None:
    text = API.read_text()
    for option in (*options.TASK_OPTIONS, *options.ACTOR_OPTIONS, *options.METHOD_OPTIONS):
        assert f"`{option}`" in text or f"{option}=" in text, option


# ------------------------------------------------------------------ what is shown runs


def blocks(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the line number and the text of each block of Python."""
    text = page.read_text()
    for found in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, found.start(1)), found[1]


def run(block: str, before: int, page: Path, names: dict[str, object]) -> None:
    """Run a block; a line that ends in ``# -> value`` must give that value."""
    padded = "\n" * before + block
    lines = padded.splitlines()
    for statement in ast.parse(padded).body:
        where = f"{name(page)}:{statement.lineno}"
        said = lines[(statement.end_lineno or 0) - 1].partition("# -> ")[2]
        if isinstance(statement, ast.Expr) and said:
            got = eval(compile(ast.Expression(statement.value), where, "eval"), names)  # noqa: S307
            assert repr(got) == said, where
        else:
            assert not said, f"{where}: only an expression gives a value"
            exec(compile(ast.Module([statement], []), where, "exec"), names)  # noqa: S102


@pytest.mark.cluster
def test_the_examples_of_the_api_page_run(monkeypatch: pytest.MonkeyPatch) -> None:
    base = new_base()
    monkeypatch.setenv("ZFUT_SESSION_DIR", str(base))
    names: dict[str, object] = {"__name__": "__main__"}
    shown = 0
    try:
        for before, block in blocks(API):
            run(block, before, API, names)
            shown += 1
        assert zfut.cluster_resources()["CPU"] == 2
    finally:
        names.clear()
        zfut.shutdown()
    assert shown > 10
    shutil.rmtree(base)


def test_an_example_that_gives_something_else_is_seen() -> None:
    run("1 + 1  # -> 2\n", 0, API, {})
    with pytest.raises(AssertionError):
        run("1 + 1  # -> 3\n", 0, API, {})
