"""Modules that are loaded when something of them is first asked for: a start does not wait for what it may never need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["lazy"]


class _Lazy:
    """Stands for a module; what has been asked for once is an attribute from then on."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self.__name__), name)
        setattr(self, name, found)
        return found


def lazy(name: str) -> Any:
    """The module called `name`, loaded on first use. Beside it stands its import under TYPE_CHECKING, for who reads types."""
    return _Lazy(name)
