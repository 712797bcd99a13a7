"""Which connections begin in this process: by them a listener knows clients that are its neighbours."""

from __future__ import annotations

__all__ = ["OPEN"]

OPEN: set[tuple[str, int]] = set()
"""The own addresses of the client's connections that are open: no more than there are ports."""
