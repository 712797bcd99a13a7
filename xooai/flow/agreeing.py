"""Whether one endpoint takes and gives the same at several servers, by what these say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xooai.describe import plain
from xooai.endpoint import Endpoint, Parameter
from xooai.fitting import shown

__all__ = ["signature", "types"]

_SAID = frozenset(("title", "description", "summary"))  # what is only said of a type
_NAMES = frozenset(("properties", "patternProperties", "$defs"))  # what holds names, which may be those above
_VALUES = frozenset(("default", "const", "enum", "examples"))


class _Alone:
    """An executor with one endpoint, to be described."""

    name = "alone"

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def endpoints(self) -> Iterable[tuple[Endpoint, Callable[..., Any]]]:
        return [(self._endpoint, types)]


def types(endpoint: Endpoint) -> Any:
    """What an endpoint takes and gives, in a form in which equal ones are equal."""
    found = plain([_Alone(endpoint)])
    return _bare(found["executors"]["alone"][endpoint.name]), _bare(found["$defs"], is_names=True)


def _bare(value: Any, *, is_names: bool = False) -> Any:
    if isinstance(value, Mapping):
        return {
            key: inner if key in _VALUES and not is_names else _bare(inner, is_names=key in _NAMES and not is_names)
            for key, inner in value.items()
            if is_names or key not in _SAID
        }
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


def signature(endpoint: Endpoint) -> str:
    """An endpoint as an error calls it."""
    return f"({', '.join(map(_parameter, endpoint.parameters.values()))}) -> {shown(endpoint.result.annotation)}"


def _parameter(parameter: Parameter) -> str:
    default = "" if parameter.required else f" = {parameter.default!r}"
    return f"{parameter.name}: {shown(parameter.annotation)}{default}"
