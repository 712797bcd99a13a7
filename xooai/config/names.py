"""Classes and functions by `module:name`, of modules that the operator named, and no others."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

from xooai.errors import InvalidArgument
from xooai.hints import nearest
from xooai.log import one_line
from xooai.served import Served

__all__ = ["Modules", "is_name", "name_of"]


def is_name(text: str) -> bool:
    """Whether a text is written as `module:name`, each a name of Python's, dotted or not."""
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


class Modules:
    """The modules of which classes and functions may be named, each with the modules inside it."""

    def __init__(self, given: Iterable[str | ModuleType] = ()) -> None:
        if isinstance(given, str):
            raise InvalidArgument(f"modules={given!r} is one text; write modules=[{given!r}]")
        self.names = tuple(one.__name__ if isinstance(one, ModuleType) else one for one in given)
        for name in self.names:
            if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
                raise InvalidArgument(f"modules=[{name!r:.80}] is not the name of a module")

    def __contains__(self, module: object) -> bool:
        return any(module == name or str(module).startswith(f"{name}.") for name in self.names)

    def function(self, name: str) -> FunctionType:
        """Raises InvalidArgument for what is no function."""
        found = self.find(name)
        if not isinstance(found, FunctionType):
            raise InvalidArgument(f"{name!r} is {_told(found)}, not a function")
        return found

    def find(self, name: str) -> Any:
        """The class of executors, or the function, that `module:name` names. Raises InvalidArgument, and imports nothing that is
        not allowed.
        """
        if not is_name(name):
            raise InvalidArgument(f"{name!r:.200} names nothing; it is written module:name")
        module, _, path = name.partition(":")
        if module.endswith(".py"):
            raise InvalidArgument(f"{name!r} names a file; write its module, {module.removesuffix('.py')}:{path}")
        self._allow(module, name)
        try:
            found: Any = import_module(module)
        except (Exception, SystemExit) as error:
            raise InvalidArgument(one_line(f"cannot import {module!r}: {type(error).__name__}: {error}")) from error
        for part in path.split("."):
            known = [one for one in dir(found) if not one.startswith("_")]
            is_within = isinstance(found, type) or found is sys.modules[module]  # other modules are not gone through
            if part.startswith("__") or not is_within or not hasattr(found, part):
                near = nearest(part, known)
                raise InvalidArgument(f"{module!r} has no {path!r}{near}")
            found = getattr(found, part)
        is_class = isinstance(found, type) and issubclass(found, Served)
        if not is_class and not isinstance(found, FunctionType):
            raise InvalidArgument(f"{name!r} is {_told(found)}; it takes a class of executors, or a function")
        self._allow(found.__module__, name)  # what a module has imported from elsewhere is not its own
        return found

    def _allow(self, module: str, name: str) -> None:
        if module not in self:
            listed = ", ".join(map(repr, self.names)) or "none"
            top = module.partition(".")[0]
            raise InvalidArgument(
                f"{name!r} is of the module {module!r}, which is not among those allowed ({listed}); where you trust it, "
                f"allow it: --module {top}, in Python modules=[{top!r}]"
            )


def name_of(thing: Any) -> str:
    """`module:name` of a class or a function. Raises ValueError for what cannot be found by it."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    told = f"{module}:{name}" if name else repr(thing)[:80]
    found: Any = sys.modules.get(module or "")
    for part in str(name).split("."):
        found = getattr(found, part, None)
    if found is not thing or not is_name(told) or not isinstance(thing, type | FunctionType):
        raise ValueError(f"{told} cannot be named as module:name, by which a file could tell it")
    return told


def _told(found: Any) -> str:
    if not isinstance(found, type):
        return f"an instance of {type(found).__name__}"
    return "a class of executors" if issubclass(found, Served) else "a class of something else"
