"""Scalars that are not Python's own, as the plain numbers and texts that they are: numpy's, and those of subclasses."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

from pydantic_core import to_jsonable_python

__all__ = ["is_of_numpy", "plain", "scalar"]

_MIN, _MAX = -(2**63), 2**63 - 1  # integers have 64 bits


def scalar(value: Any) -> Any:
    """The number, boolean or text that `value` is; itself where it is none. Raises ValueError beyond 64 bits.

    All come back as they were, but for a float of more than 64 bits, which is rounded, as pydantic does in JSON.
    """
    if is_of_numpy(value):
        numpy = sys.modules["numpy"]
        value = float(value) if isinstance(value, numpy.floating) else value.item()
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int) and type(value) is not bool:
        value = int.__int__(value)
        if not _MIN <= value <= _MAX:
            raise ValueError(
                f"an integer of {value.bit_length()} bits was given; integers have at most 64 bits, signed"
            )
    return value


def is_of_numpy(value: Any) -> bool:
    """Whether this is one of numpy's scalars."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def plain(value: Any) -> Any:
    """What an encoder writes in place of a `value` that it does not know. Raises TypeError."""
    found = scalar(value)
    if found is None or type(found) in (str, float, int, bool):
        return found
    if isinstance(value, bytes):
        return bytes(memoryview(value))
    if isinstance(value, deque):
        return list(value)
    if not hasattr(value, "item"):  # arrays and tensors, which pydantic reads number by number
        try:
            found = to_jsonable_python(value)
        except (TypeError, ValueError):
            pass
        if type(found) is str:
            return found
    hint = "; take its .item(), its .tolist(), or send a Tensor" if hasattr(value, "item") else ""
    raise TypeError(f"{type(value).__module__}.{type(value).__name__} has no form on the wire{hint}")
