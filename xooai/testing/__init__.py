"""What authors of plugins test with: the conformance suite of drivers, and the driver that is its reference."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xooai.optional import load

if TYPE_CHECKING:
    from xooai.testing.memory import MemoryDriver
    from xooai.testing.suite import DriverTests

__all__ = ["DriverTests", "MemoryDriver"]

_SUITE = "xooai.testing.suite"


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562): the memory driver needs no pytest, and the suite does.

    Raises PluginError naming the extra where pytest is missing.
    """
    if name == "MemoryDriver":
        return import_module("xooai.testing.memory").MemoryDriver
    if name == "DriverTests":
        pytest = load("pytest", "DriverTests", "testing")
        if (
            _SUITE not in sys.modules
        ):  # pytest rewrites asserts as a module is loaded, so that a failure shows what was found
            pytest.register_assert_rewrite(_SUITE)
        return import_module(_SUITE).DriverTests
    raise AttributeError(f"module 'xooai.testing' has no attribute {name!r}; there are: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
