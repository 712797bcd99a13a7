"""Connections that begin in this process and that nobody uses now: a listener of this process may close those that it claims."""

from __future__ import annotations

__all__ = ["Address", "claimed", "idle"]

Address = tuple[str, int]

_IDLE: set[Address] = set()
"""Their own addresses: no more than there are ports."""


def idle(address: Address) -> None:
    """Nobody uses it: whoever claims it first has it."""
    _IDLE.add(address)


def claimed(address: Address) -> bool:
    """Whether it was there to be had, by its client for a call, or by its listener to be closed: each once, from any thread."""
    try:
        _IDLE.remove(address)
    except KeyError:
        return False
    return True
