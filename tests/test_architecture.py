"""The rooms of zsmtp keep to themselves: who imports whom, what is pure, who reads clocks, what is public."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from tests.source import ROOT, Module, modules, public_names

# From the ground up.  A room may use those of lower layers.  Rooms that stand together may use each other,
# but not in a circle; rooms in different sets of one layer do not know each other.
LAYERS: list[list[set[str]]] = [
    [{"", "errors"}],
    [{"trouble"}],
    [{"smtp"}, {"message"}, {"spool"}],
    [{"policy", "plan", "target", "destination", "credentials", "tlsfile"}],
    [{"net"}],
    [{"job", "selection", "deliver", "options"}],
    [{"agent", "assembly", "connecting", "probe", "feed", "logs"}, {"daemon"}],
    [{"tap", "ctl", "testing", "submission"}],
    [{"__main__"}],
]

# What looks upward for the sake of an annotation only, and is imported for type checkers only.
ANNOTATIONS = {
    ("zsmtp.trouble", "zsmtp.smtp.reply"),  # a trouble quotes what the server said
    ("zsmtp", "zsmtp.submission"),  # zsmtp.submit is loaded when it is asked for
}

# Modules without side effects, and with them every module of ours that they import.
PURE = {
    "zsmtp.errors",
    "zsmtp.trouble",
    "zsmtp.smtp.*",
    "zsmtp.message.*",
    "zsmtp.spool.controlfile",
    "zsmtp.spool.layout",
    "zsmtp.spool.report",
    "zsmtp.policy",
    "zsmtp.plan",
    "zsmtp.destination",
    "zsmtp.credentials",
    "zsmtp.tlsfile",
    "zsmtp.daemon.bounce",
    "zsmtp.daemon.limits",
    "zsmtp.daemon.logline",
    "zsmtp.daemon.queue",
    "zsmtp.daemon.schedule",
}

# What a pure module may import: nothing that reads a clock, a file, a socket, chance or the environment.
HARMLESS = {
    "__future__", "abc", "ast", "base64", "binascii", "bisect", "codecs", "collections", "dataclasses",
    "datetime", "difflib", "email", "enum", "functools", "hashlib", "heapq", "hmac", "idna", "ipaddress",
    "itertools", "math", "operator", "quopri", "re", "string", "stringprep", "struct", "textwrap", "types",
    "typing",
    "typing_extensions", "unicodedata",
}  # fmt: skip
HARMFUL_USES = {"open", "input", "print", "eval", "exec", "__import__", "breakpoint"}

CLOCKS = {
    f"{owner}.{name}"
    for owner, names in {
        "time": "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns localtime gmtime",
        "datetime": "now utcnow today",
        "date": "today",
    }.items()
    for name in names.split()
}

# Where clock and reactor come from: rooms in which a process is put together (`testing` is used by the
# processes of other people's tests, `submission` by those of their programs), and modules with a reason.
ASSEMBLING_ROOMS = {"__main__", "assembly", "ctl", "submission", "tap", "testing"}
ASSEMBLING_MODULES = {
    "zsmtp.agent": "only in its functions: that is what starts the agent",
    "zsmtp.net.sender": "Twisted's own sendmail() builds it and hands over no clock",
}

LONGEST = 500


class ImportOrder(SynchronousTestCase):
    """Nothing imports upward, strangers stay strangers, and there is no circle."""

    def setUp(self) -> None:
        self.modules = modules()
        self.places = {
            room: (layer, company)
            for layer, companies in enumerate(LAYERS)
            for company, rooms in enumerate(companies)
            for room in rooms
        }

    def test_every_room_has_a_layer(self) -> None:
        rooms = {module.room for module in self.modules.values()}
        self.assertEqual(rooms - set(self.places), set(), "give it a place in LAYERS, and in the design")

    def test_nothing_imports_upward_or_from_a_stranger(self) -> None:
        wrong = []
        for module in self.modules.values():
            layer, company = self.places[module.room]
            for name, line in module.imported_modules(set(self.modules)):
                its_layer, its_company = self.places[self.modules[name].room]
                if (module.name, name) in ANNOTATIONS and line in module.annotation_lines:
                    continue
                if its_layer > layer or (its_layer == layer and its_company != company):
                    wrong.append(f"{module.path.relative_to(ROOT)}:{line}: {module.name} may not use {name}")
        self.assertEqual(wrong, [])

    def test_there_is_no_circle_of_modules(self) -> None:
        known = set(self.modules)
        uses = {
            # A package's own docstring module is loaded before its members and imports none of them.
            name: {found for found, _ in module.imported_modules(known) if found != name}
            for name, module in self.modules.items()
        }
        self.assertEqual(circle(uses), [])

    def test_imports_are_absolute(self) -> None:
        relative = [
            f"{module.name}:{found.line}"
            for module in self.modules.values()
            for found in module.imports
            if found.module == "."
        ]
        self.assertEqual(relative, [])


def circle(uses: dict[str, set[str]]) -> list[str]:
    """Find modules that import each other in a circle; empty if there are none."""
    done: set[str] = set()
    for start in uses:
        path: list[str] = []
        stack = [(start, iter(sorted(uses[start])))]
        if start in done:
            continue
        path.append(start)
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            elif following not in done:
                path.append(following)
                stack.append((following, iter(sorted(uses[following]))))
    return []


class Circles(SynchronousTestCase):
    """The search for circles finds them."""

    def test_chain_is_none(self) -> None:
        self.assertEqual(circle({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"b", "c"}}), [])

    def test_circle_is_named(self) -> None:
        found = circle({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}})
        self.assertEqual(found, ["b", "c", "d", "b"])
        self.assertEqual(len(list(pairwise(found))), 3)


class Purity(SynchronousTestCase):
    """Pure modules take bytes and times as arguments and give values back."""

    def pure(self) -> list[Module]:
        everything = modules()
        waiting = [
            name
            for name in everything
            if name in PURE or any(name.startswith(entry[:-1]) for entry in PURE if entry.endswith(".*"))
        ]
        found: dict[str, Module] = {}
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = everything[name]
                waiting += [other for other, _ in everything[name].imported_modules(set(everything))]
        return list(found.values())

    def test_pure_modules_import_nothing_that_acts(self) -> None:
        wrong = [
            f"{module.path.relative_to(ROOT)}:{line}: {name}"
            for module in self.pure()
            for name, _, line in module.imports
            if name.partition(".")[0] not in HARMLESS | {"zsmtp"}
        ]
        self.assertEqual(wrong, [])

    def test_pure_modules_read_and_write_nothing(self) -> None:
        wrong = [
            f"{module.path.relative_to(ROOT)}: {name}"
            for module in self.pure()
            for name, _ in module.uses()
            if name in HARMFUL_USES
        ]
        self.assertEqual(wrong, [])


class ClockAndReactor(SynchronousTestCase):
    """Time and the reactor are given to those who need them."""

    def test_clock_is_read_only_where_a_process_is_assembled(self) -> None:
        wrong = [
            f"{module.path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {name}"
            for module in elsewhere()
            for name, node in module.uses()
            if name in CLOCKS
        ]
        wrong += [
            f"{module.path.relative_to(ROOT)}:{line}: from {owner} import {name}"
            for module in elsewhere()
            for owner, name, line in module.imports
            if f"{owner}.{name}" in CLOCKS
        ]
        self.assertEqual(wrong, [])

    def test_reactor_is_imported_only_where_a_process_is_assembled(self) -> None:
        wrong = [
            f"{module.path.relative_to(ROOT)}:{line}"
            for module in elsewhere()
            for owner, name, line in module.imports
            if (owner, name) == ("twisted.internet", "reactor") or owner == "twisted.internet.reactor"
        ]
        self.assertEqual(wrong, [])

    def test_agent_reads_them_in_its_functions_only(self) -> None:
        module = modules()["zsmtp.agent"]
        classes = [node for node in module.tree.body if isinstance(node, ast.ClassDef)]
        inside = {id(part) for node in classes for part in ast.walk(node)}
        wrong = [name for name, node in module.uses() if name in CLOCKS and id(node) in inside]
        self.assertEqual(wrong, [])


def elsewhere() -> list[Module]:
    """The modules that assemble nothing."""
    return [
        module
        for module in modules().values()
        if module.room not in ASSEMBLING_ROOMS and module.name not in ASSEMBLING_MODULES
    ]


class Shape(SynchronousTestCase):
    """Modules are small, explained, and say what is public."""

    def test_module_is_one_idea(self) -> None:
        lengths = {name: module.text.count("\n") for name, module in modules().items()}
        self.assertEqual([name for name, length in lengths.items() if length > LONGEST], [])

    def test_module_has_a_docstring(self) -> None:
        silent = [name for name, module in modules().items() if not ast.get_docstring(module.tree)]
        self.assertEqual(silent, [])

    def test_module_says_what_is_public(self) -> None:
        filled = (module for module in modules().values() if len(module.tree.body) > 1)
        silent = [module.name for module in filled if module.names is None]
        self.assertEqual(silent, [])

    def test_public_names_exist(self) -> None:
        wrong = [
            f"{name}.{public}"
            for name, module in modules().items()
            for public in module.names or ()
            if not hasattr(importlib.import_module(name), public)
        ]
        self.assertEqual(wrong, [])

    def test_public_classes_and_functions_have_docstrings(self) -> None:
        silent = []
        for name, module in modules().items():
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in (module.names or ()):
                    silent += [f"{name}.{place}" for place in undocumented(node)]
        self.assertEqual(silent, [])

    def test_public_names_are_the_agreed_ones(self) -> None:
        agreed = (ROOT / "tests/public_names.txt").read_text().splitlines()
        found = public_names().splitlines()
        difference = [f"+ {line}" for line in found if line not in agreed]
        difference += [f"- {line}" for line in agreed if line not in found]
        self.assertEqual(difference, [], "if on purpose: python -m tests.source >tests/public_names.txt")

    def test_plugin_folder_is_no_package(self) -> None:
        # Twisted looks for plugins only in folders without one, and zsmtp's would hide Twisted itself.
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])


def undocumented(node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    """Name the node, and the public methods in it, that have no docstring."""
    found = [] if ast.get_docstring(node) else [node.name]
    if isinstance(node, ast.ClassDef):
        methods = (part for part in node.body if isinstance(part, ast.FunctionDef) and part.name[0] != "_")
        found += [f"{node.name}.{part.name}" for part in methods if not ast.get_docstring(part)]
    return found


class StartUp(SynchronousTestCase):
    """Programs load no more than they need: Twisted alone takes a fifth of a second."""

    def loaded(self, *words: str, status: int = 0) -> set[str]:
        """Run the agent with an empty standard input, expect `status`, and name the modules it loaded."""
        ran = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "zsmtp", *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        self.assertEqual(ran.returncode, status)
        return {
            line.rpartition("|")[2].strip()
            for line in ran.stderr.splitlines()
            if line.startswith("import time:")
        }

    def test_version_needs_no_twisted(self) -> None:
        loaded = self.loaded("-V")
        self.assertIn("zsmtp.options", loaded)
        self.assertEqual(loaded & {"twisted", "email", "zsmtp.submission"}, set())

    def test_usage_error_needs_no_twisted(self) -> None:
        loaded = self.loaded("-T", "nonsense", status=os.EX_USAGE)
        self.assertIn("zsmtp.options", loaded)
        self.assertNotIn("twisted", loaded)

    def test_agent_with_a_fixed_destination_needs_no_names_and_no_web(self) -> None:
        loaded = self.loaded("-F", "[127.0.0.1]", "-h", "client.example", "peer.example")
        self.assertIn("zsmtp.agent", loaded)
        useless = {"twisted.names", "twisted.web", "twisted.conch", "dns", "hypothesis"}
        self.assertEqual(loaded & useless, set())
