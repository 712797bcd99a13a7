"""Plain values as YAML, that reads back as they were."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from xooai import optional
from xooai.config import scalars
from xooai.config.reading import DEEPEST, EXTRA

__all__ = ["Inline", "plain", "written"]

_WIDTH = 120


class Inline(dict[str, Any]):
    """A mapping that is written on one line, where it fits."""


def written(value: Any) -> str:
    """The text of plain values. What is in an `Inline`, and lists of texts, stand on one line."""
    yaml = optional.load("yaml", "dump()", EXTRA)
    text: str = yaml.dump(
        value, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False
    )
    return text


def plain(value: Any, where: str) -> Any:
    """The value in dicts, lists, texts, numbers, truth values and None, tuples being lists. Raises ValueError, which begins with
    `where`.
    """
    return _plain(value, where, DEEPEST)


def _plain(value: Any, where: str, deep: int) -> Any:
    if value is None or type(value) in (bool, float):
        return value
    if type(value) is int:
        if len(str(abs(value).bit_length())) > 4 or abs(value) >= 10 ** (scalars.DIGITS - 1):
            raise ValueError(f"{where} is a number of more digits than are read")
        return value
    if type(value) is str:
        if not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):
            raise ValueError(f"{where} is a text that UTF-8 cannot hold")
        return value
    if deep and type(value) in (list, tuple):
        return [_plain(inner, f"{where}[{number}]", deep - 1) for number, inner in enumerate(value)]
    if deep and type(value) is dict:
        for key in value:
            if type(key) is not str:
                raise ValueError(f"{where} has the key {key!r:.80}, and a file's keys are texts")
            _plain(key, f"a key of {where}", 0)
        return Inline({key: _plain(inner, f"{where}[{key!r:.80}]", deep - 1) for key, inner in value.items()})
    if type(value) in (list, tuple, dict):
        raise ValueError(f"{where}: more than {DEEPEST} lists and dicts in one another")
    raise ValueError(f"{where} is {type(value).__name__}; a file holds texts, numbers, truth values, lists and dicts")


@cache
def _dumper() -> Any:
    """PyYAML's, to which a plain word means what it means to who reads here."""
    yaml = optional.load("yaml", "dump()", EXTRA)

    class Dumper(yaml.SafeDumper):  # type: ignore[misc,name-defined,unused-ignore] # loaded by name
        yaml_implicit_resolvers: Mapping[str | None, Any] = {
            None: [(f"tag:yaml.org,2002:{kind}", _Whole(pattern)) for kind, pattern in scalars.PATTERNS.items()]
        }

        def ignore_aliases(self, _: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        is_simple = value.isprintable() and value == value.strip()
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if is_simple else '"')

    def number(dumper: Any, value: float) -> Any:
        word = repr(value) if value - value == 0 else {"inf": ".inf", "-inf": "-.inf"}.get(repr(value), ".nan")
        return dumper.represent_scalar("tag:yaml.org,2002:float", word)

    def items(dumper: Any, value: list[Any]) -> Any:
        is_flat = not any(isinstance(item, dict | list) for item in value)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=is_flat)

    Dumper.add_representer(str, text)
    Dumper.add_representer(float, number)
    Dumper.add_representer(list, items)
    Dumper.add_representer(
        Inline, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=True)
    )
    return Dumper


class _Whole:
    """A pattern as PyYAML asks it."""

    def __init__(self, pattern: Any) -> None:
        self.match = pattern.fullmatch
