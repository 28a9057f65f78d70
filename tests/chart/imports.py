"""What a process imports when it starts, read from the sources: our own modules, and packages by others."""

import ast
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.chart.helm import ROOT

# Several packages put modules below one name.
SHARED = {"google.protobuf": "protobuf"}
SHARED_TOPS = {name.partition(".")[0] for name in SHARED}
OURS = ("autoscaler", "models", "serving", "vgpu")


def imported_packages(modules: Iterable[str]) -> set[str]:
    """Names, as an index has them, of all that the modules import, by themselves or through others of ours."""
    providers = metadata.packages_distributions()
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for imported in _imports(_path(name)):
            top = imported.partition(".")[0]
            if top in OURS:
                waiting += _with_holders(imported)
            elif top in SHARED_TOPS:
                found |= {package for name, package in SHARED.items() if f"{imported}.".startswith(f"{name}.")}
            elif top not in sys.stdlib_module_names:
                found |= {canonicalize_name(provider) for provider in providers[top]}
    return found


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            # A name may be a module of its own.
            yield from (f"{node.module}.{alias.name}" for alias in node.names if _exists(f"{node.module}.{alias.name}"))


def _with_holders(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _exists(name: str) -> bool:
    folder = ROOT.joinpath(*name.split("."))
    return name.partition(".")[0] in OURS and (folder.is_dir() or folder.with_suffix(".py").is_file())


def _path(name: str) -> Path:
    folder = ROOT.joinpath(*name.split("."))
    module = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    assert module.is_file(), f"{name} is no module of ours"
    return module
