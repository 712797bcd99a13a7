"""Amounts: numbers with bounds, and as `xooai keys` takes them, calls and bytes in a time."""

from __future__ import annotations

import math
import re
from typing import Any

import click

__all__ = ["Bandwidth", "Number", "Rate"]

_TIMES = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?) ?([kMG]?B|[KMG]iB)(?:/s)?")


class Number(click.FloatRange):
    """A number within its bounds: click lets NaN through, which is beyond none of them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value!r} is no number", param, ctx)
        return number


class Rate(click.ParamType[float]):
    """Calls a second."""

    name = "rate"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number, _, unit = value.partition("/")
        try:
            found = float(number) / _TIMES[unit]
        except (ValueError, KeyError):
            found = 0.0
        if not 0 < found < math.inf:
            self.fail(f"{value!r} is no number of calls in a time; it looks like 100/s, 30/m or 1000/h", param, ctx)
        return found


class Bandwidth(click.ParamType[float]):
    """Bytes a second."""

    name = "bandwidth"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        written = _WRITTEN.fullmatch(value)
        found = 0.0 if written is None else float(written[1]) * _BYTES[written[2]]
        if not 1 <= found < math.inf:
            self.fail(f"{value!r} is no number of bytes a second; it looks like 10MB/s, 512KiB or 1GB/s", param, ctx)
        return found
