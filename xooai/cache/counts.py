"""What happened at one cache in one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xooai import tally

__all__ = ["Counts"]


@dataclass
class Counts:
    """Since the cache was opened."""

    hits: int = 0
    """Contents that were here."""

    misses: int = 0
    """Contents fetched."""

    around: int = 0
    """Contents served around the cache, which could not take or give them."""

    corrupt: int = 0
    """Contents that were not what their signature says, and were moved away."""

    evicted: int = 0
    """Contents removed for others."""

    def add(self, what: Literal["hits", "misses", "around", "corrupt", "evicted"], number: int = 1) -> None:
        """Count it here, and for the process."""
        setattr(self, what, getattr(self, what) + number)
        tally.count("content_cache", what, number=number)
