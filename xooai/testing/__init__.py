"""What authors of plugins test with: the conformance suites of drivers and stores, and a driver and a store to compare with."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xooai.optional import load

if TYPE_CHECKING:
    from xooai.testing.memory import MemoryDriver
    from xooai.testing.memory_store import MemoryStore
    from xooai.testing.stores import StoreTests
    from xooai.testing.suite import DriverTests

__all__ = ["DriverTests", "MemoryDriver", "MemoryStore", "StoreTests"]

_PLAIN = {"MemoryDriver": "xooai.testing.memory", "MemoryStore": "xooai.testing.memory_store"}
_SUITES = {"DriverTests": "xooai.testing.suite", "StoreTests": "xooai.testing.stores"}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562): what is in memory needs no pytest, and the suites do.

    Raises PluginError naming the extra where pytest is missing.
    """
    if name in _PLAIN:
        return getattr(import_module(_PLAIN[name]), name)
    if name in _SUITES:
        pytest = load("pytest", name, "testing")
        suite = _SUITES[name]
        if (
            suite not in sys.modules
        ):  # pytest rewrites asserts as a module is loaded, so that a failure shows what was found
            pytest.register_assert_rewrite(suite)
        return getattr(import_module(suite), name)
    raise AttributeError(f"module 'xooai.testing' has no attribute {name!r}; there are: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
