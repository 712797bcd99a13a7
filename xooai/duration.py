"""Lengths of time as people write them: `"10m"`, or a number of seconds."""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

__all__ = ["seconds_of"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])")


def seconds_of(given: Any) -> float | None:
    """The seconds that were meant; None for what is no length of time above zero."""
    if isinstance(given, str):
        found = _WRITTEN.fullmatch(given)
        seconds = 0.0 if found is None else float(found[1]) * _UNITS[found[2]]
    elif isinstance(given, int | float) and not isinstance(given, bool):
        seconds = float(given) if abs(given) < 1e300 else 0.0  # an int may be too large for a float
    else:
        return None
    return seconds if isfinite(seconds) and seconds > 0 else None
