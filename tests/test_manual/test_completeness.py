"""No option of smtp(8zm) is without a test."""

from __future__ import annotations

import importlib
import pkgutil
import re

from twisted.trial.unittest import SynchronousTestCase

import tests.test_manual as package

#: The options of the page, in its order.
PAGE = ("1", "6", "7", "77", *"8AcdeEhFHLlMrsxXOPSTVwWp")


class EveryOption(SynchronousTestCase):
    """A class whose text begins with the option."""

    def test_has_a_test(self) -> None:
        found: set[str] = set()
        for module in pkgutil.iter_modules(package.__path__, "tests.test_manual."):
            for thing in vars(importlib.import_module(module.name)).values():
                text = getattr(thing, "__doc__", None) if isinstance(thing, type) else None
                match = re.match(r"-(77|[A-Za-z0-9])\b", text or "")
                if match and any(name.startswith("test_") for name in vars(thing)):
                    found.add(match[1])
        self.assertEqual(set(PAGE) - found, set())
