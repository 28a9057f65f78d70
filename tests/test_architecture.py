"""The rules of the design that a linter cannot see. Each test names the remedy in its failure."""

import ast
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import autoscaler
import models
import serving
import vgpu

ROOT = Path(__file__).parent.parent
PACKAGES = ("autoscaler", "helm", "images", "models", "serving", "vgpu")
CORES = ("autoscaler/core", "vgpu/core")
BANNED_WORDS = ("manager", "helper", "util", "common", "base", "impl", "processor")
CORE_LINES, FILE_LINES, FUNCTION_LINES = 300, 400, 40
# A broad except is for where a stranger's failure must not end the process: the loop, what a client waits on, a class
# of the user's image, and a provider's library, whose threads nobody would hear.
BROAD_EXCEPTS = {
    "autoscaler/loop.py",
    "models/strangers.py",
    "serving/batch.py",
    "serving/bodies.py",
    "vgpu/switcher/connections.py",
    "vgpu/switcher/providers/libvirt_jobs.py",
    "vgpu/switcher/providers/libvirt_line.py",
}
# Pure parts may not even read a file at import.
PURE_CALLS = re.compile(r"\b(open|print|input|eval|exec)\(")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", sources(*PACKAGES, "tests"), ids=relative)
def test_a_file_stays_small(path: Path) -> None:
    most = CORE_LINES if relative(path).startswith(CORES) else FILE_LINES
    lines = len(path.read_text().splitlines())
    assert lines <= most, f"{relative(path)} has {lines} lines, at most {most}: split it by noun"


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=relative)
def test_a_function_stays_small(path: Path) -> None:
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in functions(path)
        if node.end_lineno
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES + len(ast.get_docstring(node) or "") // 60
    }
    assert long == {}, f"{relative(path)}: functions over {FUNCTION_LINES} lines: {long}"


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=relative)
def test_names_say_what_a_thing_is(path: Path) -> None:
    names = {path.stem, *(node.name for node in functions(path))}
    names |= {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)}
    words = {word for name in names for word in re.findall(r"[A-Z]?[a-z]+", name)}
    banned = sorted(word for word in words if word.lower() in BANNED_WORDS)
    assert banned == [], f"{relative(path)}: name the thing by its noun instead of {banned}"


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=relative)
def test_a_broad_except_stands_only_where_it_is_meant_to(path: Path) -> None:
    broad = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]
    assert broad == [] or relative(path) in BROAD_EXCEPTS, f"{relative(path)}: catch what can happen, lines {broad}"


@pytest.mark.parametrize("path", sources(*PACKAGES, "tests"), ids=relative)
def test_a_silenced_checker_has_a_code_and_a_reason(path: Path) -> None:
    with tokenize.open(path) as file:
        comments = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT]
    bare = [
        token.start[0]
        for token in comments
        if re.search(r"type: ignore(?!\[[a-z-]+(, ?[a-z-]+)*\]  # \S)", token.string)
        or re.search(r"noqa(?!: [A-Z]+\d+(, ?[A-Z]+\d+)* *(- |# |  # )\S)", token.string)
    ]
    assert bare == [], f"{relative(path)}: say which rule and why, lines {bare}"


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=relative)
def test_a_module_says_what_it_decides(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{relative(path)} has no module docstring"


@pytest.mark.parametrize("path", sources(*CORES), ids=relative)
def test_a_core_does_nothing_but_compute(path: Path) -> None:
    assert PURE_CALLS.findall(path.read_text()) == []


def test_the_packages_are_the_ones_of_this_repository() -> None:
    """The names are generic: another package of that name on the path must not stand in for ours."""
    for package in (autoscaler, models, serving, vgpu):
        assert package.__file__ is not None
        assert Path(package.__file__).parent.parent == ROOT


@pytest.mark.parametrize("package", ["autoscaler", "autoscaler/embedded", "models", "serving", "vgpu", "vgpu/switcher"])
def test_a_package_has_a_short_readme(package: str) -> None:
    lines = (ROOT / package / "README.md").read_text().splitlines()
    assert 5 < len(lines) <= 80


def test_every_dependency_says_who_needs_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    needed = {re.split(r"[<>=\[]", entry)[0] for name, entries in extras.items() if name != "dev" for entry in entries}
    explained = set(re.findall(r'^    "([a-z0-9-]+)[^"]*",\s+# \S', text, re.MULTILINE))
    assert needed - explained == set(), "write behind each runtime dependency which module needs it"


def test_every_metric_is_named_once() -> None:
    """A metric's name is public interface and is owned by one module."""
    owners: dict[str, set[str]] = {}
    pattern = re.compile(r'(?:Counter|Gauge|Histogram|Info|counter|gauge|histogram)\(\s*"(vgpu_[a-z_]+)"')
    for path in sources(*PACKAGES):
        for name in pattern.findall(path.read_text()):
            owners.setdefault(name, set()).add(relative(path))
    assert owners, "no metric found: has the way they are declared changed?"
    assert {name: files for name, files in owners.items() if len(files) > 1} == {}
