"""What a plain word in YAML means: the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).

YAML 1.1 has `on` and `no` for truth values, 12:30 for a number and dates besides: a key of ours, and names of people's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["DIGITS", "PATTERNS", "value_of"]

DIGITS = 1000  # of one number: Python refuses to read longer ones from 4,300 on

PATTERNS: Mapping[str, re.Pattern[str]] = {
    "null": re.compile(r"(?:~|null|Null|NULL|)"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
    ),
}
"""By the names of YAML's tags; the first that matches the whole word counts, and what matches none is a text."""


def value_of(word: str) -> Any:
    """The value that a word without quotes stands for. Raises ValueError for a number that is too long."""
    for kind, pattern in PATTERNS.items():
        if pattern.fullmatch(word):
            return _READ[kind](word)
    return word


def _int(word: str) -> int:
    if len(word) > DIGITS:
        raise ValueError(f"a number of {len(word)} digits; at most {DIGITS} are read")
    return int(word, {"0o": 8, "0x": 16}.get(word[:2], 10))


def _float(word: str) -> float:
    if word[-3:].lower() in ("inf", "nan"):
        return float(word.replace(".", ""))
    return float(word)


_READ: Mapping[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda word: word.lower() == "true",
    "int": _int,
    "float": _float,
}
