"""What each process of a server last told: one that misses a question is compared with what it told before, over its own time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from xooai.metrics.report import Counted, Report, merged

__all__ = ["Answers"]

_SAME = 2.0  # seconds by which the start of one process is told differently, where the system reckons it from a clock that is set
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class Answers:
    """Follows the reports of one server, from its first one on."""

    def __init__(self, first: Report) -> None:
        self._last = {one.process.worker: one for one in first.answers}

    def pair(self, before: Report, after: Report) -> tuple[Report, Report]:
        """Two reports that tell of the same processes, so that what is more in the second one has happened in between.

        In the first one each process has what it had at that time if its calls came evenly since it last answered: nothing of
        it counts twice as fast for having been missing. Who is missing now is told of as before. A process that began in between
        begins at nothing; of one that was never heard of before, nobody knows what is new.
        """
        if not after.answers:
            self._last.clear()
            return before, after
        now: list[Counted] = []
        then: list[Counted] = []
        for one in after.answers:
            was = self._last.get(one.process.worker)
            self._last[one.process.worker] = one
            now.append(one)
            if was is not None and abs(was.process.started - one.process.started) < _SAME:
                span = one.now - was.now
                then.append(_earlier(one, was, (after.now - before.now) / span if span > 0 else 0.0))
            elif one.process.started < before.now:
                then.append(one)
        told = {one.process.worker for one in now}
        self._last = {worker: one for worker, one in self._last.items() if worker in told or worker in after.missing}
        away = [one for worker, one in self._last.items() if worker not in told]
        return _with(before, [*then, *away], then), _with(after, [*now, *away], now)


def _with(report: Report, found: Iterable[Counted], told: Iterable[Counted]) -> Report:
    """The sums of what was found, and the processes that told it."""
    sums = merged(found, report.now, report.slots)
    return msgspec.structs.replace(
        sums,
        workers=[one.process for one in told],
        bounds=report.bounds,
        sizes=report.sizes,
        missing=report.missing,
    )


def _earlier(now: Counted, was: Counted, share: float) -> Counted:
    """What it had when `share` of what is between the two was still to come."""
    return Counted(
        _between(now.process, was.process, share),
        calls=_each(now.calls, was.calls, share),
        stages=_each(now.stages, was.stages, share),
        batches=_each(now.batches, was.batches, share),
        queues=now.queues,
        counts=_each(now.counts, was.counts, share),
    )


def _each(now: list[_Struct], was: list[_Struct], share: float) -> list[_Struct]:
    had = {_names(one): one for one in was}
    return [_between(one, had.get(_names(one)), share) for one in now]


def _names(one: msgspec.Struct) -> tuple[str, ...]:
    return tuple(value for value in msgspec.structs.astuple(one) if isinstance(value, str))


def _between(now: _Struct, was: _Struct | None, share: float) -> _Struct:
    found = msgspec.structs.replace(now)
    for name in now.__struct_fields__:
        setattr(found, name, _less(getattr(now, name), getattr(was, name, None), share))
    return found


def _less(now: Any, was: Any, share: float) -> Any:
    """A number, less a part of what it is more than before; what is less than before has begun anew. Texts stay."""
    if isinstance(now, list):
        places = was if isinstance(was, list) and len(was) == len(now) else [0] * len(now)
        return [_less(one, other, share) for one, other in zip(now, places, strict=True)]
    if isinstance(now, dict):
        named = was if isinstance(was, dict) else {}
        return {key: _less(one, named.get(key, 0), share) for key, one in now.items()}
    if not isinstance(now, int | float):
        return now
    before = was if isinstance(was, int | float) and was <= now else 0
    return now - (now - before) * share
