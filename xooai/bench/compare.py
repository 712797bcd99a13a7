"""Two runs side by side: what became more or less, and whether that is more than their own noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev

import msgspec

from xooai.bench.report import Conditions, Report
from xooai.bench.tally import Part

__all__ = ["Compared", "compared", "differences"]

_OF_PART: Mapping[str, Callable[[Part], float]] = {
    "p50": lambda part: part.p50,
    "p90": lambda part: part.p90,
    "p95": lambda part: part.p90,  # its neighbour's noise
    "p99": lambda part: part.p99,
}
_FEWEST = 4  # parts of a run, each with calls, that tell its noise


class Compared(msgspec.Struct, frozen=True):
    """One figure of both runs: `ratio` is after to before, and `noise` how far it may lie from 1 where nothing changed, twice the
    standard error of the parts of both runs; None where they do not tell.
    """

    name: str
    before: float
    after: float
    ratio: float
    noise: float | None

    @property
    def is_noise(self) -> bool | None:
        """Whether it may be chance; None where nothing tells."""
        return None if self.noise is None else abs(self.ratio - 1) <= self.noise


def compared(before: Report, after: Report) -> list[Compared]:
    """The figures that both have: the calls a second, and percentiles of the latency in seconds."""
    found = [_of("calls/s", before.rate, after.rate, _noise(before, after, lambda part: part.answered / part.seconds))]
    for name, was in before.latency.percentiles.items():
        if name in after.latency.percentiles:
            of = _OF_PART.get(name)
            noise = None if of is None else _noise(before, after, of)
            found.append(_of(name, was, after.latency.percentiles[name], noise))
    return [one for one in found if one is not None]


def differences(before: Conditions, after: Conditions) -> list[str]:
    """What was asked of them differently, in words."""
    return [
        f"{name} was {getattr(before, name)}, and is {getattr(after, name)}"
        for name in Conditions.__struct_fields__
        if getattr(before, name) != getattr(after, name)
    ]


def _of(name: str, before: float, after: float, noise: float | None) -> Compared | None:
    return Compared(name, before, after, after / before, noise) if before else None


def _noise(before: Report, after: Report, of: Callable[[Part], float]) -> float | None:
    errors = [_error([of(part) for part in report.parts if part.answered]) for report in (before, after)]
    return None if None in errors else 2 * sqrt(sum(error**2 for error in errors if error is not None))


def _error(values: Sequence[float]) -> float | None:
    """The standard error of their mean, in relation to it."""
    if len(values) < _FEWEST or not (mean := fmean(values)):
        return None
    return stdev(values) / mean / sqrt(len(values))
