"""Replies kept for a while: who calls with the same arguments again is given the same reply, and no handler runs."""

from xooai.results.cached import CachedCall, cached
from xooai.results.shelf import Results

__all__ = ["CachedCall", "Results", "cached"]
