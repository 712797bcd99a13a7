"""Times counted in buckets that are about equally wide in relation to what they hold: any number of them in 40 KiB.

The arrangement is that of HdrHistogram (hdrhistogram.org): 128 buckets to each power of two of nanoseconds, so that what
is read is within 0.4 % of what was added. Its package for Python takes six times as long to add a time, which is counted among
the server's where a client does it between two calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["Histogram", "shares"]

_BITS = 7  # of a time's digits that tell its bucket: 128 to a power of two
_LONGEST = 2**45 - 1  # ns: ten hours, more than a call is let take; what is above is counted as that
_BUCKETS = ((45 - _BITS - 1) << _BITS) + (1 << (_BITS + 1))
_COARSE = 1 + 2 ** -(_BITS + 1)  # a bucket belongs where its middle is
_NS = 1_000_000_000


class Histogram:
    """Counts of times; all that is given and told is in seconds."""

    __slots__ = ("_counts", "count", "high", "low", "total")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.total = self.high = 0.0
        self.low = float("inf")

    def add(self, seconds: float) -> None:
        """Count one; what is below zero counts as none."""
        n = int(seconds * _NS)
        if not 0 <= n <= _LONGEST:
            n = 0 if n < 0 else _LONGEST
        shift = n.bit_length() - _BITS - 1
        self._counts[(shift << _BITS) + (n >> shift) if shift > 0 else n] += 1
        self.count += 1
        self.total += seconds
        if seconds > self.high:
            self.high = seconds
        if seconds < self.low:
            self.low = seconds

    def take(self, other: Histogram) -> None:
        """Add all that another one counted."""
        if other.count:
            self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]
            self.count += other.count
            self.total += other.total
            self.high, self.low = max(self.high, other.high), min(self.low, other.low)

    def at(self, share: float) -> float:
        """The time that this share of them (0.99) stayed at or below; 0 where there is none."""
        wanted, seen = max(1, round(share * self.count)), 0
        for index, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                low, width = _bounds(index)
                return min(max((low + width / 2) / _NS, self.low), self.high)
        return 0.0

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def buckets(self) -> Iterator[tuple[float, int]]:
        """The buckets that hold some: below which time they end, and how many."""
        for index, count in enumerate(self._counts):
            if count:
                low, width = _bounds(index)
                yield (low + width) / _NS, count


def shares(buckets: Sequence[tuple[float, int]], ends: Sequence[float]) -> list[int]:
    """How many of what is in buckets is in each of the parts that end at these times; what is above the last is in it."""
    found, at = [0] * len(ends), 0
    for end, count in buckets:
        while at < len(ends) - 1 and end > ends[at] * _COARSE:
            at += 1
        found[at] += count
    return found


def _bounds(index: int) -> tuple[int, int]:
    """Where a bucket begins, and how wide it is, in nanoseconds."""
    shift = max(0, (index >> _BITS) - 1)
    return (index - (shift << _BITS)) << shift, 1 << shift
