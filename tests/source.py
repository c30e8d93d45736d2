"""The source of zsmtp as data: modules, what they import, what they show to others.

Nothing is imported to find this out.  ``python -m tests.source`` prints the list of public names, which
`tests/public_names.txt` holds: when a name comes or goes on purpose, write that list anew and read the
difference.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

__all__ = ["PACKAGE", "ROOT", "Import", "Module", "modules", "public_names"]

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "zsmtp"


class Import(NamedTuple):
    """One imported thing: ``import a.b`` is (a.b, None), ``from a import b`` is (a, b)."""

    module: str
    name: str | None
    line: int


class Module:
    """One module of the package, read and parsed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        words = path.relative_to(ROOT).with_suffix("").parts
        self.is_package = words[-1] == "__init__"
        self.name = ".".join(words[:-1] if self.is_package else words)
        self.text = path.read_text()
        self.tree = ast.parse(self.text, str(path))

    @property
    def room(self) -> str:
        """The part of the package that the module belongs to: a sub-package or a module at the top."""
        words = self.name.split(".")
        return words[1] if len(words) > 1 else ""

    @cached_property
    def names(self) -> list[str] | None:
        """What ``__all__`` lists; None without one."""
        for node in self.tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                    return [str(name) for name in ast.literal_eval(value)]
        return None

    @cached_property
    def imports(self) -> list[Import]:
        """Every import in the file, also those inside functions and those for type checkers only."""
        found = []
        for node in ast.walk(self.tree):
            match node:
                case ast.Import(names=names):
                    found += [Import(alias.name, None, node.lineno) for alias in names]
                case ast.ImportFrom(module=module, names=names, level=0):
                    found += [Import(module or "", alias.name, node.lineno) for alias in names]
                case ast.ImportFrom():
                    found.append(Import(".", None, node.lineno))  # relative: the tests refuse it
        return found

    @cached_property
    def annotation_lines(self) -> set[int]:
        """The lines that only type checkers read: those below ``if TYPE_CHECKING``."""
        lines: set[int] = set()
        for node in ast.walk(self.tree):
            match node:
                case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=[*_, last]):
                    lines.update(range(node.lineno, (last.end_lineno or 0) + 1))
        return lines

    def imported_modules(self, known: set[str]) -> Iterator[tuple[str, int]]:
        """Give the modules of `known` that this one imports, with the line."""
        for module, name, line in self.imports:
            inner = f"{module}.{name}"
            if inner in known:
                yield inner, line
            elif module in known:
                yield module, line

    def uses(self) -> Iterator[tuple[str, ast.AST]]:
        """Give every dotted name that is read, with its place: ``time.monotonic``, ``open``."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Attribute(value=ast.Name(id=owner), attr=name):
                    yield f"{owner}.{name}", node
                case ast.Name(id=name):
                    yield name, node


def modules() -> dict[str, Module]:
    """Read the whole package: full name to module."""
    found = (Module(path) for path in sorted((ROOT / PACKAGE).rglob("*.py")))
    return {module.name: module for module in found}


def public_names() -> str:
    """Write down what every module shows: one line each, its name and what ``__all__`` lists."""
    lines = (f"{name}: {' '.join(sorted(module.names or []))}" for name, module in modules().items())
    return "".join(line.rstrip(": ") + "\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(public_names())
