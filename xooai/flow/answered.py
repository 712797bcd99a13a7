"""Which servers have answered the calls of a node that has several."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["answered"]

answered: ContextVar[dict[str, None] | None] = ContextVar("xooai_flow_answered", default=None)
"""Is told of each server that answers a call made in this context, where somebody wants to know."""
